"""One task per client that everything in the background belongs to; refuses to do work of its own.

A task group opened in ``__aenter__`` would belong to the task that opened it, which breaks in
fixtures and notebook cells, where opening and closing happen in different tasks. So one task of its
own, started on first use, watches over the jobs. They are asyncio's own tasks, because each submit,
poll and download is one, and a task of a task group costs several times as much to start. This is the
only room that calls ``create_task``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

import anyio

_PATIENCE = 0.5
"""Seconds after which a job that was cancelled and goes on is cancelled again."""


class Happening(Protocol):
    """An event, asyncio's or anyio's; asyncio's costs a tenth."""

    def set(self) -> None:
        """Wake up all who wait."""
        ...

    async def wait(self) -> object:
        """Wait until it is set."""
        ...


class Background:
    """Runs jobs until ``stop``; a crash of one of them reaches everybody who waits."""

    def __init__(self) -> None:
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._is_ready = False
        self._ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._jobs: set[asyncio.Task[None]] = set()
        # By waiter, not by event: several may wait for the same one.
        self._awaited: dict[object, Happening] = {}
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
        if not self._is_ready:
            await self.wait(self._ready)
            self.check()

    def spawn(
        self, job: Callable[..., Coroutine[Any, Any, None]], *args: object
    ) -> asyncio.Task[None]:
        """Start *job* in the background; ``start`` first. Not a coroutine, so nothing comes between.

        Returns:
            Its task, to be cancelled by who wants to; it is kept here, and so is its error.
        """
        assert self._is_ready  # noqa: S101  # started
        task = asyncio.create_task(job(*args))
        self._jobs.add(task)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            self._crash = self._crash or first_in_group(error)
            self._stopping.set()

    async def wait(self, event: Happening) -> None:
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
        self._is_ready = True
        self._ready.set()
        try:
            await self._stopping.wait()
            await self._end_jobs()
        except BaseException as error:
            # The event loop itself is being torn down.
            self._crash = self._crash or error
            raise
        finally:
            self._is_ready = False
            if self._crash is not None:
                for event in self._awaited.values():
                    event.set()

    async def _end_jobs(self) -> None:
        while self._jobs:
            # Those that were spawned just now begin first, so that each comes to its own end.
            await asyncio.sleep(0)
            jobs = set(self._jobs)
            for job in jobs:
                job.cancel()
            if jobs:
                # Some library may take the cancellation for its own.
                await asyncio.wait(jobs, timeout=_PATIENCE)


def first_in_group(error: BaseException) -> BaseException:
    """Return what really happened inside the groups that task groups wrap it in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
