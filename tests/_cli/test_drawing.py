"""The drawn landscape."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageStat

from ppinfra_async._cli._drawing import draw_landscape


@pytest.fixture(scope="module")
def landscape() -> bytes:
    return draw_landscape()


def test_the_landscape_is_a_picture_that_can_be_sent(landscape: bytes) -> None:
    """A JPEG of 960 × 640 pixels, within the service's limits."""
    with Image.open(io.BytesIO(landscape)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (960, 640))


def test_the_landscape_has_a_bright_sun_in_a_darker_sky(landscape: bytes) -> None:
    """Something is to be seen: the sun is brighter than the sky, and the shore is darkest."""
    with Image.open(io.BytesIO(landscape)) as picture:
        grey = picture.convert("L")
        sun, sky, shore = (
            ImageStat.Stat(grey.crop(box)).mean[0]
            for box in ((585, 255, 625, 280), (0, 0, 960, 100), (0, 600, 300, 640))
        )
    assert sun > 220
    assert 60 < sky < 120
    assert shore < 45
