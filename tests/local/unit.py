"""`make unit`: all tests that need no engine, no unused snapshot, and a build without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import tools
from interrupts import exit_code
from tools import ROOT, StackError

# The whole workspace, as for the end-to-end tests: another selection enables other features of the
# same dependencies, and would compile them again.
TESTS = ("cargo", "test", "--workspace", "--locked")
OFFLINE = ("sh", "shared/user-agent/check-offline.sh")


def without_engines() -> list[str]:
    """Returns the options that select all targets with tests but the end-to-end tests.

    They are asked for, because a list would leave out the next one."""
    packages = tools.workspace()["packages"]
    targets = [target for package in packages for target in package["targets"]]
    names = {target["name"] for target in targets if "test" in target["kind"]} - {"e2e"}
    return ["--lib", "--bins", *(f"--test={name}" for name in sorted(names))]


def unit() -> None:
    tools.check_prerequisites()
    with tempfile.TemporaryDirectory() as folder:
        # insta appends the path of each snapshot that a test compares.
        references = Path(folder) / "references"
        env = os.environ | {"INSTA_SNAPSHOT_REFERENCES_FILE": str(references)}
        # Cargo runs the examples of the docs in a run of their own.
        for selected in (without_engines(), ["--doc"]):
            if subprocess.run([*TESTS, *selected], cwd=ROOT, env=env, check=False).returncode != 0:
                raise StackError("the unit tests failed")
        used = {Path(line).resolve() for line in references.read_text().splitlines()}
    ask = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.snap"]
    listed = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    unused = [name for name in listed.splitlines() if (ROOT / name).resolve() not in used]
    if unused:
        raise StackError("no test refers to these snapshots: git rm " + " ".join(unused))
    # After the tests, whose build filled cargo's cache.
    tools.run_step("build without a network", list(OFFLINE), cwd=ROOT)


if __name__ == "__main__":
    sys.exit(exit_code(unit))
