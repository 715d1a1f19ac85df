"""`make auth0-rules`: shows that Auth0's own Sigma rules convert, and find what they look for.

The argument is a checkout of Auth0's detections (github.com/auth0/auth0-customer-detections), of which
nothing is part of this project: auth0-rules.json has our events for each rule, by the name of its file.
For maintainers, when Auth0 adds or changes rules.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hunt
import world
from search import SearchError

CASES = json.loads((world.HERE / "auth0-rules.json").read_text())
COLUMNS = list(itertools.product(world.URLS, world.SETTINGS))

# What a user has to fill in: it stands for itself here. `{}` after a list's name is none.
PLACEHOLDER = re.compile(r"\{([a-z][\w-]*)\}")

# Rules that cannot run everywhere, and why.
KNOWN = {
    ("liquidjs_xss_vulnerability", "elasticsearch", "flat"): (
        "looks with a regular expression into a flattened field, which Elasticsearch cannot"
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


def filled_in(checkout: Path, folder: Path) -> Iterator[Path]:
    """Yields a copy of each rule, with its placeholders filled in."""
    for rule in sorted((checkout / "detections").glob("*.y*ml")):
        copy = folder / rule.name
        copy.write_text(PLACEHOLDER.sub(r"\1", rule.read_text()))
        yield copy


def check(rules: list[Path]) -> list[str]:
    """Prints what each rule does on each engine; returns what is wrong."""
    names = {rule.stem for rule in rules}
    wrong = [f"{name}: no events in auth0-rules.json" for name in sorted(names - CASES.keys())]
    wrong += [f"{name}: not in the checkout" for name in sorted(CASES.keys() - names)]
    events = [e for name, cases in CASES.items() for e in world.case_events(name, cases)]
    streams = {details: world.index("auth0_rules", events, details) for details in world.SETTINGS}
    width = max(map(len, names | CASES.keys()))
    print(f"{'':{width}}", *(f"{product} {details}" for product, details in COLUMNS), sep="  ")
    for rule in rules:
        row = []
        for product, details in COLUMNS if rule.stem in CASES else ():
            said = outcome(rule, product, details, streams[details])
            if reason := KNOWN.get((rule.stem, product, details)):
                wrong += [f"{rule.stem}: hits after all: not in KNOWN"] if said == "hits" else []
                said = f"no: {reason}"
            elif said != "hits":
                wrong.append(f"{rule.stem}: {product} {details} {said}")
                said = "no"
            row.append(f"{said:{len(product) + len(details) + 1}}")
        print(f"{rule.stem:{width}}", *row, sep="  ")
    return wrong


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        rules = list(filled_in(Path(sys.argv[1]), Path(folder)))
        wrong = check(rules)
    print("\n".join(wrong), f"{len(rules)} rules", sep="\n")
    return int(bool(wrong) or not rules)


if __name__ == "__main__":
    sys.exit(main())
