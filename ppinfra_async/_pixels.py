"""The only user of Pillow: reads headers, decodes, encodes; refuses to run on the event loop's thread.

Everything here is a plain function for a worker thread. Pillow itself is imported there too: its
first import takes about 70 ms. The three formats of the service are opened by their own classes,
because ``Image.open`` reports a large picture as a warning, which is a matter of global state.
"""

from __future__ import annotations

import io
import os
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
_NOT_UPRIGHT = range(2, 9)
_TURNED_BY_90 = {5, 6, 7, 8}
_END = {ImageType.PNG: b"IEND\xaeB`\x82", ImageType.JPEG: b"\xff\xd9"}
_STEP = 64 * 1024
# Sent as PNG; more would mean more decoders open to hostile files.
_OTHER_FORMATS = ("BMP", "GIF", "TIFF", "AVIF")
# Pillow knows their suffixes and cannot write an RGB picture in them.
_NOT_WRITABLE = {"BLP", "BUFR", "GRIB", "HDF5", "MSP", "PALM", "WMF", "XBM"}
_GREY_16_BIT = {"I;16", "I;16B", "I;16L", "I;16N", "I"}
_COLOURS = {"P", "PA", "RGB", "RGBA", "RGBX", "RGBa"}
_WRITTEN_AS_IS = {
    ImageType.JPEG: {"L", "RGB"},
    ImageType.PNG: {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"},
    ImageType.WEBP: {"RGB", "RGBA"},
}


class NotAPictureError(Exception):
    """The bytes are not a picture that we can use; the message is a clause about them."""


@frozen
class Header:
    """What a picture's header says.

    Attributes:
        format: ``ImageType``, or None for a format that the service does not write itself.
        format_name: What people call the format: ``PNG``, ``GIF``.
        size: Width and height as stored, in pixels.
        orientation: EXIF orientation, 1 when upright or not stated.
    """

    format: ImageType | None
    format_name: str
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
    """Read the header of a picture file, and look whether its end is there; decode nothing.

    Raises:
        NotAPictureError: when it is none, cut short, or larger than ``MOST_PIXELS``.
        OSError: when the file cannot be read.
    """
    with _opened(source) as (picture, kind, file):
        if _is_cut_short(file, kind):
            raise NotAPictureError("is cut short")
        return Header(kind, picture.format or "", picture.size, _orientation(picture))


def decode(data: bytes) -> PILImage:
    """Return the loaded pixels of *data*, mode and alpha kept.

    Raises:
        NotAPictureError: when it is no whole picture.
    """
    with _opened(data) as (picture, _, _):
        picture.load()
        # A copy without the file behind it, so that nothing stays open and it can be pickled.
        return picture.copy()


def reencode(source: Path | bytes, size: Size) -> bytes:
    """Return the picture upright and scaled to *size* (as seen): a JPEG stays JPEG, the rest is PNG.

    Raises:
        NotAPictureError: when it is damaged.
        OSError: when the file cannot be read.
    """
    from PIL import Image

    with _opened(source) as (picture, kind, _):
        upright = _upright(picture)
        if upright.size != size:
            if upright.mode not in {"RGB", "RGBA", "L", "LA"}:
                upright = _as_8_bit(upright)
            upright = upright.resize(size, Image.Resampling.LANCZOS)
        return encode(upright, kind if kind is ImageType.JPEG else ImageType.PNG)


def encode(picture: PILImage, kind: ImageType) -> bytes:
    """Return *picture* as a file of *kind*; JPEG has no transparency and gets white behind it."""
    buffer = io.BytesIO()
    ready = picture
    if kind is ImageType.JPEG and picture.has_transparency_data:
        ready = _on_white(picture)
    elif picture.mode not in _WRITTEN_AS_IS[kind]:
        ready = _as_8_bit(picture)
    icc = ready.info.get("icc_profile")
    # `lossless` is WebP's word, `quality` JPEG's; PNG minds neither.
    ready.save(buffer, kind.name, quality=95, lossless=True, icc_profile=icc)
    return buffer.getvalue()


def encode_as_png(picture: PILImage) -> bytes:
    """Return a caller's Pillow image as PNG, upright when it comes right from a file.

    Raises:
        NotAPictureError: when its pixels cannot be had, for example because its file was closed.
    """
    from PIL import ImageFile

    try:
        # Of anything else the pixels are what the caller made of them, whatever its EXIF still says.
        from_file = isinstance(picture, ImageFile.ImageFile)
        return encode(_upright(picture) if from_file else picture, ImageType.PNG)
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
    try:
        picture.save(buffer, name)
    except (OSError, ValueError):
        # A format without this mode, such as transparency in EPS; RGB is in all of them.
        buffer = io.BytesIO()
        _on_white(picture).save(buffer, name)
    return buffer.getvalue()


def writable_suffixes() -> frozenset[str]:
    """Return the file suffixes, with dot and in lower case, that stand for a picture format."""
    from PIL import Image

    known = Image.registered_extensions()
    writable = Image.SAVE.keys() - _NOT_WRITABLE
    return frozenset(suffix for suffix, name in known.items() if name in writable)


def _on_white(picture: PILImage) -> PILImage:
    from PIL import Image

    picture = _in_mode(picture, "RGBA")
    on_white = Image.new("RGBA", picture.size, "white")
    on_white.info = picture.info
    on_white.alpha_composite(picture)
    return on_white.convert("RGB")


def _as_8_bit(picture: PILImage) -> PILImage:
    if picture.mode in _GREY_16_BIT:
        # `convert` would cut everything above 255 off, which leaves a white picture.
        return picture.convert("I").point(lambda level: level * (1 / 256)).convert("L")
    return _in_mode(picture, "RGBA" if picture.has_transparency_data else "RGB")


def _in_mode(picture: PILImage, mode: str) -> PILImage:
    other = picture.convert(mode)
    if picture.mode not in _COLOURS:
        # A profile for grey or for ink would turn these colours into something else.
        other.info.pop("icc_profile", None)
    return other


def _upright(picture: PILImage) -> PILImage:
    from PIL import ImageOps

    if _orientation(picture) == _UPRIGHT:
        return picture
    return ImageOps.exif_transpose(picture)


def _orientation(picture: PILImage) -> int:
    from PIL import Image

    try:
        # Not the method of PNG's own class, which decodes everything when there is no EXIF.
        said = Image.Image.getexif(picture).get(_ORIENTATION, _UPRIGHT)
    except Exception:  # damaged EXIF says nothing, and Pillow raises whatever it stumbles over
        return _UPRIGHT
    return said if said in _NOT_UPRIGHT else _UPRIGHT


def _is_cut_short(file: IO[bytes], kind: ImageType | None) -> bool:
    """Look for the end of a picture whose header was just read from *file*."""
    begin, length = file.tell(), file.seek(0, os.SEEK_END)
    if kind is ImageType.WEBP:
        file.seek(4)
        return length < 8 + int.from_bytes(file.read(4), "little")
    if kind is None:
        return False
    # From the back, where it should be; before *begin* there may be a preview with its own end.
    mark, at = _END[kind], length
    while at > begin:
        start = max(begin, at - _STEP)
        file.seek(start)
        # One step overlaps the other, for an end on the border.
        if mark in file.read(at - start + len(mark)):
            return False
        at = start
    return True


@contextmanager
def _opened(source: Path | bytes) -> Iterator[tuple[PILImage, ImageType | None, IO[bytes]]]:
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
            yield picture, kind, file
        except NotAPictureError:
            raise
        except MemoryError as error:
            raise NotAPictureError("takes more memory than there is") from error
        except Exception as error:
            # Pillow's decoders raise whatever they stumble over: OSError, SyntaxError, ValueError…
            what = f"is a damaged {kind.value}" if kind else f"is {describe(head)}"
            raise NotAPictureError(what if head else "is empty") from error


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
