"""Counts how a batch stands, for whoever watches it; refuses to decide or to draw anything."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from ppinfra_async._journal_jobs import JobRecord
from ppinfra_async._sansio.job import JobState

_log = logging.getLogger("ppinfra_async")

_WINDOW = 60.0


@define(eq=False)
class Progress:
    """How a run stands.

    Attributes:
        jobs: Of this run, by their state at its beginning and as they move; ``sending`` counts as
            planned, since it lasts a moment.
        pictures: Written in this run.
        images: That were to be sent when the run began.
        images_left: Of those, not yet sent.
        pause: Until when, on the loop's clock, submits wait after a 429 or a failure; and why.
        stopping: True once nothing more is sent.
    """

    jobs: dict[JobState, int] = field(factory=dict)
    pictures: int = 0
    images: int = 0
    images_left: int = 0
    pause: tuple[float, str] = (float("-inf"), "")
    stopping: bool = False
    began: float = 0.0
    _accepted: deque[tuple[float, int]] = field(factory=deque)

    def moved(self, before: JobState, after: JobState) -> None:
        """Note that a job went from one state to another."""
        self.jobs[before] = self.jobs.get(before, 0) - 1
        self.jobs[after] = self.jobs.get(after, 0) + 1

    def accepted(self, images: int, now: float) -> None:
        """Note that the service took so many images."""
        self._forget(now)
        self._accepted.append((now, images))
        self.images_left -= images

    def images_per_minute(self, now: float) -> float:
        """Return how many images the service took in the last minute, on the loop's clock.

        Nothing is concluded from less than a minute: a run may send all of its quota at once.
        """
        self._forget(now)
        return float(sum(images for _, images in self._accepted))

    def is_pace_known(self, now: float) -> bool:
        """Tell whether there has been a minute to judge by."""
        return now - self.began >= _WINDOW

    def _forget(self, now: float) -> None:
        while self._accepted and self._accepted[0][0] <= now - _WINDOW:
            self._accepted.popleft()

    @property
    def total(self) -> int:
        """How many jobs there are."""
        return sum(self.jobs.values())

    def count(self, *states: JobState) -> int:
        """Return how many jobs are in one of *states*."""
        return sum(self.jobs.get(state, 0) for state in states)


def _ignore(*_: object) -> None:
    """Listen to nothing."""


@define(eq=False, kw_only=True)
class Listeners:
    """Who is told what happens, on the event loop; each must return at once.

    What one of them raises is logged, and the work goes on.

    Attributes:
        on_sent: A job was accepted: it, and its task id.
        on_picture: A picture is on the disk: its job and its path.
        on_end: A job has come to rest in this run: it, its state and why it is not done, or None.
    """

    on_sent: Callable[[JobRecord, str], None] = _ignore
    on_picture: Callable[[JobRecord, Path], None] = _ignore
    on_end: Callable[[JobRecord, JobState, Exception | None], None] = _ignore

    def sent(self, job: JobRecord, task_id: str) -> None:
        """Tell that a job was accepted."""
        _tell(self.on_sent, job, task_id)

    def picture(self, job: JobRecord, path: Path) -> None:
        """Tell that a picture is on the disk."""
        _tell(self.on_picture, job, path)

    def end(self, job: JobRecord, state: JobState, error: Exception | None) -> None:
        """Tell that a job has come to rest."""
        _tell(self.on_end, job, state, error)


def _tell(listener: Callable[..., None], *what: object) -> None:
    try:
        listener(*what)
    except Exception:  # a paid job must not die of who only listens
        _log.exception("A listener of the batch raised; the work goes on")
