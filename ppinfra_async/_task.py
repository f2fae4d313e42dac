"""The handle of one task at the service; refuses to keep anything alive that nobody waits for.

Its iterators are plain objects. An async generator would have to be closed by hand to stop the work
behind it; these can simply be dropped.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from attrs import define, frozen

from ppinfra_async._background import Background
from ppinfra_async._delivery import Delivery, Final
from ppinfra_async._poller import Poller, Watched
from ppinfra_async.errors import (
    ImageError,
    IncompleteResultError,
    TaskFailedError,
    TaskNotFoundError,
    TaskTimeoutError,
)
from ppinfra_async.events import Event, ResultDelivered
from ppinfra_async.requests import Request
from ppinfra_async.results import GeneratedImage, TaskResult, TaskUpdate

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

    def __init__(self, task_id: str, request: Request | None, tools: TaskTools) -> None:
        self.id = task_id
        self.request = request
        self._tools = tools
        self._final: Final | None = None
        self._result: TaskResult | None = None

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
        deadline = anyio.current_time() + (float("inf") if timeout is None else timeout)
        with anyio.CancelScope(deadline=deadline) as waiting:
            return await self._finish(decode=decode)
        assert waiting.cancelled_caught  # noqa: S101  # the only way here
        raise TaskTimeoutError(
            f"The task was not done within {timeout} s. It goes on and is billed; await the "
            "error's .task to wait on.",
            task_id=self.id,
            task=self,
        )

    def images(self, *, decode: bool = True) -> ImageIterator:
        """Iterate over the images, each as soon as it is verified (and decoded unless told not to).

        They come in the order in which they are ready; ``image.index`` is their place. When a listed
        image could not be had, the iteration ends with ``IncompleteResultError`` after the others.
        """
        return ImageIterator(self, self._tools, decode=decode)

    def updates(self) -> UpdateIterator:
        """Iterate over what the service says about the task, up to and including its end.

        A slow reader misses updates in between, never the last one. A failed task is an update with
        its reason, not an exception.
        """
        return UpdateIterator(self, self._tools)

    async def _finish(self, *, decode: bool) -> TaskResult:
        if self._result is None:
            try:
                final = await self._ended()
                delivered: list[GeneratedImage | ImageError] = []
                await self._tools.delivery.all(final, delivered.append, decode=decode)
                self._deliver(self._result_of(final, delivered))
            except _DELIVERED:
                self._tools.claim(self.id)
                raise
        assert self._result is not None  # noqa: S101  # delivered above
        if decode:
            for image in self._result.images:
                await image.decode()
        return self._result

    async def _ended(self) -> Final:
        """Wait for the end and hold it against success; ask the service only once."""
        if self._final is None:
            self._tools.keep(self)
            try:
                self._final = await self._tools.delivery.final(self.id)
            except TaskTimeoutError as error:
                error.task = self
                raise
        self._final.check()
        return self._final

    def _note_end(self, watched: Watched) -> None:
        self._final = self._final or Final.of(watched, anyio.current_time())

    def _result_of(self, final: Final, delivered: list[GeneratedImage | ImageError]) -> TaskResult:
        return final.result(delivered, self.request.images_asked if self.request else None)

    def _deliver(self, result: TaskResult) -> None:
        self._result = result
        self._tools.claim(self.id)
        self._tools.emit(ResultDelivered(result=result))


class ImageIterator:
    """Images of one task, each as soon as it is ready. See ``Task.images``."""

    def __init__(self, task: Task, tools: TaskTools, *, decode: bool) -> None:
        self._task = task
        self._tools = tools
        self._decode = decode
        self._final: Final | None = None
        self._receive: MemoryObjectReceiveStream[GeneratedImage | ImageError] | None = None
        self._delivered: list[GeneratedImage | ImageError] = []

    def __aiter__(self) -> ImageIterator:
        return self

    async def __anext__(self) -> GeneratedImage:
        try:
            return await self._next()
        except _DELIVERED:
            self._tools.claim(self._task.id)
            raise

    async def _next(self) -> GeneratedImage:
        if self._receive is None or self._final is None:
            self._final, self._receive = await self._begin()
        while len(self._delivered) < len(self._final.update.links):
            try:
                item = await self._receive.receive()
            except anyio.EndOfStream:
                raise TaskTimeoutError(
                    "The client was closed before all images were there; attach to the task with "
                    "another client.",
                    task_id=self._task.id,
                    task=self._task,
                ) from None
            self._delivered.append(item)
            if isinstance(item, GeneratedImage):
                return item
        self._receive.close()
        if self._task._result is None:  # noqa: SLF001  # the handle that made this iterator
            result = self._task._result_of(self._final, self._delivered)  # noqa: SLF001  # see above
            self._task._deliver(result)  # noqa: SLF001  # see above
        raise StopAsyncIteration

    async def _begin(
        self,
    ) -> tuple[Final, MemoryObjectReceiveStream[GeneratedImage | ImageError]]:
        self._tools.background.check()
        final = await self._task._ended()  # noqa: SLF001  # the handle that made this iterator
        # Room for all of them: the work behind a dropped iterator ends by itself.
        send, receive = anyio.create_memory_object_stream[GeneratedImage | ImageError](
            len(final.update.links)
        )
        await self._tools.background.start()
        self._tools.background.spawn(self._fetch, final, send)
        return final, receive

    async def _fetch(
        self, final: Final, send: MemoryObjectSendStream[GeneratedImage | ImageError]
    ) -> None:
        with send:
            await self._tools.delivery.all(final, _Putter(send), decode=self._decode)

    def __del__(self) -> None:
        if self._receive is not None:
            self._receive.close()


@define
class _Putter:
    """Puts into a stream that has room for everything, unless nobody reads it any more."""

    send: MemoryObjectSendStream[GeneratedImage | ImageError]

    def __call__(self, item: GeneratedImage | ImageError) -> None:
        try:
            self.send.send_nowait(item)
        except anyio.BrokenResourceError:
            return


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
        if self._task._final is not None:  # noqa: SLF001  # the handle that made this iterator
            self._last = self._task._final.update  # noqa: SLF001  # see above
            return self._last
        watched = await self._listen()
        while watched.latest is None or watched.latest is self._last:
            if watched.error is not None:
                raise self._stopped(watched)
            await self._tools.background.wait(watched.changed)
        self._last = watched.latest
        if self._last.status.is_final:
            self._task._note_end(watched)  # noqa: SLF001  # see above
        return self._last

    async def _listen(self) -> Watched:
        if self._watched is None:
            self._tools.keep(self._task)
            self._watched = await self._tools.poller.watch(self._task.id)
            self._watched.listeners.add(self)
        return self._watched

    def _stopped(self, watched: Watched) -> BaseException:
        error = copy.copy(watched.error)
        assert error is not None  # noqa: S101  # asked only then
        if isinstance(error, TaskTimeoutError):
            error.task = self._task
        return error
