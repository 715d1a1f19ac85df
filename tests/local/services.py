"""Processes of the local stack: started in a session of their own, recorded, and stopped for sure.

Each process is recorded in a file with its start time, so that a later `make down` stops what this
project started and never a stranger that got the same process id. All children of a process stay in
its session, which is how the functions under `cargo lambda watch` are found.
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
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tools import ROOT, StackError, say

# What the stack talks to is on this machine: a proxy of the environment must not see it.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

GRACE_SECONDS = 20


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal."""


class Interrupts:
    """Turns signals into `Interrupted`, but never between a start and its record."""

    def __init__(self) -> None:
        self._held = False
        self._pending = False

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._received)

    def ignore(self) -> None:
        """From here on the stack is being stopped, which a second Ctrl-C must not break off."""
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
    """Runs a script's command; what the script is to exit with. What the user can put right is said."""
    INTERRUPTS.install()
    try:
        command()
    except Interrupted:
        return interrupted
    except (StackError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


# --- processes -------------------------------------------------------------------------------


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the state on; None where there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name before it may hold spaces and parentheses.
    return text.rpartition(")")[2].split()


def started_at(pid: int) -> str | None:
    """Boot and start time of a running process: with the id, unique on this machine."""
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
    """One process, and how to tell that it works."""

    name: str
    argv: list[str]
    port: int
    # The variable that moves the port elsewhere.
    port_variable: str
    # Answers whether the service is ready; asked until it is.
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
        """The service's processes; none if the id is a stranger's by now."""
        try:
            record = json.loads(self._record(name).read_text())
        except (OSError, ValueError):
            return []
        pid = record["pid"]
        boot = (record["started"] or "").partition(" ")[0]
        now = started_at(pid)
        if now == record["started"]:
            return [pid, *(p for p in session_members(pid) if p != pid)]
        # The leader is gone. Its children keep the session's number from being used again.
        if now is None and boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip():
            return session_members(pid)
        return []

    def pid(self, name: str) -> int:
        """The service's process, as it was started."""
        return json.loads(self._record(name).read_text())["pid"]

    def alive(self, name: str) -> bool:
        return bool(self._live_pids(name))

    def names(self) -> list[str]:
        """All that was recorded, in the order of their start."""
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
                raise StackError(f"{service.name} ended at its start:\n{self.tail(service.name)}")
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
        return f"{end}\n(all of it: {self.log(name)})"

    def is_being_stopped(self) -> bool:
        """Whether another process is at it: what ends then has not failed."""
        return (self.folder / "stopping").exists()

    def stop(self) -> list[str]:
        """Stops everything recorded here; the names of what was still running."""
        stopped = self.running()
        if stopped:
            (self.folder / "stopping").touch()
        # The functions first, while what they talk to is still there.
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


# --- ports and HTTP --------------------------------------------------------------------------


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now; all different, as they are held together."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def check_ports(wanted: list[tuple[str, int, str]]) -> None:
    """Names every taken port of (what, port, variable) at once, before anything is started."""
    taken = [
        f"port {port} for {what} is taken: free it, or choose another with {variable}=…"
        for what, port, variable in wanted
        if not port_is_free(port)
    ]
    if taken:
        raise StackError("\n".join(taken))


def http(
    method: str,
    url: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    timeout: float = 30,
) -> tuple[int, bytes]:
    """Status and body, whatever the status; OSError where there is no answer."""
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with DIRECT.open(request, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def answers(url: str, *statuses: int) -> bool:
    """Whether `url` answers with one of `statuses` (with any, if none is given)."""
    try:
        status, _ = http("GET", url, timeout=2)
    except (OSError, ValueError):
        return False
    return not statuses or status in statuses
