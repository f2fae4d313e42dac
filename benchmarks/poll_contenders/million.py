"""What a step of the schedule costs with a million waiting tasks, beside a bare heap of as many."""

from __future__ import annotations

import heapq
import random
import time
import tracemalloc

from poll_contenders.ours import WORK
from ppinfra_async import Polling, TaskStatus
from ppinfra_async._sansio.schedule import Ask, Schedule

_STEPS = 500_000
_MEDIAN, _SIGMA = 15.0, 0.3


def _ids(count: int) -> list[str]:
    # As long as the service's ids.
    return [f"01234567-89ab-cdef-0123-{number:012d}" for number in range(count)]


def bare_heap_step(waiting: int) -> float:
    """Return the seconds of one heappop and heappush of (time, id) on a heap of *waiting* entries."""
    source = random.Random(0)
    heap = [(source.uniform(0, 10), task_id) for task_id in _ids(waiting)]
    heapq.heapify(heap)
    pauses = [source.uniform(0.25, 10) for _ in range(1000)]
    began = time.process_time()
    for number in range(_STEPS):
        when, task_id = heapq.heappop(heap)
        heapq.heappush(heap, (when + pauses[number % 1000], task_id))
    return (time.process_time() - began) / _STEPS


def _experienced(schedule: Schedule, source: random.Random) -> float:
    """Let the schedule see a few hundred tasks end; return the time then."""
    now = 0.0
    for number in range(300):
        task_id = f"before {number}"
        end = now + source.lognormvariate(2.7, _SIGMA)
        schedule.watch(task_id, now, source.random(), work=WORK, submitted_at=now)
        while task_id in schedule:
            now = schedule.wake_at() or now
            if schedule.take(now) is None:
                continue
            schedule.returned()
            if end <= now:
                schedule.ended(task_id, now)
            else:
                schedule.answered(task_id, TaskStatus.PROCESSING, now, source.random())
    return now


def our_step(waiting: int) -> tuple[float, int]:
    """Return the seconds of one step, and how often the class was looked at anew meanwhile.

    A step takes the poll that is due and notes its answer. Every fourth task is done, and a new one is
    submitted in its place.
    """
    source = random.Random(0)
    polling = Polling(polls_per_second=1e9, processing_deadline=1e9, total_deadline=1e9)
    schedule = Schedule(polling)
    start = _experienced(schedule, source)
    ids = _ids(waiting)
    draws = [source.random() for _ in range(1000)]
    for number, task_id in enumerate(ids):
        submitted_at = start + 20.0 * number / waiting
        schedule.watch(
            task_id, submitted_at, draws[number % 1000], work=WORK, submitted_at=submitted_at
        )
    now, looks_before, number = 0.0, _looks(schedule), 0
    began = time.process_time()
    while number < _STEPS:
        now = schedule.wake_at() or now
        while isinstance(asked := schedule.take(now), Ask):
            draw = draws[number % 1000]
            schedule.returned()
            if number % 4 == 0:
                schedule.ended(asked.task_id, now)
                schedule.watch(asked.task_id, now, draw, work=WORK, submitted_at=now)
            else:
                schedule.answered(asked.task_id, TaskStatus.QUEUED, now, draw)
            number += 1
    took = (time.process_time() - began) / number
    return took, _looks(schedule) - looks_before


def _looks(schedule: Schedule) -> int:
    """Return how often the class was looked at: the fits behind the plans that are in use."""
    clocks = schedule._experience.of(WORK).clocks  # noqa: SLF001  # nothing public counts it
    return sum(learned.looks_taken for learned in clocks)


def memory_per_task(waiting: int) -> float:
    """Return the bytes that the schedule holds for one of *waiting* tasks, its id included."""
    polling = Polling(processing_deadline=1e9, total_deadline=1e9)
    source = random.Random(0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    schedule = Schedule(polling)
    ids = _ids(waiting)
    for number, task_id in enumerate(ids):
        at = 20.0 * number / waiting
        schedule.watch(task_id, at, source.random(), work=WORK, submitted_at=at)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return held / waiting
