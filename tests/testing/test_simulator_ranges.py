"""What a submit may hold: each documented range, models and pictures."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
import pybase64
import pytest

from ppinfra_async.testing import Simulator, bomb_png
from ppinfra_async.testing._models import PREPROCESSORS, SAMPLERS
from ppinfra_async.testing._ranges import check, endpoints

if TYPE_CHECKING:
    from tests.testing.conftest import Bare, Reply

IMG2IMG = endpoints(1)[0]
UNIT = {"model_name": "control_v11p_sd15_canny", "image_base64": "aGk=", "strength": 1}
ADAPTER = {"model_name": "ip-adapter_sd15.bin", "image_base64": "aGk=", "strength": 0.5}


UNFIT: list[Any] = [None, ..., []]
SHARES: list[Any] = [{"model_name": "a", "strength": value} for value in (0, 1, 0.5, 1, 1)]


def problems(body: dict[str, Any]) -> list[str]:
    return check(body, IMG2IMG.fields).problems


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_name", "any"),
        ("prompt", "x"),
        ("prompt", "猫" * 1024),
        ("negative_prompt", ""),
        ("negative_prompt", "x" * 1024),
        *[(side, value) for side in ("width", "height") for value in (128, 552, 2048)],
        *[("image_num", value) for value in (1, 8)],
        *[("steps", value) for value in (1, 100)],
        *[("guidance_scale", value) for value in (1, 7.5, 30)],
        *[("sampler_name", value) for value in SAMPLERS],
        *[("seed", value) for value in (-1, 0, 3183986171)],
        *[("clip_skip", value) for value in (1, 12)],
        *[("strength", value) for value in (0.001, 1)],
        ("loras", SHARES),
        ("embeddings", [{"model_name": "a"}] * 5),
        ("ip_adapters", [ADAPTER]),
        ("controlnet", {"units": [{**UNIT, "preprocessor": name} for name in PREPROCESSORS]}),
        ("controlnet", {"units": [{**UNIT, "guidance_start": 0, "guidance_end": 1}]}),
        ("never_heard_of", [{"anything": None}]),
        *[
            (name, None)
            for name in (
                "negative_prompt", "sd_vae", "controlnet", "seed", "loras", "embeddings",
                "clip_skip", "strength", "ip_adapters",
            )
        ],
    ],
)  # fmt: skip
def test_what_is_inside_is_accepted(
    name: str, value: Any, asked: Callable[..., dict[str, Any]]
) -> None:
    """Bounds belong to the range; unknown keys and nulls for unset ones are tolerated."""
    assert problems(asked(**{name: value})) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            (name, value)
            for name in (
                "model_name", "image_base64", "prompt", "width", "height", "image_num", "steps",
                "guidance_scale", "sampler_name",
            )
            for value in UNFIT
        ],
        ("model_name", ""),
        ("image_base64", ["aGk="]),
        ("prompt", ""),
        ("prompt", "x" * 1025),
        ("negative_prompt", "x" * 1025),
        *[(side, value) for side in ("width", "height") for value in (127, 2049, 128.0, "128")],
        *[("image_num", value) for value in (0, 9, True)],
        *[("steps", value) for value in (0, 101)],
        *[("guidance_scale", value) for value in (0.99, 30.01, "7.5")],
        ("sampler_name", "DPM++ Karras"),
        ("seed", -2),
        ("seed", 1.5),
        *[("clip_skip", value) for value in (0, 13)],
        *[("strength", value) for value in (0, 1.01, -1)],
        ("sd_vae", 5),
        ("loras", [{"model_name": "a", "strength": 1}] * 6),
        ("loras", [{"model_name": "a", "strength": 1.1}]),
        ("loras", [{"model_name": "a"}]),
        ("loras", ["a"]),
        ("embeddings", [{"model_name": "a"}] * 6),
        ("embeddings", [{}]),
        ("ip_adapters", [ADAPTER] * 2),
        ("ip_adapters", [{**ADAPTER, "model_name": "other"}]),
        ("ip_adapters", [{**ADAPTER, "strength": -0.1}]),
        ("controlnet", {}),
        ("controlnet", []),
        ("controlnet", {"units": [{**UNIT, "preprocessor": "hed"}]}),
        ("controlnet", {"units": [{**UNIT, "strength": 1.1}]}),
        ("controlnet", {"units": [{**UNIT, "guidance_start": -0.1}]}),
        ("controlnet", {"units": [{**UNIT, "guidance_end": 2}]}),
        ("controlnet", {"units": [{**UNIT, "image_base64": None}]}),
        ("controlnet", {"units": [{**UNIT, "model_name": None}]}),
    ],
)  # fmt: skip
def test_what_is_outside_is_named(
    name: str, value: Any, asked: Callable[..., dict[str, Any]]
) -> None:
    """One broken rule gives one problem that names the field."""
    (problem,) = problems(asked(**{name: value}))
    assert name in problem or value == {} or isinstance(value, (list, dict))


@pytest.mark.parametrize(
    ("extra", "fine"),
    [
        *[({"response_image_type": kind}, True) for kind in ("png", "webp", "jpeg", None)],
        *[({"response_image_type": kind}, False) for kind in ("jpg", "PNG", 1)],
        ({"enable_nsfw_detection": True, "nsfw_detection_level": 2}, True),
        ({"nsfw_detection_level": 3}, False),
        ({"enable_nsfw_detection": "yes"}, False),
        ({"custom_storage": {}, "enterprise_plan": {}, "webhook": None, "other": 1}, True),
    ],
)
def test_extra_is_checked_too(
    extra: dict[str, Any],
    fine: bool,  # noqa: FBT001  # one column of the table
    asked: Callable[..., dict[str, Any]],
) -> None:
    """What the public SDK sends passes; closed sets are closed."""
    assert (problems({**asked(), "extra": extra}) == []) is fine


@pytest.mark.parametrize(
    ("send", "reason"),
    [
        ({"data": b"not json"}, "INVALID_REQUEST_BODY"),
        ({"json": [1]}, "INVALID_REQUEST_BODY"),
        ({"json": {}}, "INVALID_REQUEST_BODY"),
        ({"json": {"request": 5}}, "INVALID_REQUEST_BODY"),
        ({"json": None}, "INVALID_REQUEST_BODY"),
    ],
)
async def test_bodies_that_are_no_requests(
    send: dict[str, Any], reason: str, bare: "Callable[[Simulator], Bare]"
) -> None:
    """Neither a cut document nor another tree is a request."""
    async with Simulator() as simulator:
        client = bare(simulator)
        headers = {**client.headers, "Content-Type": "application/json"}
        reply = await client.send("POST", "/v3/async/img2img", headers=headers, **send)
        assert (reply.status, reply.reason) == (400, reason)
        form = await client.send("POST", "/v3/async/img2img", data={"a": "b"})
        assert (form.status, form.reason) == (400, "INVALID_REQUEST_BODY")
        assert simulator.counters.accepted == 0


async def test_a_broken_rule_is_answered_in_the_documented_shape(
    bare: "Callable[[Simulator], Bare]", asked: Callable[..., dict[str, Any]]
) -> None:
    """Code, reason, message and metadata; the first problem is the message, all are details."""
    async with Simulator() as simulator:
        reply = await bare(simulator).post(asked(width=127, steps=0))
        tree = reply.tree
        assert reply.status == tree["code"] == 400
        assert tree["reason"] == "INVALID_REQUEST_BODY"
        assert tree["message"] == "request.width: value must be inside range [128, 2048]"
        assert "request.steps" in tree["metadata"]["details"]
        assert simulator.counters.refused == 1


async def test_sizes_off_the_grid_are_refused_only_when_told(
    bare: "Callable[[Simulator], Bare]", asked: Callable[..., dict[str, Any]]
) -> None:
    """No document asks for multiples of 8, so it is an option."""
    async with Simulator() as simulator:
        assert (await bare(simulator).post(asked(width=553))).status == 200
    async with Simulator(multiple_of=8) as simulator:
        reply = await bare(simulator).post(asked(width=553))
        assert (reply.status, "multiple of 8" in reply.tree["message"]) == (400, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_name": "unheard_of.safetensors"},
        {"sd_vae": "sd_xl_base_1.0.safetensors"},
        {"loras": [{"model_name": "add_detail_44319.safetensors", "strength": 1}]},
        {"embeddings": [{"model_name": "badhandv4_16755"}]},
        {"controlnet": {"units": [{**UNIT, "model_name": "unheard_of"}]}},
    ],
)
async def test_unknown_models_are_refused(
    changes: dict[str, Any],
    bare: "Callable[[Simulator], Bare]",
    asked: Callable[..., dict[str, Any]],
) -> None:
    """A name outside the catalogue, or of another type, or with a wrong ending."""
    async with Simulator(tiny_images=True) as simulator:
        reply = await bare(simulator).post(asked(**changes))
        assert (reply.status, reply.reason) == (400, "INVALID_REQUEST_BODY")
        assert "not allowed" in reply.tree["message"]
    async with Simulator(tiny_images=True, check_models=False) as simulator:
        assert (await bare(simulator).post(asked(**changes))).status == 200


async def test_a_full_request_is_accepted(
    bare: "Callable[[Simulator], Bare]", asked: Callable[..., dict[str, Any]]
) -> None:
    """All parts at once, with names from the catalogue and real pictures."""
    picture = asked()["request"]["image_base64"]
    body = asked(
        sd_vae="sdxl_vae.safetensors",
        loras=[{"model_name": "add_detail_44319", "strength": 0.7}],
        embeddings=[{"model_name": "badhandv4_16755.pt"}],
        controlnet={"units": [{**UNIT, "image_base64": picture, "preprocessor": "canny"}]},
        ip_adapters=[{**ADAPTER, "image_base64": picture}],
        clip_skip=2,
        strength=0.5,
        seed=42,
    )
    async with Simulator() as simulator:
        reply = await bare(simulator).post(body)
        assert reply.status == 200
        (record,) = simulator.tasks.values()
        assert record.request["image_base64"] == f"<{len(picture)} characters>"
        assert record.request["controlnet"]["units"][0]["image_base64"].startswith("<")
        assert len(record.picture_sha256) == 64


def _text(data: bytes) -> str:
    return pybase64.b64encode(data).decode()


async def _with_picture(client: "Bare", asked: Callable[..., Any], text: str) -> "Reply":
    return await client.post(asked(image_base64=text))


async def test_pictures_must_be_strict_base64_of_real_pictures(
    bare: "Callable[[Simulator], Bare]",
    asked: Callable[..., dict[str, Any]],
    picture: Callable[..., bytes],
) -> None:
    """Line breaks, URL-safe letters, prefixes, missing padding, cut files and other formats."""
    data = picture()
    text = _text(data)
    cases = {
        "line break": f"{text[:76]}\n{text[76:]}",
        "data URL": f"data:image/png;base64,{text}",
        "URL-safe": _text(b"\xff\xfe\xfd" * 40).replace("/", "_").replace("+", "-"),
        "padding": _text(data + b"1" * ((1 - len(data)) % 3)).rstrip("="),
        "no picture": _text(b"hello world, this is text"),
        "cut": _text(picture((300, 300))[:-400]),
        "bmp": _text(picture(kind="BMP")),
    }
    async with Simulator() as simulator:
        client = bare(simulator)
        for name, bad in cases.items():
            reply = await _with_picture(client, asked, bad)
            assert (reply.status, reply.reason) == (400, "INVALID_IMAGE_FORMAT"), name
        assert simulator.counters.accepted == 0
        assert simulator.counters.submits == len(cases)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_pictures_of_the_common_formats_are_accepted(
    kind: str,
    bare: "Callable[[Simulator], Bare]",
    asked: Callable[..., dict[str, Any]],
    picture: Callable[..., bytes],
) -> None:
    """Also with transparency, and up to the largest side."""
    async with Simulator() as simulator:
        client = bare(simulator)
        modes = ["RGB", "L"] if kind == "JPEG" else ["RGB", "L", "RGBA", "LA"]
        for mode in modes:
            data = picture((2048, 8), kind, mode)
            assert (await _with_picture(client, asked, _text(data))).status == 200


async def test_pictures_that_are_too_large(
    bare: "Callable[[Simulator], Bare]",
    asked: Callable[..., dict[str, Any]],
    picture: Callable[..., bytes],
) -> None:
    """By side, by bytes and by a header that promises a bomb."""
    async with Simulator(max_image_bytes=5000) as simulator:
        client = bare(simulator)
        for bad in (picture((2049, 8)), bomb_png(12_000), bomb_png(30_000)):
            reply = await _with_picture(client, asked, _text(bad))
            assert (reply.status, reply.reason) == (400, "IMAGE_EXCEEDS_MAX_RESOLUTION")
        reply = await _with_picture(client, asked, _text(bytes(5001)))
        assert (reply.status, reply.reason) == (400, "IMAGE_FILE_EXCEEDS_MAX_SIZE")
        reply = await _with_picture(client, asked, _text(bytes(5000)))
        assert reply.reason == "INVALID_IMAGE_FORMAT"


async def test_forty_five_megabytes_arrive(
    bare: "Callable[[Simulator], Bare]", asked: Callable[..., dict[str, Any]]
) -> None:
    """The server reads a body of any size."""
    async with Simulator(tiny_images=True) as simulator:
        client = bare(simulator)
        body = io.BytesIO(orjson.dumps(asked(image_base64="A" * 45_000_000)))
        headers = {**client.headers, "Content-Type": "application/json"}
        reply = await client.send("POST", "/v3/async/img2img", data=body, headers=headers)
        assert reply.status == 200
        assert simulator.counters.body_bytes > 45_000_000
