"""`make lint`: every check that compiles or reads the code, but runs none of it.

Stops at the first failure, and says how to fix it.
"""

from __future__ import annotations

import os
import sys

import tools
from interrupts import exit_code
from tools import ROOT, StackError, say

WORKSPACE = ("--workspace", "--locked")
PACKAGE = ROOT / "docs/package"
LINKS = ("check", "--quiet", "--no-cache", "--enable", "MD051,MD057", ".")
DENY_WARNINGS = ("--locked", "--", "-D", "warnings")


def lint() -> None:
    tools.check_prerequisites()
    with tools.exclusive("setup", wait=True):
        names = ("ruff", "typos", "rumdl", "shellcheck")
        ruff, typos, rumdl, shellcheck = map(tools.program, names)
        machete = str(tools.cargo_machete())
    scripts = map(str, sorted(path for path in PACKAGE.iterdir() if path.suffix != ".md"))
    imports, named_tests = (
        str(ROOT / "tests/local" / name) for name in ("imports.py", "named_tests.py")
    )
    scale = str(ROOT / "tests/benches/scale.py")
    fuzz = ("-p", "auth0-ecs-fuzz", "--features", "target")
    doc = ("cargo", "doc", "--no-deps", "--document-private-items")
    # What is checked, the command, how to fix what it finds.
    steps = (
        ("Rust format", ("cargo", "fmt", "--check"), "cargo fmt"),
        ("Python format", (ruff, "format", "--check"), f"{ruff} format"),
        ("Python lints", (ruff, "check", "--quiet"), f"{ruff} check --fix"),
        ("spelling", (typos, "--format", "brief"), f"{typos} --write-changes, or typos.toml"),
        ("shell scripts", (shellcheck, *scripts), "see shellcheck's wiki"),
        ("imports", (sys.executable, imports), "see tests/local/imports.py"),
        ("tests named in docs", (sys.executable, named_tests), "name the test that proves the row"),
        ("links between docs", (rumdl, *LINKS), "name a file or heading that is there"),
        ("tables of docs/scale.md", (sys.executable, scale, "--check"), f"python3 {scale}"),
        ("unused dependencies", (machete,), "remove them from Cargo.toml"),
        (
            "Rust lints",
            ("cargo", "clippy", "--workspace", "--all-targets", *DENY_WARNINGS),
            "cargo clippy --workspace --all-targets --fix",
        ),
        ("Rust lints, fuzz target", ("cargo", "clippy", *fuzz, *DENY_WARNINGS), "see above"),
        ("Rust docs", (*doc, *WORKSPACE), "see above"),
    )
    env = os.environ | {"RUSTDOCFLAGS": "-D warnings"}
    for what, command, fix in steps:
        say(f"lint: {what}")
        try:
            tools.run_step(what, list(command), cwd=ROOT, env=env)
        except StackError as error:
            raise StackError(f"{error}\nto fix: {fix}") from None


if __name__ == "__main__":
    sys.exit(exit_code(lint))
