"""Judges input pictures as the service documents it; keeps none and paints nothing.

Blocks: callers use a worker thread. Pillow is imported on first use.
"""

import hashlib
import io
from typing import TYPE_CHECKING

import pybase64
from attrs import frozen

from ppinfra_async.testing._answers import RefusedError, error

if TYPE_CHECKING:
    from PIL import Image

# Which formats the service reads is not documented; these are the ones it writes. MPO is what
# Pillow calls the JPEG files of some cameras.
_FORMATS = ("PNG", "JPEG", "WEBP", "MPO")
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError)


@frozen
class Examined:
    """An accepted picture.

    `sha256` is the digest of its file, `scaled` itself at the asked size as JPEG; None if it is not
    the one that is to be transformed.
    """

    sha256: str
    scaled: bytes | None


def examine(
    text: str,
    path: str,
    *,
    max_side: int,
    max_bytes: int,
    scale_to: tuple[int, int] | None,
) -> Examined:
    """Check one ``image_base64``: strict standard base64 of a real picture within the limits.

    Raises:
        RefusedError: with the documented error.
    """
    if len(text) // 4 * 3 - text[-2:].count("=") > max_bytes:
        raise _refused("IMAGE_FILE_EXCEEDS_MAX_SIZE", f"{path}: file is larger than {max_bytes} B")
    try:
        data = pybase64.b64decode(text, validate=True)
    except ValueError:
        raise _refused("INVALID_IMAGE_FORMAT", f"{path}: not standard base64") from None
    scaled = _decode(data, path, max_side, scale_to)
    return Examined(hashlib.sha256(data).hexdigest(), scaled)


def _decode(
    data: bytes, path: str, max_side: int, scale_to: tuple[int, int] | None
) -> bytes | None:
    from PIL import Image  # noqa: PLC0415  # load tests never need it

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if max(image.size) > max_side:
                raise _refused(
                    "IMAGE_EXCEEDS_MAX_RESOLUTION",
                    f"{path}: {image.width}x{image.height} exceeds {max_side}x{max_side}",
                )
            image.load()
            return None if scale_to is None else _scaled(image, scale_to)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _refused("IMAGE_EXCEEDS_MAX_RESOLUTION", f"{path}: too many pixels") from None
    # Pillow's plugins raise many kinds on broken files, and warnings where those are errors.
    except (*_BROKEN, Warning):
        raise _refused("INVALID_IMAGE_FORMAT", f"{path}: not a readable picture") from None


def _scaled(image: "Image.Image", size: tuple[int, int]) -> bytes:
    from PIL import ImageOps  # noqa: PLC0415

    if image.has_transparency_data:
        from PIL import Image  # noqa: PLC0415

        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(ground, rgba)
    out = io.BytesIO()
    ImageOps.fit(image.convert("RGB"), size).save(out, "JPEG", quality=92)
    return out.getvalue()


def _refused(reason: str, message: str) -> RefusedError:
    return RefusedError(error(reason, message))
