"""Starts the processes of the local stack, records them, and stops them reliably.

Each process is recorded in a file with its start time. A later `make down` therefore stops only
what this project started, and never another process with a reused id. Each process has a session of
its own: its children, such as the functions under `cargo lambda watch`, are found by that.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from search import SearchError, http
from tools import ROOT, StackError, say

GRACE_SECONDS = 20


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal."""


class Interrupts:
    """Raises `Interrupted` on signals, but never between a start and its record."""

    def __init__(self) -> None:
        self._held = False
        self._pending = False

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._received)

    def ignore(self) -> None:
        """Ignores signals from now on: a second Ctrl-C must not interrupt the stopping."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _received(self, *_: object) -> None:
        if self._held:
            self._pending = True
        else:
            raise Interrupted

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._pending:
            raise Interrupted


INTERRUPTS = Interrupts()


def exit_code(command: Callable[[], None], interrupted: int = 130) -> int:
    """Runs a script's command and returns its exit code; prints errors that the user can fix."""
    INTERRUPTS.install()
    try:
        command()
    except Interrupted:
        return interrupted
    except (StackError, SearchError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


# --- processes -------------------------------------------------------------------------------


def _stat(pid: int) -> list[str] | None:
    """Returns the fields of /proc/<pid>/stat from the state on; None if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name before the state may contain spaces and parentheses.
    return text.rpartition(")")[2].split()


def started_at(pid: int) -> str | None:
    """Returns boot id and start time of a running process: unique together with its id."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {fields[19]}"


def session_members(session: int) -> list[int]:
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None and fields[0] not in "ZX" and int(fields[3]) == session:
                members.append(int(entry.name))
    return members


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@dataclass
class Service:
    """One process, and how to check that it is ready."""

    name: str
    argv: list[str]
    port: int
    # Variable that sets another port.
    port_variable: str
    # Polled until it returns true.
    ready: Callable[[], bool]
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    timeout_seconds: int = 60


class Group:
    """The services of one stack, recorded in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _record(self, name: str) -> Path:
        return self.folder / f"{name}.process"

    def record(self, name: str, pid: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"pid": pid, "started": started_at(pid)})
        self._record(name).write_text(text)

    def _live_pids(self, name: str) -> list[int]:
        """Returns the service's processes; none if another process has its id by now."""
        try:
            record = json.loads(self._record(name).read_text())
        except (OSError, ValueError):
            return []
        pid = record["pid"]
        boot = (record["started"] or "").partition(" ")[0]
        now = started_at(pid)
        if now == record["started"]:
            return [pid, *(p for p in session_members(pid) if p != pid)]
        # The leader is gone. While its children live, the id of the session is not reused.
        if now is None and boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip():
            return session_members(pid)
        return []

    def pid(self, name: str) -> int:
        """Returns the id of the process that was started."""
        return json.loads(self._record(name).read_text())["pid"]

    def alive(self, name: str) -> bool:
        return bool(self._live_pids(name))

    def names(self) -> list[str]:
        """Returns all recorded services in the order of their start."""
        files = sorted(self.folder.glob("*.process"), key=lambda file: file.stat().st_mtime_ns)
        return [file.stem for file in files]

    def running(self) -> list[str]:
        return [name for name in self.names() if self.alive(name)]

    def start(self, service: Service) -> None:
        """Starts the process without waiting for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with INTERRUPTS.held(), open(self.log(service.name), "w") as output:
            process = subprocess.Popen(
                service.argv,
                cwd=service.cwd,
                env=service.env or None,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.record(service.name, process.pid)

    def wait(self, service: Service) -> None:
        """Waits until the service is ready.

        Raises StackError with the end of its log if it dies or takes too long."""
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
            signal_all(self._live_pids(name), signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for name in reversed(stopped):
            while self.alive(name) and time.monotonic() < deadline:
                _reap()
                time.sleep(0.1)
            while pids := self._live_pids(name):
                signal_all(pids, signal.SIGKILL)
                _reap()
                time.sleep(0.1)
        for name in self.names():
            self._record(name).unlink(missing_ok=True)
        (self.folder / "stopping").unlink(missing_ok=True)
        return stopped


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


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
