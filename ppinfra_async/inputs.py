"""Where the bytes of an input picture come from; refuses to read any of them.

Files are opened, measured and re-encoded later, in a worker thread, by ``_uploads``.
"""

from __future__ import annotations

import binascii
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pybase64
from attrs import field, frozen
from yarl import URL

from ppinfra_async._showing import shown_size, shown_url, url_without_query

if TYPE_CHECKING:
    # Pillow takes 70 ms to import and is only needed when a picture is really looked at.
    from PIL.Image import Image as PILImage

STRING_RULE = (
    "must not be a str: use pathlib.Path(…) for a file, ImageInput.from_base64(…) for base64 text, "
    "ImageInput.from_url(…) where the endpoint takes an address"
)
KIND_RULE = "must be a path, bytes, a PIL.Image.Image or an ImageInput"

MAX_SIDE = 2048
MAX_FILE_BYTES = 30 * 1024 * 1024
"""PPInfra's page on img2img: each side at most 2048 pixels, the file at most 30 MB."""


ImageSource: TypeAlias = "ImageInput | os.PathLike[str] | bytes | bytearray | memoryview | PILImage"
"""What a person may write for a picture. A ``str`` is not among it, on purpose."""


class BadInputError(ValueError):
    """An input that can be seen to be wrong without reading a file. The message is a rule."""


@frozen
class ImageInput:
    """One input picture: exactly one of a path, bytes, a Pillow image or an address.

    Make it with one of the ``from_…`` class methods. Nothing is read until ``client.check``,
    ``submit``, ``generate`` or ``map``.

    Attributes:
        path: A file. PNG, JPEG and WebP are sent untouched (see ``fit``) when they are upright; the
            first picture of a GIF, BMP, TIFF or AVIF file is sent as PNG.
        data: The bytes of a picture file.
        pil: A Pillow image; sent as PNG.
        url: An address for endpoints that take one. We never fetch it.
        fit: Longest side in pixels; a larger picture is scaled down before it is sent. None sends
            it as it is, and a side above 2048 is then an error.
    """

    path: Path | None = None
    data: bytes | None = field(default=None, repr=shown_size)
    pil: PILImage | None = field(default=None, eq=id)
    url: str | None = field(default=None, repr=shown_url)
    fit: int | None = None

    def __attrs_post_init__(self) -> None:
        """Hold what was given against what an input is.

        Raises:
            BadInputError: when it is not exactly one picture, or ``fit`` is out of range.
        """
        if [self.path, self.data, self.pil, self.url].count(None) != 3:
            raise BadInputError("must be exactly one of a path, bytes, a Pillow image, an address")
        checked_fit(self.fit)

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], fit: int | None = None) -> ImageInput:
        """Take a picture file; ``~`` is not expanded."""
        return cls(path=Path(path), fit=checked_fit(fit))

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview, fit: int | None = None) -> ImageInput:
        """Take the bytes of a picture file (PNG, JPEG or WebP).

        Raises:
            BadInputError: when it is something else; ``bytes(5)`` would be five zeros.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise BadInputError("must be bytes")
        return cls(data=bytes(data), fit=checked_fit(fit))

    @classmethod
    def from_pil(cls, image: PILImage, fit: int | None = None) -> ImageInput:
        """Take a Pillow image. Do not change it before the request is sent."""
        return cls(pil=image, fit=checked_fit(fit))

    @classmethod
    def from_base64(cls, text: str | bytes, fit: int | None = None) -> ImageInput:
        """Take base64 text, with or without a ``data:…;base64,`` prefix; line breaks are ignored.

        Raises:
            BadInputError: when it is not base64.
        """
        encoded = text.encode("ascii", "replace") if isinstance(text, str) else bytes(text)
        if encoded.startswith(b"data:"):
            encoded = encoded.partition(b",")[2]
        try:
            data = pybase64.b64decode(b"".join(encoded.split()), validate=True)
        except binascii.Error as error:
            raise BadInputError("must be base64 text") from error
        return cls(data=data, fit=checked_fit(fit))

    @classmethod
    def from_url(cls, url: str) -> ImageInput:
        """Take an address, only for endpoints that want one. It is passed on, never fetched by us.

        Raises:
            BadInputError: when it is not an absolute http(s) address.
        """
        try:
            parsed = URL(url)
        except ValueError as error:
            raise BadInputError("must be an http:// or https:// address") from error
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise BadInputError("must be an http:// or https:// address")
        return cls(url=url)

    @classmethod
    def of(cls, value: Any) -> ImageInput:
        """Take what a person may write for ``image=``.

        Raises:
            BadInputError: for a ``str`` (it could be a path, base64 or an address, and a stranger's
                JSON must not make a server read its files) and for anything else.
        """
        match value:
            case ImageInput():
                return value
            case str():
                raise BadInputError(STRING_RULE)
            case os.PathLike():
                return cls.from_path(value)
            case bytes() | bytearray() | memoryview():
                return cls.from_bytes(value)
        # Without importing Pillow: a Pillow image exists only once Pillow has been imported.
        if any(_is_pillow_image(kind) for kind in type(value).__mro__):
            return cls.from_pil(value)
        raise BadInputError(KIND_RULE)

    @property
    def name(self) -> str:
        """How the picture is called in messages: its path, or what kind of thing it is."""
        if self.path is not None:
            return str(self.path)
        if self.url is not None:
            return url_without_query(self.url)
        return "image bytes" if self.data is not None else "Pillow image"


def _is_pillow_image(kind: type) -> bool:
    return (kind.__module__, kind.__name__) == ("PIL.Image", "Image")


def checked_fit(fit: int | None) -> int | None:
    """Return *fit*.

    Raises:
        BadInputError: it is neither None nor a length in pixels that the service takes.
    """
    in_range = isinstance(fit, int) and not isinstance(fit, bool) and 1 <= fit <= MAX_SIDE
    if fit is None or in_range:
        return fit
    raise BadInputError(f"fit must be a whole number of pixels in 1…{MAX_SIDE}")
