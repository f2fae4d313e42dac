"""Parts that requests share."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from ppinfra_async import ControlNetUnit, Embedding, Extra, ImageInput, ImageType, IPAdapter, Lora
from ppinfra_async.errors import InvalidRequestError
from ppinfra_async.requests import Webhook, WebhookTestMode

SHARE = "must be 0…1"
NOT_EMPTY = "must be text, not empty"

GOOD: dict[type, dict[str, Any]] = {
    Lora: {"model_name": "m"},
    Embedding: {"model_name": "m"},
    ControlNetUnit: {"model_name": "m", "image": b"abc"},
    IPAdapter: {"model_name": "m", "image": b"abc"},
    WebhookTestMode: {},
    Webhook: {"url": "https://me.example"},
    Extra: {},
}

RULES: list[tuple[Any, str, str, list[Any], list[Any]]] = [
    (kind, name, SHARE, [0, 0.0, 0.5, 1, 1.0], [-0.001, -1, 1.001, 2, True, "1", float("nan"), []])
    for kind, name in [
        (Lora, "strength"),
        (ControlNetUnit, "strength"),
        (IPAdapter, "strength"),
        (ControlNetUnit, "guidance_start"),
        (ControlNetUnit, "guidance_end"),
    ]
]
RULES += [
    (kind, name, NOT_EMPTY, ["a", "猫🐱", "\0"], ["", 5, True, b"a", [], {}])
    for kind, name in [
        (Lora, "model_name"),
        (Embedding, "model_name"),
        (ControlNetUnit, "model_name"),
        (ControlNetUnit, "preprocessor"),
        (IPAdapter, "model_name"),
        (Webhook, "url"),
        (WebhookTestMode, "return_task_status"),
    ]
]
RULES += [
    (WebhookTestMode, "enabled", "must be True or False", [True, False], [0, 1, "true", []]),
    (Extra, "enable_nsfw_detection", "must be True or False", [True, False, None], [0, 1, "x"]),
    (
        Extra,
        "nsfw_detection_level",
        "must be a whole number in 0…2",
        [0, 1, 2, None],
        [-1, 3, 1.0, True, "1"],
    ),
    (
        Extra,
        "response_image_type",
        "must be one of 'png', 'webp', 'jpeg'",
        [ImageType.PNG, ImageType.WEBP, ImageType.JPEG, None],
        ["jpg", "PNG", "", 5, True, []],
    ),
    (Extra, "webhook", "must be a Webhook", [Webhook(url="u"), None], [{}, "u", {"url": "u"}]),
    (
        Webhook,
        "test_mode",
        "must be a WebhookTestMode",
        [WebhookTestMode(), None],
        [{}, True, "TASK_STATUS_SUCCEED"],
    ),
]


@pytest.mark.parametrize(("kind", "name", "rule", "good", "bad"), RULES)
def test_rules(kind: Any, name: str, rule: str, good: list[Any], bad: list[Any]) -> None:
    """Both ends of a range are allowed; beyond it, and for other types, the rule is said."""
    for value in good:
        assert getattr(kind(**{**GOOD[kind], name: value}), name) == value
    for wrong in bad:
        with pytest.raises(InvalidRequestError) as caught:
            kind(**{**GOOD[kind], name: wrong})
        (found,) = caught.value.violations
        assert (found.path, found.rule) == (name, rule)
        assert caught.value.message.startswith(f"{kind.__name__} is not valid: ")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Lora, "model_name"),
        (Lora, "strength"),
        (Embedding, "model_name"),
        (ControlNetUnit, "strength"),
        (ControlNetUnit, "image"),
        (IPAdapter, "strength"),
        (IPAdapter, "image"),
        (Webhook, "url"),
        (WebhookTestMode, "enabled"),
        (Extra, "more"),
    ],
)
def test_what_is_always_sent_cannot_be_none(kind: Any, name: str) -> None:
    """None means "not sent"."""
    with pytest.raises(InvalidRequestError) as caught:
        kind(**{**GOOD[kind], name: None})

    assert [found.path for found in caught.value.violations] == [name]


def test_defaults() -> None:
    """Full strength; everything optional unset."""
    assert Lora("m") == Lora(model_name="m", strength=1.0)
    assert IPAdapter("m", b"abc") == IPAdapter(model_name="m", image=b"abc", strength=1.0)
    assert ControlNetUnit("m", b"abc") == ControlNetUnit(
        model_name="m",
        image=b"abc",
        strength=1.0,
        preprocessor=None,
        guidance_start=None,
        guidance_end=None,
    )
    assert WebhookTestMode() == WebhookTestMode(
        enabled=True, return_task_status="TASK_STATUS_SUCCEED"
    )
    assert [getattr(Extra(), field.name) for field in attrs.fields(Extra)] == [None] * 6 + [{}]


@pytest.mark.parametrize("kind", [ControlNetUnit, IPAdapter])
def test_pictures_of_parts(kind: Any) -> None:
    """As in a request: no texts, no addresses."""
    assert kind("m", b"abc").image == ImageInput.from_bytes(b"abc")
    with pytest.raises(InvalidRequestError, match=r"image: must not be a str: use pathlib\.Path"):
        kind("m", "cat.png")
    with pytest.raises(InvalidRequestError, match="image: must be the picture itself"):
        kind("m", ImageInput.from_url("https://host/1.png"))


@pytest.mark.parametrize(("value", "member"), [("png", "PNG"), ("webp", "WEBP"), ("jpeg", "JPEG")])
def test_image_types_by_value(value: str, member: str) -> None:
    """The service's word stands for its member."""
    assert Extra(response_image_type=value).response_image_type is ImageType[member]


@pytest.mark.parametrize("name", ["custom_storage", "enterprise_plan", "more"])
def test_json_objects_in_extra(name: str) -> None:
    """Mappings to plain JSON, in a dict of our own; each wrong key is named."""
    make: Any = Extra
    mine = {"aws_s3": {"region": "r", "save_to_path_directly": False}}
    extra = make(**{name: mine})
    assert getattr(extra, name) == mine
    mine.clear()
    assert getattr(extra, name) != mine

    wrong: Any
    for wrong in ([], "text", 5, True):
        with pytest.raises(InvalidRequestError) as caught:
            make(**{name: wrong})
        (found,) = caught.value.violations
        assert (found.path, found.rule) == (name, "must be a mapping from key to plain JSON")
    with pytest.raises(InvalidRequestError) as caught:
        make(**{name: {"good": 1, "bad": object(), 5: 1, "worse": float("nan")}})
    assert [found.path for found in caught.value.violations] == [
        f"{name}['bad']",
        f"{name}[5]",
        f"{name}['worse']",
    ]


def test_further_keys_of_extra() -> None:
    """Not those that have a field."""
    with pytest.raises(InvalidRequestError) as caught:
        Extra(more={"webhook": None, "response_image_type": "png", "fine": 1})

    assert {found.path for found in caught.value.violations} == {
        "more['webhook']",
        "more['response_image_type']",
    }


@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.__name__)
def test_parts_are_frozen_values(kind: Any) -> None:
    """Equal by content, usable in sets, never changed, checked again when replaced."""
    one, same = kind(**GOOD[kind]), kind(**GOOD[kind])

    assert one == same
    assert hash(one) == hash(same)
    for field in attrs.fields(kind):
        with pytest.raises(AttributeError):
            setattr(one, field.name, None)
    assert one.replace() == one
    first = attrs.fields(kind)[0].name
    with pytest.raises(InvalidRequestError):
        one.replace(**{first: 5})
