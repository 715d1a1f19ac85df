"""Checks the links between Markdown files, and to their headings; a part of `make lint`.

With a folder, checks the pages of the built book in it, as `make docs` does.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
import urllib.parse
from collections import Counter
from functools import cache
from pathlib import Path

from tools import ROOT

FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)*)\)")
# `[name]: target`, and HTML within Markdown or of the book.
DEFINITION = re.compile(r"^ {0,3}\[([^]\n]+)\]: +(\S+)", re.MULTILINE)
REFERENCE = re.compile(r"\]\[([^]\n]+)\]")
ATTRIBUTE = re.compile(r"""<[^>]*?\s(?:href|src)=["']([^"'>]+)["']""")
IDENTIFIER = re.compile(r"""\sid=["']([^"'>]+)["']""")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@cache
def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub and mdBook make them, or HTML's ids."""
    if page.suffix == ".html":
        return set(map(html.unescape, IDENTIFIER.findall(page.read_text())))
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(FENCED.sub("", page.read_text())):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def problems(page: Path) -> list[str]:
    text = page.read_text()
    targets, found = [], []
    if page.suffix == ".md":
        text = CODE.sub("", FENCED.sub("", text))
        defined = dict(DEFINITION.findall(text))
        targets = [*LINK.findall(text), *defined.values()]
        names = set(REFERENCE.findall(text)) - set(defined)
        found = [f"[{name}] is not defined" for name in sorted(names)]
    for target in [*targets, *map(html.unescape, ATTRIBUTE.findall(text))]:
        if re.match("[a-z]+:", target):
            continue
        path, _, anchor = urllib.parse.unquote(target).partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists():
            found.append(f"there is no {path}")
        elif anchor and there.suffix in (".md", ".html") and anchor not in anchors(there):
            found.append(f"{path or page.name} has no heading #{anchor}")
    return [f"{page.relative_to(ROOT)}: {problem}" for problem in found]


def main() -> int:
    if len(sys.argv) > 1:
        return told(sorted(Path(sys.argv[1]).resolve().rglob("*.html")))
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    pages = [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).exists()]
    return told(pages)


def told(pages: list[Path]) -> int:
    found = [problem for page in pages for problem in problems(page)]
    print("\n".join(found), end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
