"""Our schedule in a world: it is asked what to do and told what the world answers, nothing else."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np

from poll_contenders.rivals import Bill
from poll_contenders.worlds import Drawn
from ppinfra_async import Polling, TaskStatus
from ppinfra_async._sansio.experience import Work
from ppinfra_async._sansio.schedule import Ask, Schedule

WORK = Work("/v3/async/img2img", "some model", 20, 1024 * 1024, 1)

Saying = Callable[[float, float], tuple[float, float]]
"""From seconds of work done and seconds of work in all to (eta, progress_percent) as the service says."""


def silent(done: float, whole: float) -> tuple[float, float]:
    """Say nothing, as the samples of the documentation do."""
    del done, whole
    return 0.0, 0.0


def honest(done: float, whole: float) -> tuple[float, float]:
    """Say the truth about the work, while it lasts."""
    return whole - done, 100 * done / whole


def lying(done: float, whole: float) -> tuple[float, float]:
    """Say the same whatever is true."""
    del done, whole
    return 3.0, 50.0


def follow(
    drawn: Drawn, polling: Polling, *, seed: int = 0, saying: Saying = silent
) -> tuple[Bill, np.ndarray]:
    """Return our bill, and for each task how many had been completed when it was submitted."""
    return _Following(drawn, polling, random.Random(seed), saying).to_the_end()


class _Following:
    """One world, followed by one schedule."""

    def __init__(
        self, drawn: Drawn, polling: Polling, source: random.Random, saying: Saying
    ) -> None:
        count = len(drawn.took)
        self._submitted = drawn.submitted.tolist()
        self._begins = (drawn.submitted + drawn.queued).tolist()
        self._ends = (drawn.submitted + drawn.took).tolist()
        self._schedule = Schedule(polling)
        self._source, self._saying = source, saying
        self._polls, self._delay = np.zeros(count), np.zeros(count)
        self._known = np.zeros(count, dtype=np.int64)
        self._arrived = self._completed = 0

    def to_the_end(self) -> tuple[Bill, np.ndarray]:
        while self._completed < len(self._ends):
            wake_at = self._schedule.wake_at()
            if wake_at is None or self._next_arrival() <= wake_at:
                self._arrive()
                continue
            while isinstance(asked := self._schedule.take(wake_at), Ask):
                self._answer(asked.task_id, wake_at)
            assert asked is None, "no task of these worlds outlives its deadline"
        return Bill(self._polls, self._delay), self._known

    def _next_arrival(self) -> float:
        return self._submitted[self._arrived] if self._arrived < len(self._ends) else math.inf

    def _arrive(self) -> None:
        number, now = self._arrived, self._submitted[self._arrived]
        self._known[number] = self._completed
        self._arrived += 1
        draw = self._source.random()
        self._schedule.watch(str(number), now, draw, work=WORK, submitted_at=now)

    def _answer(self, task_id: str, now: float) -> None:
        number = int(task_id)
        self._polls[number] += 1
        self._schedule.returned()
        begin, end = self._begins[number], self._ends[number]
        if end <= now:
            self._delay[number] = now - end
            self._schedule.ended(task_id, now)
            self._completed += 1
            return
        status, eta, progress = TaskStatus.QUEUED, 0.0, 0.0
        if begin <= now:
            status = TaskStatus.PROCESSING
            eta, progress = self._saying(now - begin, end - begin)
        draw = self._source.random()
        self._schedule.answered(task_id, status, now, draw, eta=eta, progress_percent=progress)
