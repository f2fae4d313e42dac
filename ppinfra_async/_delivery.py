"""From "the service says it is done" to pictures in the caller's hands; refuses to lose count.

Success is exact: what arrived, what failed and what is missing add up to what was asked for.
"""

from __future__ import annotations

import asyncio
from collections import deque

import anyio
from attrs import define, evolve, field

from ppinfra_async._background import Background
from ppinfra_async._images import Images
from ppinfra_async._poller import Poller, Watched, client_closed
from ppinfra_async.errors import (
    ImageError,
    IncompleteResultError,
    PPInfraError,
    ResultExpiredError,
    TaskFailedError,
)
from ppinfra_async.results import (
    GeneratedImage,
    ImageLink,
    TaskResult,
    TaskStatus,
    TaskUpdate,
    Timing,
)

Arrival = GeneratedImage | ImageError


@define(eq=False)
class Final:
    """How a task ended, and what waiting for it took.

    Attributes:
        update: The service's last answer.
        timing: With our side of it filled in.
    """

    update: TaskUpdate
    timing: Timing
    _refresh: asyncio.Lock = field(factory=asyncio.Lock)

    @classmethod
    def of(cls, watched: Watched, now: float) -> Final:
        """Make it from a watched task that has ended."""
        assert watched.latest is not None  # noqa: S101  # it ended with an answer
        timing = evolve(watched.latest.timing, waited=now - watched.since, polls=watched.polls)
        return cls(watched.latest, timing)

    def check(self) -> None:
        """Hold the end against what counts as success.

        Raises:
            TaskFailedError: when the service gave up, or lists no picture at all.
        """
        update = self.update
        if update.status is TaskStatus.SUCCEED and update.links:
            return
        if update.status is TaskStatus.SUCCEED:
            message = "The service says that the task succeeded and lists no image."
        else:
            word = "canceled" if update.status is TaskStatus.CANCELED else "failed"
            why = update.reason or "the service gives no reason"
            message = f"The task {word}: {why}."
        raise TaskFailedError(message, task_id=update.task_id, reason=update.reason)

    def result(self, delivered: list[Arrival], asked: int | None) -> TaskResult:
        """Put everything together.

        Raises:
            IncompleteResultError: when a listed picture could not be had.
        """
        images = [item for item in delivered if isinstance(item, GeneratedImage)]
        failed = [item for item in delivered if isinstance(item, ImageError)]
        result = TaskResult(
            task_id=self.update.task_id,
            status=self.update.status,
            seed=self.update.seed,
            images=tuple(sorted(images, key=lambda image: image.index)),
            failed=tuple(sorted(failed, key=lambda error: error.index or 0)),
            missing=max(0, (asked or 0) - len(self.update.links)),
            timing=self.timing,
            raw=self.update.raw,
        )
        if result.failed:
            raise IncompleteResultError(
                f"{len(result.failed)} of {len(self.update.links)} images could not be had "
                f"({result.failed[0].message.rstrip('.')}). The error's .result holds the others; "
                "attach to the task to try again.",
                task_id=result.task_id,
                result=result,
            )
        return result


@define(eq=False)
class Arrivals:
    """The pictures of one task and their errors, in the order in which they are ready.

    Attributes:
        task_id: The task.
        count: How many there will be.
    """

    task_id: str
    count: int
    _background: Background
    _job: asyncio.Task[None] | None = None
    _ready: deque[Arrival] = field(factory=deque)
    _changed: asyncio.Event = field(factory=asyncio.Event)
    _put: int = 0
    _over: bool = False

    async def next(self) -> Arrival:
        """Wait for the next one; for all of them, call it ``count`` times.

        Raises:
            TaskTimeoutError: when the client was closed before it was there.
            RuntimeError: when the client had crashed.
        """
        while not self._ready:
            if self._over:
                await self._background.ended()
                raise client_closed(self.task_id)
            self._changed.clear()
            await self._background.wait(self._changed)
        return self._ready.popleft()

    def drop(self) -> None:
        """Stop fetching what has not arrived. May be called from any thread."""
        if self._job is not None and self._put < self.count:
            self._background.soon(self._job.cancel)

    def belong_to(self, job: asyncio.Task[None]) -> None:
        """Note the job that fetches; when it ends, nothing more will come."""
        self._job = job
        job.add_done_callback(self._end)

    def _end(self, _: object) -> None:
        self._over = True
        self._changed.set()

    def put(self, arrival: Arrival) -> None:
        """Hand over one; never waits for who reads."""
        self._put += 1
        self._ready.append(arrival)
        self._changed.set()


class Delivery:
    """Gets the pictures of finished tasks in the background, all of a task at the same time."""

    def __init__(self, images: Images, poller: Poller, background: Background) -> None:
        self._images = images
        self._poller = poller
        self._background = background

    async def final(self, watched: Watched) -> Final:
        """Wait for the end of a task.

        Raises:
            PPInfraError: see ``Poller.wait``.
        """
        return Final.of(await self._poller.until_ended(watched), asyncio.get_running_loop().time())

    async def start(
        self,
        final: Final,
        *,
        decode: bool,
        known: tuple[GeneratedImage, ...] = (),
        had: frozenset[int] = frozenset(),
    ) -> Arrivals:
        """Begin to get the listed pictures.

        Args:
            final: How the task ended.
            decode: Whether they are decoded.
            known: All of them, when they are there already.
            had: Indexes of those that nobody wants.

        Raises:
            TaskTimeoutError: when the client is closing.
        """
        task_id = final.update.task_id
        wanted = [index for index in range(len(final.update.links)) if index not in had]
        if self._background.closed:
            raise client_closed(task_id)
        await self._background.start()
        arrivals = Arrivals(task_id, len(wanted), self._background)
        job = self._background.spawn(self._all, final, arrivals, decode, known, wanted)
        arrivals.belong_to(job)
        return arrivals

    async def _all(
        self,
        final: Final,
        arrivals: Arrivals,
        decode: bool,  # noqa: FBT001  # spawn takes no keywords
        known: tuple[GeneratedImage, ...],
        wanted: list[int],
    ) -> None:
        async def put(index: int) -> None:
            arrivals.put(await self._one(final, index, decode=decode, known=known))

        if len(wanted) == 1:
            await put(wanted[0])
            return
        async with anyio.create_task_group() as group:
            for index in wanted:
                group.start_soon(put, index)

    async def _one(
        self, final: Final, index: int, *, decode: bool, known: tuple[GeneratedImage, ...]
    ) -> Arrival:
        try:
            if known:
                if decode:
                    await known[index].decode()
                return known[index]
            return await self._fetched(final, index, decode=decode)
        except ImageError as error:
            error.task_id = final.update.task_id
            return error

    async def _fetched(self, final: Final, index: int, *, decode: bool) -> GeneratedImage:
        link = final.update.links[index]
        try:
            return await self._images.get(link, index, decode=decode)
        except ResultExpiredError:
            link = await self._fresh(final, index, link)
            return await self._images.get(link, index, decode=decode)

    async def _fresh(self, final: Final, index: int, expired: ImageLink) -> ImageLink:
        """Return the picture's address from a fresh reading of the result, read once for all."""
        async with final._refresh:  # noqa: SLF001  # the lock of this very object
            if final.update.links[index] is expired:
                try:
                    watched = await self._poller.wait(final.update.task_id)
                except PPInfraError as error:
                    if self._background.closed:
                        # Nothing is known of the picture: whoever waits is told of the closing, and
                        # the task stays unfinished. It ends this job, too.
                        await anyio.sleep_forever()
                    raise ResultExpiredError(
                        f"Image {index} is no longer served, and the result could not be read "
                        f"again ({error.message.rstrip('.')}).",
                        index=index,
                    ) from error
                latest = watched.latest
                # Positions are only the same where there are as many.
                if latest is not None and len(latest.links) == len(final.update.links):
                    final.update = latest
            return final.update.links[index]
