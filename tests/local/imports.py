"""Checks the imports between the modules of each crate; a part of `make lint`.

- A module imports only from its own folder, or from one that is earlier in the order of its crate.
- Modules do not import each other in a circle.
- An import names the module that defines the item, not the crate root or a re-export.

Test modules are exempt.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tools import ROOT

# Folder of a crate → its top-level modules in the direction of the flow.
ORDERS = {
    "shared/ecs/src": ("json", "input", "geoip", "ecs", "index_template"),
    "shared/src": (
        *("error", "clock", "retry", "checkpoint", "start", "engine", "delivery", "metrics"),
    ),
}
PATH = re.compile(r"\buse\s+((?:crate|super)::[^;]+);|(?<!\$)\b((?:crate|super)(?:::\w+)+)")
MACRO = re.compile(r"#\[macro_export\]\s+macro_rules! (\w+)")
# Clippy keeps test modules at the end of a file.
IGNORED = re.compile(r"//.*|^#\[cfg\(test\)\]\s+mod \w+ \{[\s\S]*", re.MULTILINE)


def paths(tree: str) -> Iterator[str]:
    """Yields the paths of a use tree: `a::{self, b, c::d}` has `a`, `a::b` and `a::c::d`."""
    head, brace, rest = tree.partition("{")
    if not brace:
        yield re.sub(r"(::self)?( as \w+)?\s*$", "", tree)
        return
    # Splits at the commas that are not inside further braces.
    for part in re.findall(r"(?:[^,{}]|\{(?:[^{}]|\{[^{}]*\})*\})+", rest.rpartition("}")[0]):
        if part.strip():
            yield from paths(head + part.strip())


def problems(folder: Path, order: tuple[str, ...]) -> Iterator[str]:
    texts: dict[str, tuple[Path, str]] = {}
    places: dict[tuple[str, str], str] = {}
    graph: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("*.rs")):
        parts = file.relative_to(folder).with_suffix("").parts
        if "tests" not in parts:
            module = "::".join(parts[:-1] if parts[-1] in ("lib", "main", "mod") else parts)
            texts[module] = (file, IGNORED.sub("", file.read_text()))
    # These are at the crate root, wherever they are defined.
    macros = {name for _, text in texts.values() for name in MACRO.findall(text)}
    for module, (file, text) in texts.items():
        top = module.partition("::")[0]
        if top and order and top not in order:
            yield f"{file}: {top} is not in the order of imports.py"
        for match in PATH.finditer(text) if module else ():
            place = f"{file}:{text.count(chr(10), 0, match.start()) + 1}"
            for path in paths(match[1] or match[2]):
                steps = path.split("::")
                supers = steps.count("super")
                here = module.split("::")[:-supers] if supers else []
                names = [*here, *steps[supers or 1 :]]
                known = next(n for n in range(len(names), -1, -1) if "::".join(names[:n]) in texts)
                target, item = "::".join(names[:known]), "".join(names[known : known + 1])
                other = target.partition("::")[0]
                if target == module or item in macros:
                    continue
                again = re.search(rf"\bpub.* use (\w+)[^;]*\b{re.escape(item)}\b", texts[target][1])
                if not target or (again and f"{target}::{again[1]}" in texts):
                    yield f"{place}: {path} is a re-export: name the module that defines it"
                elif {top, other} <= {*order} and order.index(top) < order.index(other):
                    yield f"{place}: {module} imports {target}, against {' < '.join(order)}"
                else:
                    graph.setdefault(module, []).append(target)
                    places[module, target] = place
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = error.args[1][::-1]
        yield f"{places[cycle[0], cycle[1]]}: a circle: {' → '.join(cycle)}"


def check_rules() -> None:
    """Checks that every rule can fail, and what is exempt."""
    files = {
        "lib.rs": "pub use a::one::One;\n#[macro_export]\nmacro_rules! key { () => {} }",
        "a/mod.rs": "pub(crate) use one::One; pub use http::Method;",
        "a/one.rs": "use super::two::Two;",
        "a/two.rs": "use crate::a::{Method, one::{self, One}};\nuse crate::b::B;",
        "b.rs": "use crate::{One, key};\nuse crate::{a::{One, two::Two}};",
        "c.rs": "#[cfg(test)]\nmod tests { use crate::One; }",
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a").mkdir()
        for file, text in files.items():
            (Path(folder) / file).write_text(text)
        found = [one.removeprefix(f"{folder}/") for one in problems(Path(folder), ("a", "b"))]
    assert found == [
        "a/two.rs:2: a::two imports b, against a < b",
        "b.rs:1: crate::One is a re-export: name the module that defines it",
        "b.rs:2: crate::a::One is a re-export: name the module that defines it",
        "c.rs: c is not in the order of imports.py",
        "a/one.rs:1: a circle: a::one → a::two → a::one",
    ], "\n".join(found)


def main() -> None:
    check_rules()
    root = Path(sys.argv[1]) if sys.argv[1:] else ROOT
    folders = [*ORDERS, *(f"functions/{file.name}/src" for file in (root / "functions").iterdir())]
    said = [one for name in sorted(folders) for one in problems(root / name, ORDERS.get(name, ()))]
    if said:
        sys.exit("\n".join(one.removeprefix(f"{root}/") for one in said))


if __name__ == "__main__":
    main()
