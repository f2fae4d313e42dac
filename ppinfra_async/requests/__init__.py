"""What can be asked of the service: frozen, keyword-only, checked when built; refuses all I/O."""

from ppinfra_async.requests._base import Request
from ppinfra_async.requests.img2img import Img2Img
from ppinfra_async.requests.parts import (
    ControlNetUnit,
    Embedding,
    Extra,
    IPAdapter,
    Lora,
    Webhook,
    WebhookTestMode,
)
from ppinfra_async.requests.values import (
    CONTROLNET_MODELS,
    IP_ADAPTER_MODELS,
    PREPROCESSORS,
    ImageType,
    Sampler,
)

TYPES: dict[str, type[Request]] = {"img2img": Img2Img}
"""Every request by its name in manifests and on the command line."""

__all__ = [
    "CONTROLNET_MODELS",
    "IP_ADAPTER_MODELS",
    "PREPROCESSORS",
    "TYPES",
    "ControlNetUnit",
    "Embedding",
    "Extra",
    "IPAdapter",
    "ImageType",
    "Img2Img",
    "Lora",
    "Request",
    "Sampler",
    "Webhook",
    "WebhookTestMode",
]
