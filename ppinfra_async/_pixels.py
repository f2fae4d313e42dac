"""The only user of Pillow: reads headers, decodes, encodes; refuses to run on the event loop's thread.

Everything here is a plain function for a worker thread. Pillow itself is imported there too: its
first import takes about 70 ms. The three formats of the service are opened by their own classes,
because ``Image.open`` reports a large picture as a warning, which is a matter of global state.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from attrs import frozen

from ppinfra_async._sansio.sizes import Size
from ppinfra_async._sansio.sniff import HEAD_LENGTH, describe, image_format
from ppinfra_async.requests import ImageType

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

MOST_PIXELS = 100_000_000
"""Larger pictures are refused before decoding; the service's largest documented side is 2048."""

_ORIENTATION = 0x0112
_UPRIGHT = 1
_TURNED_BY_90 = {5, 6, 7, 8}
# Sent as they are, for the service to judge; more would mean more decoders open to hostile files.
_OTHER_FORMATS = ("BMP", "GIF", "TIFF", "AVIF")


class NotAPictureError(Exception):
    """The bytes are not a picture that we can use; the message is a clause about them."""


@frozen
class Header:
    """What a picture's header says.

    Attributes:
        format: ``ImageType``, or None for a format that the service does not write itself.
        size: Width and height as stored, in pixels.
        orientation: EXIF orientation, 1 when upright or not stated.
    """

    format: ImageType | None
    size: Size
    orientation: int = _UPRIGHT

    @property
    def is_upright(self) -> bool:
        """True when the stored pixels are the way up they are meant to be seen."""
        return self.orientation == _UPRIGHT

    @property
    def upright_size(self) -> Size:
        """Width and height as they are meant to be seen."""
        width, height = self.size
        return (height, width) if self.orientation in _TURNED_BY_90 else (width, height)


def read_header(source: Path | bytes) -> Header:
    """Read the header of a picture file.

    Raises:
        NotAPictureError: when it is none, or larger than ``MOST_PIXELS``.
        OSError: when the file cannot be read.
    """
    with _opened(source) as (picture, kind):
        orientation = picture.getexif().get(_ORIENTATION, _UPRIGHT)
        return Header(kind, picture.size, orientation)


def decode(data: bytes) -> PILImage:
    """Return the loaded pixels of *data*, mode and alpha kept.

    Raises:
        NotAPictureError: when it is no whole picture.
    """
    with _opened(data) as (picture, _):
        picture.load()
        # A copy without the file behind it, so that nothing stays open and it can be pickled.
        return picture.copy()


def reencode(source: Path | bytes, size: Size) -> bytes:
    """Return the picture upright and scaled to *size* (as seen): a JPEG stays JPEG, the rest is PNG.

    Raises:
        NotAPictureError: when it is damaged.
        OSError: when the file cannot be read.
    """
    from PIL import Image, ImageOps

    with _opened(source) as (picture, kind):
        upright = ImageOps.exif_transpose(picture)
        if upright.size != size:
            if upright.mode not in {"RGB", "RGBA", "L", "LA"}:
                upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
            upright = upright.resize(size, Image.Resampling.LANCZOS)
        return encode(upright, kind if kind is ImageType.JPEG else ImageType.PNG)


def encode(picture: PILImage, kind: ImageType) -> bytes:
    """Return *picture* as a file of *kind*; JPEG has no transparency and gets white behind it."""
    buffer = io.BytesIO()
    icc = picture.info.get("icc_profile")
    match kind:
        case ImageType.JPEG:
            _without_alpha(picture).save(buffer, "JPEG", quality=95, icc_profile=icc)
        case ImageType.PNG:
            writable = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I"}
            if picture.mode not in writable:
                picture = picture.convert("RGB")
            picture.save(buffer, "PNG", icc_profile=icc)
        case ImageType.WEBP:
            picture.save(buffer, "WEBP", lossless=True, icc_profile=icc)
    return buffer.getvalue()


def encode_as_png(picture: PILImage) -> bytes:
    """Return a caller's Pillow image as PNG.

    Raises:
        NotAPictureError: when its pixels cannot be had, for example because its file was closed.
    """
    try:
        return encode(picture, ImageType.PNG)
    except Exception as error:
        raise NotAPictureError(f"cannot be encoded ({error})") from error


def converted(data: bytes, suffix: str) -> bytes:
    """Return the picture *data* in the format of the file suffix *suffix*, such as ``.webp``."""
    from PIL import Image

    picture = decode(data)
    name = Image.registered_extensions()[suffix.lower()]
    if name in {"JPEG", "PNG", "WEBP"}:
        return encode(picture, ImageType(name.lower()))
    buffer = io.BytesIO()
    picture.save(buffer, name)
    return buffer.getvalue()


def writable_suffixes() -> frozenset[str]:
    """Return the file suffixes, with dot and in lower case, that stand for a picture format."""
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(suffix for suffix, name in known.items() if name in Image.SAVE)


def _without_alpha(picture: PILImage) -> PILImage:
    from PIL import Image

    if not picture.has_transparency_data:
        return picture if picture.mode in {"RGB", "L"} else picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


@contextmanager
def _opened(source: Path | bytes) -> Iterator[tuple[PILImage, ImageType | None]]:
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        head = file.read(HEAD_LENGTH * 8)
        file.seek(0)
        kind = image_format(head)
        try:
            picture = _open(file, kind)
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise NotAPictureError(
                    f"has {width} × {height} pixels, more than {MOST_PIXELS:,} altogether"
                )
            yield picture, kind
        except (NotAPictureError, MemoryError):
            raise
        except Exception as error:
            # Pillow's decoders raise whatever they stumble over: OSError, SyntaxError, ValueError…
            what = f"is a damaged {kind.value}" if kind else f"is {describe(head)}"
            raise NotAPictureError(what) from error


def _open(file: IO[bytes], kind: ImageType | None) -> PILImage:
    from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    match kind:
        case ImageType.PNG:
            return PngImagePlugin.PngImageFile(file)
        case ImageType.JPEG:
            return JpegImagePlugin.JpegImageFile(file)
        case ImageType.WEBP:
            return WebPImagePlugin.WebPImageFile(file)
    return Image.open(file, formats=_OTHER_FORMATS)
