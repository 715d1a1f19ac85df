"""`make test-analysts`: tests detections, the search guide and the dashboards on both engines.

The first run installs pySigma, Vega's scripts and Chromium. The functions need none of them.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import tools
from services import Group, exit_code, free_ports
from stack import (
    ENGINES,
    RUN,
    build,
    engine_service,
    plain_environment,
    stopped_on_failure,
    target_folder,
)
from tools import ROOT, StackError


def test() -> None:
    tools.check_prerequisites()
    with tools.exclusive("setup", wait=True):
        for engine in ENGINES:
            tools.engine_home(engine)
        python = tools.sigma()
        tools.vega()
        tools.chromium()
    group = Group(RUN / "analysts")
    with tools.exclusive("analysts", wait=True), stopped_on_failure(group):
        group.stop()
        ports = dict(zip(ENGINES, free_ports(2), strict=True))
        parts = [engine_service(name, port, group.folder) for name, port in ports.items()]
        for part in parts:
            group.start(part)
        # Selects what the end-to-end tests select, so after those nothing is left to compile.
        build("functions and tests", "--workspace", "--bins", "--tests", "--examples", "--locked")
        for part in parts:
            group.wait(part)
        env = plain_environment() | {
            f"ANALYSTS_{name.upper()}_URL": f"http://127.0.0.1:{port}"
            for name, port in ports.items()
        }
        env |= {
            "ANALYSTS_BIN_DIR": str(target_folder()),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "docs/analysts"), str(ROOT / "tests/local")]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        # Further arguments of unittest, as in `make test-analysts ARGS=test_searching`.
        arguments = shlex.split(os.environ.get("ARGS", "")) or ["discover"]
        run = [str(python), "-W", "ignore", "-m", "unittest", *arguments, "-v"]
        if subprocess.run(run, cwd=ROOT / "tests/analysts", env=env, check=False).returncode != 0:
            raise StackError("the analysts' tests failed")
    group.stop()


if __name__ == "__main__":
    sys.exit(exit_code(test))
