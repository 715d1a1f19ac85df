"""Checks that every test named in a table of docs/architecture.md exists; a part of `make lint`."""

from __future__ import annotations

import re
import sys

from tools import ROOT

# The last column of a row that names at least one test.
TESTS = re.compile(r"^\|.*\| ([^|]*`[a-z0-9]+(?:_[a-z0-9]+){2,}`[^|]*) \|$", re.MULTILINE)
NAME = re.compile(r"`([a-z0-9]+(?:_[a-z0-9]+){2,})`")
FUNCTION = re.compile(r"\bfn (\w+)")


def main() -> int:
    sources = (file for file in ROOT.glob("[fst]*/**/*.rs") if "target" not in file.parts)
    functions = {name for file in sources for name in FUNCTION.findall(file.read_text())}
    text = (ROOT / "docs/architecture.md").read_text()
    named = [name for column in TESTS.findall(text) for name in NAME.findall(column)]
    missing = [name for name in named if name not in functions]
    for name in missing:
        print(f"docs/architecture.md: there is no test {name}")
    if not named:
        print("docs/architecture.md: no test is named in its tables")
    return int(bool(missing) or not named)


if __name__ == "__main__":
    sys.exit(main())
