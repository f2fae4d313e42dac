"""Asyncio client for PPInfra's asynchronous image API: never pays twice, never loses a paid task.

Names are loaded when they are first used, so that the pytest plugin and the command line do not
import aiohttp before they need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppinfra_async._client import Client
    from ppinfra_async._task import Task
    from ppinfra_async.errors import PPInfraError
    from ppinfra_async.inputs import ImageInput
    from ppinfra_async.options import Limits, Network, Polling, Retries, Timeouts
    from ppinfra_async.quota import AccountQuota, QuotaState
    from ppinfra_async.requests import (
        ControlNetUnit,
        Embedding,
        Extra,
        ImageType,
        Img2Img,
        IPAdapter,
        Lora,
        Sampler,
    )
    from ppinfra_async.results import (
        GeneratedImage,
        Job,
        Model,
        Outcome,
        TaskResult,
        TaskStatus,
        TaskUpdate,
    )

__all__ = [
    "AccountQuota",
    "Client",
    "ControlNetUnit",
    "Embedding",
    "Extra",
    "GeneratedImage",
    "IPAdapter",
    "ImageInput",
    "ImageType",
    "Img2Img",
    "Job",
    "Limits",
    "Lora",
    "Model",
    "Network",
    "Outcome",
    "PPInfraError",
    "Polling",
    "QuotaState",
    "Retries",
    "Sampler",
    "Task",
    "TaskResult",
    "TaskStatus",
    "TaskUpdate",
    "Timeouts",
]

_HOMES = {
    "_client": ("Client",),
    "_task": ("Task",),
    "errors": ("PPInfraError",),
    "inputs": ("ImageInput",),
    "options": ("Limits", "Network", "Polling", "Retries", "Timeouts"),
    "quota": ("AccountQuota", "QuotaState"),
    "requests": (
        "ControlNetUnit",
        "Embedding",
        "Extra",
        "IPAdapter",
        "ImageType",
        "Img2Img",
        "Lora",
        "Sampler",
    ),
    "results": (
        "GeneratedImage",
        "Job",
        "Model",
        "Outcome",
        "TaskResult",
        "TaskStatus",
        "TaskUpdate",
    ),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("ppinfra-async")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
