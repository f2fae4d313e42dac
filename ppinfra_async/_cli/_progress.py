"""Draws jobs for a terminal that can redraw; refuses to know what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from shutil import get_terminal_size
from textwrap import wrap

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ppinfra_async._cli._jobs import Job
from ppinfra_async._cli._messages import one_line

_MOST_ROWS = 12
_LABEL_WIDTH = 36
_BAR_WIDTH = 22
_STATE_WIDTH = 17
# Mark, state and seconds with the gaps between them: what a row always shows beside the label.
_FIXED_WIDTH = 1 + _STATE_WIDTH + 8 + 4
_NARROW = 72


class JobsView:
    """What the live display shows: the jobs under way, and how many are done.

    Args:
        jobs: All of them.
        notice: Gives a further line, or nothing.
    """

    def __init__(self, jobs: Sequence[Job], notice: Callable[[], str]) -> None:
        self._jobs = jobs
        self._notice = notice
        self._spinner = Spinner("dots", style="cyan")

    def __call__(self, now: float) -> RenderableType:
        """Draw everything as it is at *now*, on the loop's clock."""
        width = get_terminal_size().columns
        rows = Table.grid(padding=(0, 1))
        for job in self._shown():
            rows.add_row(*self._row(job, now, width))
        lines: list[RenderableType] = [rows, Text(self._total(), style="dim")]
        # Broken by us: a live display cuts off what is too long.
        notice = wrap(one_line(self._notice()), width - 1)
        lines += [Text(line, style="yellow") for line in notice]
        return Group(*lines)

    def _shown(self) -> list[Job]:
        if len(self._jobs) <= _MOST_ROWS:
            return list(self._jobs)
        under_way = [job for job in self._jobs if job.began is not None and not job.ended]
        return under_way[:_MOST_ROWS]

    def _row(self, job: Job, now: float, width: int) -> tuple[RenderableType, ...]:
        state = Text(job.state.ljust(_STATE_WIDTH), no_wrap=True, overflow="ellipsis")
        seconds = Text(_seconds(job, now), no_wrap=True)
        if width < _NARROW:
            return self._mark(job), _label(job, width - _FIXED_WIDTH), state, seconds
        label = _label(job, width - _FIXED_WIDTH - _BAR_WIDTH - 1)
        return self._mark(job), label, _bar(job, now), state, seconds

    def _mark(self, job: Job) -> RenderableType:
        if not job.ended:
            return self._spinner if job.began is not None else Text("·", style="dim")
        return Text("✗", style="red") if job.error else Text("✓", style="green")

    def _total(self) -> str:
        ended = [job for job in self._jobs if job.ended]
        failed = sum(job.error is not None for job in ended)
        pictures = sum(len(job.saved) for job in self._jobs)
        text = f"{len(ended)} of {len(self._jobs)} done, pictures saved: {pictures}"
        return f"{text}, failed: {failed}" if failed else text


def _label(job: Job, room: int) -> Text:
    text = one_line(job.label)
    room = max(2, min(room, _LABEL_WIDTH))
    if len(text) > room:
        # The end of a path says more than its beginning.
        text = f"…{text[1 - room :]}"
    return Text(text, no_wrap=True, overflow="ellipsis")


def _bar(job: Job, now: float) -> ProgressBar:
    if job.ended:
        return ProgressBar(total=100, completed=0 if job.error else 100, width=_BAR_WIDTH)
    is_open = job.began is not None and not job.percent
    return ProgressBar(
        total=100,
        completed=job.percent or 0,
        width=_BAR_WIDTH,
        pulse=is_open,
        animation_time=now,
    )


def _seconds(job: Job, now: float) -> str:
    if job.began is None:
        return ""
    return f"{job.took if job.took is not None else now - job.began:5.1f} s"
