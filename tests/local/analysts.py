"""`make test-analysts`: tests detections, the search guide and the dashboards on both engines.

With arguments, runs a script of tests/analysts with them instead: `make auth0-rules`. The first run
installs pySigma, Vega's scripts and Chromium. The functions need none of them.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import tools
from interrupts import exit_code
from services import free_ports, group_for
from stack import ENGINES, engine_service, plain_environment, start_and_build, target_folder
from tools import ROOT, StackError


def test() -> None:
    tools.check_prerequisites()
    with tools.exclusive("setup", wait=True):
        for engine in ENGINES:
            tools.engine_home(engine)
        python = tools.sigma()
        tools.vega()
        tools.chromium()
    with group_for("analysts") as group:
        ports = dict(zip(ENGINES, free_ports(2), strict=True))
        start_and_build(group, [engine_service(*one, group.folder) for one in ports.items()])
        env = plain_environment() | {
            f"ANALYSTS_{name.upper()}_URL": f"http://127.0.0.1:{port}"
            for name, port in ports.items()
        }
        env |= {"ANALYSTS_BIN_DIR": str(target_folder()), "PYTHONDONTWRITEBYTECODE": "1"}
        # Further arguments of unittest, as in `make test-analysts ARGS=test_searching`.
        arguments = shlex.split(os.environ.get("ARGS", "")) or ["discover"]
        script = sys.argv[1:] or ["-m", "unittest", *arguments, "-v"]
        run = [str(python), "-W", "ignore", *script]
        if subprocess.run(run, cwd=ROOT / "tests/analysts", env=env, check=False).returncode != 0:
            raise StackError("the analysts' tests failed")


if __name__ == "__main__":
    sys.exit(exit_code(test))
