"""Values the service gives a meaning to."""

from __future__ import annotations

from ppinfra_async import ImageType, Sampler
from ppinfra_async.requests import CONTROLNET_MODELS, IP_ADAPTER_MODELS, PREPROCESSORS


def test_samplers_are_those_of_the_documentation() -> None:
    """Twenty, in its order and spelling."""
    assert [sampler.value for sampler in Sampler] == [
        "Euler a", "Euler", "LMS", "Heun", "DPM2", "DPM2 a", "DPM++ 2S a", "DPM++ 2M", "DPM++ SDE",
        "DPM fast", "DPM adaptive", "LMS Karras", "DPM2 Karras", "DPM2 a Karras",
        "DPM++ 2S a Karras", "DPM++ 2M Karras", "DPM++ SDE Karras", "DDIM", "PLMS", "UniPC",
    ]  # fmt: skip


def test_image_types_are_those_of_the_documentation() -> None:
    """Three words, which are also the texts of the members."""
    assert [str(kind) for kind in ImageType] == ["png", "webp", "jpeg"]


def test_known_names() -> None:
    """To choose from; each stands there once."""
    assert len(CONTROLNET_MODELS) == len(set(CONTROLNET_MODELS)) == 21
    assert len(PREPROCESSORS) == len(set(PREPROCESSORS)) == 28
    assert IP_ADAPTER_MODELS == ("ip-adapter_sd15.bin", "ip-adapter_sdxl.bin")
    assert {"control_v11p_sd15_canny", "controlnet-canny-sdxl-1.0"} < set(CONTROLNET_MODELS)
    assert {"canny", "depth_leres++", "dwpose"} < set(PREPROCESSORS)
