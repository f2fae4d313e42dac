"""Tasks that take a time which no client is told, and a schedule that asks about them: virtual time."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from random import Random

from attrs import define, field

from ppinfra_async import TaskStatus
from ppinfra_async._sansio.completion import BINS, EDGES, Masses
from ppinfra_async._sansio.experience import Work
from ppinfra_async._sansio.poll_plan import PollPlan
from ppinfra_async._sansio.schedule import Ask, Schedule

WORK = Work("/v3/async/img2img", "some model", 20, 512 * 512, 1)

Saying = Callable[[float, float], tuple[float, float]]
"""From seconds of work done and seconds of work in all to what the service says: eta and percent."""


def silent(_done: float, _whole: float) -> tuple[float, float]:
    return 0.0, 0.0


def honest(done: float, whole: float) -> tuple[float, float]:
    return whole - done, 100 * done / whole


def lying(_done: float, _whole: float) -> tuple[float, float]:
    return 3.0, 50.0


@define
class Story:
    """What happened to some tasks, each in its place.

    Attributes:
        polls: How often each was asked about.
        delays: Seconds from its end to the poll that noticed it.
        ages: How old each was at its polls.
    """

    polls: list[int]
    delays: list[float]
    ages: list[list[float]] = field(factory=list)

    def cost(self, price: float, first: int = 0) -> float:
        """Return price · polls + delay per task, from the *first* one on."""
        count = len(self.polls) - first
        return (price * sum(self.polls[first:]) + sum(self.delays[first:])) / count


def times_of(count: int, median: float, sigma: float, seed: int = 0) -> list[float]:
    """Return so many log-normal times."""
    random = Random(seed)
    return [random.lognormvariate(math.log(median), sigma) for _ in range(count)]


def follow(
    schedule: Schedule,
    took: Sequence[float],
    *,
    begin: float = 0.0,
    every: float = 3.0,
    queued: Sequence[float] | None = None,
    saying: Saying = silent,
    work: Work = WORK,
) -> Story:
    """Submit a task *every* so many seconds and do what the schedule says until all have ended.

    Args:
        schedule: It may have been followed before.
        took: Seconds from its submit to its end, of each task.
        begin: When the first one is submitted.
        every: Seconds between two submits.
        queued: How much of its time each task is in the queue; nothing unless given.
        saying: What the service says of a task in PROCESSING.
        work: What kind of work they are.
    """
    draw, count = Random(1).random, len(took)
    queued = queued or [0.0] * count
    story = Story([0] * count, [0.0] * count, [[] for _ in took])
    arrived = ended = 0
    while ended < count:
        wake_at, submit_at = schedule.wake_at(), begin + arrived * every
        if arrived < count and (wake_at is None or submit_at <= wake_at):
            schedule.watch(f"{arrived}", submit_at, draw(), work=work, submitted_at=submit_at)
            arrived += 1
            continue
        assert wake_at is not None
        while (taken := schedule.take(wake_at)) is not None:
            assert isinstance(taken, Ask)
            schedule.returned()
            number = int(taken.task_id)
            age = wake_at - (begin + number * every)
            story.polls[number] += 1
            story.ages[number].append(age)
            if age >= took[number]:
                schedule.ended(taken.task_id, wake_at)
                story.delays[number] = age - took[number]
                ended += 1
            elif age < queued[number]:
                schedule.answered(taken.task_id, TaskStatus.QUEUED, wake_at, draw())
            else:
                done, whole = age - queued[number], took[number] - queued[number]
                eta, percent = saying(done, whole)
                schedule.answered(
                    taken.task_id, TaskStatus.PROCESSING, wake_at, draw(),
                    eta=eta, progress_percent=percent,
                )  # fmt: skip
    return story


# --- distributions --------------------------------------------------------------------------------


def lognormal(median: float, sigma: float) -> Masses:
    """Return a log-normal distribution over the bins."""
    logs = [-math.inf if edge == 0 else math.log(edge / median) for edge in EDGES]
    below = [0.5 * math.erfc(-log / sigma / math.sqrt(2)) for log in logs]
    below[-1] = 1.0
    return tuple(high - low for low, high in pairwise(below))


def mixed(*parts: tuple[float, Masses]) -> Masses:
    """Return a mixture: shares and distributions."""
    return tuple(sum(share * masses[number] for share, masses in parts) for number in range(BINS))


def quantile(masses: Masses, share: float) -> float:
    """Return the time by which *share* has ended."""
    below = [0.0, *accumulate(masses)]
    wanted = share * below[-1]
    number = min(bisect_right(below, wanted) - 1, BINS - 1)
    part = (wanted - below[number]) / masses[number] if masses[number] else 0.0
    return EDGES[number] + part * (EDGES[number + 1] - EDGES[number])


def quantiles(masses: Masses, count: int = 500) -> list[float]:
    """Return times that stand for the whole distribution alike."""
    return [quantile(masses, (number + 0.5) / count) for number in range(count)]


def spread(masses: Masses) -> float:
    """Return the spread of the logarithm, by the middle two thirds."""
    return math.log(quantile(masses, 0.8413) / quantile(masses, 0.1587)) / 2


def polls_of(plan: PollPlan, until: float) -> list[float]:
    """Return the ages at which a task that ends at *until* is asked about, the last one included."""
    ages, age = list[float](), 0.0
    while age < until:
        age += plan.pause(age)
        ages.append(age)
    return ages


def bill(polls: Sequence[float], ends: Sequence[float]) -> tuple[float, float]:
    """Return mean polls and mean delay of tasks with these *ends*, asked about at *polls*."""
    needed = [bisect_left(polls, end) for end in ends]
    delay = sum(polls[place] - end for place, end in zip(needed, ends, strict=True))
    return (sum(needed) + len(ends)) / len(ends), delay / len(ends)
