"""What analysts get, tested and run: `make test-analysts`, `make hunt`, `make dashboards`, `make
overview`.

Sigma's converter, Vega's scripts and a Chromium are needed for these only, and installed by their
first run; the functions need none of them.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import overview
import tools
from dashboards import import_all
from search import Engine, SearchError
from services import INTERRUPTS, Group, Interrupted, free_ports
from stack import (
    RUN,
    build,
    engine_service,
    plain_environment,
    stopped_on_failure,
    target_folder,
)
from tools import ROOT, StackError, say


def test() -> None:
    """Runs tests/analysts against both engines, on free ports."""
    tools.check_prerequisites()
    with tools.exclusive("setup", wait=True):
        for engine in ("opensearch", "elasticsearch"):
            tools.engine_home(engine)
        python = tools.sigma()
        tools.from_debian(("npm",), "npm")
        tools.vega()
        tools.chromium()
    group = Group(RUN / "analysts")
    with tools.exclusive("analysts", wait=True), stopped_on_failure(group):
        group.stop()
        ports = dict(zip(("opensearch", "elasticsearch"), free_ports(2)))
        parts = [engine_service(name, port, group.folder) for name, port in ports.items()]
        for part in parts:
            group.start(part)
        # The same selection as the end-to-end tests have, after which nothing is left to compile.
        build("functions and tests", "--workspace", "--bins", "--tests", "--examples", "--locked")
        for part in parts:
            group.wait(part)
        env = plain_environment() | {
            f"ANALYSTS_{name.upper()}_URL": f"http://127.0.0.1:{port}"
            for name, port in ports.items()
        }
        env |= {
            "ANALYSTS_BIN_DIR": str(target_folder()),
            "PYTHONPATH": str(ROOT / "tests/local"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        # More of unittest's arguments, as in `make test-analysts ARGS=test_searching`.
        arguments = shlex.split(os.environ.get("ARGS", "")) or ["discover"]
        run = [str(python), "-W", "ignore", "-m", "unittest", *arguments, "-v"]
        if subprocess.run(run, cwd=ROOT / "tests/analysts", env=env).returncode != 0:
            raise StackError("the analysts' tests failed")
    group.stop()


def hunt() -> None:
    """Runs the detections against the engine of SEARCH_ENDPOINT."""
    with tools.exclusive("setup", wait=True):
        python = tools.sigma()
    arguments = shlex.split(os.environ.get("ARGS", ""))
    script = str(ROOT / "tests/local/hunt.py")
    if subprocess.run([str(python), script, *arguments]).returncode != 0:
        raise StackError("the hunt failed")


def dashboards() -> None:
    import_all(os.environ)


def draw() -> None:
    """Draws the dashboards over the engine of SEARCH_ENDPOINT, or of `make up`."""
    engine = Engine.from_environment(os.environ.get("SEARCH_ENDPOINT") or "http://127.0.0.1:9200")
    stream = f"logs-auth0.logs-{os.environ.get('DATA_STREAM_NAMESPACE') or 'default'}"
    try:
        say(str(overview.write(engine, stream, tools.vega())))
    except SearchError as error:
        raise StackError(str(error)) from error


COMMANDS = {"test": test, "hunt": hunt, "dashboards": dashboards, "overview": draw}


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        say(f"usage: analysts.py {'|'.join(COMMANDS)}")
        return 2
    INTERRUPTS.install()
    try:
        COMMANDS[sys.argv[1]]()
    except Interrupted:
        return 130
    except StackError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
