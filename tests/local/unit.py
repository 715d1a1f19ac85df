"""`make unit`: unit and model tests, no unused snapshot, and a build without a network."""

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
TARGETS = ("--lib", "--bins", "--test", "it", "--test", "model")
TESTS = ("cargo", "test", "--workspace", *TARGETS, "--locked")
OFFLINE = ("sh", "shared/user-agent/check-offline.sh")


def unit() -> None:
    tools.check_prerequisites()
    with tempfile.TemporaryDirectory() as folder:
        # insta appends the path of each snapshot that a test compares.
        references = Path(folder) / "references"
        env = os.environ | {"INSTA_SNAPSHOT_REFERENCES_FILE": str(references)}
        if subprocess.run(TESTS, cwd=ROOT, env=env, check=False).returncode != 0:
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
