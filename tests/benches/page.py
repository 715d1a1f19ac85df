"""docs/performance.md: its tables, and what a batch costs in AWS."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tools import ROOT, StackError, say

PAGE = ROOT / "docs/performance.md"

# Dollars in us-east-1, without free tier and volume discounts: Lambda requests, Lambda compute,
# API Gateway HTTP APIs (metered in units of 512 KB), CloudWatch Logs.
PER_REQUEST = 0.20 / 1e6
PER_GB_SECOND = {"x86_64": 0.0000166667, "arm64": 0.0000133334}
PER_GATEWAY_REQUEST = 1.00 / 1e6
GATEWAY_UNIT = 512 * 1024
PER_LOG_GB = 0.50

# Lambda's own three lines for an invocation (START, END, REPORT), approximately.
LAMBDA_LOG_BYTES = 350

# Memory size at which a function has one full CPU; below it, a proportional share.
ONE_CPU_MB = 1769


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def cost(pace: dict, memory_mb: int, architecture: str) -> float:
    """Returns dollars per million events in batches like this one."""
    share = min(1.0, memory_mb / ONE_CPU_MB)
    cpu, whole = pace["cpu_milliseconds"], pace["milliseconds"]
    # The CPU share does not change the time spent waiting for the engine.
    billed = math.ceil(cpu / share + max(0.0, whole - cpu))
    compute = billed / 1000 * memory_mb / 1024 * PER_GB_SECOND[architecture]
    gateway = math.ceil(pace["body_bytes"] / GATEWAY_UNIT) * PER_GATEWAY_REQUEST
    logs = (pace["log_bytes"] + LAMBDA_LOG_BYTES) / 1e9 * PER_LOG_GB
    return (PER_REQUEST + compute + gateway + logs) * 1e6 / pace["events"]


def write(text: str, begin: str, end: str) -> None:
    """Writes the text between two marks of the page."""
    before, _, rest = PAGE.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise StackError(f"{PAGE.relative_to(ROOT)} lacks the marks {begin} and {end}")
    PAGE.write_text(f"{before}{begin}\n\n{text}\n{end}{after}")
    say(f"written: {PAGE.relative_to(ROOT)}")
