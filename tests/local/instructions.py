"""`make instructions`: counts the mapping's instructions and holds them to shared/benches/baseline.json.

Instructions, unlike seconds, come out the same on a busy machine; each count is the difference between
two runs of `shared/benches/count.rs`, so that the program's start drops out.
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
from services import exit_code
from tools import ROOT, StackError, say

BASELINE = ROOT / "shared/benches/baseline.json"

# How much more than the baseline fails the check.
GROWTH = 0.10

BUILD = ["cargo", "bench", "-p", "shared", "--bench", "count", "--no-run", "--locked", "--message-format=json"]


@dataclass(frozen=True)
class Case:
    """What is counted: the cost of an event in `runs[1]` rounds less that in `runs[0]`."""

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
    """The counting program, built."""
    done = subprocess.run(BUILD, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise StackError("the counting program could not be built")
    built = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    (program,) = [line["executable"] for line in built if line.get("executable")]
    return Path(program)


def run(program: Path, case: Case, rounds: int) -> int:
    """All instructions of one run of the program."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(program)]
    command += [str(case.events), str(case.size), str(rounds)]
    if case.original:
        command.append("original")
    if case.geoip:
        files = tools.engine_home("opensearch") / "modules/ingest-geoip"
        command += [str(files / name) for name in ("GeoLite2-City.mmdb", "GeoLite2-ASN.mmdb")]
    done = subprocess.run(command, capture_output=True, text=True)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not collected:
        raise StackError(f"counting failed: {done.stderr[-2_000:]}")
    return int(collected[1])


def count() -> list[dict]:
    """A record for each case: what was counted, instructions per event, and the most that is the goal."""
    tools.from_debian(("valgrind",), "valgrind")
    program = build()
    records = []
    for case in CASES:
        first, second = (run(program, case, rounds) for rounds in case.runs)
        events = (case.runs[1] - case.runs[0]) * case.events
        per_event = round((second - first) / events)
        say(f"{case.what:50} {per_event:>9,} instructions per event")
        records.append({"kind": "mapping", "what": case.what, "per_event": per_event, "limit": case.limit})
    return records


def check(records: list[dict], baseline: dict[str, int]) -> list[str]:
    """What has grown by too much, or is not in the baseline."""
    problems = []
    for record in records:
        what, now = record["what"], record["per_event"]
        before = baseline.get(what)
        if before is None:
            problems.append(f"{what}: not in {BASELINE.relative_to(ROOT)}")
        elif now > before * (1 + GROWTH):
            problems.append(f"{what}: {now:,} instructions per event, {now / before - 1:.0%} above {before:,}")
    return problems


def main() -> None:
    records = count()
    if os.environ.get("UPDATE"):
        counts = {record["what"]: record["per_event"] for record in records}
        BASELINE.write_text(json.dumps(counts, indent=2) + "\n")
        say(f"written: {BASELINE.relative_to(ROOT)}")
    elif problems := check(records, json.loads(BASELINE.read_text())):
        raise StackError("\n".join([*problems, "Make it less, or say why in the commit and `make instructions UPDATE=1`."]))


if __name__ == "__main__":
    sys.exit(exit_code(main))
