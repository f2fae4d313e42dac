"""Draws how a batch stands for a terminal that can redraw; refuses to know what its jobs ask."""

from __future__ import annotations

from collections.abc import Callable
from shutil import get_terminal_size
from textwrap import wrap

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ppinfra_async._cli._messages import one_line
from ppinfra_async._sansio.job import JobState
from ppinfra_async.batch import Progress

_LONGEST_BAR = 60


class BatchView:
    """What the live display shows.

    Args:
        progress: How the batch stands.
        quota: Gives the images per minute, or ``auto`` while they are unknown.
        notice: Gives a further line, or nothing.
    """

    def __init__(
        self, progress: Progress, quota: Callable[[], int | str], notice: Callable[[], str]
    ) -> None:
        self._progress = progress
        self._quota = quota
        self._notice = notice
        self._spinner = Spinner("dots", style="cyan")

    def __call__(self, now: float) -> RenderableType:
        """Draw everything as it is at *now*, on the loop's clock."""
        width = get_terminal_size().columns
        progress = self._progress
        notice = one_line(self._notice())
        if not progress.total:
            return Group(self._spinner, Text(notice or "Looking at the jobs …", style="dim"))
        lines: list[RenderableType] = [self._bar(width)]
        lines += [Text(line) for line in wrap(counts(progress), width - 1)]
        lines += [
            Text(line, style="dim") for line in wrap(pace(progress, self._quota(), now), width - 1)
        ]
        lines += [
            Text(line, style="yellow") for line in wrap(pause(progress, now) or notice, width - 1)
        ]
        return Group(*lines)

    def _bar(self, width: int) -> RenderableType:
        progress = self._progress
        at_rest = progress.count(JobState.DONE, JobState.FAILED, JobState.IN_DOUBT)
        row = Table.grid(padding=(0, 1))
        row.add_row(
            self._spinner,
            ProgressBar(
                total=progress.total, completed=at_rest, width=min(_LONGEST_BAR, width - 24)
            ),
            Text(f"{at_rest} of {progress.total}"),
        )
        return row


def counts(progress: Progress) -> str:
    """Return how many jobs are where."""
    return (
        f"{progress.count(JobState.DONE)} done, {progress.count(JobState.FAILED)} failed, "
        f"{progress.count(JobState.IN_DOUBT)} in doubt, {progress.count(JobState.SUBMITTED)} under way, "
        f"{progress.count(JobState.PLANNED, JobState.SENDING)} waiting"
    )


def pace(progress: Progress, quota: int | str, now: float) -> str:
    """Return images per minute beside the quota, and the time that is left."""
    rate = progress.images_per_minute(now)
    text = f"{rate:.0f} images in the last minute" + ("" if quota == "auto" else f", quota {quota}")
    text += f", pictures saved: {progress.pictures}"
    if progress.stopping:
        return f"{text}, stopping"
    steady = float(quota) if quota != "auto" else rate * progress.is_pace_known(now)
    if progress.images_left > 0 and steady > 0:
        text += f", about {duration(progress.images_left / steady * 60)} left"
    return text


def pause(progress: Progress, now: float) -> str:
    """Return the cool-down that is on, or nothing."""
    until, why = progress.pause
    return f"Waiting {until - now:.0f} s: {why}" if until > now else ""


def status_line(progress: Progress, quota: int | str, now: float) -> str:
    """Return everything on one line."""
    parts = [counts(progress), pace(progress, quota, now), pause(progress, now)]
    return "; ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
