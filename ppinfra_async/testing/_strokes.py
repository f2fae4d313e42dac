"""Strokes, lines, papers and lights that the styles are made of; knows no style.

Each function takes a few milliseconds or lets other threads run meanwhile: Pillow's rank and mode
filters do neither on a whole picture, so they are used on small ones only.
"""

import colorsys
import math
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from ppinfra_async.testing._easel import Easel

# After how many strokes the painter looks up.
_STROKES_PER_STEP = 50
Colour = tuple[int, int, int]


def rgb(hue: float, saturation: float, value: float) -> Colour:
    """Mix a colour; the hue turns round at 1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def palette_map(grey: Image.Image, hue: float, spread: float) -> Image.Image:
    """Colour a grey picture from a dark *hue* to a light one that is *spread* away."""
    dark = rgb(hue, 0.85, 0.22)
    middle = rgb(hue + spread, 0.7, 0.82)
    light = rgb(hue + spread * 1.6, 0.22, 0.99)
    return ImageOps.colorize(grey, dark, light, mid=middle)


def hue_shifted(image: Image.Image, turn: float) -> Image.Image:
    """Turn all hues; 1 is once round."""
    hue, saturation, value = image.convert("HSV").split()
    moved = hue.point([(level + round(turn * 256)) % 256 for level in range(256)])
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")


def softened(image: Image.Image, times: int) -> Image.Image:
    """Flatten small detail and keep edges: a small median on a small copy."""
    width, height = image.size
    small = image.resize((max(1, width // 2), max(1, height // 2)), Image.Resampling.BOX)
    for _ in range(times):
        small = small.filter(ImageFilter.MedianFilter(3))
    return small.resize(image.size, Image.Resampling.BICUBIC)


def lines(image: Image.Image, contrast: float, radius: float = 4) -> Image.Image:
    """Draw the contours dark on white; a larger *radius* in pixels draws them broader."""
    grey = image.convert("L").filter(ImageFilter.GaussianBlur(0.7))
    blurred = grey.filter(ImageFilter.GaussianBlur(radius))
    difference = ImageChops.difference(grey, blurred)
    return difference.point(lambda level: max(0, 255 - round(level * contrast * 2)))


def hatching(size: tuple[int, int], angle: float, gap: int) -> Image.Image:
    """Draw parallel grey pencil lines, *gap* pixels apart, on white."""
    sheet = Image.new("L", size, 255)
    pen = ImageDraw.Draw(sheet)
    width, height = size
    reach = math.hypot(width, height) / 2
    along = (math.cos(angle) * reach, math.sin(angle) * reach)
    for offset in range(-int(reach), int(reach), gap):
        x = width / 2 - math.sin(angle) * offset
        y = height / 2 + math.cos(angle) * offset
        ends = (x - along[0], y - along[1], x + along[0], y + along[1])
        pen.line(ends, fill=70, width=1)
    return sheet.filter(ImageFilter.GaussianBlur(0.6))


def paper(size: tuple[int, int], easel: Easel) -> Image.Image:
    """Make rough white paper."""
    # A block of noise, tiled: Pillow's own noise cannot be seeded.
    grain = Image.frombytes("L", (128, 128), easel.chance.randbytes(128 * 128))
    grain = grain.filter(ImageFilter.GaussianBlur(0.8)).point(lambda level: 226 + level * 29 // 255)
    sheet = Image.new("L", size)
    for left in range(0, size[0], 128):
        for top in range(0, size[1], 128):
            sheet.paste(grain, (left, top))
    return sheet.convert("RGB")


def lit(image: Image.Image, easel: Easel) -> Image.Image:
    """Let coloured light fall in, so that even a grey source looks different with each seed."""
    width, height = image.size
    for turn in (0.0, 0.45):
        spot = ImageOps.invert(Image.radial_gradient("L")).resize((2 * width, 2 * height))
        left, top = easel.chance.randrange(width), easel.chance.randrange(height)
        beam = spot.crop((left, top, left + width, top + height))
        mask = beam.point(lambda level: level // 6)
        light = Image.new("RGB", image.size, rgb(easel.turn + turn, 0.6, 1))
        image = Image.composite(light, image, mask)
    return image


def soft_light(image: Image.Image, relief: Image.Image, share: float) -> Image.Image:
    """Let a grey relief show in the surface of a picture."""
    shaded = ImageChops.soft_light(image, relief.convert("RGB"))
    return Image.blend(image, shaded, share)


def brushed(image: Image.Image, easel: Easel, *, width: int, angle: float) -> Image.Image:
    """Paint a picture again with short strokes along its contours, coarse ones first.

    *width* is that of the broadest brush in pixels, *angle* where nothing shows the way.
    """
    canvas = image.filter(ImageFilter.GaussianBlur(width))
    for brush in (width, max(4, width // 2), max(3, width // 3)):
        model = image.filter(ImageFilter.GaussianBlur(brush / 3))
        _layer(canvas, model, easel, brush, angle)
    return canvas


def _layer(canvas: Image.Image, model: Image.Image, easel: Easel, brush: int, angle: float) -> None:
    pen, chance = ImageDraw.Draw(canvas), easel.chance
    grey: Any = model.convert("L").filter(ImageFilter.GaussianBlur(brush)).load()
    wanted: Any = model.load()
    there: Any = canvas.load()
    width, height = canvas.size
    places = [(x, y) for x in range(2, width - 2, brush) for y in range(2, height - 2, brush)]
    chance.shuffle(places)
    for number, (x, y) in enumerate(places):
        if number % _STROKES_PER_STEP == 0:
            easel.step()
        colour, present = wanted[x, y], there[x, y]
        if sum(map(abs, map(int.__sub__, colour, present))) < _CLOSE_ENOUGH:
            continue
        across = grey[x + 2, y] - grey[x - 2, y]
        down = grey[x, y + 2] - grey[x, y - 2]
        if abs(across) + abs(down) > _FLAT:
            way = math.atan2(down, across) + math.pi / 2
        else:
            way = angle + chance.uniform(-0.5, 0.5)
        dx, dy = math.cos(way) * brush * 1.6, math.sin(way) * brush * 1.6
        pen.line((x - dx, y - dy, x + dx, y + dy), fill=_mixed(colour, chance), width=brush)


# Sums of differences of levels.
_CLOSE_ENOUGH = 42
_FLAT = 5


def _mixed(colour: Colour, chance: Any) -> Colour:
    # No two strokes have quite the same paint.
    shade = chance.randrange(-9, 10)
    red, green, blue = colour
    return red + shade, green + shade, blue + shade


_LEAD = (44, 40, 46)


def panes(image: Image.Image, easel: Easel, *, side: int) -> Image.Image:
    """Put a picture together from crooked quadrilaterals of one colour each, *side* pixels wide."""
    width, height = image.size
    columns, rows = width // side + 1, height // side + 1
    colours: Any = image.resize((columns, rows), Image.Resampling.BOX).load()
    corners = [
        [_corner(x * side, y * side, side, easel.chance) for y in range(rows + 1)]
        for x in range(columns + 1)
    ]
    sheet = Image.new("RGB", image.size)
    pen = ImageDraw.Draw(sheet)
    for x in range(columns):
        easel.step()
        for y in range(rows):
            around = (corners[x][y], corners[x + 1][y], corners[x + 1][y + 1], corners[x][y + 1])
            pen.polygon(around, fill=_mixed(colours[x, y], easel.chance), outline=_LEAD)
    return sheet


def _corner(x: int, y: int, side: int, chance: Any) -> tuple[float, float]:
    reach = side * 0.36
    return x + chance.uniform(-reach, reach), y + chance.uniform(-reach, reach)
