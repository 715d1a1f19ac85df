"""`make instructions`: counts the mapping's instructions and compares them with the baseline.

Unlike time, an instruction count does not depend on the load of the machine. Each count is the
difference between two runs of `shared/benches/count.rs`, which cancels the start of the program.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tools
from interrupts import exit_code
from tools import ROOT, StackError, say

BASELINE = ROOT / "shared/benches/baseline.json"

# Growth over the baseline that fails the check.
GROWTH = 0.10

BUILD = [
    *("cargo", "bench", "-p", "shared", "--bench", "count", "--no-run", "--locked"),
    "--message-format=json",
]


@dataclass(frozen=True)
class Case:
    """One count: instructions of `runs[1]` rounds minus those of `runs[0]`, per event."""

    what: str
    events: int = 100
    size: int = 1_800
    runs: tuple[int, int] = (1, 11)
    geoip: bool = True
    original: bool = False
    limit: int | None = None


CASES = [
    Case("mapping, batches of 100 events of 1.8 KB", limit=60_000),
    Case("mapping, with event.original", original=True, limit=75_000),
    Case("mapping, without GeoIP files", geoip=False),
    Case("mapping, the first batch: new agents and places", runs=(0, 1)),
    Case("mapping, batches of 1 event", events=1, runs=(1, 101)),
    Case("mapping, batches of 5,000 events", events=5_000, runs=(1, 2)),
    Case("mapping, events of 1 KB", size=1_000),
    Case("mapping, events of 10 KB", size=10_000),
    Case("mapping, events of 100 KB", events=10, size=100_000),
]


def build() -> Path:
    """Builds the counting program and returns its path."""
    done = subprocess.run(BUILD, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise StackError("the counting program could not be built")
    built = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    (program,) = [line["executable"] for line in built if line.get("executable")]
    return Path(program)


def run(program: Path, case: Case, rounds: int) -> int:
    """Returns the instructions of one run of the program."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(program)]
    command += [str(case.events), str(case.size), str(rounds)]
    if case.original:
        command.append("original")
    if case.geoip:
        files = tools.engine_home("opensearch") / "modules/ingest-geoip"
        command += [str(files / name) for name in ("GeoLite2-City.mmdb", "GeoLite2-ASN.mmdb")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not collected:
        raise StackError(f"counting failed: {done.stderr[-2_000:]}")
    return int(collected[1])


def count() -> list[dict]:
    """Returns a record for each case: its name, instructions per event, and the goal if any."""
    tools.from_debian(("valgrind",), "valgrind")
    program = build()
    records = []
    for case in CASES:
        first, second = (run(program, case, rounds) for rounds in case.runs)
        events = (case.runs[1] - case.runs[0]) * case.events
        per_event = round((second - first) / events)
        say(f"{case.what:50} {per_event:>9,} instructions per event")
        record = {"kind": "mapping", "what": case.what, "per_event": per_event}
        records.append(record | {"limit": case.limit})
    return records


def check(records: list[dict], baseline: dict[str, int]) -> list[str]:
    """Returns a problem for each case that grew too much or is not in the baseline."""
    problems = []
    for record in records:
        what, now = record["what"], record["per_event"]
        before = baseline.get(what)
        if before is None:
            problems.append(f"{what}: not in {BASELINE.relative_to(ROOT)}")
        elif now > before * (1 + GROWTH):
            growth = f"{now / before - 1:.0%} above {before:,}"
            problems.append(f"{what}: {now:,} instructions per event, {growth}")
    return problems


def main() -> None:
    records = count()
    if os.environ.get("UPDATE"):
        counts = {record["what"]: record["per_event"] for record in records}
        BASELINE.write_text(json.dumps(counts, indent=2) + "\n")
        say(f"written: {BASELINE.relative_to(ROOT)}")
    elif problems := check(records, json.loads(BASELINE.read_text())):
        advice = "reduce it, or run `make instructions UPDATE=1` and say why in the commit"
        raise StackError("\n".join([*problems, advice]))


if __name__ == "__main__":
    sys.exit(exit_code(main))
