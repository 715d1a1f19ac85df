"""`make bench`: measures the built functions and writes the tables of docs/performance.md.

`tests/benches` (Rust) measures and writes a line of JSON for each measurement. This script starts
the engine and the stand-ins, and adds zip sizes, prices and the tables.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

import instructions
import stack
import tools
from deploy import FUNCTIONS, ZIPS
from interrupts import exit_code
from page import ONE_CPU_MB, PER_GB_SECOND, cost, table, write
from services import free_ports, group_for
from tools import ROOT, StackError

FOLDER = ROOT / "target/bench"
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"

BENCH = ["cargo", "bench", "--profile", "sender", "-p", "e2e", "--bench", "functions", "--locked"]

# A realistic heap for a small machine.
ENGINE_JAVA = "-Xms1g -Xmx1g"

# Load of the machine before the benchmark.
LOAD = os.getloadavg()[0]

MEMORY_SIZES = (128, 256, 512, 1024, 1769)


# --- measuring -------------------------------------------------------------------------------


def unpack() -> Path:
    """Unpacks the programs from the zips."""
    folder = FOLDER / "functions"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in FUNCTIONS:
        with zipfile.ZipFile(ZIPS / name / "bootstrap.zip") as archive:
            (folder / name).write_bytes(archive.read("bootstrap"))
        (folder / name).chmod(0o755)
    return folder


def measure(parts: list[str]) -> list[dict]:
    """Runs `tests/benches`, all of it or these parts, and returns its records.

    The comparison with a plain `_bulk` runs twice: with everything on the same cores, and with the
    engine on its own cores, as in AWS."""
    for command in ("valgrind", "strace"):
        tools.from_debian((command,), command)
    records = FOLDER / "records.jsonl"
    functions = unpack()
    geoip = tools.engine_home("opensearch") / "modules/ingest-geoip"
    with group_for("bench") as group:
        ports = free_ports(3)
        services = [
            stack.engine_service("opensearch", ports[0], group.folder, ENGINE_JAVA),
            stack.dynamodb_service(ports[1]),
            stack.moto_service(ports[2]),
        ]
        group.start(*services)
        group.wait(*services)
        opensearch, dynamodb, moto = (f"http://127.0.0.1:{port}" for port in ports)
        env = stack.plain_environment() | {
            "E2E_OPENSEARCH_URL": opensearch,
            "E2E_DYNAMODB_URL": dynamodb,
            "E2E_MOTO_URL": moto,
            "E2E_BIN_DIR": str(functions),
            "GEOIP_CITY_FILE": str(geoip / "GeoLite2-City.mmdb"),
            "GEOIP_ASN_FILE": str(geoip / "GeoLite2-ASN.mmdb"),
            "BENCH_RECORDS": str(records),
            "BENCH_ENGINE_PID": str(group.pid("opensearch")),
        }

        def run(command: list[str]) -> list[dict]:
            records.unlink(missing_ok=True)
            if subprocess.run(command, cwd=ROOT, env=env, check=False).returncode != 0:
                raise StackError("the functions' benchmark failed")
            return [json.loads(line) for line in records.read_text().splitlines()]

        found = run([*BENCH, "--", *parts])
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1 and (not parts or "throughput" in parts):
            half = len(cores) // 2
            own, others = (",".join(map(str, part)) for part in (cores[:half], cores[half:]))
            pin = ["taskset", "-acp", own, env["BENCH_ENGINE_PID"]]
            subprocess.run(pin, check=True, stdout=subprocess.DEVNULL)
            apart = run(["taskset", "-c", others, *BENCH, "--", "throughput"])
            found += [record | {"kind": "throughput apart"} for record in apart]
    return found


def sizes() -> list[dict]:
    """Returns the sizes of the zips in bytes."""
    return [
        {"kind": "size", "function": name, "bytes": (ZIPS / name / "bootstrap.zip").stat().st_size}
        for name in FUNCTIONS
    ]


# --- tables ----------------------------------------------------------------------------------


class Records:
    """All measurements, found by their fields."""

    def __init__(self, records: Iterable[dict]) -> None:
        self.all = list(records)

    def some(self, **fields: object) -> list[dict]:
        return [r for r in self.all if all(r.get(name) == value for name, value in fields.items())]

    def one(self, **fields: object) -> dict:
        (record,) = self.some(**fields)
        return record


def million(count: float) -> str:
    return f"{count / 1e6:.1f} M"


def mb(kilobytes: float) -> str:
    """Formats kB as Linux counts them: 1,024 bytes."""
    return f"{kilobytes * 1024 / 1e6:.1f} MB"


# Kind of record → where the engine runs.
THROUGHPUT = {"throughput": "same cores", "throughput apart": "engine apart"}


def goals(records: Records) -> str:
    """Compares the measurements with the goals."""
    rows: list[list[str]] = []

    def add(what: str, text: str, goal: str, met: bool) -> None:
        rows.append([what, text, goal, "met" if met else "**not met**"])

    def at_most(what: str, value: float, limit: float, text: str, goal: str) -> None:
        add(what, text, f"at most {goal}", value <= limit)

    for record in records.some(kind="mapping"):
        value, limit = record["per_event"], record["limit"]
        if limit:
            at_most(record["what"], value, limit, f"{value:,}", f"{limit:,}")
    # As with `SEARCH_GZIP=auto`: no compression to an engine on the same machine.
    for kind, side in (("throughput", "no gzip"), ("throughput apart", "gzip")):
        for record in records.some(kind=kind, side=side):
            plain = records.one(kind=kind, side="plain")
            ratio = record["ratio"]
            what = f"events/s relative to plain `_bulk`, {THROUGHPUT[kind]}, {side}"
            add(what, f"{ratio:.2f} ×", "at least 0.90 ×", ratio >= 0.9)
            ratio = record["post_milliseconds"] / plain["post_milliseconds"]
            what = f"median POST relative to plain `_bulk`, {THROUGHPUT[kind]}, {side}"
            at_most(what, ratio, 1.2, f"{ratio:.2f} ×", "1.20 ×")
    count = records.one(kind="instructions", events=100, gzip=False, geoip=False)["per_event"]
    at_most("webhook, instructions per event, no gzip", count, 150_000, f"{count:,}", "150,000")
    count = records.one(kind="instructions", events=1, gzip=False, geoip=False)["per_event"]
    at_most("webhook, a batch of one event, no gzip", count, 250_000, f"{count:,}", "250,000")
    size = records.one(kind="pace", events=1)["log_bytes"]
    at_most("webhook, log of a batch of one event", size, 350, f"{size} B", "350 B")
    count = records.one(kind="start", function="webhook", geoip=False)["instructions"][1]
    at_most("webhook, start to first response, instructions", count, 20e6, million(count), "20 M")
    for record in records.some(kind="start", geoip=False):
        count = record["instructions"][0]
        what = f"{record['function']}, start to first poll, instructions"
        at_most(what, count, 25e6, million(count), "25 M")
    for record in records.some(kind="memory", geoip=False, load="batches of 100"):
        name, kilobytes = record["function"], record["start"]["resident"]
        at_most(f"{name}, resident after start", kilobytes * 1024, 15e6, mb(kilobytes), "15 MB")
        kilobytes = record["after"]["resident"]
        at_most(f"{name}, under batches of 100", kilobytes * 1024, 30e6, mb(kilobytes), "30 MB")
    for record in records.some(kind="memory", function="webhook"):
        if "10 MiB" in record["load"]:
            above = record["after"]["peak"] - record["start"]["resident"]
            what = f"webhook, {record['load']}, above start"
            at_most(what, above * 1024, 64e6, mb(above), "64 MB")
    for record in records.some(kind="size"):
        size = record["bytes"]
        at_most(f"{record['function']}, zip", size, 5e6, f"{size / 1e6:.2f} MB", "5 MB")
    return table(["", "measured", "goal", ""], rows)


def starts(records: Records) -> str:
    steps = ["first poll", "first response", "second response"]
    head = ["process start to …", *steps, *steps]
    head += ["system calls to first poll", "connections to first poll"]

    def row(record: dict) -> list[str]:
        name = record["function"] + (", GeoIP files" if record["geoip"] else "")
        times = [f"{value:.1f} ms" for value in record["milliseconds"]]
        counts = [million(value) for value in record["instructions"]]
        return [name, *counts, *times, str(record["system_calls"]), str(record["connections"])]

    return table(head, map(row, records.some(kind="start")))


def shares(records: Records) -> str:
    head = ["", "of a processor", "INIT", "first response", "second response"]

    def row(record: dict) -> list[str]:
        times = [record["init_milliseconds"], *record["answer_milliseconds"]]
        share = record["memory_mb"] / ONE_CPU_MB
        name = f"{record['function']}, {record['memory_mb']:,} MB"
        return [name, f"{share:.2f}", *(f"{time:.1f} ms" for time in times)]

    return table(head, map(row, records.some(kind="share")))


def memory(records: Records) -> str:
    head = ["", "after start", "heap / files", "after", "heap / files", "peak", "smallest Lambda"]

    def row(record: dict) -> list[str]:
        name = record["function"] + (", GeoIP files" if record["geoip"] else "")
        cells = [f"{name}: {record['load']}"]
        for when in ("start", "after"):
            now = record[when]
            cells += [mb(now["resident"]), f"{mb(now['anonymous'])} / {mb(now['files'])}"]
        peak = record["after"]["peak"]
        return [*cells, mb(peak), f"{smallest(peak)} MB"]

    return table(head, map(row, records.some(kind="memory")))


def smallest(peak_kilobytes: int) -> int:
    """Returns the smallest memory size, in steps of 64 MB, with a quarter of it free."""
    needed = peak_kilobytes / 1024 / 0.75
    return max(128, math.ceil(needed / 64) * 64)


def counts(records: Records) -> str:
    head = ["", "instructions per event"]

    def row(record: dict) -> list[str]:
        name = f"webhook, batches of {record['events']}"
        name += ", gzip" if record["gzip"] else ", no gzip"
        return [name + (", GeoIP files" if record["geoip"] else ""), f"{record['per_event']:,}"]

    mapping = [[one["what"], f"{one['per_event']:,}"] for one in records.some(kind="mapping")]
    return table(head, [*mapping, *map(row, records.some(kind="instructions"))])


def throughput(records: Records) -> str:
    head = ["", "events/s", "vs. plain", "middle half of rounds", "all rounds", "median POST"]
    head += ["CPU per event: engine", "sender", "function", "total vs. plain"]
    names = {"plain": "plain `_bulk`", "gzip": "webhook, gzip", "no gzip": "webhook, no gzip"}

    def row(record: dict) -> list[str]:
        plain = records.one(kind=record["kind"], side="plain")
        parts = [record[f"{name}_microseconds"] for name in ("engine", "sender", "function")]
        whole = sum(plain[f"{name}_microseconds"] for name in ("engine", "sender", "function"))
        return [
            f"{names[record['side']]}, {THROUGHPUT[record['kind']]}",
            f"{record['events_per_second']:,.0f}",
            f"{record['ratio']:.2f}",
            f"{record['ratio_quarter']:.2f} to {record['ratio_three_quarters']:.2f}",
            f"{record['ratio_whole']:.2f}",
            f"{record['post_milliseconds']:.1f} ms",
            *(f"{part:.0f} µs" for part in parts),
            f"{whole / sum(parts):.2f}",
        ]

    return table(head, [row(record) for kind in THROUGHPUT for record in records.some(kind=kind)])


def loads(records: Records) -> str:
    head = ["events in a batch", "events/s", "posts", "p50", "p99", "the longest", "sustained"]

    def row(record: dict) -> list[str]:
        times = [f"{record[f'{name}_milliseconds']:,.0f} ms" for name in ("p50", "p99", "longest")]
        no = f"no: {record['reached']:,.0f} events/s"
        sustained = "yes" if record["sustained"] else no
        numbers = [f"{record[name]:,}" for name in ("events", "rate", "posts")]
        return [*numbers, *times, sustained]

    return table(head, map(row, records.some(kind="load")))


def outages(records: Records) -> str:
    head = ["the engine …, for a minute", "POSTs", "the first", "median", "the longest"]
    head += ["over 0.5 s", "all together", "written again after"]

    def row(record: dict) -> list[str]:
        names = ("first", "median", "longest")
        times = [f"{record[f'{name}_milliseconds']:,.0f} ms" for name in names]
        seconds = [f"{record[name]:.0f} s" for name in ("seconds", "back_after_seconds")]
        return [record["fault"], str(record["posts"]), *times, str(record["slow"]), *seconds]

    return table(head, map(row, records.some(kind="outage")))


def costs(records: Records) -> str:
    paces = records.some(kind="pace")
    head = ["batch", "CPU", "response after", "body", "log"]
    measured = table(
        head,
        [
            [
                str(pace["events"]),
                f"{pace['cpu_milliseconds']:.2f} ms",
                f"{pace['milliseconds']:.1f} ms",
                f"{pace['body_bytes'] / 1000:,.0f} kB",
                f"{pace['log_bytes']:,} B",
            ]
            for pace in paces
        ],
    )
    text = measured
    for architecture in PER_GB_SECOND:
        head = [f"dollars per million events, {architecture}"]
        head += [f"batches of {pace['events']}" for pace in paces]
        rows = [
            [f"{size} MB", *(f"{cost(pace, size, architecture):.3f}" for pace in paces)]
            for size in MEMORY_SIZES
        ]
        text += "\n" + table(head, rows)
    return text


def first(command: list[str]) -> str:
    """Returns the first line of a command's output."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].strip()


def machine() -> list[list[str]]:
    """Returns what was measured, when and where."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    cpus = [line.partition(": ")[2] for line in cpuinfo if line.startswith("model name")]
    gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    # The page itself is about to change.
    status = ["git", "status", "--porcelain", "-uno", "--", ".", ":!docs/performance.md"]
    dirty = ", with changes" if first(status) else ""
    return [
        ["date", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())],
        ["commit", first(["git", "rev-parse", "--short", "HEAD"]) + dirty],
        ["processor", f"{len(cpus)} × {cpus[0] if cpus else platform.machine()}"],
        ["memory", f"{gigabytes:.0f} GB"],
        ["kernel", platform.release()],
        ["load at the start", f"{LOAD:.1f}"],
    ]


def programs() -> list[list[str]]:
    """Returns what measured the functions."""
    strace = first(["strace", "--version"]).replace(" -- version", "")
    return [
        ["compiler", first(["rustc", "--version"])],
        ["functions", f"`make build ARCH=x86_64`: cargo-lambda {tools.CARGO_LAMBDA}, x86_64"],
        ["engine", f"OpenSearch {tools.OPENSEARCH}, one node, `{ENGINE_JAVA}`"],
        ["counted by", f"{first(['valgrind', '--version'])}, {strace}"],
    ]


def tables(records: Records) -> str:
    sections = {
        "Goals": goals,
        "Start": starts,
        "Start at Lambda's share of a processor": shares,
        "Instructions": counts,
        "Compared with a plain `_bulk`": throughput,
        "Load": loads,
        "Memory": memory,
        "Outage": outages,
        "Cost": costs,
    }
    text = table(["", ""], [*machine(), *programs()])
    for title, make in sections.items():
        text += f"\n### {title}\n\n{make(records)}"
    return text


def main() -> None:
    parts = shlex.split(os.environ.get("ARGS", ""))
    tools.check_prerequisites()
    tools.set_up(["opensearch"])
    records = measure(parts)
    # Partial measurements are not written to the page.
    if not parts:
        write(tables(Records([*instructions.count(), *records, *sizes()])), BEGIN, END)


if __name__ == "__main__":
    sys.exit(exit_code(main))
