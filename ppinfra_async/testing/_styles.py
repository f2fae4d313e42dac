"""The styles that a prompt can name; each turns a small picture into another of its size."""

import math
from collections.abc import Callable, Mapping

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from ppinfra_async.testing._easel import Easel
from ppinfra_async.testing._strokes import (
    brushed,
    hatching,
    hue_shifted,
    lines,
    palette_map,
    panes,
    paper,
    rgb,
    soft_light,
    softened,
)

Style = Callable[[Image.Image, Easel], Image.Image]


def _oil(image: Image.Image, easel: Easel) -> Image.Image:
    width = round(easel.spread(9, 18, 3))
    strokes = brushed(image, easel, width=width, angle=easel.turn * math.pi)
    strokes = hue_shifted(strokes, easel.spread(-0.07, 0.07))
    relief = strokes.convert("L").filter(ImageFilter.EMBOSS).filter(ImageFilter.GaussianBlur(0.6))
    vivid = ImageEnhance.Color(strokes).enhance(easel.spread(1.3, 1.8, 5))
    return soft_light(vivid, relief, 0.45)


def _watercolour(image: Image.Image, easel: Easel) -> Image.Image:
    wash = softened(image, 2).filter(ImageFilter.GaussianBlur(easel.spread(1, 3.5, 3)))
    wash = ImageEnhance.Color(wash).enhance(easel.spread(1.0, 1.9, 5))
    wash = ImageEnhance.Brightness(wash).enhance(1.2)
    wash = hue_shifted(wash, easel.spread(-0.12, 0.12))
    easel.step()
    tint = Image.new("RGB", image.size, rgb(easel.turn, 0.16, 1))
    contours = lines(image, 2.2, easel.spread(3, 6, 7)).point(
        lambda level: 110 + level * 145 // 255
    )
    washed = ImageChops.multiply(ImageChops.multiply(wash, tint), contours.convert("RGB"))
    return ImageChops.multiply(washed, paper(image.size, easel))


def _sketch(image: Image.Image, easel: Easel) -> Image.Image:
    shade = ImageOps.autocontrast(image.convert("L"), cutoff=1)
    soft = shade.point(lambda level: 165 + level * 90 // 255)
    contours = lines(image, easel.spread(2.4, 4.2, 5), easel.spread(2.5, 7, 3))
    drawn = ImageChops.multiply(contours, soft)
    easel.step()
    hatched = hatching(image.size, easel.turn * math.pi, round(easel.spread(4, 8, 7)))
    # Only the dark parts are hatched.
    dark = shade.point(lambda level: max(0, 190 - level * 2))
    drawn = Image.composite(ImageChops.multiply(drawn, hatched), drawn, dark)
    tinted = ImageOps.colorize(drawn, rgb(easel.turn, 0.75, 0.2), rgb(easel.turn + 0.5, 0.16, 0.98))
    return ImageChops.multiply(tinted, paper(image.size, easel))


def _poster(image: Image.Image, easel: Easel) -> Image.Image:
    grey = softened(image.convert("L"), 2).filter(ImageFilter.GaussianBlur(easel.spread(1, 2.5, 3)))
    flat = ImageOps.posterize(ImageOps.autocontrast(grey, cutoff=2), 3)
    return palette_map(flat, easel.turn, easel.spread(0.28, 0.5, 5))


def _neon(image: Image.Image, easel: Easel) -> Image.Image:
    edges = ImageOps.invert(lines(image, 3.5, easel.spread(3, 6, 3)))
    near = ImageOps.colorize(edges, "black", rgb(easel.turn, 0.75, 1.0))
    easel.step()
    halo = edges.filter(ImageFilter.GaussianBlur(easel.spread(5, 11, 5)))
    glow = ImageOps.colorize(halo, "black", rgb(easel.turn + 0.3, 0.9, 1.0))
    night = ImageEnhance.Brightness(hue_shifted(image, easel.turn)).enhance(0.3)
    return ImageChops.screen(ImageChops.screen(night, glow), near)


def _glass(image: Image.Image, easel: Easel) -> Image.Image:
    flat = softened(image, 2)
    bright = ImageEnhance.Color(flat).enhance(1.9)
    window = panes(bright, easel, side=round(easel.spread(8, 15, 3)))
    # What a painter on glass adds inside the panes.
    window = hue_shifted(Image.blend(window, bright, 0.3), easel.spread(-0.16, 0.16))
    lead = lines(flat, 4.5, 3)
    return ImageChops.multiply(window, lead.convert("RGB"))


STYLES: Mapping[str, Style] = {
    "oil": _oil,
    "watercolo": _watercolour,
    "sketch": _sketch,
    "poster": _poster,
    "neon": _neon,
    "glass": _glass,
}
