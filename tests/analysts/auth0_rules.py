"""`make auth0-rules`: shows that Auth0's own Sigma rules convert, and find what they look for.

The argument is the folder of these rules in a checkout; none is part of this project. Our events
for each are in auth0-rules.json, by the name of its file. For maintainers, when rules change.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import tempfile
from pathlib import Path

import hunt
import world
from search import SearchError

CASES = json.loads((world.HERE / "auth0-rules.json").read_text())
COLUMNS = list(itertools.product(world.URLS, world.SETTINGS))

# A value for the user to fill in, such as {your-client-id}. Our events have its name there.
PLACEHOLDER = re.compile(r"\{([a-z][\w-]*)\}")

# Rules that cannot run everywhere, and why.
KNOWN = {
    ("liquidjs_xss_vulnerability", "elasticsearch", "flat"): (
        "a regular expression, which Elasticsearch cannot run on a part of a flattened field"
    ),
}


def outcome(rule: Path, product: str, details: str, stream: str) -> str:
    """Returns `hits`, or what is wrong."""
    try:
        found = world.found(rule, product, details, stream)
    except hunt.RuleError as error:
        return f"does not convert: {error}"
    except SearchError as error:
        return f"search fails: {error}"
    wanted = world.wanted(rule.stem, CASES[rule.stem])
    return "hits" if found == wanted else f"finds {found} instead of {wanted}"


def check(rules: list[Path]) -> list[str]:
    """Prints what each rule does on each engine; returns what is wrong."""
    names = {rule.stem for rule in rules}
    wrong = [f"{name}: no events in auth0-rules.json" for name in sorted(names - CASES.keys())]
    wrong += [f"{name}: not in the checkout" for name in sorted(CASES.keys() - names)]
    known = []
    events = [e for name, cases in CASES.items() for e in world.case_events(name, cases)]
    streams = {details: world.index("auth0_rules", events, details) for details in world.SETTINGS}
    headings = [f"{product} {details}" for product, details in COLUMNS]
    width = max(map(len, names))
    print(" " * width, *headings, sep="  ")
    for rule in rules:
        row = [f"{rule.stem:{width}}"]
        for column, heading in zip(COLUMNS, headings, strict=True):
            said = outcome(rule, *column, streams[column[1]]) if rule.stem in CASES else "-"
            if said.startswith("does not convert") and (reason := KNOWN.get((rule.stem, *column))):
                known.append(f"{rule.stem} on {heading}: {reason}")
            elif said not in ("hits", "-"):
                wrong.append(f"{rule.stem} on {heading}: {said}")
            row.append(f"{said if said in ('hits', '-') else 'no':{len(heading)}}")
        print("  ".join(row).rstrip())
    print(*known, *wrong, f"{len(rules)} rules, {len(wrong)} problems", sep="\n")
    return wrong


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        rules = []
        for rule in sorted(Path(sys.argv[1]).glob("*.y*ml")):
            rules.append(Path(folder, rule.name))
            rules[-1].write_text(PLACEHOLDER.sub(r"\1", rule.read_text()))
        return int(not rules or bool(check(rules)))


if __name__ == "__main__":
    sys.exit(main())
