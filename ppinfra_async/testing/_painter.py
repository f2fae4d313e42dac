"""Turns an input picture into something artistic that depends on what was asked; judges nothing.

No model is at work: the prompt picks a style and a palette, the seed shifts its colours, and the
strength says how much of the original is left. Equal requests give equal pixels, so that a restarted
simulator serves the same results. Blocks: callers use a worker thread. Pillow is imported on first
use.
"""

import colorsys
import io
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from PIL import Image

    Filter = Callable[["Image.Image", random.Random], "Image.Image"]

# Heavy filters work on at most this many pixels per side and are scaled up afterwards.
_CANVAS = 512


@frozen(kw_only=True)
class Commission:
    """What is to be painted; `strength` from 0 (the original) to 1."""

    picture: bytes | None
    width: int
    height: int
    prompt: str
    strength: float
    seed: int
    image_type: str


def paint(commission: Commission) -> bytes:
    """Paint one image and give it as a file of the asked type."""
    from PIL import Image  # noqa: PLC0415  # load tests never need it

    size = (commission.width, commission.height)
    original = _original(commission, size)
    style = _style_of(commission.prompt)
    source = random.Random(f"{commission.prompt}|{commission.seed}")  # noqa: S311  # no secret
    small = original.copy()
    small.thumbnail((_CANVAS, _CANVAS), Image.Resampling.LANCZOS)
    art = _lit(style(small, source), source).resize(size, Image.Resampling.BICUBIC)
    share = 0.25 + 0.75 * commission.strength
    return _encoded(Image.blend(original, art, share), commission.image_type)


def _original(commission: Commission, size: tuple[int, int]) -> "Image.Image":
    from PIL import Image  # noqa: PLC0415

    if commission.picture is not None:
        with Image.open(io.BytesIO(commission.picture)) as image:
            return image.convert("RGB").resize(size)
    source = random.Random(f"ground {commission.seed}")  # noqa: S311
    grey = Image.radial_gradient("L").resize(size)
    return _palette_map(grey, source.random(), 0.5)


def _encoded(image: "Image.Image", image_type: str) -> bytes:
    out = io.BytesIO()
    if image_type == "jpeg":
        image.save(out, "JPEG", quality=90)
    elif image_type == "webp":
        image.save(out, "WEBP", quality=85, method=2)
    else:
        image.save(out, "PNG", compress_level=3)
    return out.getvalue()


def _style_of(prompt: str) -> "Filter":
    lowered = prompt.lower()
    for word, style in _STYLES.items():
        if word in lowered:
            return style
    styles = list(_STYLES.values())
    return random.Random(prompt).choice(styles)  # noqa: S311


# --- styles -------------------------------------------------------------------------------


def _oil(image: "Image.Image", source: random.Random) -> "Image.Image":
    from PIL import ImageEnhance, ImageFilter  # noqa: PLC0415

    strokes = image.filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.ModeFilter(9))
    strokes = _hue_shifted(strokes, source.uniform(-0.06, 0.06))
    relief = image.convert("L").filter(ImageFilter.EMBOSS).filter(ImageFilter.GaussianBlur(0.8))
    vivid = ImageEnhance.Color(strokes).enhance(1.55)
    return _soft_light(vivid, relief, 0.45)


def _watercolour(image: "Image.Image", source: random.Random) -> "Image.Image":
    from PIL import ImageChops, ImageEnhance, ImageFilter  # noqa: PLC0415

    wash = image.filter(ImageFilter.MedianFilter(7)).filter(ImageFilter.GaussianBlur(2))
    wash = ImageEnhance.Brightness(ImageEnhance.Color(wash).enhance(1.35)).enhance(1.18)
    wash = _hue_shifted(wash, source.uniform(-0.08, 0.08))
    lines = _lines(image, 2.2).point(lambda level: 110 + level * 145 // 255)
    paper = _paper(image.size, source)
    washed = ImageChops.multiply(wash, lines.convert("RGB"))
    return ImageChops.multiply(washed, paper)


def _sketch(image: "Image.Image", source: random.Random) -> "Image.Image":
    from PIL import ImageChops, ImageOps  # noqa: PLC0415

    shade = ImageOps.autocontrast(image.convert("L"), cutoff=1)
    soft = shade.point(lambda level: 150 + level * 105 // 255)
    drawn = ImageChops.multiply(_lines(image, 3.0), soft)
    hue = source.random()
    ink, paper = _rgb(hue, 0.6, 0.16), _rgb(hue + 0.52, 0.12, 0.97)
    tinted = ImageOps.colorize(drawn, ink, paper)
    return ImageChops.multiply(tinted, _paper(image.size, source))


def _poster(image: "Image.Image", source: random.Random) -> "Image.Image":
    from PIL import ImageFilter, ImageOps  # noqa: PLC0415

    grey = ImageOps.autocontrast(image.convert("L").filter(ImageFilter.MedianFilter(5)), cutoff=2)
    flat = ImageOps.posterize(grey, 3).filter(ImageFilter.ModeFilter(5))
    return _palette_map(flat, source.random(), source.uniform(0.28, 0.5))


def _neon(image: "Image.Image", source: random.Random) -> "Image.Image":
    from PIL import ImageChops, ImageEnhance, ImageFilter, ImageOps  # noqa: PLC0415

    hue = source.random()
    edges = ImageOps.invert(_lines(image, 3.5))
    near = ImageOps.colorize(edges, "black", _rgb(hue, 0.75, 1.0))
    glow = ImageOps.colorize(
        edges.filter(ImageFilter.GaussianBlur(7)), "black", _rgb(hue + 0.3, 0.9, 1.0)
    )
    night = ImageEnhance.Brightness(_hue_shifted(image, hue)).enhance(0.3)
    return ImageChops.screen(ImageChops.screen(night, glow), near)


def _glass(image: "Image.Image", source: random.Random) -> "Image.Image":
    from PIL import Image, ImageChops, ImageEnhance, ImageFilter  # noqa: PLC0415

    colours = image.filter(ImageFilter.MedianFilter(7)).quantize(14, Image.Quantize.MEDIANCUT)
    panes = colours.convert("RGB").filter(ImageFilter.ModeFilter(9))
    lead = _lines(panes, 6.0).filter(ImageFilter.MinFilter(3))
    shifted = _hue_shifted(ImageEnhance.Color(panes).enhance(1.9), source.uniform(-0.15, 0.15))
    return ImageChops.multiply(shifted, lead.convert("RGB"))


_STYLES: "dict[str, Filter]" = {
    "oil": _oil,
    "watercolo": _watercolour,
    "sketch": _sketch,
    "poster": _poster,
    "neon": _neon,
    "glass": _glass,
}

# --- strokes ------------------------------------------------------------------------------


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _palette_map(grey: "Image.Image", hue: float, spread: float) -> "Image.Image":
    from PIL import ImageOps  # noqa: PLC0415

    dark, middle, light = (
        _rgb(hue, 0.85, 0.22),
        _rgb(hue + spread, 0.7, 0.82),
        _rgb(hue + spread * 1.6, 0.22, 0.99),
    )
    return ImageOps.colorize(grey, dark, light, mid=middle)


def _hue_shifted(image: "Image.Image", turn: float) -> "Image.Image":
    from PIL import Image  # noqa: PLC0415

    hue, saturation, value = image.convert("HSV").split()
    moved = hue.point([(level + round(turn * 256)) % 256 for level in range(256)])
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")


def _lines(image: "Image.Image", contrast: float) -> "Image.Image":
    """Draw the contours dark on white."""
    from PIL import ImageChops, ImageFilter  # noqa: PLC0415

    grey = image.convert("L").filter(ImageFilter.GaussianBlur(0.7))
    blurred = grey.filter(ImageFilter.GaussianBlur(4))
    difference = ImageChops.difference(grey, blurred)
    return difference.point(lambda level: max(0, 255 - round(level * contrast * 2)))


def _paper(size: tuple[int, int], source: random.Random) -> "Image.Image":
    from PIL import Image, ImageFilter  # noqa: PLC0415

    # A block of noise from the seeded source, tiled: Pillow's own noise cannot be seeded.
    grain = Image.frombytes("L", (128, 128), source.randbytes(128 * 128))
    grain = grain.filter(ImageFilter.GaussianBlur(0.8)).point(lambda level: 226 + level * 29 // 255)
    sheet = Image.new("L", size)
    for left in range(0, size[0], 128):
        for top in range(0, size[1], 128):
            sheet.paste(grain, (left, top))
    return sheet.convert("RGB")


def _lit(image: "Image.Image", source: random.Random) -> "Image.Image":
    """Let coloured light fall in, so that even a grey source looks different with each seed."""
    from PIL import Image, ImageOps  # noqa: PLC0415

    hue = source.random()
    width, height = image.size
    for turn in (0.0, 0.45):
        spot = ImageOps.invert(Image.radial_gradient("L")).resize((2 * width, 2 * height))
        left, top = source.randrange(width), source.randrange(height)
        beam = spot.crop((left, top, left + width, top + height))
        mask = beam.point(lambda level: level // 6)
        image = Image.composite(Image.new("RGB", image.size, _rgb(hue + turn, 0.6, 1)), image, mask)
    return image


def _soft_light(image: "Image.Image", relief: "Image.Image", share: float) -> "Image.Image":
    from PIL import Image, ImageChops  # noqa: PLC0415

    lit = ImageChops.soft_light(image, relief.convert("RGB"))
    return Image.blend(image, lit, share)
