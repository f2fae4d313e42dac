"""Asks about all waiting tasks of a client, in one loop; refuses to decide when, or to fetch pictures.

The schedule decides. A task is asked about only while somebody waits for it; when the last one
leaves, it is gone without a trace.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from weakref import WeakSet

from attrs import define, field

from ppinfra_async._background import Background
from ppinfra_async._sansio import wire
from ppinfra_async._sansio.experience import Work
from ppinfra_async._sansio.schedule import Ask, Expire, Schedule
from ppinfra_async._sansio.wire import TransportFailure
from ppinfra_async._transport import Transport
from ppinfra_async.errors import PPInfraError, RateLimitedError, ServiceError, TaskTimeoutError
from ppinfra_async.events import Event, PollFailed, TaskPolled
from ppinfra_async.options import Polling
from ppinfra_async.results import TaskUpdate


@define(eq=False)
class Watched:
    """A task that somebody waits for.

    Attributes:
        since: When waiting began, on the loop's clock.
        is_real: Whether there certainly is such a task: we submitted it, or the service spoke of it.
        polls: How many status calls it took so far.
        latest: What the service said last, or None.
        trouble: Why the last poll brought nothing, or None.
        error: Why waiting ended without an end of the task, or None.
        changed: Set and replaced with every answer.
        ended: Set when the task, or waiting for it, is over.
        waiters: How many wait for the end.
        listeners: Who reads the updates.
    """

    task_id: str
    since: float
    is_real: bool = True
    polls: int = 0
    latest: TaskUpdate | None = None
    trouble: PPInfraError | None = None
    error: PPInfraError | None = None
    changed: asyncio.Event = field(factory=asyncio.Event)
    ended: asyncio.Event = field(factory=asyncio.Event)
    waiters: int = 0
    _listeners: WeakSet[object] | None = field(default=None, init=False)

    @property
    def listeners(self) -> WeakSet[object]:
        if self._listeners is None:
            # Weak: an iterator that was dropped in the middle must not keep its task waiting.
            self._listeners = WeakSet()
        return self._listeners

    @property
    def is_wanted(self) -> bool:
        return self.waiters > 0 or bool(self._listeners)

    def notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def end(self, error: PPInfraError | None = None) -> None:
        self.error = error
        self.ended.set()
        self.notify()


class Poller:
    """One loop, one schedule, all waiting tasks of one client."""

    def __init__(
        self,
        transport: Transport,
        background: Background,
        *,
        polling: Polling,
        draw: Callable[[], float],
        emit: Callable[[Event], None],
    ) -> None:
        self._transport = transport
        self._background = background
        self._draw = draw
        self._emit = emit
        self._schedule = Schedule(polling)
        self._watched: dict[str, Watched] = {}
        self._woken = asyncio.Event()
        self._wakes_at = float("-inf")
        self._running = False

    def __len__(self) -> int:
        return len(self._watched)

    async def wait(self, task_id: str) -> Watched:
        """Wait until the service says how a task ended.

        Raises:
            TaskTimeoutError: when a deadline of ``Polling`` passed.
            PPInfraError: when the service will not tell (wrong key, unknown task, …).
        """
        return await self.until_ended(await self.watch(task_id))

    async def until_ended(self, watched: Watched) -> Watched:
        """Do the same for a task that is watched already."""
        watched.waiters += 1
        try:
            await self._background.wait(watched.ended)
        finally:
            watched.waiters -= 1
            self.release(watched)
        if watched.error is not None:
            # Each waiter gets its own: a traceback belongs to one raise.
            raise copy.copy(watched.error)
        return watched

    async def watch(
        self,
        task_id: str,
        *,
        is_real: bool = True,
        work: Work | None = None,
        submitted_at: float | None = None,
    ) -> Watched:
        """Return the task's entry, beginning to ask about it if nobody does yet.

        Args:
            task_id: The service's id.
            is_real: False for an id that somebody typed: there may be no such task.
            work: What kind of work it is, if that is known.
            submitted_at: When we submitted it, on the loop's clock; None for one that is older.

        Raises:
            TaskTimeoutError: when the client is closing.
        """
        if self._background.closed:
            raise client_closed(task_id, is_real=is_real)
        await self._background.start()
        if not self._running:
            self._running = True
            self._background.spawn(self._run)
        if task_id not in self._watched:
            now = _now()
            self._watched[task_id] = Watched(task_id, since=now, is_real=is_real)
            self._schedule.watch(task_id, now, self._draw(), work=work, submitted_at=submitted_at)
            self._wake_if_sooner()
        watched = self._watched[task_id]
        watched.is_real = watched.is_real or is_real
        return watched

    def release(self, watched: Watched) -> None:
        """Stop asking when nobody wants to know any more."""
        if not watched.is_wanted and self._watched.get(watched.task_id) is watched:
            del self._watched[watched.task_id]
            self._schedule.forget(watched.task_id)

    def hint(self, task_id: str) -> None:
        """Ask about *task_id* at once: somebody says it is done."""
        self._schedule.hint(task_id, _now())
        self._wake_if_sooner()

    def close(self) -> None:
        """End all waiting: the client is closing."""
        for watched in list(self._watched.values()):
            self._end(watched, client_closed(watched.task_id, is_real=watched.is_real))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            self._do_what_is_due()
            wake_at = self._schedule.wake_at()
            self._wakes_at = float("inf") if wake_at is None else wake_at
            alarm = None if wake_at is None else loop.call_at(wake_at, self._woken.set)
            try:
                await self._woken.wait()
            finally:
                if alarm is not None:
                    alarm.cancel()

    def _wake_if_sooner(self) -> None:
        """Wake the loop up when the schedule has something for an earlier time than it knows of."""
        wake_at = self._schedule.wake_at()
        if wake_at is not None and wake_at < self._wakes_at:
            self._woken.set()

    def _do_what_is_due(self) -> None:
        while True:
            match self._schedule.take(_now()):
                case None:
                    return
                case Ask(task_id):
                    watched = self._watched[task_id]
                    if watched.is_wanted:
                        self._background.spawn(self._ask, watched)
                    else:
                        self._schedule.returned()
                        self.release(watched)
                case Expire(task_id, waited):
                    self._expire(self._watched[task_id], waited)

    async def _ask(self, watched: Watched) -> None:
        task_id = watched.task_id
        watched.polls += 1
        try:
            reply = await self._transport.send(wire.task_result_call(task_id))
            update = wire.read_update(reply, task_id)
        except TransportFailure as failure:
            error = ServiceError(
                f"The status of the task could not be read: {failure.what}.",
                task_id=task_id,
                billed="yes",
                retryable=True,
            )
            error.__cause__ = failure
            self._failed(watched, error)
        except PPInfraError as error:
            self._failed(watched, error)
        else:
            self._answered(watched, update)
        finally:
            # The end of a task leaves less to do, unless the next one waited for its place.
            if self._schedule.returned() or not watched.ended.is_set():
                self._wake_if_sooner()

    def _answered(self, watched: Watched, update: TaskUpdate) -> None:
        watched.latest, watched.trouble, watched.is_real = update, None, True
        self._emit(TaskPolled(update=update))
        # A late answer to those who waited before says nothing about what somebody waits for now.
        is_current = self._watched.get(watched.task_id) is watched
        if update.status.is_final:
            if is_current:
                self._schedule.ended(watched.task_id, _now())
            self._end(watched, None)
            return
        if is_current:
            self._schedule.answered(
                watched.task_id,
                update.status,
                _now(),
                self._draw(),
                eta=update.eta,
                progress_percent=update.progress_percent,
            )
        watched.notify()

    def _failed(self, watched: Watched, error: PPInfraError) -> None:
        now = _now()
        if error.billed == "yes" and not watched.is_real:
            error.billed = "unknown"
        watched.trouble = error
        if not self._schedule.is_transient(watched.task_id, error, now):
            self._end(watched, error)
            return
        self._emit(PollFailed(task_id=watched.task_id, error=error))
        retry_after = error.retry_after or 0.0 if isinstance(error, RateLimitedError) else None
        self._schedule.failed(watched.task_id, now, self._draw(), retry_after)

    def _expire(self, watched: Watched, waited: float) -> None:
        self._end(
            watched,
            TaskTimeoutError(
                f"The task was not done after {round(waited, 1):g} s (last: {_last_word(watched)}). "
                f"{goes_on(is_real=watched.is_real)}; await the error's .task, or attach to the id, "
                "to wait on.",
                task_id=watched.task_id,
            ),
        )

    def _end(self, watched: Watched, error: PPInfraError | None) -> None:
        if self._watched.get(watched.task_id) is watched:
            del self._watched[watched.task_id]
            self._schedule.forget(watched.task_id)
        if error is not None and error.billed == "yes" and not watched.is_real:
            error.billed = "unknown"
        watched.end(error)


def _now() -> float:
    return asyncio.get_running_loop().time()


def client_closed(task_id: str, *, is_real: bool = True) -> TaskTimeoutError:
    """Return what those are told who still wait when the client is closed."""
    return TaskTimeoutError(
        f"We stopped waiting because the client was closed. {goes_on(is_real=is_real)}; attach to "
        "its id with another client.",
        task_id=task_id,
        billed="yes" if is_real else "unknown",
    )


def goes_on(*, is_real: bool) -> str:
    """Return what becomes of a task that we no longer wait for, as the beginning of a sentence."""
    if is_real:
        return "The task goes on and is billed"
    return "If the service has such a task, it goes on and is billed"


def _last_word(watched: Watched) -> str:
    if watched.trouble is not None:
        return watched.trouble.message.rstrip(".")
    if watched.latest is not None:
        return watched.latest.status_text
    return "no answer"
