"""Requests that the simulator takes, and pictures that its answers are compared with."""

from __future__ import annotations

from typing import Any

from ppinfra_async import Img2Img
from tests.pictures import draw_picture

MODEL = "sd_xl_base_1.0.safetensors"
PICTURE = draw_picture(64, 48, "PNG")


def img2img(**fields: Any) -> Img2Img:
    """Return a request that the service takes, with *fields* in place of what it has."""
    return Img2Img(**{"model_name": MODEL, "image": PICTURE, "prompt": "a cat", **fields})
