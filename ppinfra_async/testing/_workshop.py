"""Has pictures painted in threads, each once however many wait for it; chooses no style."""

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Callable

import anyio
from anyio import to_thread
from attrs import define, field

from ppinfra_async.testing._easel import Commission

# Repeated downloads are common, large memories are not; bytes.
_KEPT = 32 * 1024 * 1024


def _paint(commission: Commission, stopped: Callable[[], bool]) -> bytes:
    # Load tests never need Pillow.
    from ppinfra_async.testing._painter import paint  # noqa: PLC0415

    return paint(commission, stopped)


@define(eq=False)
class Workshop:
    """As many painters as cores, apart from the threads of the application under test.

    `kept_bytes` bounds what finished pictures take up, but for the last one.
    """

    kept_bytes: int = _KEPT
    _painters: anyio.CapacityLimiter = field(init=False)
    _stopped: threading.Event = field(factory=threading.Event, init=False)
    _in_work: dict[str, asyncio.Task[bytes]] = field(factory=dict, init=False)
    _done: OrderedDict[str, bytes] = field(factory=OrderedDict, init=False)

    def __attrs_post_init__(self) -> None:
        self._painters = anyio.CapacityLimiter(os.cpu_count() or 1)

    async def picture(self, key: str, commission: Commission) -> bytes:
        """Give the picture that *key* stands for; *commission* is looked at if it must be painted."""
        if key in self._done:
            self._done.move_to_end(key)
            return self._done[key]
        task = self._in_work.get(key)
        if task is None:
            task = self._in_work[key] = asyncio.create_task(self._begin(key, commission))
            # Also where it is cancelled before its first step.
            task.add_done_callback(lambda _: self._in_work.pop(key, None))
        # Others may wait for the same painting.
        return await asyncio.shield(task)

    async def _begin(self, key: str, commission: Commission) -> bytes:
        painted = await to_thread.run_sync(
            _paint,
            commission,
            self._stopped.is_set,
            abandon_on_cancel=True,
            limiter=self._painters,
        )
        self._keep(key, painted)
        return painted

    def _keep(self, key: str, painted: bytes) -> None:
        self._done[key] = painted
        size = sum(map(len, self._done.values()))
        while size > self.kept_bytes and len(self._done) > 1:
            size -= len(self._done.popitem(last=False)[1])

    def cut(self) -> None:
        """Let all painters drop their brushes; their threads end within a step."""
        self._stopped.set()
        self._stopped = threading.Event()
        for task in self._in_work.values():
            task.cancel()

    async def stop(self) -> None:
        """Cut, and wait until nobody waits for a picture."""
        self.cut()
        await asyncio.gather(*self._in_work.values(), return_exceptions=True)
