"""Writes a submit's body piece by piece, the last byte apart; refuses to hold it as a whole.

Upload progress is what moves the deadline, because aiohttp has no write timeout.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Iterator
from types import coroutine

import aiohttp
import anyio
import pybase64
from aiohttp.abc import AbstractStreamWriter

from ppinfra_async._sansio.wire import BodyPlan, Upload
from ppinfra_async._threads import WorkerThreads
from ppinfra_async._transport.deadline import Deadline
from ppinfra_async._transport.protocol import CommitPoint
from ppinfra_async.options import Timeouts

# Read and encoded in one go by a worker thread; a multiple of 3, so that base64 needs no padding
# before the end. Smaller reads cost more in thread hops than they save in memory.
_READ = 768 * 1024
# Handed to the socket in one go; upload progress is seen in these steps.
_WRITE = 128 * 1024
# Pieces up to this length wait for the next ones: each write is a call of the operating system.
_GATHERED = 16 * 1024
# Turns of the event loop: what a look at the sockets finds is handled after what was ready before it,
# and wakes up who waits for an answer after that.
_LOOK_AGAIN = 3
# Before the last byte also a server in the same loop, as a simulator in a test, has had its turns.
_LAST_LOOK = 9
# How often buffers that are not empty yet are looked at, seconds.
_LOOK = 0.005


class Phase(Deadline):
    """What a submit is doing, with a deadline that moves whenever there is progress."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(seconds)
        self.what, self.seconds = what, seconds

    def enter(self, what: str, seconds: float) -> None:
        self.what, self.seconds = what, seconds
        self.progress()

    def progress(self) -> None:
        self.move(self.seconds)


class StreamedBody(aiohttp.Payload):
    """A request body that is read, encoded and written piece by piece, its last byte apart."""

    def __init__(
        self,
        plan: BodyPlan,
        commit: CommitPoint,
        phase: Phase,
        timeouts: Timeouts,
        readers: WorkerThreads,
    ) -> None:
        super().__init__(None, content_type="application/json")
        self._plan = plan
        self._size = plan.size
        self._commit = commit
        self._phase = phase
        self._timeouts = timeouts
        self._readers = readers
        self._answered = False
        self._gathered = b""
        self._connection: asyncio.WriteTransport | None = None

    def hold_back(self) -> None:
        """Write nothing more: an answer came before the commit piece was handed over."""
        self._answered = True
        self._commit.withdrawn = True

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Not available: the body exists only while it is sent."""
        del encoding, errors
        raise TypeError("the body of a submit is never held as a whole")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write everything; the commit piece only when all before it has left our buffers."""
        self._connection = getattr(writer, "transport", None)
        try:
            await self._write_up_to_commit(writer)
        except BaseException:
            # To close the connection would go on to send what is in its buffer, and would never end
            # with a server that does not read.
            if self._connection is not None:
                self._connection.abort()
            raise
        self._phase.enter("the service did not answer", self._timeouts.submit_reply)
        await writer.write(self._plan.commit)

    async def _write_up_to_commit(self, writer: AbstractStreamWriter) -> None:
        self._phase.enter("the server took no more of the request", self._timeouts.upload_stall)
        for piece in self._plan.pieces:
            if isinstance(piece, Upload):
                await self._write_upload(writer, piece)
            else:
                await self._gather(writer, piece)
        await self._write_gathered(writer)
        await self._until_handed_over()
        await self._commit.approach()
        await self._look_at_connection(_LAST_LOOK)
        self._commit.cross()

    async def _gather(self, writer: AbstractStreamWriter, text: bytes) -> None:
        """Write *text* after what was gathered, or gather it, too, while that is little."""
        if len(self._gathered) + len(text) > _GATHERED:
            await self._write_gathered(writer)
        if len(text) > _GATHERED:
            await self._write_text(writer, text)
        else:
            self._gathered += text

    async def _write_gathered(self, writer: AbstractStreamWriter) -> None:
        gathered, self._gathered = self._gathered, b""
        if gathered:
            await self._write_text(writer, gathered)

    async def _write_text(self, writer: AbstractStreamWriter, text: bytes) -> None:
        view = memoryview(text)
        for start in range(0, len(view), _WRITE):
            # Before the first one, too: a kept connection may have ended, and Python 3.12 begins to
            # write before the loop had a turn to notice that.
            await self._look_at_connection()
            await writer.write(view[start : start + _WRITE])
            self._phase.progress()

    async def _write_upload(self, writer: AbstractStreamWriter, upload: Upload) -> None:
        for start in range(0, upload.size, _READ):
            end = min(start + _READ, upload.size)
            if upload.data is None:
                encoded = await self._readers.run(_read_encoded, upload, start, end)
                self._phase.progress()
            else:
                encoded = pybase64.b64encode(memoryview(upload.data)[start:end])
            await self._gather(writer, encoded)

    async def _look_at_connection(self, turns: int = _LOOK_AGAIN) -> None:
        """Let the loop read what has arrived: an answer, or the end of the connection.

        Raises:
            aiohttp.ClientConnectionError: when the connection has ended.
        """
        await _let_others_run(turns)
        if self._answered:
            # What was answered is less than the request; the end of the response ends this task.
            await anyio.sleep_forever()
        self._check_connection()

    def _check_connection(self) -> None:
        if self._connection is None or self._connection.is_closing():
            raise aiohttp.ClientConnectionResetError("the connection was closed while sending")

    async def _until_handed_over(self) -> None:
        """Wait until the operating system has every byte, so that a dead peer is noticed unpaid."""
        left = self._waiting_bytes()
        while left:
            await anyio.sleep(_LOOK)
            left, before = self._waiting_bytes(), left
            if left < before:
                self._phase.progress()

    def _waiting_bytes(self) -> int:
        if self._connection is None or self._connection.is_closing():
            return 0
        return sum(layer.get_write_buffer_size() for layer in _layers(self._connection))


@coroutine
def _let_others_run(turns: int) -> Generator[None, None, None]:
    """Do the same as so many ``asyncio.sleep(0)``, which would be as many coroutines."""
    for _ in range(turns):
        yield


def _layers(transport: asyncio.WriteTransport | None) -> Iterator[asyncio.WriteTransport]:
    """Walk from a TLS transport down to the socket's; each has a buffer of its own.

    asyncio keeps them private. An event loop that hides them better only makes the answer to "was
    it sent?" less sharp: a few kilobytes may wait in a buffer unseen.
    """
    while transport is not None:
        yield transport
        transport = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)


class InputChangedError(Exception):
    """A picture file is no longer what it was when it was looked at."""


def _read_encoded(upload: Upload, start: int, end: int) -> bytes:
    """Read a part of an unchanged file; open it only for that.

    A file that stays open between the parts would belong to a thread that may still be reading when
    its submit is cancelled.
    """
    assert upload.path is not None  # noqa: S101  # an upload has bytes or a path
    try:
        # Path.open takes no opener.
        with open(upload.path, "rb", opener=_open_at_once) as file:
            file.seek(start)
            data = file.read(end - start)
            status = os.fstat(file.fileno())
    except OSError as error:
        raise InputChangedError(
            f"{upload.name} can no longer be read ({error.strerror or error}); nothing was paid."
        ) from None
    as_looked_at = (upload.size, upload.modified_ns, end - start)
    if (status.st_size, status.st_mtime_ns, len(data)) != as_looked_at:
        raise InputChangedError(f"{upload.name} changed while it was sent; nothing was paid.")
    return pybase64.b64encode(data)


def _open_at_once(path: str, flags: int) -> int:
    # Opening a named pipe would wait for a writer for ever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
