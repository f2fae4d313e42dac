"""Parts that several requests share, each frozen and checked when built; refuses all I/O.

Names and required fields are PPInfra's; the ranges inside parts are documented by Novita AI, whose
API is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from attrs import field, frozen

from ppinfra_async.inputs import ImageInput
from ppinfra_async.requests._checks import (
    Checked,
    as_dict,
    as_member,
    as_picture,
    flag,
    integer,
    json_object,
    number,
    one_of,
    part,
    picture,
    rule,
    text,
)
from ppinfra_async.requests.values import ImageType


def _as_image_type(value: ImageType | str | None) -> ImageType | None:
    return cast("ImageType | None", as_member(ImageType, value))


@frozen
class Lora(Checked):
    """A LoRA to apply.

    Attributes:
        model_name: Its name without file extension (``sd_name_in_api`` in listings).
        strength: 0…1; required by the service, 1 unless you say otherwise.
    """

    model_name: str = field(metadata=rule(text(1)))
    strength: float = field(default=1.0, metadata=rule(number(0, 1)))


@frozen
class Embedding(Checked):
    """A textual inversion to make available to the prompt.

    Attributes:
        model_name: Its name (``sd_name_in_api`` in listings).
    """

    model_name: str = field(metadata=rule(text(1)))


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

    model_name: str = field(metadata=rule(text(1)))
    image: ImageInput = field(converter=as_picture, metadata=rule(picture(), wire="image_base64"))
    strength: float = field(default=1.0, metadata=rule(number(0, 1)))
    preprocessor: str | None = field(default=None, metadata=rule(text(1)))
    guidance_start: float | None = field(default=None, metadata=rule(number(0, 1)))
    guidance_end: float | None = field(default=None, metadata=rule(number(0, 1)))


@frozen
class IPAdapter(Checked):
    """A picture used like a prompt.

    Attributes:
        model_name: ``ip-adapter_sd15.bin`` or ``ip-adapter_sdxl.bin``.
        image: The picture; anything ``ImageInput.of`` takes.
        strength: 0…1; required by the service, 1 unless you say otherwise.
    """

    model_name: str = field(metadata=rule(text(1)))
    image: ImageInput = field(converter=as_picture, metadata=rule(picture(), wire="image_base64"))
    strength: float = field(default=1.0, metadata=rule(number(0, 1)))


@frozen(kw_only=True)
class WebhookTestMode(Checked):
    """Ask for a mock event instead of a real task (Novita's page on webhooks; free there).

    Attributes:
        enabled: Required.
        return_task_status: ``TASK_STATUS_SUCCEED`` or ``TASK_STATUS_FAILED``.
    """

    enabled: bool = field(default=True, metadata=rule(flag()))
    return_task_status: str = field(default="TASK_STATUS_SUCCEED", metadata=rule(text(1)))


@frozen(kw_only=True)
class Webhook(Checked):
    """Where the service should send an event when the task ends. Documented by Novita only.

    Attributes:
        url: Address of your receiver.
        test_mode: None is not sent.
    """

    url: str = field(metadata=rule(text(1)))
    test_mode: WebhookTestMode | None = field(default=None, metadata=rule(part(WebhookTestMode)))


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

    response_image_type: ImageType | None = field(
        default=None, converter=_as_image_type, metadata=rule(one_of(ImageType))
    )
    enable_nsfw_detection: bool | None = field(default=None, metadata=rule(flag()))
    nsfw_detection_level: int | None = field(default=None, metadata=rule(integer(0, 2)))
    webhook: Webhook | None = field(default=None, metadata=rule(part(Webhook)))
    custom_storage: Mapping[str, Any] | None = field(
        default=None, converter=as_dict, hash=False, metadata=rule(json_object())
    )
    enterprise_plan: Mapping[str, Any] | None = field(
        default=None, converter=as_dict, hash=False, metadata=rule(json_object())
    )
    more: Mapping[str, Any] = field(
        factory=dict, converter=as_dict, hash=False, metadata=rule(json_object())
    )
