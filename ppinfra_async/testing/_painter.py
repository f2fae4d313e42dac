"""Turns an input picture into something artistic that depends on what was asked; judges nothing.

No model is at work: the prompt picks a style and a palette, the seed shifts its colours and strokes,
and the strength says how much of the original is left. Equal requests give equal pixels, so that a
restarted simulator serves the same results. Blocks: callers use a worker thread. Imports Pillow, so
import it there.
"""

import io
import random
from collections.abc import Callable

from PIL import Image

from ppinfra_async.testing._easel import Commission, Easel
from ppinfra_async.testing._strokes import lit, palette_map
from ppinfra_async.testing._styles import STYLES, Style

# Styles work on at most this many pixels per side and are scaled up afterwards.
_CANVAS = 512


def paint(commission: Commission, stopped: Callable[[], bool] = lambda: False) -> bytes:
    """Paint one image and give it as a file of the asked type.

    Raises:
        StoppedError: *stopped*, which is asked between the steps, has become true.
    """
    size = (commission.width, commission.height)
    easel = Easel.for_seed(commission.prompt, commission.seed, stopped)
    easel.step()
    original = _original(commission, size)
    small = original.copy()
    small.thumbnail((_CANVAS, _CANVAS), Image.Resampling.LANCZOS)
    easel.step()
    art = lit(style_of(commission.prompt)(small, easel), easel)
    easel.step()
    art = art.resize(size, Image.Resampling.BICUBIC)
    blended = Image.blend(original, art, 0.25 + 0.75 * commission.strength)
    easel.step()
    return _encoded(blended, commission.image_type)


def style_of(prompt: str) -> Style:
    """Pick the style that *prompt* names, else one that depends on it."""
    lowered = prompt.lower()
    for word, style in STYLES.items():
        if word in lowered:
            return style
    return random.Random(prompt).choice(list(STYLES.values()))  # noqa: S311  # no secret


def _original(commission: Commission, size: tuple[int, int]) -> Image.Image:
    if commission.picture is not None:
        with Image.open(io.BytesIO(commission.picture)) as image:
            return image.convert("RGB").resize(size)
    source = random.Random(f"ground {commission.seed}")  # noqa: S311  # no secret
    return palette_map(Image.radial_gradient("L").resize(size), source.random(), 0.5)


def _encoded(image: Image.Image, image_type: str) -> bytes:
    out = io.BytesIO()
    if image_type == "jpeg":
        image.save(out, "JPEG", quality=90)
    elif image_type == "webp":
        image.save(out, "WEBP", quality=85, method=2)
    else:
        image.save(out, "PNG", compress_level=3)
    return out.getvalue()
