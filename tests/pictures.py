"""Pictures that tests make for themselves."""

from __future__ import annotations

import io

from PIL import Image


def draw_picture(width: int, height: int, kind: str, *, orientation: int = 1) -> bytes:
    """Return a file of *kind* with a colour gradient, red to the right and green to the bottom."""
    red = Image.linear_gradient("L").rotate(90).resize((width, height))
    green = Image.linear_gradient("L").resize((width, height))
    picture = Image.merge("RGB", (red, green, Image.new("L", (width, height), 96)))
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, kind, exif=exif)
    return buffer.getvalue()
