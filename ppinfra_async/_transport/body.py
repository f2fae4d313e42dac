"""Writes a submit's body piece by piece, the last byte apart; refuses to hold it as a whole.

Upload progress is what moves the deadline, because aiohttp has no write timeout.
"""

from __future__ import annotations

import os
from typing import IO

import aiohttp
import anyio
import anyio.to_thread
import pybase64
from aiohttp.abc import AbstractStreamWriter

from ppinfra_async._sansio.wire import BodyPlan, Upload
from ppinfra_async._transport.protocol import CommitPoint
from ppinfra_async.options import Timeouts

# Read and encoded in one go by a worker thread; a multiple of 3, so that base64 needs no padding
# before the end. Smaller reads cost more in thread hops than they save in memory.
_READ = 768 * 1024
# Handed to the socket in one go; upload progress is seen in these steps.
_WRITE = 128 * 1024


class Phase:
    """What a submit is doing, with a deadline that moves whenever there is progress."""

    def __init__(self, what: str, seconds: float) -> None:
        self.scope = anyio.CancelScope()
        self.enter(what, seconds)

    def enter(self, what: str, seconds: float) -> None:
        self.what, self.seconds = what, seconds
        self.progress()

    def progress(self) -> None:
        self.scope.deadline = anyio.current_time() + self.seconds


class StreamedBody(aiohttp.Payload):
    """A request body that is read, encoded and written piece by piece, its last byte apart."""

    def __init__(
        self,
        plan: BodyPlan,
        commit: CommitPoint,
        phase: Phase,
        timeouts: Timeouts,
        readers: anyio.CapacityLimiter,
    ) -> None:
        super().__init__(None, content_type="application/json")
        self._plan = plan
        self._size = plan.size
        self._commit = commit
        self._phase = phase
        self._timeouts = timeouts
        self._readers = readers
        self._answered = False

    def hold_back(self) -> None:
        """Keep the commit piece back from now on: an answer came before it was handed over."""
        self._answered = True

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Not available: the body exists only while it is sent."""
        del encoding, errors
        raise TypeError("the body of a submit is never held as a whole")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write everything; the commit piece only when all before it has left our buffers."""
        self._phase.enter("the server took no more of the request", self._timeouts.upload_stall)
        for piece in self._plan.pieces:
            if isinstance(piece, Upload):
                await self._write_upload(writer, piece)
            else:
                await self._write_text(writer, piece)
        await _drain_completely(writer)
        if self._answered:
            # What was answered is less than the request; the end of the response ends this task.
            await anyio.sleep_forever()
        await self._commit.pass_through()
        self._phase.enter("the service did not answer", self._timeouts.submit_reply)
        await writer.write(self._plan.commit)

    async def _write_text(self, writer: AbstractStreamWriter, text: bytes) -> None:
        view = memoryview(text)
        for start in range(0, len(view), _WRITE):
            await writer.write(view[start : start + _WRITE])
            self._phase.progress()

    async def _write_upload(self, writer: AbstractStreamWriter, upload: Upload) -> None:
        if upload.data is not None:
            view = memoryview(upload.data)
            for start in range(0, len(view), _READ):
                encoded = pybase64.b64encode(view[start : start + _READ])
                await self._write_text(writer, encoded)
            return
        run = anyio.to_thread.run_sync
        file = await run(_open_unchanged, upload, limiter=self._readers)
        try:
            for start in range(0, upload.size, _READ):
                count = min(_READ, upload.size - start)
                encoded = await run(_read_encoded, file, upload, count, limiter=self._readers)
                self._phase.progress()
                await self._write_text(writer, encoded)
            await run(_check_unchanged, file, upload, limiter=self._readers)
        finally:
            file.close()


async def _drain_completely(writer: AbstractStreamWriter) -> None:
    """Wait until the operating system has every byte, so that a dead peer is noticed before paying."""
    transport = getattr(writer, "transport", None)
    if transport is None or transport.is_closing():
        raise aiohttp.ClientConnectionResetError("the connection was closed while sending")
    transport.set_write_buffer_limits(high=0)
    await writer.drain()
    transport.set_write_buffer_limits()
    if transport.is_closing():
        raise aiohttp.ClientConnectionResetError("the connection was closed while sending")


class InputChangedError(Exception):
    """A picture file is no longer what it was when it was looked at."""


def _open_unchanged(upload: Upload) -> IO[bytes]:
    assert upload.path is not None  # noqa: S101  # an upload has bytes or a path
    try:
        file = upload.path.open("rb")
    except OSError as error:
        raise InputChangedError(
            f"{upload.name} can no longer be read ({error.strerror})."
        ) from None
    try:
        _check_unchanged(file, upload)
    except BaseException:
        file.close()
        raise
    return file


def _check_unchanged(file: IO[bytes], upload: Upload) -> None:
    status = os.fstat(file.fileno())
    if (status.st_size, status.st_mtime_ns) != (upload.size, upload.modified_ns):
        raise InputChangedError(f"{upload.name} changed while it was sent; nothing was paid.")


def _read_encoded(file: IO[bytes], upload: Upload, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise InputChangedError(f"{upload.name} shrank while it was sent; nothing was paid.")
    return pybase64.b64encode(data)
