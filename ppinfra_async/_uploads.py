"""Looks at a request's pictures in worker threads and makes them ready to send; refuses the network.

Bytes are sent as they are, unless ``fit`` asks for less or the EXIF orientation is not upright: the
service does not say that it reads EXIF, and a picture lying on its side is a wasted payment.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from attrs import frozen

from ppinfra_async import _pixels
from ppinfra_async._sansio.sizes import Size, default_output_size, fitted_size
from ppinfra_async._sansio.wire import Upload
from ppinfra_async.errors import InvalidRequestError, Violation
from ppinfra_async.events import InputReencoded
from ppinfra_async.inputs import MAX_FILE_BYTES, MAX_SIDE, ImageInput
from ppinfra_async.requests import Request
from ppinfra_async.requests._base import pictures_of

T = TypeVar("T")


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
    """A picture breaks a rule: the value to show, and the rule."""

    def __init__(self, value: object, rule: str) -> None:
        super().__init__(rule)
        self.value = value
        self.rule = rule


async def prepare(request: Request, workers: anyio.CapacityLimiter) -> Prepared:
    """Look at all pictures of *request*.

    Raises:
        InvalidRequestError: with everything that is wrong with any of them.
    """
    return await anyio.to_thread.run_sync(_prepare, request, limiter=workers)


def _prepare(request: Request) -> Prepared:
    looked: dict[str, _Looked] = {}
    uploads: dict[int, Upload] = {}
    violations: list[Violation] = []
    for path, picture in pictures_of(request):
        try:
            looked[path] = _look(path, picture)
            uploads[id(picture)] = looked[path].upload
        except _RuleBrokenError as broken:
            violations.append(Violation(path, broken.value, broken.rule))
    if violations:
        raise InvalidRequestError.of(type(request).__name__, violations)
    return Prepared(
        request=_with_output_size(request, looked.get("image")),
        uploads=uploads,
        reencoded=tuple(one.reencoded for one in looked.values() if one.reencoded),
    )


def _with_output_size(request: Request, source: _Looked | None) -> Request:
    fields: Any = request
    if source is None or not hasattr(request, "width"):
        return request
    width, height = default_output_size(source.size, fields.width, fields.height)
    return request.replace(width=width, height=height)


def _look(path: str, picture: ImageInput) -> _Looked:
    source, status = _source_of(picture)
    header = _or_rule(picture, lambda: _pixels.read_header(source))
    size = fitted_size(header.upright_size, picture.fit)
    if max(size) > MAX_SIDE:
        raise _RuleBrokenError(
            f"{picture.name} ({size[0]} × {size[1]})",
            f"each side must be at most {MAX_SIDE} pixels: ask for scaling with fit={MAX_SIDE}",
        )
    reasons = ["fit"] if size != header.upright_size else []
    reasons += [] if header.is_upright else ["EXIF orientation"]
    if not reasons:
        return _Looked(upload=_upload(picture, source, status), size=size)
    data = _or_rule(picture, lambda: _pixels.reencode(source, size))
    event = InputReencoded(path=path, name=picture.name, why=" and ".join(reasons), size=size)
    return _Looked(upload=_upload(picture, data, None), size=size, reencoded=event)


def _source_of(picture: ImageInput) -> tuple[Path | bytes, os.stat_result | None]:
    if picture.path is not None:
        return picture.path, _status_of(picture.path, picture.name)
    if picture.pil is not None:
        pixels = picture.pil
        return _or_rule(picture, lambda: _pixels.encode_as_png(pixels)), None
    assert picture.data is not None  # noqa: S101  # addresses were refused when the request was built
    return picture.data, None


def _status_of(path: Path, name: str) -> os.stat_result:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise _RuleBrokenError(name, f"must be a readable file ({reason})") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise _RuleBrokenError(name, f"must be a picture file, but it is {kind}")
    return status


def _upload(picture: ImageInput, source: Path | bytes, status: os.stat_result | None) -> Upload:
    if isinstance(source, Path) and status is not None:
        size, modified_ns = status.st_size, status.st_mtime_ns
        upload = Upload(path=source, size=size, modified_ns=modified_ns, name=picture.name)
    else:
        assert isinstance(source, bytes)  # noqa: S101  # only files have a status
        upload = Upload(data=source, size=len(source), name=picture.name)
    if upload.size > MAX_FILE_BYTES:
        raise _RuleBrokenError(
            f"{picture.name} ({upload.size / 2**20:.1f} MB)",
            f"must be at most {MAX_FILE_BYTES // 2**20} MB: ask for scaling with fit={MAX_SIDE}",
        )
    return upload


def _or_rule(picture: ImageInput, work: Callable[[], T]) -> T:
    try:
        return work()
    except _pixels.NotAPictureError as error:
        raise _RuleBrokenError(picture.name, f"must be a picture, but it {error}") from None
    except OSError as error:
        rule = f"must be a readable file ({error.strerror or error})"
        raise _RuleBrokenError(picture.name, rule) from None
