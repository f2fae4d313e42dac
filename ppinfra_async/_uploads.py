"""Looks at a request's pictures and makes them ready to send; refuses the network.

Files are opened, and whatever takes long is done, in worker threads. Plain pictures that came as
bytes need neither: a few steps over their header tell all that has to be known.

Bytes are sent as they are, unless ``fit`` asks for less, the EXIF orientation is not upright, or the
format is not PNG, JPEG or WebP. The service documents neither that it reads EXIF nor which formats
it takes; a picture lying on its side is a wasted payment, a refused one a wasted upload.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen

from ppinfra_async import _pixels
from ppinfra_async._sansio.plain import plain_picture
from ppinfra_async._sansio.sizes import Size, default_output_size, fitted_size
from ppinfra_async._sansio.wire import Upload
from ppinfra_async._threads import WorkerThreads
from ppinfra_async.errors import InvalidRequestError, Violation
from ppinfra_async.events import InputReencoded
from ppinfra_async.inputs import MAX_FILE_BYTES, MAX_SIDE, ImageInput
from ppinfra_async.requests import Request
from ppinfra_async.requests._base import pictures_of

T = TypeVar("T")

_SMALL_FILE = 64 * 1024
"""Bytes up to which a file is read when it is looked at."""


@frozen(kw_only=True)
class Prepared:
    """A request whose pictures have been looked at.

    Attributes:
        request: As asked, with the output size filled in.
        uploads: By ``id`` of each ``ImageInput`` in it.
        reencoded: Which pictures are not sent byte for byte.
    """

    request: Request
    uploads: dict[int, Upload]
    reencoded: tuple[InputReencoded, ...] = ()


@frozen(kw_only=True)
class _Looked:
    upload: Upload
    size: Size
    reencoded: InputReencoded | None = None


class _RuleBrokenError(Exception):
    """A picture breaks a rule; the message is the rule."""


async def prepare(request: Request, threads: WorkerThreads) -> Prepared:
    """Look at all pictures of *request*.

    Raises:
        InvalidRequestError: with everything that is wrong with any of them.
    """
    if (prepared := _prepared_at_once(request)) is not None:
        return prepared
    # A file on a dead network drive can take for ever; nothing is lost by not waiting for it.
    return await threads.run(_prepare, request, abandon_on_cancel=True)


def _prepared_at_once(request: Request) -> Prepared | None:
    """Do without a thread when all pictures are plain bytes; None leaves everything to the thread."""
    looked: dict[str, _Looked] = {}
    uploads: dict[int, Upload] = {}
    for path, picture in pictures_of(request):
        plain = _plain_bytes(picture)
        if plain is None:
            return None
        looked[path] = plain
        uploads[id(picture)] = plain.upload
    return Prepared(request=_with_output_size(request, looked.get("image")), uploads=uploads)


def _plain_bytes(picture: ImageInput) -> _Looked | None:
    """Return what ``_look`` would, where that is certain without Pillow and nothing has to be done."""
    data = picture.data
    if data is None or picture.fit is not None or (size := _plain(data)) is None:
        return None
    return _Looked(upload=Upload(data=data, size=len(data), name=picture.name), size=size)


def _plain(data: bytes) -> Size | None:
    """Return the size of a picture that is certainly sent as it is, without Pillow; else None."""
    if len(data) > MAX_FILE_BYTES:
        return None
    plain = plain_picture(data)
    return None if plain is None or max(plain[1]) > MAX_SIDE else plain[1]


def _prepare(request: Request) -> Prepared:
    looked: dict[str, _Looked] = {}
    uploads: dict[int, Upload] = {}
    violations: list[Violation] = []
    for path, picture in pictures_of(request):
        try:
            looked[path] = _look(path, picture)
            uploads[id(picture)] = looked[path].upload
        except _RuleBrokenError as broken:
            violations.append(Violation(path, _as_typed(picture), str(broken)))
    if violations:
        raise InvalidRequestError.of(type(request).__name__, violations)
    return Prepared(
        request=_with_output_size(request, looked.get("image")),
        uploads=uploads,
        reencoded=tuple(one.reencoded for one in looked.values() if one.reencoded),
    )


def _as_typed(picture: ImageInput) -> object:
    """Return what a message shows of a picture that breaks a rule."""
    return next(
        (value for value in (picture.path, picture.data) if value is not None), picture.name
    )


def _with_output_size(request: Request, source: _Looked | None) -> Request:
    fields: Any = request
    if source is None or not hasattr(request, "width"):
        return request
    asked = fields.width, fields.height
    width, height = default_output_size(source.size, *asked)
    if (width, height) == asked:
        return request
    return request.replace(width=width, height=height)


def _look(path: str, picture: ImageInput) -> _Looked:
    given = _as_given(picture)
    source: Path | bytes = given.path if given.path is not None else given.data or b""
    if picture.fit is None and isinstance(source, bytes) and (plain := _plain(source)) is not None:
        return _Looked(upload=given, size=plain)
    header = _or_rule(lambda: _pixels.read_header(source))
    size = fitted_size(header.upright_size, picture.fit)
    if max(size) > MAX_SIDE:
        raise _RuleBrokenError(
            f"each side must be at most {MAX_SIDE} pixels, but it has {size[0]} × {size[1]}: ask for "
            f"scaling with fit={MAX_SIDE}"
        )
    is_too_long = picture.fit is not None and given.size > MAX_FILE_BYTES
    reasons = ["fit"] if is_too_long or size != header.upright_size else []
    reasons += [] if header.is_upright else ["EXIF orientation"]
    reasons += [] if header.format else [f"{header.format_name} format"]
    if not reasons:
        return _Looked(upload=_short_enough(given), size=size)
    data = _or_rule(lambda: _pixels.reencode(source, size))
    event = InputReencoded(path=path, name=picture.name, why=" and ".join(reasons), size=size)
    upload = Upload(data=data, size=len(data), name=picture.name)
    return _Looked(upload=_short_enough(upload), size=size, reencoded=event)


def _as_given(picture: ImageInput) -> Upload:
    """Return how *picture* would be sent as it is."""
    name = picture.name
    if picture.path is not None:
        status = _status_of(picture.path)
        if status.st_size <= _SMALL_FILE and (content := _small_content(picture.path)) is not None:
            # What is looked at is what is sent, and no thread has to open the file a second time.
            return Upload(data=content, size=len(content), name=name)
        return Upload(
            path=picture.path, size=status.st_size, modified_ns=status.st_mtime_ns, name=name
        )
    data = picture.data
    if picture.pil is not None:
        pixels = picture.pil
        data = _or_rule(lambda: _pixels.encode_as_png(pixels))
    assert data is not None  # noqa: S101  # addresses were refused when the request was built
    return Upload(data=data, size=len(data), name=name)


def _small_content(path: Path) -> bytes | None:
    """Return what is in a small file; None for one that has grown meanwhile."""
    try:
        with path.open("rb") as file:
            content = file.read(_SMALL_FILE + 1)
        return content if len(content) <= _SMALL_FILE else None
    except OSError as error:
        raise _RuleBrokenError(f"must be a readable file ({error.strerror or error})") from None


def _status_of(path: Path) -> os.stat_result:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise _RuleBrokenError(f"must be a readable file ({reason})") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise _RuleBrokenError(f"must be a picture file, but it is {kind}")
    return status


def _short_enough(upload: Upload) -> Upload:
    if upload.size > MAX_FILE_BYTES:
        raise _RuleBrokenError(
            f"must be at most {MAX_FILE_BYTES // 2**20} MB, but it has {upload.size / 2**20:.1f} MB: "
            f"ask for scaling with fit={MAX_SIDE}"
        )
    return upload


def _or_rule(work: Callable[[], T]) -> T:
    try:
        return work()
    except _pixels.NotAPictureError as error:
        raise _RuleBrokenError(f"must be a picture, but it {error}") from None
    except OSError as error:
        rule = f"must be a readable file ({error.strerror or error})"
        raise _RuleBrokenError(rule) from None


look_at = _prepare
"""Look at all pictures of a request; for callers that are in a worker thread already."""
