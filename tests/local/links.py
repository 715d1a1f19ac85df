"""Checks the links of the built book, with the anchors that they name; a part of `make docs`."""

from __future__ import annotations

import html
import re
import sys
import urllib.parse
from functools import cache
from pathlib import Path

LINK = re.compile(r"""<[^>]*?\s(?:href|src)=["']([^"'>]+)["']""")
IDENTIFIER = re.compile(r"""\sid=["']([^"'>]+)["']""")


@cache
def identifiers(page: Path) -> set[str]:
    return set(map(html.unescape, IDENTIFIER.findall(page.read_text())))


def problems(page: Path) -> list[str]:
    found = []
    for target in map(html.unescape, LINK.findall(page.read_text())):
        if re.match("[a-z]+:", target):
            continue
        path, _, anchor = urllib.parse.unquote(target).partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists():
            found.append(f"{page.name}: there is no {path}")
        elif anchor and there.suffix == ".html" and anchor not in identifiers(there):
            found.append(f"{page.name}: {path or page.name} has no #{anchor}")
    return found


def main() -> int:
    pages = sorted(Path(sys.argv[1]).resolve().rglob("*.html"))
    found = [problem for page in pages for problem in problems(page)]
    print("\n".join(found), end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
