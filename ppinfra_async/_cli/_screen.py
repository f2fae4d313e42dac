"""Writes results to stdout and everything else to stderr; refuses to let a slow reader stop the work.

Callers on the event loop only append; ``pump`` writes in a worker thread. A reader that has left
(``| head -1``) is no error: the rest is dropped in silence, because the work may be paid.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import anyio
import anyio.to_thread
from attrs import define, field

from ppinfra_async._cli._messages import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_REFRESH = 0.1

View = Callable[[float], "RenderableType"]


def is_live() -> bool:
    """Tell whether stderr is a terminal that can redraw lines."""
    return _is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


@define(eq=False)
class Screen:
    """The two streams of one command.

    Attributes:
        quiet: Leave out progress; errors and the summary stay.
        debug: Show tracebacks.
        output_error: Why stdout could not be written, other than that its reader has left.
    """

    quiet: bool = False
    debug: bool = False
    output_error: OSError | None = field(default=None, init=False)
    _pending: deque[tuple[bool, str]] = field(factory=deque, init=False)
    _news: anyio.Event | None = field(default=None, init=False)
    _live: Live | None = field(default=None, init=False)
    _view: View | None = field(default=None, init=False)
    _pump_ended: bool = field(default=False, init=False)
    _stdout_open: bool = field(default=True, init=False)

    @property
    def has_reader(self) -> bool:
        """False once nobody reads stdout any more."""
        return self._stdout_open

    def result(self, line: str) -> None:
        """Put a line on stdout."""
        self._append(True, line)

    def say(self, line: str) -> None:
        """Put a line on stderr."""
        self._append(False, line)

    def step(self, line: str) -> None:
        """Put a line of progress on stderr, where there is no live display to show it."""
        if self._live is None and not self.quiet:
            self.say(line)

    def milestone(self, line: str) -> None:
        """Put a line of progress on stderr that is to be read, also above a live display."""
        if not self.quiet:
            self.say(line)

    def _append(self, is_result: bool, line: str) -> None:  # noqa: FBT001  # two private callers
        self._pending.append((is_result, line))
        if self._news is not None:
            self._news.set()

    # --- writing; these block ---

    def drain(self) -> None:
        """Write everything that waits."""
        while self._pending:
            is_result, line = self._pending.popleft()
            if is_result:
                self._write_result(line)
            else:
                self._write_note(line)

    def _write_result(self, line: str) -> None:
        if self._live is not None and _is_terminal(sys.stdout):
            # Both streams are the same terminal: between two drawings, or it would be torn.
            self._live.console.out(line, highlight=False)
            return
        if not self._stdout_open or sys.stdout is None:
            return
        try:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        except (OSError, ValueError) as error:
            self._stdout_open = False
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                self.output_error = error
            forget(sys.stdout)

    def _write_note(self, line: str) -> None:
        line = one_line(line)
        if self._live is not None:
            self._live.console.out(line, highlight=False)
            return
        if sys.stderr is None:
            return
        try:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            forget(sys.stderr)

    # --- beside the work ---

    @contextmanager
    def showing(self, view: View | None) -> Iterator[None]:
        """Redraw *view* on stderr for the length of the block, where stderr can do that."""
        if view is None or self.quiet or not is_live():
            yield
            return
        from rich.console import Console  # noqa: PLC0415  # not needed without a terminal
        from rich.live import Live  # noqa: PLC0415  # see above

        console = Console(stderr=True, highlight=False, soft_wrap=True)
        live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False,
                    redirect_stderr=False)  # fmt: skip
        self._view = view
        with live:
            self._live = live
            try:
                yield
            finally:
                self.drain()
                self._live, self._view = None, None

    async def pump(self) -> None:
        """Write and redraw until ``end_pump``."""
        while not self._pump_ended:
            self._news = anyio.Event()
            if not self._pending:
                with anyio.move_on_after(_REFRESH if self._live else None):
                    await self._news.wait()
            await anyio.to_thread.run_sync(self._draw, anyio.current_time())

    def end_pump(self) -> None:
        """Let ``pump`` write what waits, and end."""
        self._pump_ended = True
        if self._news is not None:
            self._news.set()

    async def flush(self) -> None:
        """Write everything that waits, from the event loop."""
        await anyio.to_thread.run_sync(self.drain)

    def _draw(self, now: float) -> None:
        self.drain()
        if self._live is not None and self._view is not None:
            self._live.update(self._view(now), refresh=True)


def forget(stream: TextIO) -> None:
    """Let what is left in a dead stream's buffer go nowhere, or the interpreter would complain."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return


def prepare_streams() -> None:
    """Let both streams take any text: a file name may hold bytes that are no text at all."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None or not hasattr(stream, "reconfigure"):
            continue
        is_utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
        stream.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
