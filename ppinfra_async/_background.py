"""One task per client that everything in the background belongs to; refuses to do work of its own.

A task group opened in ``__aenter__`` would belong to the task that opened it, which breaks in
fixtures and notebook cells, where opening and closing happen in different tasks. So the group lives
in one task of its own, started on first use. This is the only room that calls ``create_task``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import TaskGroup


class Background:
    """Runs jobs until ``stop``; a crash of one of them reaches everybody who waits."""

    def __init__(self) -> None:
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._group: TaskGroup | None = None
        self._ready = anyio.Event()
        self._stopping = anyio.Event()
        # By waiter, not by event: several may wait for the same one.
        self._awaited: dict[object, anyio.Event] = {}
        self._crash: BaseException | None = None

    def check(self) -> None:
        """Refuse use from another event loop, after ``stop`` and after a crash.

        Raises:
            RuntimeError: saying which.
        """
        self.check_loop()
        if self.closed:
            raise RuntimeError("This client is closed.")
        self.raise_crash()

    def check_loop(self) -> None:
        """Bind to the event loop of the first call, and refuse any other.

        Raises:
            RuntimeError: when this is another event loop.
        """
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if loop is not self._loop:
            raise RuntimeError(
                "This client belongs to another event loop. Make one client per event loop: "
                "create it inside the coroutine that asyncio.run() is given."
            )

    def raise_crash(self) -> None:
        """Raise what crashed in the background, if anything did.

        Raises:
            RuntimeError: with the crash as its cause.
        """
        if self._crash is not None:
            raise RuntimeError("The client crashed in the background.") from self._crash

    async def start(self) -> None:
        """Make sure that ``spawn`` can be used.

        Raises:
            RuntimeError: see ``check``.
        """
        self.check()
        if self._task is None:
            self._task = asyncio.create_task(self._host(), name="ppinfra_async")
        if self._group is None:
            await self.wait(self._ready)
            self.check()

    def spawn(self, job: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Start *job* in the background; ``start`` first. Not a coroutine, so nothing comes between."""
        assert self._group is not None  # noqa: S101  # started
        self._group.start_soon(job, *args)

    async def wait(self, event: anyio.Event) -> None:
        """Wait for *event*, or for a crash.

        Raises:
            RuntimeError: with the crash as its cause.
        """
        self.raise_crash()
        waiter = object()
        self._awaited[waiter] = event
        try:
            await event.wait()
        finally:
            del self._awaited[waiter]
        self.raise_crash()

    async def ended(self) -> None:
        """Wait until no job runs any more: for the caller of one that was cut off.

        Raises:
            RuntimeError: when it was a crash, with the crash as its cause.
        """
        if self._task is not None:
            await asyncio.wait([self._task])
        self.raise_crash()

    def soon(self, callback: Callable[[], object]) -> None:
        """Call *callback* on the event loop, from whichever thread; a closed loop never does."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(callback)

    async def stop(self) -> None:
        """Cancel all jobs and wait until they are gone; what crashed stays to be raised."""
        self.closed = True
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def outlast(self, ending: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run *ending* to its end, whatever happens to the caller meanwhile.

        A cancelled caller waits for it all the same; one that is cancelled again leaves it running.
        """
        # Held by more than this frame: the loop keeps no task alive by itself.
        self._ending = task = asyncio.create_task(ending(), name="ppinfra_async ending")
        # anyio cancels again and again what is not shielded.
        with anyio.CancelScope(shield=True):
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                await asyncio.wait([task])
                raise

    async def _host(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                self._ready.set()
                await self._stopping.wait()
                group.cancel_scope.cancel()
        except BaseException as error:
            self._crash = first_in_group(error)
            for event in self._awaited.values():
                event.set()
            if not isinstance(error, Exception):
                # The event loop itself is being torn down.
                raise


def first_in_group(error: BaseException) -> BaseException:
    """Return what really happened inside the groups that task groups wrap it in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
