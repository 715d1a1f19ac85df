"""Starts the processes of the local stack, records them, and stops them reliably.

Each process is recorded in a file with its start time. A later `make down` therefore stops only
what this project started, and never another process with a reused id. Each process has a session of
its own: its children, such as the functions under `cargo lambda watch`, are found by that.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

import tools
from interrupts import INTERRUPTS
from search import http
from tools import ROOT, TOOLS, StackError, say

RUN = TOOLS / "run"
GRACE_SECONDS = 20


@dataclass
class Service:
    """One process, and how to check that it is ready."""

    name: str
    argv: list[str]
    # Polled until it returns true.
    ready: Callable[[], bool]
    env: dict[str, str] = field(default_factory=dict)
    timeout_seconds: int = 60


class Group:
    """The services of one stack, recorded in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.process"

    def _record(self, name: str) -> dict:
        try:
            return json.loads(self._file(name).read_text())
        except (OSError, ValueError):
            return {"pid": 0, "boot": None, "ticks": None}

    def pid(self, name: str) -> int:
        """Returns the id of the process that was started."""
        return self._record(name)["pid"]

    def processes(self, name: str) -> list[psutil.Process]:
        """Returns the service's processes; none if another process has its id by now."""
        record = self._record(name)
        boot, ticks = started_at(record["pid"])
        # Its leader may be gone: while its children live, the id of a session is not reused.
        if boot != record["boot"] or ticks not in (None, record["ticks"]):
            return []
        return [*_members(record["pid"])]

    def alive(self, name: str) -> bool:
        return bool(self.processes(name))

    def names(self) -> list[str]:
        """Returns all recorded services in the order of their start."""
        files = sorted(self.folder.glob("*.process"), key=lambda file: file.stat().st_mtime_ns)
        return [file.stem for file in files]

    def running(self) -> list[str]:
        return [name for name in self.names() if self.alive(name)]

    def start(self, *services: Service) -> None:
        """Starts the processes without waiting for them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for service in services:
            with INTERRUPTS.held(), open(self.log(service.name), "w") as output:
                process = subprocess.Popen(
                    service.argv,
                    cwd=ROOT,
                    env=service.env or None,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                boot, ticks = started_at(process.pid)
                record = {"pid": process.pid, "boot": boot, "ticks": ticks}
                self._file(service.name).write_text(json.dumps(record))

    def wait(self, *services: Service) -> None:
        """Waits until the services are ready.

        Raises StackError with the end of its log if one dies or takes too long."""
        for service in services:
            self._wait(service)

    def _wait(self, service: Service) -> None:
        deadline = time.monotonic() + service.timeout_seconds
        told = time.monotonic()
        while not service.ready():
            if not self.alive(service.name):
                raise StackError(f"{service.name} exited during start:\n{self.tail(service.name)}")
            if time.monotonic() > deadline:
                waited = f"{service.timeout_seconds} s"
                raise StackError(
                    f"{service.name} is not ready after {waited}:\n{self.tail(service.name)}"
                )
            if time.monotonic() - told >= 10:
                told = time.monotonic()
                say(f"    … waiting for {service.name}")
            time.sleep(0.2)

    def tail(self, name: str, lines: int = 25) -> str:
        try:
            text = self.log(name).read_text(errors="replace")
        except OSError:
            return ""
        end = "\n".join(text.splitlines()[-lines:])
        return f"{end}\n(full log: {self.log(name)})"

    def is_being_stopped(self) -> bool:
        """Returns whether another process is stopping it: then an exit is not a failure."""
        return (self.folder / "stopping").exists()

    def stop(self) -> list[str]:
        """Stops everything recorded here; returns the names of what was still running."""
        stopped = self.running()
        if stopped:
            (self.folder / "stopping").touch()
        # Functions first, while the services they call are still up.
        for name in reversed(stopped):
            for process in self.processes(name):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        while left := [process for name in stopped for process in self.processes(name)]:
            if time.monotonic() > deadline:
                for process in left:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
            time.sleep(0.1)
        for name in self.names():
            self._file(name).unlink(missing_ok=True)
        (self.folder / "stopping").unlink(missing_ok=True)
        return stopped


def started_at(pid: int) -> tuple[str, str | None]:
    """Returns boot and start time, unique together with the id; no time if the process is gone.

    psutil's time of the day is another one after the clock was set."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        # The name may contain spaces and parentheses.
        return boot, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return boot, None


def _members(session: int) -> Iterator[psutil.Process]:
    """Yields the processes of a session."""
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(pid) == session:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    yield process


@contextlib.contextmanager
def stopped_on_failure(group: Group) -> Iterator[None]:
    """Stops the services if the block fails or is interrupted."""
    try:
        yield
    except BaseException:
        INTERRUPTS.ignore()
        if group.running():
            say("stopping")
            say(f"stopped {', '.join(group.stop())}")
        raise


@contextlib.contextmanager
def group_for(name: str) -> Iterator[Group]:
    """The services of one run of tests, which stop with the block."""
    group = Group(RUN / name)
    with tools.exclusive(name, wait=True), stopped_on_failure(group):
        group.stop()
        yield group
        say("stopping")
        group.stop()


# --- ports -----------------------------------------------------------------------------------


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Returns unused ports, all different since they are held at the same time."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def check_ports(wanted: list[tuple[str, int, str]]) -> None:
    """Raises StackError for every port of (what, port, variable) that is taken."""
    taken = [
        f"port {port} for {what} is taken: free it, or set another with {variable}=…"
        for what, port, variable in wanted
        if not port_is_free(port)
    ]
    if taken:
        raise StackError("\n".join(taken))


def responds(url: str, *statuses: int) -> bool:
    """Returns whether `url` responds with one of `statuses`, or with any if none is given."""
    try:
        status, _ = http("GET", url, timeout=2)
    except (OSError, ValueError):
        return False
    return not statuses or status in statuses
