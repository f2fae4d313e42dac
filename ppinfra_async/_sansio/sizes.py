"""Output sizes and scaled-down sizes of pictures; refuses to look at any picture."""

from __future__ import annotations

SMALLEST_SIDE = 128
LARGEST_SIDE = 2048
_MULTIPLE = 8

Size = tuple[int, int]


def default_output_size(source: Size, width: int | None, height: int | None) -> Size:
    """Return the size to ask for, given the upright *source* size and what a person typed.

    What a person typed is not touched. The rest keeps the source's proportions, is scaled into
    128…2048 and rounded to multiples of 8. A source too long and thin for that loses proportions
    rather than pixels of its short side.
    """
    source_width, source_height = source
    if width is not None and height is not None:
        return width, height
    if width is not None:
        return width, _allowed(source_height * width / source_width)
    if height is not None:
        return _allowed(source_width * height / source_height), height
    scale = _scale_into_range(source)
    return _allowed(source_width * scale), _allowed(source_height * scale)


def fitted_size(source: Size, fit: int | None) -> Size:
    """Return *source* scaled down so that its longest side is at most *fit*; never scaled up."""
    longest = max(source)
    if fit is None or longest <= fit:
        return source
    width, height = (max(1, round(side * fit / longest)) for side in source)
    return width, height


def _scale_into_range(source: Size) -> float:
    if max(source) > LARGEST_SIDE:
        return LARGEST_SIDE / max(source)
    if min(source) < SMALLEST_SIDE:
        return min(SMALLEST_SIDE / min(source), LARGEST_SIDE / max(source))
    return 1.0


def _allowed(side: float) -> int:
    rounded = round(side / _MULTIPLE) * _MULTIPLE
    return min(LARGEST_SIDE, max(SMALLEST_SIDE, rounded))
