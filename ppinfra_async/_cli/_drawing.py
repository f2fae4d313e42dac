"""Draws a landscape for those who have no picture at hand; refuses to be a photograph.

Blocks, like everything that touches pixels. Pillow is imported when it is wanted.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppinfra_async import _pixels
from ppinfra_async.requests import ImageType

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

Colour = tuple[int, int, int]

SIZE = (960, 640)
# Drawn larger and scaled down: Pillow's lines and polygons have no smooth edges.
_SCALE = 2
_HORIZON = 0.62

_SKY: tuple[Colour, ...] = (
    (34, 46, 100), (84, 80, 146), (178, 108, 146), (240, 148, 122), (255, 206, 144),
)  # fmt: skip
_WATER: tuple[Colour, ...] = ((150, 108, 146), (108, 88, 142), (34, 44, 90))
_SUN: Colour = (255, 246, 214)
_GLOW: Colour = (255, 178, 116)
# From the farthest ridge to the nearest: top as a share of the height, roughness, colour.
_RIDGES: tuple[tuple[float, float, Colour], ...] = (
    (0.47, 0.055, (178, 120, 146)),
    (0.52, 0.050, (128, 96, 136)),
    (0.565, 0.036, (84, 74, 116)),
    (0.60, 0.022, (52, 56, 92)),
)
_SHORE: Colour = (18, 26, 44)


def draw_landscape(seed: int = 4) -> bytes:
    """Return a lake at sunset as a JPEG file; the same for the same *seed*."""
    from PIL import Image  # noqa: PLC0415  # see the module

    source = random.Random(seed)  # noqa: S311  # hills, not secrets
    size = (SIZE[0] * _SCALE, SIZE[1] * _SCALE)
    picture = Image.new("RGB", size)
    picture.paste(_gradient(_SKY, (size[0], round(size[1] * _HORIZON))))
    _shine(picture, (0.63, 0.46), 0.075)
    for top, roughness, colour in _RIDGES:
        _fill_below(picture, _ridge(size, top, roughness, source), colour)
    _lay_water(picture, source)
    _plant_shore(picture, source)
    _let_birds_fly(picture)
    smooth = picture.resize(SIZE, Image.Resampling.LANCZOS)
    return _pixels.encode(smooth, ImageType.JPEG)


def _gradient(colours: Sequence[Colour], size: tuple[int, int]) -> PILImage:
    from PIL import Image  # noqa: PLC0415

    column = Image.new("RGB", (1, len(colours)))
    column.putdata(list(colours))
    # Overhang, because the outermost half of each end colour is flat.
    tall = column.resize((1, size[1] * 5 // 4), Image.Resampling.BICUBIC)
    return tall.crop((0, size[1] // 8, 1, size[1] // 8 + size[1])).resize(size)


def _shine(picture: PILImage, centre: tuple[float, float], radius: float) -> None:
    """Put a sun and its glow into the sky."""
    from PIL import Image, ImageDraw  # noqa: PLC0415

    width, height = picture.size
    x, y = width * centre[0], height * centre[1]
    for share, strength, colour in ((6.6, 0.45, _GLOW), (3.8, 0.6, _GLOW), (1.9, 0.5, _SUN)):
        reach = round(height * radius * share)
        glow = Image.radial_gradient("L").resize((2 * reach, 2 * reach))
        mask = glow.point([round(max(0, 255 - level * 1.42) * strength) for level in range(256)])
        picture.paste(colour, (round(x) - reach, round(y) - reach), mask)
    ImageDraw.Draw(picture).circle((x, y), height * radius, _SUN)


def _ridge(
    size: tuple[int, int], top: float, roughness: float, source: random.Random
) -> list[tuple[float, float]]:
    """Return the line of a ridge: a few waves of ever shorter length."""
    width, height = size
    waves = [
        (source.uniform(0.7, 1.3) * 2**octave, source.uniform(0, math.tau), 0.55**octave)
        for octave in range(7)
    ]
    points = []
    for x in range(0, width + 8, 8):
        turn = x / width * math.tau
        rise = sum(math.sin(turn * speed + start) * share for speed, start, share in waves)
        points.append((float(x), height * (top - rise * roughness)))
    return points


def _fill_below(picture: PILImage, line: Sequence[tuple[float, float]], colour: Colour) -> None:
    """Fill below a ridge; haze lightens its foot."""
    from PIL import Image, ImageDraw  # noqa: PLC0415

    width, height = picture.size
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).polygon([(0, height), *line, (width, height)], fill=255)
    hazy = tuple(level + (235 - level) * 2 // 9 for level in colour)
    ground = _gradient((colour, colour, (hazy[0], hazy[1], hazy[2])), picture.size)
    picture.paste(ground, (0, 0), mask)


def _lay_water(picture: PILImage, source: random.Random) -> None:
    """Cover the lower part with a lake that mirrors the upper one."""
    from PIL import Image, ImageFilter, ImageOps  # noqa: PLC0415

    width, height = picture.size
    horizon = round(height * _HORIZON)
    depth = height - horizon
    above = picture.crop((0, max(0, horizon - depth), width, horizon))
    mirrored = ImageOps.flip(above).resize((width, depth)).filter(ImageFilter.GaussianBlur(3))
    rippled = Image.new("RGB", mirrored.size)
    for row in range(0, depth, 4):
        swing = source.uniform(-1, 1) * (2 + row * 0.045)
        strip = mirrored.crop((0, row, width, row + 4))
        rippled.paste(strip, (round(swing), row))
        rippled.paste(strip.crop((0, 0, 40, 4)), (round(swing) - 40, row))
        rippled.paste(strip.crop((width - 40, 0, width, 4)), (width + round(swing), row))
    water = Image.blend(rippled, _gradient(_WATER, rippled.size), 0.42)
    picture.paste(water.filter(ImageFilter.GaussianBlur(1)), (0, horizon))
    _lay_glitter(picture, horizon, source)


def _lay_glitter(picture: PILImage, horizon: int, source: random.Random) -> None:
    """Let the sun glitter on the water, wider towards the shore."""
    from PIL import Image, ImageDraw, ImageFilter  # noqa: PLC0415

    width, height = picture.size
    mask = Image.new("L", picture.size)
    pen = ImageDraw.Draw(mask)
    for _ in range(260):
        way = source.random() ** 1.4
        y = horizon + 4 + way * (height - horizon) * 0.85
        x = width * 0.63 + source.gauss(0, 1) * (14 + way * 95)
        length = 10 + way * 46 * source.random()
        pen.line((x - length, y, x + length, y), fill=round(210 * (1 - way * 0.7)), width=3)
    picture.paste(_SUN, (0, 0), mask.filter(ImageFilter.GaussianBlur(1.2)))


def _plant_shore(picture: PILImage, source: random.Random) -> None:
    """Put a dark shore with firs in front."""
    from PIL import ImageDraw  # noqa: PLC0415

    width, height = picture.size
    pen = ImageDraw.Draw(picture)
    line = [
        (x, height * (0.945 - 0.085 * math.cos(x / width * math.pi * 1.25) ** 3))
        for x in range(0, width + 8, 8)
    ]
    pen.polygon([(0, height), *line, (width, height)], fill=_SHORE)
    for share in (0.02, 0.055, 0.085, 0.125, 0.15, 0.19, 0.225, 0.265, 0.31, 0.93, 0.965, 0.995):
        x = width * share
        foot = line[min(len(line) - 1, int(x // 8))][1] + height * 0.02
        nearness = 1 if share > 0.5 else 1.25 - share * 2
        _fir(pen, x, foot, height * source.uniform(0.15, 0.24) * nearness, source)


def _fir(pen: object, x: float, foot: float, tall: float, source: random.Random) -> None:
    from PIL import ImageDraw  # noqa: PLC0415

    assert isinstance(pen, ImageDraw.ImageDraw)  # noqa: S101  # typed here: Pillow is imported late
    pen.rectangle((x - tall * 0.018, foot - tall * 0.15, x + tall * 0.018, foot), fill=_SHORE)
    layers = 9
    for layer in range(layers):
        top = foot - tall + layer * tall * 0.88 / layers
        reach = tall * (0.045 + 0.19 * (layer + 1) / layers) * source.uniform(0.85, 1.1)
        bottom = top + tall * 0.19
        tips = [(x, top), (x + reach, bottom), (x, bottom - tall * 0.03), (x - reach, bottom)]
        pen.polygon(tips, fill=_SHORE)


def _let_birds_fly(picture: PILImage) -> None:
    from PIL import ImageDraw  # noqa: PLC0415

    width, height = picture.size
    pen = ImageDraw.Draw(picture)
    for x, y, wing in ((0.36, 0.2, 22), (0.40, 0.17, 17), (0.425, 0.215, 19), (0.455, 0.18, 13)):
        left, top = width * x, height * y
        for side in (-1, 1):
            box = sorted((left, left + side * 2 * wing))
            start, end = (200, 300) if side > 0 else (240, 340)
            pen.arc((box[0], top, box[1], top + wing * 1.3), start, end, fill=_SHORE, width=4)
