"""A picture and a prompt: what may be asked, and what is said when it may not."""

from __future__ import annotations

import pickle
from pathlib import Path
from threading import Lock
from typing import Any

import attrs
import pytest
from hypothesis import given
from PIL import Image

from ppinfra_async import (
    ControlNetUnit,
    Embedding,
    Extra,
    ImageInput,
    Img2Img,
    IPAdapter,
    Lora,
    Sampler,
)
from ppinfra_async.errors import InvalidRequestError, Violation
from ppinfra_async.requests._base import pictures_of
from tests import strategies

NAN, INFINITY = float("nan"), float("inf")
NOT_WHOLE: list[Any] = [
    "5",
    b"5",
    True,
    False,
    5.0,
    5.5,
    NAN,
    INFINITY,
    [],
    {},
    10**400,
    -(10**400),
]
NOT_NUMBERS: list[Any] = ["0.5", b"1", True, False, NAN, INFINITY, -INFINITY, [], {}, 1j, 10**400]
NOT_TEXT: list[Any] = [5, 5.0, True, b"text", [], ["text"], {}, Path("text")]


def img2img(**fields: Any) -> Img2Img:
    required = {"model_name": "sd.safetensors", "image": b"abc", "prompt": "a cat"}
    return Img2Img(**{**required, **fields})


def violation(**fields: Any) -> Violation:
    """Return the only violation that *fields* cause."""
    with pytest.raises(InvalidRequestError) as caught:
        img2img(**fields)
    error = caught.value
    assert (error.billed, error.retryable, error.task_id) == ("no", False, None)
    (only,) = error.violations
    assert str(only) in error.message
    return only


def test_the_least_that_can_be_asked() -> None:
    """Three fields; what the service wants beside them has visible defaults."""
    request = img2img()

    assert (request.image_num, request.steps, request.guidance_scale) == (1, 20, 7.5)
    assert request.sampler_name is Sampler.EULER_A
    assert request.image == ImageInput.from_bytes(b"abc")
    unset = (
        "width",
        "height",
        "negative_prompt",
        "strength",
        "seed",
        "clip_skip",
        "sd_vae",
        "extra",
    )
    assert [getattr(request, name) for name in unset] == [None] * 8
    assert (request.loras, request.embeddings, request.controlnet) == ((), (), ())
    assert (request.ip_adapters, request.more) == ((), {})
    assert (request.path, request.envelope) == ("/v3/async/img2img", "extra+request")


INTEGERS = [
    ("width", 128, 2048, "must be a whole number in 128…2048"),
    ("height", 128, 2048, "must be a whole number in 128…2048"),
    ("image_num", 1, 8, "must be a whole number in 1…8"),
    ("steps", 1, 100, "must be a whole number in 1…100"),
    ("clip_skip", 1, 12, "must be a whole number in 1…12"),
    ("seed", -1, 2**63 - 1, "must be a whole number ≥ -1"),
]


@pytest.mark.parametrize(("name", "low", "high", "rule"), INTEGERS)
def test_whole_numbers(name: str, low: int, high: int, rule: str) -> None:
    """Both ends are allowed; beyond them, and for any other type, the rule is said."""
    for value in (low, high, low + 1, 127 if low == -1 else low):
        assert getattr(img2img(**{name: value}), name) == value
    for wrong in (low - 1, high + 1, *NOT_WHOLE):
        if name == "seed" and wrong in (high + 1, 10**400):
            continue
        found = violation(**{name: wrong})
        assert (found.path, found.rule) == (name, rule)
        assert found.value is wrong


def test_whole_number_that_json_cannot_carry() -> None:
    """The service names no largest seed; the message names the limit that there is."""
    for seed in (2**63, 10**400):
        assert violation(seed=seed).rule == f"must be at most {2**63 - 1}: JSON numbers end there"


@pytest.mark.parametrize("name", ["image_num", "steps", "guidance_scale", "sampler_name"])
def test_what_has_a_default_cannot_be_none(name: str) -> None:
    """None means "not sent", and these are always sent."""
    assert violation(**{name: None}).path == name


@pytest.mark.parametrize(
    "name",
    ["width", "height", "negative_prompt", "strength", "seed", "clip_skip", "sd_vae", "extra"],
)
def test_what_is_optional_may_be_none(name: str) -> None:
    """It is not sent then."""
    assert getattr(img2img(**{name: None}), name) is None


def test_guidance_scale() -> None:
    """1…30, whole or not."""
    for value in (1, 1.0, 7.5, 30, 30.0):
        assert img2img(guidance_scale=value).guidance_scale == value
    for wrong in (0, 0.999, 30.001, 31, -1, *NOT_NUMBERS):
        found = violation(guidance_scale=wrong)
        assert (found.path, found.rule) == ("guidance_scale", "must be 1…30")


def test_strength() -> None:
    """Above 0, at most 1."""
    for value in (1e-9, 0.5, 1, 1.0):
        assert img2img(strength=value).strength == value
    for wrong in (0, 0.0, -0.0, -0.1, 1.001, 2, *NOT_NUMBERS):
        found = violation(strength=wrong)
        assert (found.path, found.rule) == ("strength", "must be a number > 0 and ≤ 1")


TEXTS = [
    ("model_name", 1, None, "must be text, not empty"),
    ("sd_vae", 1, None, "must be text, not empty"),
    ("prompt", 1, 1024, "must be text of 1…1024 characters"),
    ("negative_prompt", 0, 1024, "must be text of 0…1024 characters"),
]


@pytest.mark.parametrize(("name", "low", "high", "rule"), TEXTS)
def test_texts(name: str, low: int, high: int | None, rule: str) -> None:
    """Counted in characters, however many bytes they are."""
    for value in ("🐱" * low, "猫" * (high or 5000)):
        assert getattr(img2img(**{name: value}), name) == value
    too_long = ["x" * (high + 1)] if high else []
    too_short = [""] if low else []
    for wrong in (*too_long, *too_short, *NOT_TEXT):
        found = violation(**{name: wrong})
        assert (found.path, found.rule) == (name, rule)
    found = violation(**{name: "a\ud800b"})
    assert (found.path, found.rule) == (name, "must be valid Unicode (no lone surrogates)")


@pytest.mark.parametrize("sampler", Sampler)
def test_samplers(sampler: Sampler) -> None:
    """Each by its member or by the service's name for it."""
    assert img2img(sampler_name=sampler).sampler_name is sampler
    assert img2img(sampler_name=sampler.value).sampler_name is sampler


@pytest.mark.parametrize(
    "wrong", ["", "euler a", "EULER_A", "DPM++ Karras", 5, True, [], {}, b"DDIM"]
)
def test_unknown_samplers(wrong: Any) -> None:
    """The rule lists all that there are."""
    found = violation(sampler_name=wrong)

    assert found.path == "sampler_name"
    assert found.rule.startswith("must be one of 'Euler a', 'Euler', ")
    assert all(repr(sampler.value) in found.rule for sampler in Sampler)


@pytest.mark.parametrize(
    "image",
    [Path("cat.png"), b"abc", bytearray(b"abc"), memoryview(b"abc"), Image.new("L", (1, 1))],
)
def test_pictures(image: Any) -> None:
    """Whatever an input can be made of."""
    assert img2img(image=image).image == ImageInput.of(image)


@pytest.mark.parametrize("image", ["cat.png", "/etc/passwd", "iVBORw0KGgo=", "https://host/1.png"])
def test_a_text_is_no_picture(image: str) -> None:
    """The sentence says how to write each thing that it may have been meant to be."""
    found = violation(image=image)

    assert found.path == "image"
    for way in ("Path(…)", "ImageInput.from_base64(…)", "ImageInput.from_url(…)"):
        assert way in found.rule


@pytest.mark.parametrize("image", [None, 5, [b"abc"], {"path": "/etc/passwd"}])
def test_other_things_are_no_picture(image: Any) -> None:
    """With what would be taken."""
    assert violation(image=image).rule == (
        "must be a path, bytes, a PIL.Image.Image or an ImageInput"
    )


def test_an_address_is_no_picture_here() -> None:
    """This endpoint takes the picture itself; the message shows no signature."""
    address = ImageInput.from_url("https://host/1.png?key=secret")

    with pytest.raises(InvalidRequestError) as caught:
        img2img(image=address)

    assert "must be the picture itself" in caught.value.message
    assert "secret" not in caught.value.message


LISTS: list[tuple[str, Any, int | None]] = [
    ("loras", Lora("l"), 5),
    ("embeddings", Embedding("e"), 5),
    ("controlnet", ControlNetUnit("c", b"abc"), None),
    ("ip_adapters", IPAdapter("i", b"abc"), 1),
]


@pytest.mark.parametrize(("name", "item", "most"), LISTS)
def test_lists(name: str, item: Any, most: int | None) -> None:
    """Lists and tuples of the right kind, up to their limit; each wrong item is named."""
    for count in range((most or 20) + 1):
        assert getattr(img2img(**{name: [item] * count}), name) == (item,) * count
        assert getattr(img2img(**{name: (item,) * count}), name) == (item,) * count
    if most:
        found = violation(**{name: [item] * (most + 1)})
        assert (found.path, found.rule) == (name, f"must have at most {most} items")
        assert found.value == most + 1
    for wrong in (None, item, "text", {"a": 1}, 5, iter([item])):
        assert violation(**{name: wrong}).rule == f"must be a list of {type(item).__name__}"
    found = violation(**{name: [{"model_name": "m"}]})
    assert (found.path, found.rule) == (f"{name}[0]", f"must be a {type(item).__name__}")


def test_a_wrong_item_is_found_by_its_place() -> None:
    """All of them are."""
    with pytest.raises(InvalidRequestError) as caught:
        img2img(loras=[Lora("a"), "b", Lora("c"), None])

    assert [found.path for found in caught.value.violations] == ["loras[1]", "loras[3]"]


@pytest.mark.parametrize("wrong", [{}, {"response_image_type": "png"}, "png", 5, Extra])
def test_extra_is_an_extra(wrong: Any) -> None:
    """Not a dict that looks like one."""
    found = violation(extra=wrong)

    assert (found.path, found.rule) == ("extra", "must be a Extra")


def test_everything_is_said_at_once() -> None:
    """All broken rules, in the order of the fields, each with path, value and rule."""
    with pytest.raises(InvalidRequestError) as caught:
        Img2Img(
            model_name="",
            image="cat.png",  # type: ignore[arg-type]  # that is the test
            prompt="x" * 1025,
            width=127,
            height=2049,
            image_num=9,
            steps=0,
            guidance_scale=NAN,
            sampler_name="best",
            negative_prompt="\ud800",
            strength=0,
            seed=-2,
            clip_skip=13,
            sd_vae="",
            loras=[Lora("a")] * 6,
            embeddings=["e"],
            controlnet=5,
            ip_adapters=None,
            extra={},  # type: ignore[arg-type]  # that is the test
            more={"seed": 5},
        )

    error = caught.value
    assert [found.path for found in error.violations] == [
        "model_name", "image", "prompt", "width", "height", "image_num", "steps", "guidance_scale",
        "sampler_name", "negative_prompt", "strength", "seed", "clip_skip", "sd_vae", "loras",
        "embeddings[0]", "controlnet", "ip_adapters", "extra", "more['seed']",
    ]  # fmt: skip
    assert error.message.startswith(
        "Img2Img is not valid: model_name: must be text, not empty, got ''; "
    )
    assert all(str(found) in error.message for found in error.violations)
    assert len(error.message) < 3000


def test_required_fields_are_required() -> None:
    """Python says so."""
    with pytest.raises(TypeError, match="prompt"):
        Img2Img(model_name="m", image=b"abc")  # type: ignore[call-arg]  # that is the test
    with pytest.raises(TypeError, match="positional"):
        Img2Img("m", b"abc", "p")  # type: ignore[call-arg]  # that is the test
    with pytest.raises(TypeError, match="cfg_scale"):
        img2img(cfg_scale=7)


# --- further keys ---------------------------------------------------------------------------------


@given(strategies.json_objects)
def test_any_json_may_be_sent_beside_the_fields(more: dict[str, Any]) -> None:
    """It is kept as it is, in a dict of our own."""
    request = img2img(more=more)

    assert request.more == more
    assert request.more is not more


@pytest.mark.parametrize(
    "key",
    [
        "model_name", "image_base64", "prompt", "width", "height", "image_num", "steps",
        "guidance_scale", "sampler_name", "negative_prompt", "strength", "seed", "clip_skip",
        "sd_vae", "loras", "embeddings", "controlnet", "ip_adapters", "extra",
    ],
)  # fmt: skip
def test_a_key_with_a_field_is_refused(key: str) -> None:
    """Otherwise one of the two would win silently."""
    found = violation(more={key: None})

    assert (found.path, found.rule) == (
        f"more[{key!r}]",
        "has a field of its own: use that",
    )


@pytest.mark.parametrize("wrong", [None, [], [("a", 1)], "a", 5])
def test_further_keys_are_a_mapping(wrong: Any) -> None:
    """Nothing else has keys."""
    found = violation(more=wrong)

    assert (found.path, found.rule) == ("more", "must be a mapping from key to plain JSON")


def test_what_cannot_be_copied_is_a_violation() -> None:
    """Not an accident while the request is built."""
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]

    values: list[Any] = [deep, iter([]), (word for word in "ab"), Lock()]
    for value in values:
        found = violation(more={"key": value})
        assert (found.path, found.rule) == ("more['key']", "must be plain JSON")


def test_further_keys_are_not_shared() -> None:
    """Neither with the caller's dict nor with other requests."""
    mine: dict[str, Any] = {"key": 1, "list": [{"deep": 1}]}
    request = img2img(more=mine)
    mine["key"] = 2
    mine["list"][0]["deep"] = 2

    assert request.more == {"key": 1, "list": [{"deep": 1}]}
    assert img2img().more is not img2img().more


# --- copies ---------------------------------------------------------------------------------------


def test_replace_returns_a_checked_copy() -> None:
    """The original stays; the copy is held against the same rules."""
    request = img2img(seed=5, loras=[Lora("a")])
    copied = request.replace(prompt="a dog", sampler_name="DDIM")

    assert (copied.prompt, copied.sampler_name, copied.seed) == ("a dog", Sampler.DDIM, 5)
    assert (request.prompt, request.sampler_name) == ("a cat", Sampler.EULER_A)
    assert copied.image is request.image
    with pytest.raises(InvalidRequestError, match="steps"):
        request.replace(steps=0)
    with pytest.raises(InvalidRequestError, match=r"Path\(…\)"):
        request.replace(image="cat.png")
    with pytest.raises(TypeError):
        request.replace(cfg_scale=7)


def test_parts_are_added_to_copies() -> None:
    """One more of each, after those that are there."""
    request = img2img()
    fuller = (
        request.with_lora("l1")
        .with_lora("l2", 0.5)
        .with_embedding("e1")
        .with_controlnet("c1", b"one", preprocessor="canny", guidance_end=0.5)
        .with_controlnet("c2", Path("two.png"))
        .with_ip_adapter("i1", b"three", 0.3)
    )

    assert fuller.loras == (Lora("l1", 1.0), Lora("l2", 0.5))
    assert fuller.embeddings == (Embedding("e1"),)
    assert fuller.controlnet == (
        ControlNetUnit("c1", b"one", preprocessor="canny", guidance_end=0.5),
        ControlNetUnit("c2", Path("two.png")),
    )
    assert fuller.ip_adapters == (IPAdapter("i1", b"three", 0.3),)
    assert request == img2img()


def test_added_parts_are_checked() -> None:
    """Their own rules and how many there may be."""
    request = img2img(loras=[Lora("l")] * 5).with_ip_adapter("i", b"abc")

    with pytest.raises(InvalidRequestError, match="loras: must have at most 5 items, got 6"):
        request.with_lora("one too many")
    with pytest.raises(InvalidRequestError, match="ip_adapters: must have at most 1 items, got 2"):
        request.with_ip_adapter("i", b"abc")
    with pytest.raises(InvalidRequestError, match=r"Lora is not valid: strength: must be 0…1"):
        img2img().with_lora("l", 1.1)
    with pytest.raises(InvalidRequestError, match=r"image: must not be a str"):
        img2img().with_controlnet("c", "cat.png")  # type: ignore[arg-type]  # that is the test


# --- values ---------------------------------------------------------------------------------------


def test_a_request_does_not_change() -> None:
    """Neither by assignment nor by deletion, nor by a list that it was made of."""
    request = img2img()
    for name in attrs.fields_dict(Img2Img):
        with pytest.raises(AttributeError):
            setattr(request, name, None)
        with pytest.raises(AttributeError):
            delattr(request, name)
    loras = [Lora("a")]
    request = img2img(loras=loras)
    loras.clear()

    assert request.loras == (Lora("a"),)


def test_requests_are_equal_by_content() -> None:
    """And can be kept in sets, whatever JSON they carry."""
    fields: dict[str, Any] = {
        "loras": [Lora("a", 0.5)],
        "controlnet": [ControlNetUnit("c", b"abc")],
        "extra": Extra(custom_storage={"aws_s3": {"bucket": ["b"]}}, more={"k": []}),
        "more": {"list": [1, {}]},
    }

    assert img2img(**fields) == img2img(**fields)
    assert hash(img2img(**fields)) == hash(img2img(**fields))
    assert img2img(**fields) != img2img(**fields, seed=5)
    assert img2img(**fields) != img2img(**{**fields, "more": {}})
    assert len({img2img(), img2img(), img2img(seed=5)}) == 2


@given(strategies.img2imgs)
def test_a_request_travels(asked: Img2Img) -> None:
    """To another process and back, it is the same."""
    assert pickle.loads(pickle.dumps(asked)) == asked  # noqa: S301  # our own bytes


def test_a_request_is_shown_without_its_pictures() -> None:
    """Bytes are counted."""
    shown = repr(img2img(image=b"secret" * 100, controlnet=[ControlNetUnit("c", b"secret")]))

    assert "secret" not in shown
    assert "<600 bytes>" in shown


def test_pictures_are_found_by_their_path() -> None:
    """In the names that a person typed, in a fixed order."""
    request = img2img(image=Path("a.png")).with_controlnet("c", b"one").with_controlnet("c", b"two")
    request = request.with_ip_adapter("i", b"three").with_lora("l").replace(extra=Extra())

    found = [(path, picture.data or picture.path) for path, picture in pictures_of(request)]

    assert found == [
        ("image", Path("a.png")),
        ("controlnet[0].image", b"one"),
        ("controlnet[1].image", b"two"),
        ("ip_adapters[0].image", b"three"),
    ]


def test_images_asked() -> None:
    """The unit of the quota and of the bill."""
    assert img2img().images_asked == 1
    assert img2img(image_num=8).images_asked == 8
