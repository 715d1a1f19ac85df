"""Writes the tables of docs/scale.md from the measurements in docs/performance.md.

`make bench` and `make bench-engine` run it after themselves; `make lint` runs it with `--check`,
which fails if the tables are older than the measurements.
"""

from __future__ import annotations

import math
import sys

import page
from interrupts import exit_code
from tools import ROOT, StackError, say

PAGE = ROOT / "docs/scale.md"

RATES = (1, 10, 100, 1_000, 10_000, 100_000)
BATCHES = (10, 100)
SECONDS_A_MONTH = 730 * 3_600
MEMORY_MB, ARCHITECTURE = 512, "arm64"

# An index and one replica, in two zones.
COPIES = 2
DAYS = 30
# A tenant's events are less alike than the benchmark's and compress less.
VARIETY = 2
# Disk that has to be free: AWS's formula for domains; what Elasticsearch's watermark leaves.
# https://docs.aws.amazon.com/opensearch-service/latest/developerguide/bp-storage.html
FREE, ELASTIC_FREE = 1.45, 1.18
# Share of the processors that writing may take; searches have the rest.
WRITING = 0.5

# Dollars, list prices of us-east-1 (docs/scale.md says where they are from).
NODE_CPUS, NODE_HOUR = 2, 0.167
DISK_GB_MONTH = 0.122
RAM_GB_HOUR = 0.1144
RAM_GB_A_CPU, DISK_GB_A_RAM_GB = 8, 32
SMALLEST_RAM_GB = 8

# To an engine in the same region and back, added to what was measured on one machine.
NETWORK_MILLISECONDS = 10

# Invocations of redrive at a time, and messages of each (template.yaml).
REDRIVES, MESSAGES = 2, 10


def rows(section: str) -> list[list[str]]:
    """Returns the cells of the tables in a section that `make bench` writes."""
    _, _, after = page.PAGE.read_text().partition(f"### {section}\n")
    text, _, _ = after.partition("\n### ")
    return [line.strip("| ").split(" | ") for line in text.splitlines()]


def number(cell: str) -> float:
    return float(cell.split(" ")[0].replace(",", ""))


def pace(events: int) -> dict[str, float]:
    """Returns what `make bench` measured for batches of this size."""
    row = next((row for row in rows("Cost") if row[0] == str(events)), None)
    if row is None:
        raise StackError(f"docs/performance.md has no costs of batches of {events}: run make bench")
    _, cpu, answer, body, log = map(number, row)
    return {
        "events": events,
        "cpu_milliseconds": cpu,
        "milliseconds": answer + NETWORK_MILLISECONDS,
        "body_bytes": body * 1_000,
        "log_bytes": log,
    }


def engine(product: str, details: str) -> tuple[float, float]:
    """Returns bytes on disk and CPU seconds of an event by `make bench-engine`."""
    _, after = page.PAGE.read_text().split(f"| {product}", 1)
    for line in after.splitlines():
        if line.startswith(f"| `DetailsIndexing={details}` |"):
            row = [cell.strip() for cell in line.strip("|").split("|")]
            return number(row[1]), number(row[3]) / 1e6
    raise StackError(f"docs/performance.md has no {details} of {product}: run make bench-engine")


def dollars(value: float) -> str:
    return f"{value:,.2f}" if value < 10 else f"{value:,.0f}"


def way_in() -> str:
    head = ["events/s"]
    for size in BATCHES:
        head += [f"requests/s, batches of {size}", "environments", "dollars a month"]
    paces = [pace(size) for size in BATCHES]

    def row(rate: int) -> list[str]:
        line = [f"{rate:,}"]
        for one in paces:
            requests = rate / one["events"]
            busy = requests * one["milliseconds"] / 1_000
            millions = rate * SECONDS_A_MONTH / 1e6
            cost = page.cost(one, MEMORY_MB, ARCHITECTURE) * millions
            line += [f"{requests:,.1f}", f"{max(1, math.ceil(busy)):,}", dollars(cost)]
        return line

    return page.table(head, map(row, RATES))


def engines() -> str:
    head = ["events/s", "processors for writing"]
    head += ["OpenSearch: nodes", "disk", "dollars a month"]
    head += ["Elasticsearch: memory", "disk", "dollars a month"]
    open_bytes, open_cpu = engine("opensearch", "fields")
    elastic_bytes, elastic_cpu = engine("elasticsearch", "flat")
    hours = 730

    def disk(rate: int, size: float) -> float:
        return rate * 86_400 * DAYS * size * VARIETY * COPIES / 1e9

    def row(rate: int) -> list[str]:
        cpus = [rate * cpu * COPIES for cpu in (open_cpu, elastic_cpu)]
        nodes = max(COPIES, math.ceil(cpus[0] / WRITING / NODE_CPUS))
        gigabytes = disk(rate, open_bytes) * FREE
        own = nodes * NODE_HOUR * hours + gigabytes * DISK_GB_MONTH
        elastic = disk(rate, elastic_bytes) * ELASTIC_FREE
        ram = cpus[1] / WRITING * RAM_GB_A_CPU
        ram = max(SMALLEST_RAM_GB, math.ceil(ram), math.ceil(elastic / DISK_GB_A_RAM_GB))
        return [
            f"{rate:,}",
            f"{cpus[0]:,.2f}",
            *(f"{nodes:,}", f"{gigabytes:,.0f} GB", dollars(own)),
            *(f"{ram:,} GB", f"{elastic:,.0f} GB", dollars(ram * RAM_GB_HOUR * hours)),
        ]

    return page.table(head, map(row, RATES))


def outage() -> str:
    head = ["events/s", "events"]
    for size in BATCHES:
        head += [f"messages, batches of {size}", "redrive takes at least"]

    def row(rate: int) -> list[str]:
        events = rate * 3_600
        line = [f"{rate:,}", f"{events:,}"]
        for size in BATCHES:
            one = pace(size * MESSAGES)
            each_second = REDRIVES * one["events"] / one["milliseconds"] * 1_000
            line += [f"{events / size:,.0f}", f"{math.ceil(events / each_second / 60):,} min"]
        return line

    return page.table(head, map(row, RATES))


def load() -> str:
    """Returns the highest rate that was sustained, by the number of events in a batch."""
    highest = {row[0]: row for row in rows("Load") if row[-1] == "yes"}
    head = ["events in a batch", "events/s sustained", "p50", "p99"]
    return page.table(head, [[row[0], row[1], row[3], row[4]] for row in highest.values()])


SECTIONS = {
    "way in": way_in,
    "engines": engines,
    "an outage of an hour": outage,
    "load": load,
}


def written(text: str) -> str:
    """Returns the text of the page with new tables between its marks."""
    for name, make in SECTIONS.items():
        begin, end = f"<!-- scale.py writes {name} from here -->", "<!-- to here -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise StackError(f"docs/scale.md lacks the mark {begin}")
        text = f"{before}{begin}\n\n{make()}\n{end}{after}"
    return text


def write() -> None:
    PAGE.write_text(written(PAGE.read_text()))
    say(f"written: {PAGE.relative_to(ROOT)}")


def main() -> None:
    if "--check" not in sys.argv[1:]:
        write()
    elif written(PAGE.read_text()) != PAGE.read_text():
        raise StackError("docs/scale.md is older than docs/performance.md")


if __name__ == "__main__":
    sys.exit(exit_code(main))
