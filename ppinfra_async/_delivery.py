"""From "the service says it is done" to pictures in the caller's hands; refuses to lose count.

Success is exact: what arrived, what failed and what is missing add up to what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
from attrs import define, evolve, field

from ppinfra_async._images import Images
from ppinfra_async._poller import Poller, Watched
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

Put = Callable[[GeneratedImage | ImageError], None]


@define(eq=False)
class Final:
    """How a task ended, and what waiting for it took.

    Attributes:
        update: The service's last answer.
        timing: With our side of it filled in.
    """

    update: TaskUpdate
    timing: Timing
    _refresh: anyio.Lock = field(factory=anyio.Lock)

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

    def result(self, delivered: list[GeneratedImage | ImageError], asked: int | None) -> TaskResult:
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


class Delivery:
    """Gets the pictures of finished tasks, all of a task at the same time."""

    def __init__(self, images: Images, poller: Poller) -> None:
        self._images = images
        self._poller = poller

    async def final(self, task_id: str) -> Final:
        """Wait for the end of a task.

        Raises:
            PPInfraError: see ``Poller.wait``.
        """
        watched = await self._poller.wait(task_id)
        return Final.of(watched, anyio.current_time())

    async def all(self, final: Final, put: Put, *, decode: bool) -> None:
        """Get every listed picture and *put* it, or its error, as soon as it is there."""
        async with anyio.create_task_group() as group:
            for index, link in enumerate(final.update.links):
                group.start_soon(self._one, final, index, link, put, decode)

    async def _one(
        self,
        final: Final,
        index: int,
        link: ImageLink,
        put: Put,
        decode: bool,  # noqa: FBT001  # start_soon takes no keywords
    ) -> None:
        try:
            try:
                image = await self._images.get(link, index, decode=decode)
            except ResultExpiredError:
                link = await self._fresh(final, index, link)
                image = await self._images.get(link, index, decode=decode)
        except ImageError as error:
            error.task_id = final.update.task_id
            put(error)
        else:
            put(image)

    async def _fresh(self, final: Final, index: int, expired: ImageLink) -> ImageLink:
        """Return the picture's address from a fresh reading of the result, read once for all."""
        async with final._refresh:  # noqa: SLF001  # the lock of this very object
            if final.update.links[index] is expired:
                try:
                    watched = await self._poller.wait(final.update.task_id)
                except PPInfraError as error:
                    raise ResultExpiredError(
                        f"Image {index} is no longer served, and the result could not be read "
                        f"again ({error.message.rstrip('.')}).",
                        index=index,
                    ) from error
                if watched.latest is not None and len(watched.latest.links) > index:
                    final.update = watched.latest
            return final.update.links[index]
