"""The handle of one task at the service; refuses to keep anything alive that nobody waits for.

Its iterators are plain objects. An async generator would have to be closed by hand to stop the work
behind it; these can simply be dropped.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Generator
from typing import Any

import anyio
from attrs import frozen

from ppinfra_async._background import Background
from ppinfra_async._delivery import Arrival, Arrivals, Delivery, Final
from ppinfra_async._poller import Poller, Watched, goes_on
from ppinfra_async._sansio.experience import Work
from ppinfra_async.errors import (
    IncompleteResultError,
    PPInfraError,
    TaskFailedError,
    TaskNotFoundError,
    TaskTimeoutError,
)
from ppinfra_async.events import Event, ResultDelivered
from ppinfra_async.requests import Request
from ppinfra_async.results import GeneratedImage, TaskResult, TaskStatus, TaskUpdate

_DELIVERED = (TaskFailedError, TaskNotFoundError, IncompleteResultError)


@frozen(kw_only=True)
class TaskTools:
    """What a handle needs of its client."""

    background: Background
    poller: Poller
    delivery: Delivery
    emit: Callable[[Event], None]
    claim: Callable[[str], None]
    keep: Callable[[Task], None]


class Task:
    """A task at the service: ``await`` it, iterate over its images, or follow its updates.

    Made by ``client.submit`` and ``client.attach``. The service has no way to cancel a task: to stop
    waiting does not stop it, and it is billed.

    Attributes:
        id: The service's task id. With it, any client with the same key can attach.
        request: What was asked, or None for an attached task.
    """

    def __init__(
        self,
        task_id: str,
        request: Request | None,
        tools: TaskTools,
        submitted_at: float | None = None,
    ) -> None:
        self.id = task_id
        self.request = request
        self._tools = tools
        self._submitted_at = submitted_at
        self._watched: Watched | None = None
        self._final: Final | None = None
        self._result: TaskResult | None = None
        self._downloading = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Task({self.id!r})"

    def __await__(self) -> Generator[Any, None, TaskResult]:
        return self.result().__await__()

    async def result(self, *, timeout: float | None = None, decode: bool = True) -> TaskResult:
        """Wait for the task, download and verify its images, and decode them unless told not to.

        Args:
            timeout: Seconds; None waits up to the deadlines of ``Polling``, counted from now.
            decode: False leaves out decoding; ``image.data`` is verified, ``image.pil`` is not there.

        Raises:
            TaskTimeoutError: the task goes on; ``error.task`` is this handle.
            TaskFailedError: the service gave up, or succeeded without any image.
            TaskNotFoundError: the service does not know the id.
            IncompleteResultError: a listed image could not be had; ``error.result`` has the others.
            PPInfraError: the service will not tell, for example because of the key.
        """
        self._tools.background.check()
        return await self._result_within(timeout, decode=decode)

    async def _result_within(self, timeout: float | None, *, decode: bool) -> TaskResult:
        """Do the same for a caller who was let in before the client was closed."""
        if timeout is None:
            return await self._finish(decode=decode)
        with anyio.CancelScope(deadline=anyio.current_time() + timeout) as waiting:
            return await self._finish(decode=decode)
        assert waiting.cancelled_caught  # noqa: S101  # the only way here
        heard_of = self._final is not None or (self._watched is not None and self._watched.is_real)
        is_real = self.request is not None or heard_of
        raise TaskTimeoutError(
            f"The timeout passed before the task was done. {goes_on(is_real=is_real)}; await the "
            "error's .task to wait on.",
            task_id=self.id,
            billed="yes" if is_real else "unknown",
            task=self,
        )

    def images(self, *, decode: bool = True) -> ImageIterator:
        """Iterate over the images, each as soon as it is verified (and decoded unless told not to).

        They come in the order in which they are ready; ``image.index`` is their place. When a listed
        image could not be had, the iteration ends with ``IncompleteResultError`` after the others.
        """
        return self._images_but(frozenset(), decode=decode)

    def _images_but(self, had: frozenset[int], *, decode: bool) -> ImageIterator:
        """Iterate over the images without those that somebody has already, by their index."""
        return ImageIterator(self, self._tools, decode=decode, had=had)

    def updates(self) -> UpdateIterator:
        """Iterate over what the service says about the task, up to and including its end.

        A slow reader misses updates in between, never the last one. A failed task is an update with
        its reason, not an exception.
        """
        return UpdateIterator(self, self._tools)

    async def _finish(self, *, decode: bool) -> TaskResult:
        try:
            result = self._result or await self._delivered(decode=decode)
            if decode:
                for image in result.images:
                    await image.decode()
        except PPInfraError as error:
            self._note(error)
            raise
        return result

    async def _until_done(self) -> int:
        """Wait until the service is done; return how many pictures it lists."""
        try:
            return len((await self._ended()).update.links)
        except PPInfraError as error:
            self._note(error)
            raise

    def _final_update(self) -> TaskUpdate:
        """Return what the service said at the end; only after it."""
        assert self._final is not None  # noqa: S101  # see above
        return self._final.update

    async def _delivered(self, *, decode: bool) -> TaskResult:
        final = await self._ended()
        # Several may wait; one of them gets the pictures for all.
        async with self._downloading:
            if self._result is None:
                self._deliver(final, await self._downloaded(final, decode=decode))
        assert self._result is not None  # noqa: S101  # delivered above
        return self._result

    async def _ended(self) -> Final:
        """Wait for the end and hold it against success; ask the service only once."""
        if self._final is None:
            self._tools.keep(self)
            self._note_end(await self._tools.delivery.final(await self._watch()))
        assert self._final is not None  # noqa: S101  # noted above
        self._final.check()
        return self._final

    async def _watch(self) -> Watched:
        self._watched = await self._tools.poller.watch(
            self.id,
            is_real=self.request is not None,
            work=None if self.request is None else Work.of(self.request),
            submitted_at=self._submitted_at,
        )
        return self._watched

    async def _downloaded(self, final: Final, *, decode: bool) -> list[Arrival]:
        arrivals = await self._arrivals(final, decode=decode)
        try:
            return [await arrivals.next() for _ in range(arrivals.count)]
        finally:
            arrivals.drop()

    async def _arrivals(
        self, final: Final, *, decode: bool, had: frozenset[int] = frozenset()
    ) -> Arrivals:
        known = self._result.images if self._result else ()
        return await self._tools.delivery.start(final, decode=decode, known=known, had=had)

    def _deliver(self, final: Final, delivered: list[Arrival]) -> None:
        asked = self.request.images_asked if self.request else None
        result = final.result(delivered, asked)
        if self._result is None:
            self._result = result
            self._tools.claim(self.id)
            self._tools.emit(ResultDelivered(result=result))

    def _note(self, error: PPInfraError) -> None:
        """Fill in what only the handle knows, and note an end that its waiter is told now."""
        error.task_id = self.id
        if isinstance(error, TaskTimeoutError):
            error.task = self
        if isinstance(error, _DELIVERED):
            self._tools.claim(self.id)

    def _note_end(self, final: Final) -> None:
        self._final = self._final or final


class ImageIterator:
    """Images of one task, each as soon as it is ready. See ``Task.images``."""

    def __init__(
        self, task: Task, tools: TaskTools, *, decode: bool, had: frozenset[int] = frozenset()
    ) -> None:
        self._task = task
        self._tools = tools
        self._decode = decode
        self._had = had
        self._final: Final | None = None
        self._arrivals: Arrivals | None = None
        self._delivered: list[Arrival] = []

    def __aiter__(self) -> ImageIterator:
        return self

    async def __anext__(self) -> GeneratedImage:
        try:
            return await self._next()
        except PPInfraError as error:
            self._task._note(error)  # noqa: SLF001  # the handle that made this iterator
            raise

    async def _next(self) -> GeneratedImage:
        if self._final is None or self._arrivals is None:
            self._tools.background.check()
            self._final = await self._task._ended()  # noqa: SLF001  # see above
            self._arrivals = await self._task._arrivals(  # noqa: SLF001  # see above
                self._final, decode=self._decode, had=self._had
            )
        while len(self._delivered) < self._arrivals.count:
            arrival = await self._arrivals.next()
            self._delivered.append(arrival)
            if isinstance(arrival, GeneratedImage):
                return arrival
        self._arrivals.drop()
        self._task._deliver(self._final, self._delivered)  # noqa: SLF001  # see above
        raise StopAsyncIteration

    def __del__(self) -> None:
        if self._arrivals is not None:
            self._arrivals.drop()


class UpdateIterator:
    """What the service says about one task. See ``Task.updates``."""

    def __init__(self, task: Task, tools: TaskTools) -> None:
        self._task = task
        self._tools = tools
        self._watched: Watched | None = None
        self._last: TaskUpdate | None = None

    def __aiter__(self) -> UpdateIterator:
        return self

    async def __anext__(self) -> TaskUpdate:
        if self._last is not None and self._last.status.is_final:
            raise StopAsyncIteration
        self._last = await self._following()
        if self._last.status in {TaskStatus.FAILED, TaskStatus.CANCELED}:
            # Nothing more can come of it.
            self._tools.claim(self._task.id)
        return self._last

    async def _following(self) -> TaskUpdate:
        if self._task._final is not None:  # noqa: SLF001  # the handle that made this iterator
            return self._task._final.update  # noqa: SLF001  # see above
        watched = await self._listen()
        while watched.latest is None or watched.latest is self._last:
            if watched.error is not None:
                # Each reader gets its own: a traceback belongs to one raise.
                error = copy.copy(watched.error)
                self._task._note(error)  # noqa: SLF001  # see above
                raise error
            await self._tools.background.wait(watched.changed)
        if watched.latest.status.is_final:
            self._task._note_end(  # noqa: SLF001  # see above
                Final.of(watched, anyio.current_time())
            )
        return watched.latest

    async def _listen(self) -> Watched:
        if self._watched is None:
            self._tools.background.check()
            self._tools.keep(self._task)
            self._watched = await self._task._watch()  # noqa: SLF001  # see above
            self._watched.listeners.add(self)
        return self._watched
