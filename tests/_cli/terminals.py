"""A terminal for tests, and a person at it who presses Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from attrs import frozen


@frozen
class Terminal:
    """A pseudo terminal: one end to write to, one to look at."""

    stream: TextIO
    shown_at: int

    def shown(self) -> str:
        """Return what was written so far."""
        os.set_blocking(self.shown_at, False)
        parts = []
        with suppress(BlockingIOError):
            while True:
                parts.append(os.read(self.shown_at, 4096))
        return b"".join(parts).decode()


@contextmanager
def terminal() -> Iterator[Terminal]:
    """Open a pseudo terminal for the length of the block."""
    shown_at, side = os.openpty()
    try:
        with os.fdopen(side, "w", encoding="utf-8") as stream:
            yield Terminal(stream, shown_at)
    finally:
        os.close(shown_at)


@contextmanager
def interrupting(condition: Callable[[], bool], number: int = signal.SIGINT) -> Iterator[None]:
    """Send this process a signal as soon as *condition* holds."""
    left = threading.Event()

    def watch() -> None:
        end = time.perf_counter() + 20
        while not left.wait(0.005) and time.perf_counter() < end:
            if condition():
                os.kill(os.getpid(), number)
                return

    person = threading.Thread(target=watch)
    person.start()
    try:
        yield
    finally:
        left.set()
        person.join()
