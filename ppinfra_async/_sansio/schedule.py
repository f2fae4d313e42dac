"""Decides which task is asked about next, when, and when waiting ends; refuses to ask or wait itself.

One schedule serves all waiting tasks of a client: a timetable of polls, a timetable of deadlines,
and one budget of polls per second. Times are seconds of the caller's clock; draws are random
numbers in [0, 1) that the caller brings, which spread tasks that started together. Polls are planned
for the beats of a clock, so that those that are due at about the same time cost one wake-up.

Waiting for one task ends at ``total_deadline`` after it began, or at ``processing_deadline`` after
the service first said ``PROCESSING``, whichever is earlier: time in the queue is not the task's fault.
"""

from __future__ import annotations

import heapq
import math

from attrs import define, field, frozen

from ppinfra_async import errors
from ppinfra_async.errors import PPInfraError
from ppinfra_async.options import Polling
from ppinfra_async.results import TaskStatus

_FIRST_INTERVAL = 1.0
_GROWTH = 1.5
_LONGEST_USUAL_INTERVAL = 5.0
_SPREAD = 0.3
_LONGEST_BEAT = 0.1
"""Polls that are due within so many seconds are asked together: each time that the event loop is woken
up costs as much CPU as a good part of a poll, and with many tasks hardly two are due at the same time."""

_ROUNDING = 1e-6
_LAST_LOOK = 0.5
_TOO_EARLY_FOR_404 = 10.0
"""A task may be unknown for a moment after its submit; nobody reports longer."""

_ONCE_KNOWN = 30.0
"""A task that the service has spoken of is not given up for one stray 404."""

_TRY_LATER = {408, 425}

_MOST_UNDER_WAY = 64
"""So many polls may wait for their answer at once: a stuck server must not pile them up."""

_MANY_STALE = 64


@frozen
class Ask:
    """Ask the service about this task now."""

    task_id: str


@frozen
class Expire:
    """Stop waiting for this task: its deadline has passed."""

    task_id: str
    waited: float


@define
class _Timetable:
    """What is due when; setting a key again moves it. Moved and dropped entries rot in the heap."""

    _heap: list[tuple[float, int, str]] = field(factory=list)
    _current: dict[str, int] = field(factory=dict)
    _count: int = 0

    def set(self, key: str, when: float) -> None:
        self._count += 1
        self._current[key] = self._count
        heapq.heappush(self._heap, (when, self._count, key))
        self._tidy()

    def drop(self, key: str) -> None:
        # It is tidied when something is set: a heap that nothing is added to does not grow.
        self._current.pop(key, None)

    def _tidy(self) -> None:
        if len(self._heap) > _MANY_STALE + 2 * len(self._current):
            # Half of it is stale: rebuild, so that memory follows what is really waiting.
            self._heap = [entry for entry in self._heap if self._is_current(entry)]
            heapq.heapify(self._heap)

    def first(self) -> tuple[float, str] | None:
        heap, current = self._heap, self._current
        while heap:
            when, number, key = heap[0]
            if current.get(key) == number:
                return when, key
            heapq.heappop(heap)
        return None

    def _is_current(self, entry: tuple[float, int, str]) -> bool:
        return self._current.get(entry[2]) == entry[1]


@define
class _Waiting:
    since: float
    deadline: float
    asked: int = 0
    failures: int = 0
    processing_since: float | None = None
    answered_at: float | None = None

    def believed_until(self) -> float:
        """Return until when the task is believed to exist, though the service does not know it."""
        if self.answered_at is None:
            return self.since + _TOO_EARLY_FOR_404
        return self.answered_at + _ONCE_KNOWN


@define
class Schedule:
    """The waiting tasks of one client.

    Attributes:
        beat: Seconds between two beats.
        allowance: Seconds of the budget that may be spent at once: whole polls of one beat.
    """

    polling: Polling
    beat: float = field(init=False)
    allowance: float = field(init=False)
    _gap: float = field(init=False)
    _waiting: dict[str, _Waiting] = field(factory=dict, init=False)
    _polls: _Timetable = field(factory=_Timetable, init=False)
    _deadlines: _Timetable = field(factory=_Timetable, init=False)
    _free_at: float = field(default=float("-inf"), init=False)
    _under_way: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """Compute once what every poll needs."""
        self._gap = 1 / self.polling.polls_per_second
        self.beat = min(_LONGEST_BEAT, self.polling.min_interval / 2)
        self.allowance = math.floor(self.beat / self._gap) * self._gap

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._waiting

    def watch(self, task_id: str, now: float, draw: float) -> None:
        """Begin to wait for *task_id*; nothing happens when it is already waited for."""
        if task_id in self._waiting:
            return
        entry = _Waiting(since=now, deadline=now + self.polling.total_deadline)
        self._waiting[task_id] = entry
        self._deadlines.set(task_id, entry.deadline)
        self._plan(task_id, entry, now, draw)

    def forget(self, task_id: str) -> None:
        """Stop waiting for *task_id*, without a trace."""
        self._waiting.pop(task_id, None)
        self._polls.drop(task_id)
        self._deadlines.drop(task_id)

    def hint(self, task_id: str, now: float) -> None:
        """Ask about *task_id* as soon as the budget allows: somebody says it is done."""
        if task_id in self._waiting:
            self._polls.set(task_id, now)

    def wake_at(self) -> float | None:
        """Return when ``take`` will next have something, or None while nothing waits."""
        deadline = self._deadlines.first()
        if deadline is None:
            # Whoever has a poll planned has a deadline, too.
            return None
        poll = self._next_poll()
        return deadline[0] if poll is None else min(max(poll[0], self._free_at), deadline[0])

    def take(self, now: float) -> Ask | Expire | None:
        """Return one thing to do now, or None; call again until None."""
        deadline = self._deadlines.first()
        if deadline and deadline[0] <= now:
            task_id = deadline[1]
            waited = now - self._waiting[task_id].since
            self.forget(task_id)
            return Expire(task_id, waited)
        poll = self._next_poll()
        if poll and max(poll[0], self._free_at) <= now:
            self._under_way += 1
            self._free_at = max(self._free_at, now - self.allowance) + self._gap
            self._polls.drop(poll[1])
            self._waiting[poll[1]].asked += 1
            return Ask(poll[1])
        return None

    def returned(self) -> bool:
        """Note that a poll that ``take`` gave out is over; tell whether others waited for that."""
        self._under_way -= 1
        return self._under_way == _MOST_UNDER_WAY - 1

    def answered(self, task_id: str, status: TaskStatus, now: float, draw: float) -> None:
        """Note what the service said about a task that is not done, and plan the next poll."""
        entry = self._waiting.get(task_id)
        if entry is None:
            return
        entry.failures = 0
        entry.answered_at = now
        if status is TaskStatus.PROCESSING and entry.processing_since is None:
            entry.processing_since = now
            entry.deadline = min(entry.deadline, now + self.polling.processing_deadline)
            self._deadlines.set(task_id, entry.deadline)
        self._plan(task_id, entry, now, draw)

    def failed(
        self, task_id: str, now: float, draw: float, retry_after: float | None = None
    ) -> None:
        """Note that a poll brought nothing, and plan the next one later than usual.

        *retry_after* (a 429) pauses the polls of all tasks, up to ``max_interval``.
        """
        if retry_after is not None:
            pause = min(max(retry_after, self.polling.min_interval), self.polling.max_interval)
            self._free_at = max(self._free_at, now + pause)
        entry = self._waiting.get(task_id)
        if entry is not None:
            entry.failures += 1
            self._plan(task_id, entry, now, draw)

    def is_transient(self, task_id: str, error: PPInfraError, now: float) -> bool:
        """Tell whether a failed poll leaves the task waiting. Unknown is not failed."""
        entry = self._waiting.get(task_id)
        status = error.status if isinstance(error, errors.ServiceError) else None
        if isinstance(error, errors.TaskNotFoundError) or status == 404:
            return entry is not None and now < entry.believed_until()
        if isinstance(error, errors.RateLimitedError | errors.ProtocolError):
            return True
        is_final = status in range(400, 500) and status not in _TRY_LATER
        return isinstance(error, errors.ServiceError) and not is_final

    def _next_poll(self) -> tuple[float, str] | None:
        return self._polls.first() if self._under_way < _MOST_UNDER_WAY else None

    def _plan(self, task_id: str, entry: _Waiting, now: float, draw: float) -> None:
        interval = self._interval(entry) * (1 + _SPREAD * (draw - 0.5))
        earliest = now + self.polling.min_interval
        # One look just before the deadline, so that a result is not missed by a moment.
        latest = max(earliest, min(now + self.polling.max_interval, entry.deadline - _LAST_LOOK))
        self._polls.set(task_id, min(self._on_beat(max(now + interval, earliest)), latest))

    def _on_beat(self, when: float) -> float:
        """Return the first beat that is not before *when*."""
        # What lies behind a beat by a rounding error only is on it.
        return max(when, math.ceil(when / self.beat - _ROUNDING) * self.beat)

    def _interval(self, entry: _Waiting) -> float:
        # Exponents are bounded so that a long wait does not overflow.
        usual = min(_LONGEST_USUAL_INTERVAL, _FIRST_INTERVAL * _GROWTH ** min(entry.asked, 16))
        return float(usual * 2.0 ** min(entry.failures, 16))
