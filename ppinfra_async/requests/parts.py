"""Parts that several requests share, each frozen and checked when built; refuses all I/O.

Names and required fields are PPInfra's; the ranges inside parts are documented by Novita AI, whose
API is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from ppinfra_async.inputs import ImageInput
from ppinfra_async.requests._checks import (
    Checked,
    as_dict,
    as_member,
    as_picture,
    flag,
    further_keys,
    integer,
    json_object,
    number,
    one_of,
    part,
    picture,
    ruled,
    text,
)
from ppinfra_async.requests.values import ImageType


@frozen
class Lora(Checked):
    """A LoRA to apply.

    Attributes:
        model_name: Its name without file extension (``sd_name_in_api`` in listings).
        strength: 0…1; required by the service, 1 unless you say otherwise.
    """

    model_name: str = ruled(text(1))
    strength: float = ruled(number(0, 1), default=1.0)


@frozen
class Embedding(Checked):
    """A textual inversion to make available to the prompt.

    Attributes:
        model_name: Its name (``sd_name_in_api`` in listings).
    """

    model_name: str = ruled(text(1))


@frozen
class ControlNetUnit(Checked):
    """One ControlNet unit.

    Attributes:
        model_name: Such as those in ``CONTROLNET_MODELS``.
        image: The picture that guides; anything ``ImageInput.of`` takes.
        strength: 0…1; always sent, 1 unless you say otherwise.
        preprocessor: Such as those in ``PREPROCESSORS``; None is not sent.
        guidance_start: 0…1, share of the steps at which guidance begins; None is not sent.
        guidance_end: 0…1, share of the steps at which guidance ends; None is not sent.
    """

    model_name: str = ruled(text(1))
    image: ImageInput = ruled(picture(), converter=as_picture, wire="image_base64")
    strength: float = ruled(number(0, 1), default=1.0)
    preprocessor: str | None = ruled(text(1), default=None)
    guidance_start: float | None = ruled(number(0, 1), default=None)
    guidance_end: float | None = ruled(number(0, 1), default=None)


@frozen
class IPAdapter(Checked):
    """A picture used like a prompt.

    Attributes:
        model_name: ``ip-adapter_sd15.bin`` or ``ip-adapter_sdxl.bin``.
        image: The picture; anything ``ImageInput.of`` takes.
        strength: 0…1; required by the service, 1 unless you say otherwise.
    """

    model_name: str = ruled(text(1))
    image: ImageInput = ruled(picture(), converter=as_picture, wire="image_base64")
    strength: float = ruled(number(0, 1), default=1.0)


@frozen(kw_only=True)
class WebhookTestMode(Checked):
    """Ask for a mock event instead of a real task (Novita's page on webhooks; free there).

    Attributes:
        enabled: Required.
        return_task_status: ``TASK_STATUS_SUCCEED`` or ``TASK_STATUS_FAILED``.
    """

    enabled: bool = ruled(flag(), default=True)
    return_task_status: str = ruled(text(1), default="TASK_STATUS_SUCCEED")


@frozen(kw_only=True)
class Webhook(Checked):
    """Where the service should send an event when the task ends. Documented by Novita only.

    Attributes:
        url: Address of your receiver.
        test_mode: None is not sent.
    """

    url: str = ruled(text(1))
    test_mode: WebhookTestMode | None = ruled(part(WebhookTestMode), default=None)


@frozen(kw_only=True)
class Extra(Checked):
    """The ``extra`` object of a request. Only ``response_image_type`` is documented by PPInfra.

    Attributes:
        response_image_type: Format of the results. None is not sent (Novita's default is PNG).
        enable_nsfw_detection: Costs extra per image on Novita.
        nsfw_detection_level: 0 explicit only, 1 also partial nudity, 2 also swimwear.
        webhook: Event when the task ends.
        custom_storage: ``{"aws_s3": {"region", "bucket", "path", "save_to_path_directly"}}``; with
            it a result may have no address that we could download.
        enterprise_plan: ``{"enabled": true}`` for subscribers of a dedicated endpoint.
        more: Any further keys, sent as they are.
    """

    response_image_type: ImageType | None = ruled(
        one_of(ImageType), default=None, converter=as_member(ImageType)
    )
    enable_nsfw_detection: bool | None = ruled(flag(), default=None)
    nsfw_detection_level: int | None = ruled(integer(0, 2), default=None)
    webhook: Webhook | None = ruled(part(Webhook), default=None)
    custom_storage: Mapping[str, Any] | None = ruled(json_object(), default=None, converter=as_dict)
    enterprise_plan: Mapping[str, Any] | None = ruled(
        json_object(), default=None, converter=as_dict
    )
    more: Mapping[str, Any] = further_keys()
