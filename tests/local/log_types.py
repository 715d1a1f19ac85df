"""`make types`: compares the table of event types with Auth0's documentation or log schemas.

`AUTH0=<path>` is a checkout of either. For maintainers, when Auth0 adds types: nothing is changed.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from interrupts import exit_code
from tools import ROOT, StackError, say

TABLE = ROOT / "shared/ecs/src/input/types.rs"
ROW = re.compile(r'LogType \{ code: "([^"]+)", name: "[^"]*", classification: "([^"]+)"')

# Codes whose classification is that of Elastic's integration, and not Auth0's filter.
OF_ELASTIC = frozenset({"fco", "fcph", "sd", "ss"})

# Pages of the documentation: type codes, and log stream filters.
CODES, FILTERS = "log-event-type-codes.md*", "event-filters.md*"

# A heading, or a code in the first cell of a row, in Markdown or in HTML.
HEADING = re.compile(r"^#{2,4} (.+?)\s*$", re.MULTILINE)
CODE = re.compile(r"(?:^\|\s*`|^\s*<td><code>)(\w+)(?:`\s*\||</code></td>)", re.MULTILINE)


def documented(folder: Path) -> dict[str, str | None]:
    """Returns each code of the documentation, with its filter if it is on the page of filters."""
    found: dict[str, str | None] = {}
    for page in folder.rglob(CODES):
        found |= dict.fromkeys(CODE.findall(page.read_text()))
    for page in folder.rglob(FILTERS):
        # Text before the first heading, then headings and the texts below them in turn.
        _, *sections = HEADING.split(page.read_text())
        for heading, text in zip(sections[::2], sections[1::2], strict=True):
            found |= dict.fromkeys(CODE.findall(text), heading.removesuffix(" Events"))
    return found


def schema_codes(schema: object) -> Iterator[str]:
    """Yields the values that a JSON schema allows for `type`."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return
    kind = properties.get("type")
    if isinstance(kind, dict):
        values = [kind["const"]] if "const" in kind else kind.get("enum", [])
        yield from (value for value in values if isinstance(value, str))
    yield from schema_codes(properties.get("data"))


def of_schemas(folder: Path) -> dict[str, str | None]:
    """Returns the codes of the log schemas: one file for each, named after it or naming it."""
    found: dict[str, str | None] = {}
    for file in folder.rglob("*.json"):
        try:
            schema = json.loads(file.read_text())
        except ValueError:
            continue
        # The properties that every log schema has.
        if isinstance(schema, dict) and '"tenant_name"' in json.dumps(schema):
            found |= dict.fromkeys([*schema_codes(schema)] or [file.name.partition(".")[0]])
    return found


def differences(ours: dict[str, str], theirs: dict[str, str | None]) -> list[str]:
    """Returns a line for each code that is new, gone, or in another filter."""
    said = [f"new: {code} ({theirs[code] or 'no filter'})" for code in sorted(theirs.keys() - ours)]
    said += [f"not in Auth0's list: {code}" for code in sorted(ours.keys() - theirs)]
    for code in sorted((ours.keys() & theirs) - OF_ELASTIC):
        wanted = theirs[code]
        if wanted and wanted != ours[code]:
            said.append(f"filter of {code}: {wanted}, ours: {ours[code]}")
    return said


def check_rules() -> None:
    """Checks that both forms of a page are read, and that every difference is found."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / CODES.replace("*", "x")).write_text(
            "| Code |\n| --- |\n| `a` | A |\n| `b` | B |\n"
        )
        page = "## Login\n\n### Login - Success\n\n<td><code>a</code></td>\n\n### SCIM Events\n"
        (folder / FILTERS.replace("*", "x")).write_text(f"{page}\n| `c` | C |\n")
        theirs = documented(folder)
        assert theirs == {"a": "Login - Success", "b": None, "c": "SCIM"}, theirs
        kind = {"type": {"const": "d"}, "tenant_name": {}}
        (folder / "d.schema.json").write_text(json.dumps({"properties": kind}))
        (folder / "e.json").write_text(json.dumps({"properties": {"tenant_name": {}}}))
        assert set(of_schemas(folder)) == {"d", "e"}, of_schemas(folder)
    found = differences({"a": "Other", "b": "Other", "x": "Other"}, theirs)
    wanted = [
        "new: c (SCIM)",
        "not in Auth0's list: x",
        "filter of a: Login - Success, ours: Other",
    ]
    assert found == wanted, found


def main() -> None:
    check_rules()
    folder = Path(os.environ.get("AUTH0", ""))
    if not os.environ.get("AUTH0") or not folder.is_dir():
        raise StackError("AUTH0=<path>: a checkout of Auth0's documentation or log schemas")
    theirs = documented(folder) or of_schemas(folder)
    if not theirs:
        raise StackError(f"{folder}: neither the pages {CODES} and {FILTERS} nor log schemas")
    ours = dict(ROW.findall(TABLE.read_text()))
    said = differences(ours, theirs)
    say("\n".join([*said, f"{len(theirs)} types at Auth0, {len(ours)} in the table"]))


if __name__ == "__main__":
    sys.exit(exit_code(main))
