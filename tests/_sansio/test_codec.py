"""Requests as JSON and JSON as what the service meant."""

from __future__ import annotations

import base64
import json
from collections import namedtuple
from typing import Any

import cattrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppinfra_async import Extra, ImageInput, Img2Img, Sampler, TaskStatus
from ppinfra_async._sansio import codec
from ppinfra_async._sansio.answers import ErrorBody, ModelPage, UnreadableError
from ppinfra_async.requests import Request, Webhook, WebhookTestMode
from ppinfra_async.results import ImageLink, Nsfw, Timing
from tests import strategies
from tests.answers import changed, sample

TASK_ID = "3f1c6a7e-8c1e-4a52-9a3f-0d5c2b7f9e10"
DEEP = b"[" * 500 + b"]" * 500
PICTURE = b"\x89PNG not quite"


def img2img(**fields: Any) -> Img2Img:
    required = {"model_name": "sd.safetensors", "image": PICTURE, "prompt": "a cat"}
    return Img2Img(**{**required, **fields})


def sent(request: Request) -> Any:
    """Return the JSON tree that *request* becomes, its pictures filled in."""
    texts, pictures = codec.encode(request)
    assert len(texts) == len(pictures) + 1
    body = texts[0]
    for picture, text in zip(pictures, texts[1:], strict=True):
        assert picture.data is not None
        body += base64.b64encode(picture.data) + text
    return json.loads(body)


def in_base64(picture: ImageInput) -> str:
    assert picture.data is not None
    return base64.b64encode(picture.data).decode()


def without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def expected_extra(extra: Extra) -> dict[str, Any]:
    hook = extra.webhook
    test_mode = hook.test_mode if hook else None
    return {
        **without_none(
            response_image_type=extra.response_image_type and extra.response_image_type.value,
            enable_nsfw_detection=extra.enable_nsfw_detection,
            nsfw_detection_level=extra.nsfw_detection_level,
            webhook=hook
            and without_none(
                url=hook.url,
                test_mode=test_mode
                and {
                    "enabled": test_mode.enabled,
                    "return_task_status": test_mode.return_task_status,
                },
            ),
            custom_storage=extra.custom_storage,
            enterprise_plan=extra.enterprise_plan,
        ),
        **extra.more,
    }


def expected_body(request: Img2Img) -> dict[str, Any]:
    """Build the body that the service documents, by hand."""
    fields: dict[str, Any] = {
        "model_name": request.model_name,
        "image_base64": in_base64(request.image),
        "prompt": request.prompt,
        "image_num": request.image_num,
        "steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "sampler_name": request.sampler_name.value,
    }
    fields |= without_none(
        width=request.width,
        height=request.height,
        negative_prompt=request.negative_prompt,
        strength=request.strength,
        seed=request.seed,
        clip_skip=request.clip_skip,
        sd_vae=request.sd_vae,
    )
    if request.loras:
        fields["loras"] = [
            {"model_name": lora.model_name, "strength": lora.strength} for lora in request.loras
        ]
    if request.embeddings:
        fields["embeddings"] = [{"model_name": one.model_name} for one in request.embeddings]
    if request.controlnet:
        units = [
            {
                "model_name": unit.model_name,
                "image_base64": in_base64(unit.image),
                "strength": unit.strength,
                **without_none(
                    preprocessor=unit.preprocessor,
                    guidance_start=unit.guidance_start,
                    guidance_end=unit.guidance_end,
                ),
            }
            for unit in request.controlnet
        ]
        fields["controlnet"] = {"units": units}
    if request.ip_adapters:
        fields["ip_adapters"] = [
            {
                "model_name": one.model_name,
                "image_base64": in_base64(one.image),
                "strength": one.strength,
            }
            for one in request.ip_adapters
        ]
    body: dict[str, Any] = {"request": fields | dict(request.more)}
    if request.extra is not None:
        body["extra"] = expected_extra(request.extra)
    return body


# --- requests -> JSON -----------------------------------------------------------------------------


@given(strategies.img2imgs)
def test_a_request_becomes_the_documented_body(request: Img2Img) -> None:
    """Whatever its texts hold, every field is where the service wants it and nothing else is."""
    assert expected_body(request) == sent(request)


def test_what_is_unset_is_left_out() -> None:
    """Only what the service requires is sent of a request that says nothing more."""
    assert sent(img2img()) == {
        "request": {
            "model_name": "sd.safetensors",
            "image_base64": "iVBORyBub3QgcXVpdGU=",
            "prompt": "a cat",
            "image_num": 1,
            "steps": 20,
            "guidance_scale": 7.5,
            "sampler_name": "Euler a",
        }
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("negative_prompt", ""),
        ("seed", -1),
        ("seed", 0),
        ("seed", 2**63 - 1),
        ("strength", 1),
        ("image_num", 1),
        ("guidance_scale", 7.5),
        ("steps", 20),
    ],
)
def test_what_is_set_is_sent(field: str, value: Any) -> None:
    """Values that look empty, or equal a default, are sent all the same."""
    assert sent(img2img(**{field: value}))["request"][field] == value


def test_false_and_zero_in_extra_are_sent() -> None:
    """Only None is not sent."""
    extra = Extra(enable_nsfw_detection=False, nsfw_detection_level=0)

    assert sent(img2img(extra=extra))["extra"] == {
        "enable_nsfw_detection": False,
        "nsfw_detection_level": 0,
    }


def test_extra_is_beside_the_request() -> None:
    """The whole `extra` object, its parts by the service's names."""
    extra = Extra(
        response_image_type="webp",
        webhook=Webhook(url="https://me.example/hook", test_mode=WebhookTestMode()),
        custom_storage={"aws_s3": {"region": "r", "bucket": "b", "path": "p"}},
        enterprise_plan={"enabled": True},
        more={"later": [1, None]},
    )

    assert sent(img2img(extra=extra))["extra"] == {
        "response_image_type": "webp",
        "webhook": {
            "url": "https://me.example/hook",
            "test_mode": {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"},
        },
        "custom_storage": {"aws_s3": {"region": "r", "bucket": "b", "path": "p"}},
        "enterprise_plan": {"enabled": True},
        "later": [1, None],
    }


def test_further_keys_go_beside_the_fields_untouched() -> None:
    """Keys of `more` are nobody's business, whatever they are called."""
    request = img2img(more={"refiner": {"switch_at": 0.5}}, extra=Extra(more={"controlnet": 1}))

    body = sent(request)

    assert body["request"]["refiner"] == {"switch_at": 0.5}
    assert body["extra"] == {"controlnet": 1}


@pytest.mark.parametrize(
    "text", ["\0", '"\0"', "\\u0000", "\\0", "🐱", '","image_base64":"', "\x7f\ufeff\u2028"]
)
def test_no_text_can_be_taken_for_a_picture(text: str) -> None:
    """A picture's place is marked by a byte that JSON text cannot hold."""
    request = img2img(prompt=text, model_name=text, more={text: text})

    texts, pictures = codec.encode(request)

    assert (len(texts), len(pictures)) == (2, 1)
    assert sent(request)["request"]["prompt"] == text
    assert sent(request)["request"][text] == text


def test_one_picture_in_two_places_is_sent_twice() -> None:
    """Each place gets the whole picture."""
    picture = ImageInput.from_bytes(b"one")
    request = img2img(image=picture).with_controlnet("canny", picture)
    request = request.with_controlnet("depth", b"two").with_ip_adapter("ip", picture)

    _, pictures = codec.encode(request)
    body = sent(request)["request"]

    assert [each.data for each in pictures] == [b"one", b"one", b"two", b"one"]
    assert body["image_base64"] == body["ip_adapters"][0]["image_base64"] == "b25l"
    assert [unit["image_base64"] for unit in body["controlnet"]["units"]] == ["b25l", "dHdv"]


def test_a_flat_request_has_no_envelope() -> None:
    """Newer endpoints take the fields as they are."""

    class Flat(Img2Img):
        envelope = "flat"

    body = sent(Flat(model_name="m", image=PICTURE, prompt="p", extra=Extra()))

    assert body["model_name"] == "m"
    assert body["extra"] == {}
    assert "request" not in body


class OwnFloat(float):
    """As numpy's float64 is one."""


Point = namedtuple("Point", "x y")  # noqa: PYI024  # users have such


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (OwnFloat(1.5), 1.5),
        (Point(1, OwnFloat(2)), [1, 2.0]),
        ((1, (2, 3)), [1, [2, 3]]),
        (Sampler.DDIM, "DDIM"),
        ({Sampler.DDIM: True}, {"DDIM": True}),
    ],
)
def test_relatives_of_plain_values_are_written_as_those(value: Any, written: Any) -> None:
    """Whatever is let in as a number, a text or a list can be sent as one."""
    assert sent(img2img(more={"key": value}))["request"]["key"] == written


def test_a_number_of_another_library_is_sent() -> None:
    """Numpy's floats are floats."""
    assert sent(img2img(guidance_scale=OwnFloat(2.5)))["request"]["guidance_scale"] == 2.5


def test_what_is_not_json_is_not_written() -> None:
    """A request class that lets anything through is a programming mistake, told as one."""
    request = img2img()
    object.__setattr__(request, "more", {"key": object()})

    with pytest.raises(TypeError, match="not JSON serializable: object"):
        codec.encode(request)


# --- task results ---------------------------------------------------------------------------------


def answer() -> Any:
    return sample("novita_img2img")


def test_novitas_img2img_sample() -> None:
    """TTL as text; the signed address untouched; no list of audios."""
    update = codec.read_update(answer(), TASK_ID)

    assert update.status is TaskStatus.SUCCEED
    assert (update.seed, update.task_type) == (1434608307, "IMG_TO_IMG")
    assert (update.eta, update.progress_percent, update.reason) == (0, 0, "")
    (link,) = update.links
    assert link.url == answer()["images"][0]["image_url"]
    assert (link.ttl, link.image_type, link.nsfw, link.inline) == (3600, "jpeg", None, None)
    assert update.raw == answer()


def test_novitas_task_result_sample() -> None:
    """TTL as a number, times as empty texts, an empty detection result."""
    tree = sample("novita_task_result")

    update = codec.read_update(tree, tree["task"]["task_id"])

    assert update.timing == Timing()
    assert update.seed == 158881667
    assert [(link.ttl, link.nsfw) for link in update.links] == [(3600, None)]


def test_ppios_qwen_sample() -> None:
    """A TTL of "0" means that the service did not say; no seed."""
    tree = sample("ppio_qwen_image")

    update = codec.read_update(tree, tree["task"]["task_id"])

    assert update.seed is None
    assert [(link.ttl, link.nsfw) for link in update.links] == [(None, None)]
    assert update.task_type == "QWEN_IMAGE_TEXT_TO_IMAGE"


def test_failed_sample() -> None:
    """The service's words for the failure; `extra` may be missing altogether."""
    tree = sample("task_failed")

    update = codec.read_update(tree, tree["task"]["task_id"])

    assert (update.status, update.reason) == (TaskStatus.FAILED, "image generation failed")
    assert (update.links, update.seed) == ((), None)


STRICT: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("task",), ..., "answer.task"),
    (("task",), None, "answer.task"),
    (("task",), "done", "answer.task"),
    (("task",), [], "answer.task"),
    (("task", "status"), ..., "answer.task.status"),
    (("task", "status"), None, "answer.task.status"),
    (("task", "status"), 2, "answer.task.status"),
    (("task", "status"), ["TASK_STATUS_SUCCEED"], "answer.task.status"),
    (("task", "task_id"), 5, "answer.task.task_id"),
    (("task", "task_id"), {}, "answer.task.task_id"),
    (("task", "task_id"), "another", "task.task_id"),
    (("images",), 5, "answer.images"),
    (("images",), {}, "answer.images"),
    (("images",), "", "answer.images"),
    (("images",), "https://host/1.png", "answer.images"),
]


@pytest.mark.parametrize(("path", "value", "place"), STRICT)
def test_what_a_result_depends_on_is_strict(
    path: tuple[str | int, ...], value: Any, place: str
) -> None:
    """A wrong type is not bent into the right one, and the place is named."""
    with pytest.raises(UnreadableError) as caught:
        codec.read_update(changed(answer(), path, value), TASK_ID)

    assert place in str(caught.value)
    assert str(caught.value).count("answer") <= 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), None),
        ((), "https://host/1.png"),
        ((), []),
        (("image_url",), 5),
        (("image_url",), ["https://host/1.png"]),
        (("image_url",), False),
    ],
)
def test_an_odd_image_does_not_hide_the_others(path: tuple[str | int, ...], value: Any) -> None:
    """They are paid; the odd one keeps its place, without an address."""
    tree = answer()
    tree["images"].append(dict(tree["images"][0]))
    links = codec.read_update(changed(tree, ("images", 0, *path), value), TASK_ID).links

    assert (links[0].url, links[0].inline) == (None, None)
    assert links[1].url == tree["images"][1]["image_url"]


@pytest.mark.parametrize("tree", [None, [], "text", 5, True])
def test_an_answer_is_an_object(tree: Any) -> None:
    """Any other JSON is unreadable."""
    with pytest.raises(UnreadableError, match="expected an object"):
        codec.read_update(tree, TASK_ID)


WRONG_TEXT: list[tuple[Any, str]] = [
    (..., ""),
    (None, ""),
    (5, "5"),
    (False, "false"),
    ([], "[]"),
    ({"a": 1}, '{"a":1}'),
]
WRONG_NUMBER: list[tuple[Any, int | None]] = [
    (..., None),
    (None, None),
    ("", None),
    ("soon", None),
    (True, None),
    ([], None),
    ({}, None),
    ("12", 12),
    (12, 12),
    (12.0, 12),
    (-1, -1),
]
LENIENT = [
    *((("task", "reason"), value, "reason", read) for value, read in WRONG_TEXT),
    *((("task", "task_type"), value, "task_type", read) for value, read in WRONG_TEXT),
    *((("task", "eta"), value, "eta", read) for value, read in WRONG_NUMBER),
    *((("task", "progress_percent"), value, "progress_percent", read)
      for value, read in WRONG_NUMBER),
    *((("extra", "seed"), value, "seed", read) for value, read in WRONG_NUMBER),
    (("extra", "seed"), "9223372036854775808", "seed", 2**63),
    (("extra", "seed"), 1.5, "seed", None),
    (("extra", "seed"), "1.5", "seed", None),
    (("extra", "seed"), "9" * 5000, "seed", None),
    (("task", "eta"), "1.5", "eta", 1.5),
    (("task", "eta"), "1e999", "eta", None),
    (("task", "eta"), "nan", "eta", None),
    (("task", "eta"), 10**400, "eta", None),
    (("extra",), ..., "seed", None),
    (("extra",), None, "seed", None),
    (("extra",), [], "seed", None),
    (("extra",), "text", "seed", None),
    (("extra", "debug_info"), None, "timing", Timing()),
    (("extra", "debug_info"), "text", "timing", Timing()),
    (("images",), ..., "links", ()),
    (("images",), None, "links", ()),
    (("images",), [], "links", ()),
    (("videos",), "what", "status", TaskStatus.SUCCEED),
    (("unheard_of",), {"a": [1]}, "status", TaskStatus.SUCCEED),
    (("task", "unheard_of"), 5, "status", TaskStatus.SUCCEED),
    (("task", "task_id"), ..., "task_id", TASK_ID),
    (("task", "task_id"), None, "task_id", TASK_ID),
    (("task", "task_id"), "", "task_id", TASK_ID),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "name", "read"), LENIENT)
def test_what_only_informs_is_lenient(
    path: tuple[str | int, ...], value: Any, name: str, read: Any
) -> None:
    """A paid picture is not lost because a word stood where a number was expected; `raw` has it."""
    tree = changed(answer(), path, value)

    update = codec.read_update(tree, TASK_ID)

    assert getattr(update, name) == read
    assert type(getattr(update, name)) in {type(read), float}
    assert update.raw == tree
    assert update.status is TaskStatus.SUCCEED


LINKS = [
    ("image_url", ..., "url", None),
    ("image_url", None, "url", None),
    ("image_url", "", "url", None),
    ("image_url", "data:image/png;base64,!", "inline", "data:image/png;base64,!"),
    *(("image_url_ttl", value, "ttl", read) for value, read in WRONG_NUMBER),
    ("image_url_ttl", "0", "ttl", None),
    ("image_url_ttl", 0, "ttl", None),
    ("image_url_ttl", 3600, "ttl", 3600),
    ("image_url_ttl", "172800", "ttl", 172800),
    ("image_type", ..., "image_type", None),
    ("image_type", None, "image_type", None),
    ("image_type", "", "image_type", None),
    ("image_type", 5, "image_type", "5"),
    ("image_type", "avif", "image_type", "avif"),
    ("nsfw_detection_result", None, "nsfw", None),
    ("nsfw_detection_result", {}, "nsfw", None),
    ("nsfw_detection_result", [], "nsfw", None),
    ("nsfw_detection_result", "yes", "nsfw", None),
    (
        "nsfw_detection_result",
        {"valid": True, "confidence": 99.5},
        "nsfw",
        Nsfw(valid=True, confidence=99.5),
    ),
    ("nsfw_detection_result", {"valid": "true", "confidence": "12"}, "nsfw", Nsfw(confidence=12)),
    ("nsfw_detection_result", {"valid": None}, "nsfw", Nsfw()),
    ("unheard_of", [], "ttl", 3600),
]


@pytest.mark.parametrize(("key", "value", "name", "read"), LINKS)
def test_an_image_is_listed_with_what_could_be_read(
    key: str, value: Any, name: str, read: Any
) -> None:
    """Whatever the service says beside the address cannot hide the picture."""
    (link,) = codec.read_update(changed(answer(), ("images", 0, key), value), TASK_ID).links

    assert getattr(link, name) == read


def test_a_picture_may_come_inline() -> None:
    """A data URL is the picture itself, and no address."""
    tree = changed(answer(), ("images", 0, "image_url"), "data:image/png;base64,b25l")

    (link,) = codec.read_update(tree, TASK_ID).links

    assert link == ImageLink(inline="data:image/png;base64,b25l", ttl=3600, image_type="jpeg")


def test_images_keep_their_order() -> None:
    """Detection results and seeds line up with it."""
    tree = changed(answer(), ("images",), [{"image_url": f"https://h/{n}"} for n in range(4)])

    update = codec.read_update(tree, TASK_ID)

    assert [link.url for link in update.links] == [
        "https://h/0",
        "https://h/1",
        "https://h/2",
        "https://h/3",
    ]


def test_times_of_the_service() -> None:
    """Milliseconds since 1970, written as text."""
    times = {"submit_time_ms": "1700000000000", "execute_time_ms": 1700000000069}
    tree = changed(answer(), ("extra", "debug_info"), times)

    timing = codec.read_update(tree, TASK_ID).timing

    assert timing == Timing(submit_time_ms=1700000000000, execute_time_ms=1700000000069)


# Documented, and seen in public clients of the service. Hypothesis may find them in the source.
_STATUS_WORDS = {
    "QUEUED", "PENDING", "PROCESSING", "RUNNING", "SUCCEED", "SUCCEEDED", "FAILED", "CANCELED",
    "CANCELLED", "UNKNOWN",
}  # fmt: skip


@given(st.text().filter(lambda text: text.removeprefix("TASK_STATUS_") not in _STATUS_WORDS))
def test_every_unknown_status_is_pending(status: str) -> None:
    """A text that nobody has heard of keeps the task waiting, and is kept."""
    tree = changed(answer(), ("task", "status"), status)

    update = codec.read_update(tree, TASK_ID)

    assert update.status_text == status
    assert update.status is TaskStatus.UNKNOWN
    assert not update.status.is_final


@given(
    strategies.json_values
    | strategies.changes(
        sample("novita_img2img"), sample("novita_task_result"), sample("ppio_qwen_image")
    )
)
def test_reading_any_json_as_an_update_raises_nothing_else(tree: Any) -> None:
    """It is an update or unreadable, and what was read stays as it came."""
    try:
        update = codec.read_update(tree, TASK_ID)
    except UnreadableError:
        return
    assert update.raw is tree
    assert update.task_id == TASK_ID


# --- task ids -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "task_id"),
    [
        ({"task_id": "t1"}, "t1"),
        ({"task_id": "t1", "provider_request_id": "p"}, "t1"),
        (sample("submit_v2_envelope"), "b7d9a4c2-5e6f-4a1b-8c3d-2e1f0a9b8c7d"),
        ({"task_id": None, "data": {"task_id": "t1"}}, "t1"),
        ({"task_id": "", "data": {"task_id": "t1"}}, "t1"),
        ({"task_id": "flat", "data": {"task_id": "nested"}}, "flat"),
        ({"code": 200, "data": {"task_id": "t1"}}, "t1"),
        ({"task_id": " t1\n"}, "t1"),
        ({"task_id": "  "}, None),
        ({"task_id": 5}, None),
        ({"task_id": True}, None),
        ({"task_id": ["t1"]}, None),
        ({"data": {"task_id": None}}, None),
        ({"data": ["t1"]}, None),
        ({"data": "t1"}, None),
        ({}, None),
        ([], None),
        (["task_id"], None),
        ("t1", None),
        (None, None),
    ],
)
def test_where_a_task_id_may_stand(tree: Any, task_id: str | None) -> None:
    """Flat or under `data`, as text; nothing else is bent into an id."""
    assert codec.read_task_id(tree) == task_id


# --- models ---------------------------------------------------------------------------------------


def test_ppinfras_models() -> None:
    """One page, with the cursor of the next as it came."""
    page = codec.read_models(sample("models_ppinfra"))
    (model,) = page.models

    assert page.next_cursor == "c_WzgwNDY2NiwiNTUxOTkiXQ=="
    assert page.unreadable == []
    assert model.model_name == "dreamshaperXL_v21_631328.safetensors"
    assert (model.name, model.type, model.id) == ("Dreamshaper XL", "checkpoint", 74534)
    assert (model.base_model, model.is_sdxl, model.is_nsfw) == ("SDXL 1.0", True, None)
    assert model.tags == ("photorealistic", "anime")
    assert model.usable
    assert model.cover_url == "https://static.ppinfra.com/cover.jpeg"
    assert model.raw == sample("models_ppinfra")["models"][0]


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({"model_name": "m", "sd_name": "s", "sd_name_in_api": "a"}, "m"),
        ({"sd_name": "s", "sd_name_in_api": "a"}, "s"),
        ({"sd_name": "s", "sd_name_in_api": "a", "type": {"name": "checkpoint"}}, "s"),
        ({"sd_name": "s", "sd_name_in_api": "a", "type": {"name": "lora"}}, "a"),
        ({"sd_name": "s", "sd_name_in_api": "a", "type": {"name": "locon"}}, "a"),
        ({"sd_name": "s", "sd_name_in_api": "a", "type": {"name": "textualinversion"}}, "a"),
        ({"sd_name": "s", "type": {"name": "lora"}}, "s"),
        ({"sd_name_in_api": "a"}, "a"),
        ({"model_name": "", "sd_name": "s"}, "s"),
    ],
)
def test_the_name_that_a_request_wants(entry: Any, name: str) -> None:
    """PPInfra's name, else Novita's that fits the kind of model."""
    (model,) = codec.read_models({"models": [entry]}).models

    assert model.model_name == name
    assert model.name == name


MODEL_FIELDS = [
    ("status", 0, "usable", False),
    ("status", "0", "usable", False),
    ("status", 1, "usable", True),
    ("status", ..., "usable", True),
    ("status", "?", "usable", True),
    ("type", ..., "type", ""),
    ("type", "checkpoint", "type", ""),
    ("type", {}, "type", ""),
    ("type", {"name": None}, "type", ""),
    ("type", {"name": 5}, "type", "5"),
    ("id", "74534", "id", 74534),
    ("id", None, "id", None),
    ("tags", None, "tags", ()),
    ("tags", {}, "tags", ()),
    ("tags", ["a", 5], "tags", ("a", "5")),
    ("is_sdxl", "true", "is_sdxl", None),
    ("is_sdxl", False, "is_sdxl", False),
    ("is_nsfw", True, "is_nsfw", True),
    ("is_nsfw", 1, "is_nsfw", None),
    ("base_model", None, "base_model", ""),
    ("cover_url", 5, "cover_url", "5"),
    ("name", None, "name", "dreamshaperXL_v21_631328.safetensors"),
    ("unheard_of", {}, "id", 74534),
]


@pytest.mark.parametrize(("key", "value", "name", "read"), MODEL_FIELDS)
def test_a_model_says_what_could_be_read(key: str, value: Any, name: str, read: Any) -> None:
    """Only its name is needed; the rest informs."""
    tree = changed(sample("models_ppinfra"), ("models", 0, key), value)

    (model,) = codec.read_models(tree).models

    assert getattr(model, name) == read
    assert model.raw == tree["models"][0]


@pytest.mark.parametrize(
    ("tree", "place"),
    [
        ([], "answer"),
        ({"models": 5}, "answer.models"),
        ({"models": {}}, "answer.models"),
        ({"models": [5]}, "answer.models[0]"),
        ({"models": [{"sd_name": 5}]}, "answer.models[0].sd_name"),
        ({"models": [{"name": "for people only"}]}, "answer.models[0]: has no model_name"),
        ({"pagination": 5}, "answer.pagination"),
    ],
)
def test_unreadable_models(tree: Any, place: str) -> None:
    """The place is named."""
    with pytest.raises(UnreadableError) as caught:
        codec.read_models(tree)

    assert place in str(caught.value)


@pytest.mark.parametrize(
    "tree",
    [{}, {"models": None}, {"models": [], "pagination": None}, {"pagination": {"next_cursor": ""}}],
)
def test_an_empty_page_of_models(tree: Any) -> None:
    """No models and no next page."""
    assert codec.read_models(tree) == ModelPage(models=[], next_cursor="")


@pytest.mark.parametrize("odd", [5, None, {}, {"model_name": 5}, {"name": "for people only"}])
def test_an_odd_model_does_not_hide_the_others(odd: Any) -> None:
    """It is left out, and where it stands is said."""
    page = codec.read_models({"models": [{"model_name": "a"}, odd, {"model_name": "b"}]})

    assert [model.model_name for model in page.models] == ["a", "b"]
    (why,) = page.unreadable
    assert "answer.models[1]" in why


@given(strategies.json_values | strategies.changes(sample("models_ppinfra")))
def test_reading_any_json_as_models_raises_nothing_else(tree: Any) -> None:
    """They are models or unreadable."""
    try:
        page = codec.read_models(tree)
    except UnreadableError:
        return
    assert all(model.model_name for model in page.models)
    assert isinstance(page.next_cursor, str)


def test_deep_models_are_read() -> None:
    """The JSON library reads deeper nesting than it writes."""
    tree = {"models": [{"model_name": "m", "type": {"name": codec.loads(DEEP)}}]}

    (model,) = codec.read_models(tree).models

    assert (model.model_name, model.type) == ("m", "")


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "error"),
    [
        (
            sample("invalid_request_body"),
            ErrorBody(
                code=400,
                reason="INVALID_REQUEST_BODY",
                message="invalid value for string field image: [",
            ),
        ),
        (
            sample("v2_not_allowed"),
            ErrorBody(code=2, message="Checkpoint model sd_xl_base_1.0.safetensors not allowed"),
        ),
        (
            {"code": "429", "reason": "R", "message": "", "metadata": {"details": "d"}},
            ErrorBody(code=429, reason="R", details="d"),
        ),
        (
            {"error": {"message": "no such model", "code": None, "type": "x"}},
            ErrorBody(message="no such model"),
        ),
        ({"code": -1, "msg": "internal"}, ErrorBody(code=-1, message="internal")),
        ({"message": {"en": "no"}}, ErrorBody(message='{"en":"no"}')),
        ({"reason": 5}, ErrorBody(reason="5")),
        ({"code": "x", "metadata": []}, None),
        ({"metadata": {"details": ["a"]}}, ErrorBody(details='["a"]')),
        ({"error": "text"}, None),
        ({"task_id": "t"}, None),
        ({}, None),
        ([], None),
        ("text", None),
    ],
)
def test_error_bodies(tree: Any, error: ErrorBody | None) -> None:
    """Those of V3, V2, JieKou and language-model gateways; other JSON is no error."""
    assert codec.read_error(json.dumps(tree).encode()) == error


@given(st.binary() | strategies.json_values.map(lambda tree: json.dumps(tree).encode()))
@example(b'{"message":' + DEEP + b"}")
@example(b'{"reason":' + DEEP + b',"code":500}')
@example(b'{"metadata":{"details":' + DEEP + b"}}")
@example(b'{"code":1e308,"reason":"\\ud800"}')
def test_reading_any_bytes_as_an_error_raises_nothing(body: bytes) -> None:
    """It is an error body or none."""
    error = codec.read_error(body)

    assert error is None or error != ErrorBody()


@pytest.mark.parametrize(
    ("code", "says_no"),
    [
        (None, False),
        (0, False),
        (200, False),
        (299, False),
        (300, True),
        (2, True),
        (-1, True),
        (400, True),
    ],
)
def test_codes_that_stand_for_an_error(code: int | None, *, says_no: bool) -> None:
    """0 and 200 wrap a success."""
    assert ErrorBody(code=code).says_no is says_no


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b'{"a":', b'{"a":NaN}', b'"\\ud800"'])
def test_what_is_not_json_is_unreadable(body: bytes) -> None:
    """The message says so."""
    with pytest.raises(UnreadableError, match=r"^not JSON: "):
        codec.loads(body)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (str, ["", "a"], [None, 5, True, []]),
        (int, [0, -5], [None, "5", True, 5.0, 3.9]),
        (bool, [True, False], [None, "false", 0, 1]),
        (float, [1.5, 2], [None, "1.5", True]),
    ],
)
def test_primitives_are_strict(kind: type, good: list[Any], bad: list[Any]) -> None:
    """`null` does not become the task id 'None'; a float may be written as a whole number."""
    converter = codec._converter

    assert [converter.structure(value, kind) for value in good] == good
    for value in bad:
        with pytest.raises((TypeError, cattrs.BaseValidationError)):
            converter.structure(value, kind)
