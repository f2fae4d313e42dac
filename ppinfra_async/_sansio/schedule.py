"""Decides which task is asked about next, when, and when waiting ends; refuses to ask or wait itself.

One schedule serves all waiting tasks of a client: a timetable of polls, a timetable of deadlines,
one budget of polls per second, and the experience of how long such work took. Times are seconds of the
caller's clock; draws are random numbers in [0, 1) that the caller brings, which spread tasks that
started together. Polls are planned for the beats of a clock, so that those that are due at about the
same time cost one wake-up.

When to ask next is computed: from experience, the pause that costs least, a poll at its price against
the delay of the notice. Before there is any, pauses grow geometrically.

Waiting for one task ends at ``total_deadline`` after it began, or at ``processing_deadline`` after
the service first said ``PROCESSING``, whichever is earlier: time in the queue is not the task's fault.
"""

from __future__ import annotations

from typing import NamedTuple

from attrs import define, field

from ppinfra_async import errors
from ppinfra_async._sansio.experience import Clock, Experience, Reading, Readings, Work, WorkClass
from ppinfra_async._sansio.poll_budget import PollBudget
from ppinfra_async._sansio.timetable import Timetable
from ppinfra_async.errors import PPInfraError
from ppinfra_async.options import Polling
from ppinfra_async.results import TaskStatus

_FIRST_INTERVAL = 1.0
_GROWTH = 1.5
_LONGEST_USUAL_INTERVAL = 5.0
_SPREAD = 0.3
_SMALL_SPREAD = 0.1
"""Pauses that were computed are spread less: a tenth off the best time costs next to nothing."""

_LAST_LOOK = 0.5
_TOO_EARLY_FOR_404 = 10.0
"""A task may be unknown for a moment after its submit; nobody reports longer."""

_ONCE_KNOWN = 30.0
"""A task that the service has spoken of is not given up for one stray 404."""

_TRY_LATER = {408, 425}

_MOST_UNDER_WAY = 64
"""So many polls may wait for their answer at once: a stuck server must not pile them up."""


class Ask(NamedTuple):
    """Ask the service about this task now."""

    task_id: str


class Expire(NamedTuple):
    """Stop waiting for this task: its deadline has passed."""

    task_id: str
    waited: float


@define
class _Waiting:
    """What is known of one task.

    Attributes:
        unfinished_at: When the last poll was sent that found it unfinished, or when it was submitted.
        work: What is known of such work, or None for a task whose request is not known.
        readings: Its clocks.
    """

    since: float
    deadline: float
    unfinished_at: float
    work: WorkClass | None
    readings: Readings
    asked: int = 0
    asked_at: float = 0.0
    failures: int = 0
    processing_since: float | None = None
    answered_at: float | None = None
    is_hinted: bool = False

    def believed_until(self) -> float:
        """Return until when the task is believed to exist, though the service does not know it."""
        if self.answered_at is None:
            return self.since + _TOO_EARLY_FOR_404
        return self.answered_at + _ONCE_KNOWN

    def has(self, clock: Clock) -> bool:
        """Tell whether it has such a clock."""
        return any(reading.clock is clock for reading in self.readings)


@define
class Schedule:
    """The waiting tasks of one client."""

    polling: Polling
    budget: PollBudget = field(init=False)
    _experience: Experience = field(init=False)
    _waiting: dict[str, _Waiting] = field(factory=dict, init=False)
    _polls: Timetable = field(factory=Timetable, init=False)
    _deadlines: Timetable = field(factory=Timetable, init=False)
    _under_way: int = field(default=0, init=False)
    _old_ones_at: float = field(default=float("-inf"), init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with a full budget and no experience."""
        self.budget = PollBudget(self.polling)
        self._experience = Experience(self.polling)

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._waiting

    def watch(
        self,
        task_id: str,
        now: float,
        draw: float,
        *,
        work: Work | None = None,
        submitted_at: float | None = None,
    ) -> None:
        """Begin to wait for *task_id*; nothing happens when it is already waited for.

        Args:
            task_id: The service's id.
            now: The time.
            draw: A random number in [0, 1).
            work: What kind of work it is, if that is known.
            submitted_at: When it was submitted. A task of which nobody knows that, or that should
                have been asked about before, may be done long since: it is asked about at once,
                or in its turn when there are many.
        """
        if task_id in self._waiting:
            return
        began = now if submitted_at is None else submitted_at
        is_known = work is not None and submitted_at is not None
        entry = _Waiting(
            since=now,
            deadline=now + self.polling.total_deadline,
            unfinished_at=began,
            work=self._experience.of(work) if is_known and work else None,
            readings=(Reading(Clock.SUBMIT, began),) if is_known else (),
        )
        self._waiting[task_id] = entry
        self._deadlines.set(task_id, entry.deadline)
        if submitted_at is None:
            self._polls.set(task_id, self._turn_of_old_one(entry, now))
        elif self._is_overdue(entry, now, draw):
            self._polls.set(task_id, now)
        else:
            self._plan(task_id, entry, now, draw)

    def _turn_of_old_one(self, entry: _Waiting, now: float) -> float:
        # Thousands at once leave half of the budget to the others.
        turn = max(now, self._old_ones_at)
        self._old_ones_at = turn + 2 / self.polling.polls_per_second
        return min(turn, max(now, entry.deadline - _LAST_LOOK))

    def forget(self, task_id: str) -> None:
        """Stop waiting for *task_id*, without a trace."""
        self._waiting.pop(task_id, None)
        self._polls.drop(task_id)
        self._deadlines.drop(task_id)

    def hint(self, task_id: str, now: float) -> None:
        """Ask about *task_id* as soon as floor and budget allow: somebody says it is done."""
        entry = self._waiting.get(task_id)
        if entry is None:
            return
        if task_id in self._polls:
            floor = entry.asked_at + self.polling.min_interval if entry.asked else now
            self._polls.set(task_id, max(now, floor))
        else:
            # A poll is under way, and its answer may be older than the hint.
            entry.is_hinted = True

    def wake_at(self) -> float | None:
        """Return when ``take`` will next have something, or None while nothing waits."""
        deadline = self._deadlines.first()
        if deadline is None:
            # Whoever has a poll planned has a deadline, too.
            return None
        poll = self._next_poll()
        return deadline[0] if poll is None else min(max(poll[0], self.budget.free_at), deadline[0])

    def take(self, now: float) -> Ask | Expire | None:
        """Return one thing to do now, or None; call again until None."""
        if self._deadlines.earliest <= now and (expired := self._expired(now)):
            return expired
        if self._under_way >= _MOST_UNDER_WAY or self.budget.free_at > now:
            return None
        poll = self._polls.take(now)
        if poll is None:
            return None
        due, task_id = poll
        self._under_way += 1
        self.budget.spend(now, due)
        entry = self._waiting[task_id]
        entry.asked += 1
        entry.asked_at = now
        return Ask(task_id)

    def _expired(self, now: float) -> Expire | None:
        deadline = self._deadlines.first()
        if deadline is None or deadline[0] > now:
            return None
        task_id = deadline[1]
        waited = now - self._waiting[task_id].since
        self.forget(task_id)
        return Expire(task_id, waited)

    def returned(self) -> bool:
        """Note that a poll that ``take`` gave out is over; tell whether others waited for that."""
        self._under_way -= 1
        return self._under_way == _MOST_UNDER_WAY - 1

    def answered(
        self,
        task_id: str,
        status: TaskStatus,
        now: float,
        draw: float,
        *,
        eta: float | None = None,
        progress_percent: float | None = None,
    ) -> None:
        """Note what the service said about a task that is not done, and plan the next poll."""
        self.budget.answered()
        entry = self._waiting.get(task_id)
        if entry is None:
            return
        if status is TaskStatus.PROCESSING:
            self._note_processing(task_id, entry, now)
        if (eta or progress_percent) and entry.work is not None:
            _note_announced(entry, eta, progress_percent)
        entry.failures = 0
        entry.answered_at = now
        entry.unfinished_at = max(entry.unfinished_at, entry.asked_at)
        self._plan(task_id, entry, now, draw)

    def ended(self, task_id: str, now: float) -> None:
        """Note that the service said that a task is done, and learn from it; it is forgotten."""
        self.budget.answered()
        entry = self._waiting.get(task_id)
        if entry is not None and entry.work is not None:
            entry.work.note(entry.readings, entry.unfinished_at, now)
        self.forget(task_id)

    def failed(
        self, task_id: str, now: float, draw: float, retry_after: float | None = None
    ) -> None:
        """Note that a poll brought nothing, and plan the next one later than usual.

        *retry_after* (a 429) pauses the polls of all tasks, up to ``max_interval``.
        """
        if retry_after is None:
            self.budget.failed()
        else:
            self.budget.refused(now, retry_after)
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

    def _note_processing(self, task_id: str, entry: _Waiting, now: float) -> None:
        if entry.processing_since is not None:
            return
        entry.processing_since = now
        deadline = now + self.polling.processing_deadline
        if deadline < entry.deadline:
            entry.deadline = deadline
            self._deadlines.set(task_id, deadline)
        if entry.work is not None:
            # It began somewhere between the two polls.
            began = (entry.unfinished_at + entry.asked_at) / 2
            entry.readings += (Reading(Clock.PROCESSING, began),)

    def _is_overdue(self, entry: _Waiting, now: float, draw: float) -> bool:
        """Tell whether its first poll would be over, had somebody waited for it since its submit."""
        began = entry.unfinished_at
        # Nearly always that was a moment ago.
        is_young = now < began + self.polling.min_interval
        return not is_young and began + self._pause(entry, began, draw) <= now

    def _plan(self, task_id: str, entry: _Waiting, now: float, draw: float) -> None:
        if entry.is_hinted:
            entry.is_hinted = False
            self._polls.set(task_id, now + self.polling.min_interval)
            return
        beat = self.budget.beat
        when = round((now + self._pause(entry, now, draw)) / beat) * beat
        # One look just before the deadline, so that a result is not missed by a moment.
        latest = min(now + self.polling.max_interval, entry.deadline - _LAST_LOOK)
        earliest = now + self.polling.min_interval
        if when < earliest:
            when += beat
        when = min(when, latest)
        self._polls.set(task_id, max(earliest, when))

    def _pause(self, entry: _Waiting, now: float, draw: float) -> float:
        if entry.work is not None and not entry.failures:
            best = entry.work.pause(entry.readings, self.budget.price, now)
            if best is not None:
                return best * (1 + _SMALL_SPREAD * (draw - 0.5))
        # Exponents are bounded so that a long wait does not overflow.
        usual = min(_LONGEST_USUAL_INTERVAL, _FIRST_INTERVAL * _GROWTH ** min(entry.asked, 16))
        return usual * 2.0 ** min(entry.failures, 16) * (1 + _SPREAD * (draw - 0.5))


def _note_announced(entry: _Waiting, eta: float | None, progress_percent: float | None) -> None:
    """Note when the end was announced for, the first time only: that is what is learned from."""
    now = entry.asked_at
    if eta is not None and eta > 0 and not entry.has(Clock.ETA):
        entry.readings += (Reading.of_remaining(Clock.ETA, now, eta),)
    if progress_percent is not None and 0 < progress_percent < 100:
        began = next((r.origin for r in entry.readings if r.clock is Clock.PROCESSING), None)
        if began is not None and not entry.has(Clock.PROGRESS):
            remaining = (now - began) * (100 / progress_percent - 1)
            entry.readings += (Reading.of_remaining(Clock.PROGRESS, now, remaining),)
