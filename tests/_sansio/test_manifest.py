"""From a manifest's line to a request, and to the sentence on what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import attrs
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async import (
    ControlNetUnit,
    Embedding,
    Extra,
    ImageInput,
    ImageType,
    Img2Img,
    IPAdapter,
    Lora,
    Sampler,
)
from ppinfra_async._sansio.manifest import (
    LONGEST_KEY,
    BadLineError,
    ManifestJob,
    PictureFacts,
    digest,
    read_job,
    read_line,
)
from ppinfra_async.errors import Violation
from ppinfra_async.requests import Webhook, WebhookTestMode
from ppinfra_async.requests._base import pictures_of
from tests.strategies import img2imgs, json_objects

LEAST = {"model_name": "m.safetensors", "image": "cat.png", "prompt": "a cat"}

FULL: dict[str, Any] = {
    **LEAST,
    "width": 512,
    "height": 640,
    "image_num": 4,
    "steps": 30,
    "guidance_scale": 6.5,
    "sampler_name": "DPM++ 2M Karras",
    "negative_prompt": "dogs",
    "strength": 0.5,
    "seed": 2**62,
    "clip_skip": 2,
    "sd_vae": "vae.safetensors",
    "loras": [{"model_name": "first", "strength": 0.25}, {"model_name": "second"}],
    "embeddings": [{"model_name": "bad-hands"}],
    "controlnet": [
        {
            "model_name": "canny",
            "image": "edges/1.png",
            "strength": 0.75,
            "preprocessor": "canny",
            "guidance_start": 0.1,
            "guidance_end": 0.9,
        },
        {"model_name": "depth", "image": "edges/2.png"},
    ],
    "ip_adapters": [{"model_name": "ip-adapter_sdxl.bin", "image": "style.png", "strength": 0.5}],
    "extra": {
        "response_image_type": "webp",
        "enable_nsfw_detection": True,
        "nsfw_detection_level": 1,
        "webhook": {
            "url": "https://hooks.example/1",
            "test_mode": {"enabled": True, "return_task_status": "TASK_STATUS_FAILED"},
        },
        "custom_storage": {"aws_s3": {"bucket": "pictures", "path": ["a", {"b": None}]}},
        "enterprise_plan": {"enabled": False},
        "more": {"later": 1},
    },
    "more": {"restore_faces": True},
}
"""Every field that a line may have."""


def found(path: str, text: str) -> ImageInput | Violation:
    """Find every picture but those that are called missing."""
    if text.startswith("missing"):
        return Violation(path, text, "must be the path of a picture (there is none)")
    return ImageInput.from_path(text)


def job_of(line: bytes | str | dict[str, Any]) -> ManifestJob:
    raw = json.dumps(line) if isinstance(line, dict) else line
    return read_job(read_line(raw.encode() if isinstance(raw, str) else raw), found)


def complaint(line: bytes | str | dict[str, Any]) -> str:
    with pytest.raises(BadLineError) as caught:
        job_of(line)
    return str(caught.value)


# --- lines that can be used ---


def test_three_fields_are_enough() -> None:
    """Everything else has the defaults of the class, and there is no key."""
    job = job_of(LEAST)
    assert job == ManifestJob(
        key=None,
        request=Img2Img(
            model_name="m.safetensors", image=ImageInput.from_path("cat.png"), prompt="a cat"
        ),
        tree=LEAST,
    )


def test_every_field_of_a_request_can_stand_on_a_line() -> None:
    """Parts, parts of parts and their pictures, under the names of the classes."""
    assert FULL.keys() == attrs.fields_dict(Img2Img).keys()
    assert job_of({"type": "img2img", "key": "k", **FULL}).request == Img2Img(
        model_name="m.safetensors",
        image=ImageInput.from_path("cat.png"),
        prompt="a cat",
        width=512,
        height=640,
        image_num=4,
        steps=30,
        guidance_scale=6.5,
        sampler_name=Sampler.DPMPP_2M_KARRAS,
        negative_prompt="dogs",
        strength=0.5,
        seed=2**62,
        clip_skip=2,
        sd_vae="vae.safetensors",
        loras=(Lora("first", 0.25), Lora("second")),
        embeddings=(Embedding("bad-hands"),),
        controlnet=(
            ControlNetUnit(
                model_name="canny",
                image=ImageInput.from_path("edges/1.png"),
                strength=0.75,
                preprocessor="canny",
                guidance_start=0.1,
                guidance_end=0.9,
            ),
            ControlNetUnit(model_name="depth", image=ImageInput.from_path("edges/2.png")),
        ),
        ip_adapters=(IPAdapter("ip-adapter_sdxl.bin", ImageInput.from_path("style.png"), 0.5),),
        extra=Extra(
            response_image_type=ImageType.WEBP,
            enable_nsfw_detection=True,
            nsfw_detection_level=1,
            webhook=Webhook(
                url="https://hooks.example/1",
                test_mode=WebhookTestMode(return_task_status="TASK_STATUS_FAILED"),
            ),
            custom_storage={"aws_s3": {"bucket": "pictures", "path": ["a", {"b": None}]}},
            enterprise_plan={"enabled": False},
            more={"later": 1},
        ),
        more={"restore_faces": True},
    )


class Album:
    """Pictures by made-up paths, so that a request can be written as a line and read again."""

    def __init__(self, request: Img2Img) -> None:
        self.pictures = {
            f"{at}.png": picture for at, (_, picture) in enumerate(pictures_of(request))
        }

    def tree(self, value: Any) -> Any:
        if isinstance(value, ImageInput):
            return next(path for path, picture in self.pictures.items() if picture is value)
        if isinstance(value, tuple):
            return [self.tree(item) for item in value]
        if attrs.has(type(value)):
            names = attrs.fields_dict(type(value))
            return {name: self.tree(getattr(value, name)) for name in names}
        return value

    def find(self, _: str, text: str) -> ImageInput:
        return self.pictures[text]


@given(img2imgs, st.none() | st.just("a key"), st.randoms())
def test_any_request_can_be_written_as_a_line(
    request: Img2Img, key: str | None, random: Any
) -> None:
    """Written with its fields in any order, also those that are null, it is read as what it was."""
    album = Album(request)
    fields = [*album.tree(request).items(), ("type", "img2img"), ("key", key)]
    random.shuffle(fields)
    job = read_job(read_line(json.dumps(dict(fields)).encode()), album.find)
    assert job.request == request
    assert job.key == key


@given(json_objects)
def test_any_object_is_a_job_or_a_bad_line(tree: dict[str, Any]) -> None:
    """Whatever stands on a line, nothing but a bad line comes of it."""
    for line in (tree, {**FULL, **tree}, {**LEAST, "extra": tree, "loras": [tree]}):
        with suppress(BadLineError):
            job_of(line)


@given(st.sampled_from(list(FULL)), json_objects | st.integers() | st.text() | st.none())
def test_any_value_of_a_field_is_taken_or_named(name: str, value: object) -> None:
    """A value that cannot be used is a bad line whose message has the field's name."""
    line = json.dumps({**FULL, name: value})
    try:
        job_of(line)
    except BadLineError as error:
        assert name in str(error)  # noqa: PT017  # it may also be a good one


# --- lines that cannot ---


BAD_LINES: list[tuple[bytes | str, str]] = [
    ('{"prompt": }', "is not JSON: Expecting value at column 12"),
    ('{"prompt": "a cat"', "is not JSON: Expecting ',' delimiter at column 19"),
    ("a cat", "is not JSON: Expecting value at column 1"),
    ("[]", "is not a JSON object: write {…} with the fields of a request"),
    ('"cat.png"', "is not a JSON object: write {…} with the fields of a request"),
    ("null", "is not a JSON object: write {…} with the fields of a request"),
    ('{"strength": NaN}', "is not JSON: NaN is no number there"),
    ('{"strength": -Infinity}', "is not JSON: -Infinity is no number there"),
    ('{"prompt": "a", "seed": 1, "prompt": "b"}', "has 'prompt' twice"),
    ('{"extra": {"a": 1, "a": 1}}', "has 'a' twice"),
    (
        b"\xef\xbb\xbf{}",
        "begins with a byte-order mark: save the file as UTF-8 without one",
    ),
    (
        "{}\r",
        "ends in CR LF, as Windows writes: save the file with LF line ends (dos2unix)",
    ),
    (b'{"prompt": "\xe9"}', "is not UTF-8"),
    ("{}".encode("utf-16"), "is not UTF-8"),
    ('{"more": ' + "[" * 100_000, "is nested too deeply"),
    ('{"seed": ' + "1" * 5000 + "}", "is not JSON: a number has too many digits"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_line_that_is_no_object_is_named_for_what_it_is(line: bytes | str, message: str) -> None:
    """The sentence says what to change."""
    assert complaint(line) == message


def test_a_long_line_with_a_name_twice_is_read_in_one_go() -> None:
    """Finding the name does not take the square of its length."""
    names = ", ".join(f'"n{number}": 0' for number in range(60_000))
    assert complaint(f'{{{names}, "n59999": 0}}') == "has 'n59999' twice"


NO_TYPE = "type: must be one of img2img, got "
IN_KEY = "key: must not lead out of the output folder, got "
BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"type": "txt2img"}, f"{NO_TYPE}'txt2img'"),
    ({"type": None}, f"{NO_TYPE}None"),
    ({"type": ["img2img"]}, f"{NO_TYPE}['img2img']"),
    ({"promt": "x"}, "promt: is no field of Img2Img; did you mean prompt?, got 'x'"),
    ({"0": 0}, "0: is no field of Img2Img, got 0"),
    ({"path": "/v3"}, "path: is no field of Img2Img, got '/v3'"),
    ({"envelope": "flat"}, "envelope: is no field of Img2Img, got 'flat'"),
    ({"\ud800": 0}, "\\ud800: is no field of Img2Img, got 0"),
    ({"image": None}, "image: must be the path of a picture, as text, got None"),
    ({"image": ""}, "image: must be the path of a picture, as text, got ''"),
    (
        {"image": "\udcff.png"},
        "image: must be valid Unicode (no lone surrogates), got '\\udcff.png'",
    ),
    ({"image": "missing"}, "image: must be the path of a picture (there is none), got 'missing'"),
    ({"prompt": None}, "prompt: must be text of 1…1024 characters, got None"),
    ({"width": "512"}, "width: must be a whole number in 128…2048, got '512'"),
    ({"width": True}, "width: must be a whole number in 128…2048, got True"),
    ({"loras": {}}, "loras: must be a list of Lora, got {}"),
    ({"loras": None}, "loras: must be a list of Lora, got None"),
    ({"loras": [None]}, "loras[0]: must be a Lora, got None"),
    ({"loras": ["first"]}, "loras[0]: must be an object: a Lora, got 'first'"),
    ({"loras": [{}]}, "loras[0].model_name: is required, got None"),
    (
        {"loras": [{"model_name": "a"}, {"model_name": "b", "strength": 2}]},
        "loras[1].strength: must be 0…1, got 2",
    ),
    (
        {"loras": [{"model_name": "a", "strenth": 1}]},
        "loras[0].strenth: is no field of Lora; did you mean strength?, got 1",
    ),
    (
        {"controlnet": [{"model_name": "a", "image": "missing"}]},
        "controlnet[0].image: must be the path of a picture (there is none), got 'missing'",
    ),
    ({"extra": "png"}, "extra: must be an object: a Extra, got 'png'"),
    (
        {"extra": {"webhook": {"url": "x", "test_mode": {"enabled": 1}}}},
        "extra.webhook.test_mode.enabled: must be True or False, got 1",
    ),
    ({"more": []}, "more: must be a mapping from key to plain JSON, got []"),
    ({"more": {"steps": 1}}, "more['steps']: has a field of its own: use that, got 1"),
    ({"key": 7}, "key: must be text, not empty, got 7"),
    ({"key": ""}, "key: must be text, not empty, got ''"),
    ({"key": " \t"}, "key: must be text, not empty, got ' \\t'"),
    ({"key": "k" * 201}, "key: must be at most 200 characters, got 201"),
    ({"key": "\ud800"}, "key: must be valid Unicode (no lone surrogates)"),
    ({"key": "../../etc/x"}, f"{IN_KEY}'../../etc/x'"),
    ({"key": "a\\..\\b"}, f"{IN_KEY}'a\\\\..\\\\b'"),
    ({"key": "/etc/x"}, f"{IN_KEY}'/etc/x'"),
    ({"key": "\\\\server\\x"}, f"{IN_KEY}'\\\\\\\\server\\\\x'"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_FIELDS, ids=range(len(BAD_FIELDS)))
def test_a_field_that_cannot_be_used_is_named(fields: dict[str, Any], message: str) -> None:
    """By its path, with what is allowed and what was given."""
    assert complaint({**LEAST, **fields}) == message


@pytest.mark.parametrize(
    "key", ["a/b", "..a", "a..", "k" * LONGEST_KEY, "小猫", "\0", "C:\\x", "."]
)
def test_any_other_text_is_a_key(key: str) -> None:
    """What a file is called is decided elsewhere."""
    assert job_of({**LEAST, "key": key}).key == key


def test_everything_that_is_wrong_is_said_at_once() -> None:
    """What is missing, misspelt, out of range or broken inside of a part, in one sentence."""
    said = complaint(
        {
            "image": 3,
            "promt": "x",
            "steps": 101,
            "seed": -2,
            "loras": [{"strength": 7}],
            "extra": {"response_image_type": "gif"},
        }
    )
    assert [part.partition(":")[0] for part in said.split("; ") if ":" in part] == [
        "image",
        "promt",
        "loras[0].model_name",
        "loras[0].strength",
        "extra.response_image_type",
        "model_name",
        "prompt",
        "steps",
        "seed",
    ]
    assert said.count("is required") == 3


@pytest.mark.parametrize(
    "name",
    ["width", "negative_prompt", "seed", "extra"],
)
def test_null_is_not_sent(name: str) -> None:
    """A program that writes every field may write null where a field is optional."""
    assert job_of({**LEAST, name: None}).request == job_of(LEAST).request


def test_null_inside_a_part_is_not_sent() -> None:
    """Down to the parts of parts."""
    extra = {"webhook": {"url": "x", "test_mode": None}, "custom_storage": None}
    assert (
        job_of({**LEAST, "extra": extra}).request
        == job_of({**LEAST, "extra": {"webhook": {"url": "x"}}}).request
    )


def test_python_objects_with_odd_names_are_bad_lines() -> None:
    """A name that is no text is no field, in a part neither."""
    tree: dict[Any, Any] = {**LEAST, 1: 2, "loras": [{"model_name": "a", None: 3}]}
    with pytest.raises(BadLineError, match="1: is no field of Img2Img, got 2") as caught:
        read_job(tree, found)
    assert "loras[0].None: is no field of Lora" in str(caught.value)


# --- what a request is known by ---


def facts_of(request: Any, **changes: Any) -> dict[int, PictureFacts]:
    return {
        id(picture): evolve(
            PictureFacts(path=str(picture.path), size=10, modified_ns=20, fit=picture.fit),
            **(changes if path == "image" else {}),
        )
        for path, picture in pictures_of(request)
    }


def known_by(line: dict[str, Any], **changes: Any) -> bytes:
    request = job_of(line).request
    return digest(request, facts_of(request, **changes))


def test_the_same_request_is_known_again() -> None:
    """Neither its key, nor a type that goes without saying, nor the order of its names matter."""
    backwards = dict(reversed(FULL.items()))
    digests = {
        known_by(FULL),
        known_by(backwards),
        known_by({"type": "img2img", **FULL}),
        known_by({**FULL, "key": "k"}),
    }
    assert len(digests) == 1
    assert len(known_by(FULL)) == 32


def test_a_default_that_is_written_out_is_no_change() -> None:
    """A digest is of what would be sent."""
    assert known_by({**LEAST, "steps": 20, "loras": [], "seed": None}) == known_by(LEAST)


def _changed(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value / 2 if isinstance(value, float) else value - 1 or 2
        case None:
            return 1
    return {"DPM++ 2M Karras": "Euler", "webp": "png"}.get(value, f"{value}x")


def _with_one_change(tree: Any) -> Iterator[Any]:
    """Yield copies of *tree*, each with another one of its leaves changed."""
    if not isinstance(tree, dict | list):
        yield _changed(tree)
        return
    for place, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        for changed in _with_one_change(value):
            copied: Any = tree.copy()
            copied[place] = changed
            yield copied


def test_any_change_makes_another_request() -> None:
    """Every leaf of a full line counts: numbers, texts, the paths of pictures, parts of parts."""
    changed = list(_with_one_change(FULL))
    assert len(changed) > 40
    assert len({known_by(tree) for tree in [FULL, *changed]}) == len(changed) + 1


def test_leaving_out_any_field_makes_another_request() -> None:
    """Also where the service has a default of its own."""
    shorter = [
        {name: value for name, value in FULL.items() if name != left_out}
        for left_out in FULL.keys() - LEAST.keys()
    ]
    assert len({known_by(tree) for tree in [FULL, *shorter]}) == len(shorter) + 1


@pytest.mark.parametrize(
    "changes", [{"path": "dog.png"}, {"size": 11}, {"modified_ns": 21}, {"fit": 1024}]
)
def test_another_picture_makes_another_request(changes: dict[str, Any]) -> None:
    """A picture is known by where it is, how long, from when, and how it is scaled."""
    assert known_by(LEAST, **changes) != known_by(LEAST)


def test_pictures_that_change_places_make_another_request() -> None:
    """Which picture stands where counts."""
    unit = {"model_name": "canny", "image": "edges.png"}
    there = {**LEAST, "controlnet": [unit]}
    swapped = {**LEAST, "image": "edges.png", "controlnet": [{**unit, "image": "cat.png"}]}
    assert known_by(there) != known_by(swapped)


HOSTILE_PATHS: list[Callable[[str], str]] = [
    lambda path: f'{path}", 10, 20, null]',
    lambda path: f"{path}\\",
    lambda path: f"{path}\n",
]


@pytest.mark.parametrize("hostile", HOSTILE_PATHS)
def test_no_path_can_pass_for_another(hostile: Callable[[str], str]) -> None:
    """Text that looks like the end of a path is part of it."""
    assert known_by(LEAST, path=hostile("cat.png")) != known_by(LEAST)
