"""What every script does with signals and errors: ends in order, and says what the user can fix."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator

from search import SearchError
from tools import StackError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or a closed terminal."""


class Interrupts:
    """Raises `Interrupted` on signals, but never between a start and its record."""

    def __init__(self) -> None:
        self._held = False
        self._pending = False

    def install(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._received)

    def ignore(self) -> None:
        """Ignores signals from now on: a second Ctrl-C must not interrupt the stopping."""
        for number in SIGNALS:
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
