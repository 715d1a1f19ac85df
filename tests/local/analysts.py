"""What analysts get, tested and run: `make test-analysts`, `make hunt`, `make dashboards`, `make overview`.

Sigma's converter, Vega's scripts and a Chromium are needed for these only, and installed by their first
run; the functions need none of them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import tools
from services import INTERRUPTS, Group, Interrupted, free_ports
from stack import RUN, build, engine_service, plain_environment, stopped_on_failure, target_folder
from tools import ROOT, StackError, install, run_step, say

SIGMA = {
    "pySigma": "1.5.1",
    "pySigma-backend-elasticsearch": "2.1.1",
    "pySigma-backend-opensearch": "2.0.3",
    "sigma-cli": "3.1.0",
}
# The versions are those of Kibana 9 and OpenSearch Dashboards 3: Vega 5 and Vega-Lite 5.
VEGA = {"vega": "5.33.1", "vega-lite": "5.23.0", "vega-embed": "6.29.0"}


def sigma() -> Path:
    """The Python of the environment that has pySigma in it."""

    def fill(folder: Path) -> None:
        run_step("sigma: virtual environment", [sys.executable, "-m", "venv", str(folder)])
        packages = [f"{name}=={version}" for name, version in SIGMA.items()]
        pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
        run_step("sigma: download", [*pip, *packages])

    return install(f"sigma-{SIGMA['pySigma']}", "pySigma and sigma-cli", fill) / "bin/python"


def vega() -> list[Path]:
    """The scripts that a page needs to draw a Vega-Lite spec, in the order of their loading."""

    def fill(folder: Path) -> None:
        if not shutil.which("npm"):
            raise StackError("npm is missing, which brings Vega: `apt install npm`")
        packages = [f"{name}@{version}" for name, version in VEGA.items()]
        run_step("vega: download", ["npm", "pack", "--silent", *packages], cwd=folder)
        for name, version in VEGA.items():
            member = f"package/build/{name}.min.js"
            archive = folder / f"{name}-{version}.tgz"
            extract = ["tar", "-xzf", str(archive), "--strip-components=2", member]
            run_step(f"{name}: unpack", extract, cwd=folder)
            archive.unlink()

    folder = install(f"vega-{VEGA['vega']}", "Vega, Vega-Lite and vega-embed (1 MB)", fill)
    return [folder / f"{name}.min.js" for name in VEGA]


def chromium() -> str:
    """The browser that renders panels; installed where this runs as root, as in CI."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise StackError("a Chromium is missing, which draws the panels: `apt install chromium`")
    say("  installing chromium")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run_step("chromium: package lists", ["apt-get", "update", "-q"], env=env)
    packages = ["--no-install-recommends", "chromium", "fonts-dejavu-core"]
    run_step("chromium: install", ["apt-get", "install", "-y", "-q", *packages], env=env)
    return "chromium"


def test() -> None:
    """Runs tests/analysts against both engines, on free ports."""
    tools.check_prerequisites()
    with tools.exclusive("setup", wait=True):
        for engine in ("opensearch", "elasticsearch"):
            tools.engine_home(engine)
        python = sigma()
        vega()
        chromium()
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
            f"ANALYSTS_{name.upper()}_URL": f"http://127.0.0.1:{port}" for name, port in ports.items()
        }
        env |= {
            "ANALYSTS_BIN_DIR": str(target_folder()),
            "PYTHONPATH": str(ROOT / "tests/local"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        # More of unittest's arguments, as in `make test-analysts ARGS=test_searching`.
        arguments = shlex.split(os.environ.get("ARGS", "")) or ["discover"]
        run = [str(python), "-W", "ignore", "-m", "unittest", "-v", *arguments]
        if subprocess.run(run, cwd=ROOT / "tests/analysts", env=env).returncode != 0:
            raise StackError("the analysts' tests failed")
    group.stop()


def hunt() -> None:
    """Runs the detections against the engine of SEARCH_ENDPOINT."""
    with tools.exclusive("setup", wait=True):
        python = sigma()
    arguments = shlex.split(os.environ.get("ARGS", ""))
    script = str(ROOT / "tests/local/hunt.py")
    if subprocess.run([str(python), script, *arguments]).returncode != 0:
        raise StackError("the hunt failed")


COMMANDS = {"test": test, "hunt": hunt}


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
