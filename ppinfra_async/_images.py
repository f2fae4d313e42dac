"""Fetches, verifies, decodes and saves result pictures; refuses to do the heavy parts on the loop.

A picture is handed over only when its status, length, format and size were checked: an error page is
not an image, and neither is half of one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import anyio
import anyio.to_thread

from ppinfra_async import _pixels
from ppinfra_async._sansio.retry import delay
from ppinfra_async._sansio.sniff import describe, image_format, is_whole
from ppinfra_async._sansio.wire import TransportFailure
from ppinfra_async._transport import Fetched, Transport
from ppinfra_async.errors import BadImageError, DownloadError, ImageError, ResultExpiredError
from ppinfra_async.options import Retries
from ppinfra_async.requests import ImageType
from ppinfra_async.results import GeneratedImage, ImageLink, url_without_query

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

MOST_BYTES = 128 * 1024 * 1024
"""Ceiling for one downloaded picture; a PNG of 2048² is at most about 17 MB."""

_AT_ONCE = 16
_MAY_BE_SLOW = 60.0
"""Seconds after which a download has to have ``_SLOWEST`` bytes per second on average."""
_SLOWEST = 1024

_EXPIRED = {403, 404, 410}

_SUFFIX = {ImageType.PNG: ".png", ImageType.JPEG: ".jpg", ImageType.WEBP: ".webp"}
_SAME_FORMAT = {
    ImageType.PNG: {".png"},
    ImageType.JPEG: {".jpg", ".jpeg", ".jpe", ".jfif"},
    ImageType.WEBP: {".webp"},
}


class Images:
    """Gets pictures for one client, so many downloads at a time and one decode per core.

    Its worker threads are counted apart from anyio's default limiter, so that the application's own
    ``to_thread`` calls never wait behind pictures.
    """

    def __init__(self, transport: Transport, retries: Retries, draw: Callable[[], float]) -> None:
        self._transport = transport
        self._retries = retries
        self._draw = draw
        self._downloads = anyio.CapacityLimiter(_AT_ONCE)
        self.workers = anyio.CapacityLimiter(os.cpu_count() or 1)

    async def get(self, link: ImageLink, index: int, *, decode: bool) -> GeneratedImage:
        """Return the picture behind *link*, verified, and decoded when asked.

        Raises:
            DownloadError: when the bytes did not arrive.
            ResultExpiredError: when the address is no longer served.
            BadImageError: when they are not a whole picture of the service's formats.
        """
        if link.inline is not None:
            data = link.inline
        elif link.url is not None:
            data = await self._download(link.url, index)
        else:
            raise BadImageError("The service lists this image without an address.", index=index)
        header, pixels = await self._verify(data, index, decode=decode)
        width, height = header.size
        return GeneratedImage(
            index=index,
            data=data,
            format=_format_of(header),
            width=width,
            height=height,
            url=link.url,
            nsfw=link.nsfw,
            pil=pixels,
            tools=self,
        )

    async def decode(self, data: bytes, index: int) -> PILImage:
        """Return the pixels of *data*; see ``ImageTools``."""
        _, pixels = await self._verify(data, index, decode=True)
        assert pixels is not None  # noqa: S101  # asked for
        return pixels

    async def save(self, image: GeneratedImage, path: Path) -> Path:
        """Write *image* atomically; see ``ImageTools``."""
        try:
            return await anyio.to_thread.run_sync(
                _place, image.data, image.format, path, limiter=self.workers
            )
        except _pixels.NotAPictureError as error:
            raise _bad(error, image.index) from error

    async def _verify(
        self, data: bytes, index: int, *, decode: bool
    ) -> tuple[_pixels.Header, PILImage | None]:
        def work() -> tuple[_pixels.Header, PILImage | None]:
            header = _pixels.read_header(data)
            return header, _pixels.decode(data) if decode else None

        try:
            return await anyio.to_thread.run_sync(work, limiter=self.workers)
        except _pixels.NotAPictureError as error:
            raise _bad(error, index) from error

    async def _download(self, url: str, index: int) -> bytes:
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._downloads, self._transport.fetch(url) as fetched:
                    return await _read_picture(fetched, url, index)
            except TransportFailure as failure:
                error = _not_downloaded(failure.what, url, index)
                error.__cause__ = failure
            except DownloadError as failed:
                error = failed
            wait = delay(self._retries, attempt=attempt, draw=self._draw())
            if wait is None or not error.retryable:
                raise error
            await anyio.sleep(wait)


async def _read_picture(fetched: Fetched, url: str, index: int) -> bytes:
    _check_status(fetched.status, url, index)
    if fetched.length is not None and fetched.length > MOST_BYTES:
        raise _too_long(index)
    data = await _read_all(fetched, url, index)
    if fetched.length is not None and len(data) != fetched.length:
        raise _not_downloaded(f"{len(data):,} of {fetched.length:,} bytes arrived", url, index)
    if image_format(data[:16]) is None:
        _refuse(bytes(data[:128]), fetched.content_type, index)
    if not is_whole(data):
        raise _not_downloaded("the picture is cut short", url, index)
    return bytes(data)


async def _read_all(fetched: Fetched, url: str, index: int) -> bytearray:
    data = bytearray()
    began = anyio.current_time()
    while piece := await fetched.read():
        if len(data) + len(piece) > MOST_BYTES:
            raise _too_long(index)
        data += piece
        seconds = anyio.current_time() - began
        if seconds > _MAY_BE_SLOW and len(data) < seconds * _SLOWEST:
            # A byte now and then is progress to every single wait, and would never end.
            raise _not_downloaded(f"only {len(data):,} bytes in {seconds:.0f} s", url, index)
        if len(data) > 16 and image_format(data[:16]) is None:
            _refuse(bytes(data[:128]), fetched.content_type, index)
    return data


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


def _refuse(head: bytes, content_type: str, index: int) -> NoReturn:
    raise BadImageError(
        f"Image {index} is not a picture: the image host sent {describe(head)} ({content_type}).",
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
            target = path.with_name(path.name + _SUFFIX[kind])
    # A missing folder is told by its own name, not by that of a file nobody has heard of.
    target.parent.stat()
    passing = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with passing.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        passing.replace(target)
    except BaseException:
        passing.unlink(missing_ok=True)
        raise
    return target
