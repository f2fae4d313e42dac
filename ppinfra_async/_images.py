"""Fetches, verifies, decodes and saves result pictures; refuses to do the heavy parts on the loop.

A picture is handed over only when its status, length, format and size were checked: an error page is
not an image, and neither is half of one.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import anyio
import pybase64
from attrs import evolve, frozen

from ppinfra_async import _pixels
from ppinfra_async._files import SUFFIX, passing_file
from ppinfra_async._sansio.plain import plain_picture
from ppinfra_async._sansio.retry import delay
from ppinfra_async._sansio.sniff import HEAD_LENGTH, describe, image_format, is_whole
from ppinfra_async._sansio.wire import TransportFailure
from ppinfra_async._showing import url_without_query
from ppinfra_async._threads import WorkerThreads
from ppinfra_async._transport import Fetched, Transport
from ppinfra_async.errors import BadImageError, DownloadError, ImageError, ResultExpiredError
from ppinfra_async.options import Retries
from ppinfra_async.requests import ImageType
from ppinfra_async.results import GeneratedImage, ImageLink

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

MOST_BYTES = 128 * 1024 * 1024
"""Ceiling for one downloaded picture; a PNG of 2048² is at most about 17 MB."""

_AT_ONCE = 16
_MAY_BE_SLOW = 60.0
"""Seconds after which a download has to have ``_SLOWEST`` bytes per second on average."""
_SLOWEST = 1024

# What Pillow decodes in some 50 µs.
_TINY_PIXELS = 64 * 64
_TINY_BYTES = 16 * 1024

_EXPIRED = {403, 404, 410}

_SAME_FORMAT = {
    ImageType.PNG: {".png"},
    ImageType.JPEG: {".jpg", ".jpeg", ".jpe", ".jfif"},
    ImageType.WEBP: {".webp"},
}


class Images:
    """Gets pictures for one client, so many downloads at a time and one decode per core.

    Attributes:
        threads: Where pictures are looked at and saved.
    """

    def __init__(self, transport: Transport, retries: Retries, draw: Callable[[], float]) -> None:
        self._transport = transport
        self._retries = retries
        self._draw = draw
        self._downloads = asyncio.Semaphore(_AT_ONCE)
        # Pillow's import takes 70 ms, and its first use loads its plug-ins: not on the loop.
        self._has_decoded = False
        self.threads = WorkerThreads(os.cpu_count() or 1)

    async def get(self, link: ImageLink, index: int, *, decode: bool) -> GeneratedImage:
        """Return the picture behind *link*, verified, and decoded when asked.

        Raises:
            DownloadError: when the bytes did not arrive.
            ResultExpiredError: when the address is no longer served.
            BadImageError: when they are not a whole picture of the service's formats.
        """
        if link.inline is not None:
            looked = await self._look(link.inline, index, decode=decode)
        elif link.url is not None:
            looked = await self._download(link.url, index, decode=decode)
        else:
            raise BadImageError("The service lists this image without an address.", index=index)
        width, height = looked.header.size
        return GeneratedImage(
            index=index,
            data=looked.data,
            format=_format_of(looked.header),
            width=width,
            height=height,
            url=link.url,
            nsfw=link.nsfw,
            pil=looked.pixels,
            tools=self,
        )

    async def decode(self, data: bytes, index: int) -> PILImage:
        """Return the pixels of *data*; see ``ImageTools``."""
        looked = await self._look(data, index, decode=True)
        assert looked.pixels is not None  # noqa: S101  # asked for
        return looked.pixels

    async def save(self, image: GeneratedImage, path: Path) -> Path:
        """Write *image* atomically; see ``ImageTools``."""
        try:
            return await self.threads.run(_place, image.data, image.format, path)
        except _pixels.NotAPictureError as error:
            raise _bad(error, image.index) from error

    async def _look(self, data: bytes | str, index: int, *, decode: bool) -> _Looked:
        try:
            return await self._looked_at(data, decode=decode)
        except _pixels.NotAPictureError as error:
            raise _bad(error, index) from error

    async def _looked_at(self, data: bytes | str, *, decode: bool) -> _Looked:
        if isinstance(data, bytes) and (plain := _look_at_once(data)):
            if not decode:
                return plain
            if self._has_decoded and _is_tiny(plain):
                # Takes less than to ask a thread for it.
                return _decoded(plain)
            looked = await self.threads.run(_decoded, plain)
        else:
            looked = await self.threads.run(_look, data, decode)
        self._has_decoded = self._has_decoded or decode
        return looked

    async def _download(self, url: str, index: int, *, decode: bool) -> _Looked:
        attempt = 0
        while True:
            attempt += 1
            try:
                # The place is kept until it was looked at, or pictures would pile up before the decoders.
                async with self._downloads:
                    async with self._transport.fetch(url) as fetched:
                        data = await _read_picture(fetched, url, index)
                    return await self._looked_at(data, decode=decode)
            except _CutShortError:
                # Perhaps the next download brings its end.
                error = _not_downloaded("the picture is cut short", url, index)
            except _pixels.NotAPictureError as bad:
                raise _bad(bad, index) from bad
            except TransportFailure as failure:
                error = _not_downloaded(failure.what, url, index)
                error.__cause__ = failure
            except DownloadError as failed:
                error = failed
            wait = delay(self._retries, attempt=attempt, draw=self._draw())
            if wait is None or not error.retryable:
                raise error
            await anyio.sleep(wait)


def _is_tiny(looked: _Looked) -> bool:
    width, height = looked.header.size
    return width * height <= _TINY_PIXELS and len(looked.data) <= _TINY_BYTES


@frozen
class _Looked:
    """A picture that a worker thread has looked at."""

    data: bytes
    header: _pixels.Header
    pixels: PILImage | None


class _CutShortError(_pixels.NotAPictureError):
    """The end of the picture is not there."""


def _look_at_once(data: bytes) -> _Looked | None:
    """Do without a thread for what is certain after a few steps; None leaves it to ``_look``."""
    plain = plain_picture(data)
    if plain is None or plain[1][0] * plain[1][1] > _pixels.MOST_PIXELS:
        return None
    kind, size = plain
    return _Looked(data, _pixels.Header(kind, kind.name, size), None)


def _decoded(plain: _Looked) -> _Looked:
    """Decode a picture whose header is known, so that it is opened once."""
    return evolve(plain, pixels=_pixels.decode(plain.data))


def _look(given: bytes | str, decode: bool) -> _Looked:  # noqa: FBT001  # threads take no keywords
    """Do in a worker thread all that takes time with megabytes; *given* as text is a data URL."""
    data = _from_data_url(given) if isinstance(given, str) else given
    if image_format(data) is None:
        raise _pixels.NotAPictureError(f"is {describe(data[: HEAD_LENGTH * 8])}")
    if not is_whole(data):
        raise _CutShortError("is cut short")
    return _Looked(data, _pixels.read_header(data), _pixels.decode(data) if decode else None)


def _from_data_url(url: str) -> bytes:
    try:
        return pybase64.b64decode(url.partition(",")[2], validate=True)
    except ValueError:
        raise _pixels.NotAPictureError("is not base64") from None


async def _read_picture(fetched: Fetched, url: str, index: int) -> bytes:
    _check_status(fetched.status, url, index)
    if fetched.length is not None and fetched.length > MOST_BYTES:
        raise _too_long(index)
    data = await _read_all(fetched, url, index)
    if fetched.length is not None and len(data) != fetched.length:
        raise _not_downloaded(f"{len(data):,} of {fetched.length:,} bytes arrived", url, index)
    if image_format(data) is None:
        _refuse(data, fetched.content_type, index)
    return data


async def _read_all(fetched: Fetched, url: str, index: int) -> bytes:
    # It gives its bytes away without a copy, which would hold the event loop.
    file = io.BytesIO()
    head = b""
    clock = asyncio.get_running_loop().time
    began = clock()
    while piece := await fetched.read():
        length = file.tell() + len(piece)
        if length > MOST_BYTES:
            raise _too_long(index)
        file.write(piece)
        seconds = clock() - began
        if seconds > _MAY_BE_SLOW and length < seconds * _SLOWEST:
            # A byte now and then is progress to every single wait, and would never end.
            raise _not_downloaded(f"only {length:,} bytes in {seconds:.0f} s", url, index)
        if len(head) < HEAD_LENGTH:
            head += piece[:HEAD_LENGTH]
            if len(head) >= HEAD_LENGTH and image_format(head) is None:
                _refuse(file.getvalue(), fetched.content_type, index)
    return file.getvalue()


def _check_status(status: int, url: str, index: int) -> None:
    if status == 200:
        return
    if status in _EXPIRED:
        raise ResultExpiredError(
            f"Image {index} is no longer served (status {status}); addresses are valid for about "
            "an hour.",
            index=index,
        )
    error = _not_downloaded(f"the image host answered {status}", url, index)
    error.retryable = status >= 500 or status in {408, 425, 429}
    raise error


def _not_downloaded(what: str, url: str, index: int) -> DownloadError:
    return DownloadError(
        f"Image {index} could not be downloaded from {url_without_query(url)}: {what}.", index=index
    )


def _too_long(index: int) -> ImageError:
    return BadImageError(f"Image {index} is longer than {MOST_BYTES:,} bytes.", index=index)


def _refuse(data: bytes, content_type: str, index: int) -> NoReturn:
    what = describe(data[: HEAD_LENGTH * 8])
    raise BadImageError(
        f"Image {index} is not a picture: the image host sent {what} ({content_type}).",
        index=index,
    )


def _bad(error: _pixels.NotAPictureError, index: int) -> BadImageError:
    return BadImageError(f"Image {index} {error}.", index=index)


def _format_of(header: _pixels.Header) -> ImageType:
    assert header.format is not None  # noqa: S101  # other formats were refused by their first bytes
    return header.format


def _place(data: bytes, kind: ImageType, path: Path) -> Path:
    """Write under a passing name, then rename: nobody ever sees half a picture."""
    target = path
    suffix = path.suffix.lower()
    if suffix not in _SAME_FORMAT[kind]:
        if suffix in _pixels.writable_suffixes():
            data = _pixels.converted(data, suffix)
        else:
            target = path.with_name(path.name + SUFFIX[kind])
    # A missing folder is told by its own name, not by that of a file nobody has heard of.
    target.parent.stat()
    with passing_file(target.parent, data) as passing:
        passing.replace(target)
    return target
