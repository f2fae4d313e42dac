"""Runs a stream of jobs with a fixed number of workers; refuses to make a task per job.

One feeder pulls the caller's items, so that an async iterator of theirs is always resumed in the same
task, and only when there is room. Everything lives in one block in the client's background, which
ends with the ``async with`` of the caller.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream

from ppinfra_async._job_tools import JobTools
from ppinfra_async._sansio.flow import Flow, bytes_expected
from ppinfra_async._sansio.stops import Stops, unsent_because_of
from ppinfra_async.errors import (
    InsufficientBalanceError,
    InvalidKeyError,
    NotSentError,
    PPInfraError,
    SubmitOutcomeUnknownError,
)
from ppinfra_async.requests import Request
from ppinfra_async.results import Job, Outcome, TaskResult

Items = Iterable[Request | Job] | AsyncIterable[Request | Job]

AT_ONCE = 64
"""Jobs in flight where nobody says how many."""


class OutcomeIterator:
    """Outcomes of many jobs; an async context manager and an iterator. See ``Client.map``."""

    def __init__(self, tools: JobTools, items: Items, flow: Flow, *, decode: bool) -> None:
        self._tools = tools
        self._items = _as_async(items)
        self._flow = flow
        self._decode = decode
        self._stops = Stops()
        self._scope = anyio.CancelScope()
        self._pulling = anyio.CancelScope()
        self._entered = False
        self._over = False
        self._ended = anyio.Event()
        self._changed = anyio.Event()
        self._failure: BaseException | None = None
        self._outcomes: dict[int, tuple[Outcome, Callable[[], None]]] = {}
        self._idle = 0

    # --- for the caller ---

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("A map is entered once: call client.map() again.")
        await self._tools.background.start()
        self._entered = True
        self._tools.background.spawn(self._run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scope.cancel()
        # Shielded from scopes of anyio's: nothing of the map outlives its block. Every worker ends
        # within `cancel_grace`.
        with anyio.CancelScope(shield=True):
            if self._tools.background.closed:
                await self._tools.background.ended()
            else:
                await self._ended.wait()
        for outcome, _ in self._outcomes.values():
            self.take_back(outcome)
        self._outcomes.clear()

    def objection(self, request: Request) -> PPInfraError | None:
        """Return why a request of this map is not sent any more, or None; see ``Owner``."""
        return self._stops.reason(request)

    def take_back(self, outcome: Outcome) -> None:
        """Keep what an outcome that nobody will see says of money."""
        if isinstance(outcome.error, SubmitOutcomeUnknownError):
            self._tools.report_lost(outcome.error)
        self._set_aside(outcome)

    def _set_aside(self, outcome: Outcome) -> Callable[[], None]:
        """Keep the task of an outcome that nobody has taken yet; return what claims it."""
        if outcome.task_id is None:
            return _nothing_to_claim
        return self._tools.set_aside(self._tools.handle(outcome.task_id, outcome.request))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        if self._scope.cancel_called:
            raise RuntimeError("The block of this map has ended.")
        if not self._entered:
            raise RuntimeError("Open it first: `async with client.map(…) as outcomes:`.")
        while (index := self._flow.take()) is None:
            if self._over:
                self._raise_end()
            await self._tools.background.wait(self._changed)
        outcome, hand_over = self._outcomes.pop(index)
        hand_over()
        self._notify()
        return outcome

    def _raise_end(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        raise StopAsyncIteration

    # --- in the background ---

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _run(self) -> None:
        cut_short: BaseException | None = RuntimeError("This client is closed.")
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    with self._pulling:
                        await self._feed(group)
                # Each raise has its own: this one is in an outcome, too.
                cut_short = copy.copy(self._stops.doom)
            if self._scope.cancelled_caught:
                cut_short = RuntimeError("The block of this map has ended.")
        finally:
            self._over = True
            self._failure = self._failure or cut_short
            self._ended.set()
            self._notify()

    async def _feed(self, group: TaskGroup) -> None:
        send, receive = anyio.create_memory_object_stream[tuple[int, Any]](self._flow.max_in_flight)
        with send, receive:
            while True:
                while not self._flow.may_pull:
                    await self._changed.wait()
                try:
                    item = await self._items.__anext__()
                except StopAsyncIteration:
                    return
                except Exception as error:  # of the caller's own iterator: theirs to see
                    self._failure = error
                    return
                send.send_nowait((self._flow.pull(), item))
                self._hire(group, receive)
                await checkpoint()

    def _hire(self, group: TaskGroup, receive: MemoryObjectReceiveStream[tuple[int, Any]]) -> None:
        """Start a worker for the item just sent, unless one is waiting for it."""
        if self._idle > 0:
            self._idle -= 1
        else:
            group.start_soon(self._work, receive.clone())

    async def _work(self, receive: MemoryObjectReceiveStream[tuple[int, Any]]) -> None:
        with receive:
            async for index, item in receive:
                await self._one(index, item)
                self._idle += 1

    async def _one(self, index: int, item: Any) -> None:
        job = item if isinstance(item, Job) else Job(item)
        result, error = None, None
        try:
            result = await self._perform(index, job.request)
        except PPInfraError as failed:
            error = failed
            self._note(failed, job.request)
        except Exception as failed:  # a closed client, a crash: it is for the reader
            self._failure = self._failure or failed
            self._pulling.cancel()
        outcome = Outcome(index=index, request=job.request, key=job.key, error=error, result=result)
        if result is None:
            self._flow.give_up(index)
        if result is not None or error is not None:
            self._outcomes[index] = outcome, self._set_aside(outcome)
            self._flow.ready(index)
        self._notify()

    async def _perform(self, index: int, request: Request) -> TaskResult:
        if reason := self._stops.reason(request):
            raise reason
        try:
            task = await self._tools.submit(request, owner=self)
        except NotSentError as error:
            raise self._stops.reason(request) or error from None
        links = await task._until_done()  # noqa: SLF001  # ours, between the submit and the pictures
        await self._hold(index, task.request, links)
        result = await task._result_within(None, decode=self._decode)  # noqa: SLF001  # see above
        self._flow.correct(index, _bytes_of(result, decode=self._decode))
        return result

    async def _hold(self, index: int, request: Request | None, links: int) -> None:
        """Wait until the pictures of a job may be held beside the others."""
        size = bytes_expected(*_size_of(request), links, decode=self._decode)
        self._flow.want(index)
        while not self._flow.hold(index, size):
            await self._changed.wait()

    def _note(self, error: PPInfraError, request: object) -> None:
        """Stop what would only get the same error; what may be paid goes on."""
        if self._stops.note(error, request):
            self._tools.withdraw(self)
            if self._stops.doom is not None:
                self._pulling.cancel()


def _nothing_to_claim() -> None:
    """Stand for a claim where there is no task."""


def _as_async(items: Items) -> AsyncIterator[Any]:
    if isinstance(items, AsyncIterable):
        return aiter(items)
    return _Stepping(iter(items))


class _Stepping:
    """A plain iterator as an async one; a plain object, which needs no closing."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        for item in self._items:
            return item
        raise StopAsyncIteration


def _size_of(request: Request | None) -> tuple[int, int]:
    """Return the output size as it was sent; the largest there is where nobody said."""
    width, height = getattr(request, "width", None), getattr(request, "height", None)
    return width or 2048, height or 2048


def _bytes_of(result: TaskResult, *, decode: bool) -> int:
    return sum(
        len(image.data) + (image.width * image.height * 4 if decode else 0)
        for image in result.images
    )


def open_map(
    tools: JobTools, requests: Items, *, max_in_flight: int, ordered: bool, decode: bool
) -> OutcomeIterator:
    """Return a stream that is to be entered; see ``Client.map``.

    Raises:
        ValueError: when *max_in_flight* is not a whole number from 1.
        TypeError: when *requests* is a single request, or cannot be iterated over.
    """
    given: object = max_in_flight
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise ValueError(f"max_in_flight must be a whole number from 1, got {given!r}.")
    if isinstance(requests, Request) or not isinstance(requests, Iterable | AsyncIterable):
        raise TypeError(
            "map takes an iterable or async iterable of requests; for one request there is generate."
        )
    return OutcomeIterator(tools, requests, Flow(max_in_flight, ordered=ordered), decode=decode)


async def run_all(stream: OutcomeIterator, jobs: list[Job]) -> list[Outcome]:
    """Run *stream* over *jobs* to its end; return the outcomes in input order.

    When that is cut short, what was done already is taken back by the stream.
    """
    outcomes: dict[int, Outcome] = {}
    doom: PPInfraError | None = None
    try:
        async with stream:
            try:
                async for outcome in stream:
                    outcomes[outcome.index] = outcome
            except (InvalidKeyError, InsufficientBalanceError) as error:
                doom = error
    except BaseException:
        for outcome in outcomes.values():
            stream.take_back(outcome)
        raise
    for index in range(len(outcomes), len(jobs)):
        assert doom is not None  # noqa: S101  # only that leaves jobs unsent
        job = jobs[index]
        outcomes[index] = Outcome(
            index=index, request=job.request, key=job.key, error=unsent_because_of(doom)
        )
    return [outcomes[index] for index in range(len(jobs))]
