"""What a submit may hold: each documented range, models and pictures."""

import gzip
import io
import zlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import orjson
import pybase64
import pytest
from PIL import Image

from ppinfra_async.testing import Simulator, bomb_png
from ppinfra_async.testing._models import PREPROCESSORS, SAMPLERS
from ppinfra_async.testing._ranges import check, endpoints

if TYPE_CHECKING:
    from tests.testing.conftest import Bare, Reply

IMG2IMG = endpoints(1)[0]
UNIT = {"model_name": "control_v11p_sd15_canny", "image_base64": "aGk=", "strength": 1}
ADAPTER = {"model_name": "ip-adapter_sd15.bin", "image_base64": "aGk=", "strength": 0.5}


JSON = {"Authorization": "Bearer sk_simulator", "Content-Type": "application/json"}
BUCKET = {"region": "r", "bucket": "b", "path": "p"}

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
        *[("seed", value) for value in (-1, 0, 3183986171, 2**63 - 1)],
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
        ("seed", 2**63),
        ("seed", 2**64 - 1),
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
        ("ip_adapters", [{**ADAPTER, "strength": -0.1}]),
        ("controlnet", {}),
        ("controlnet", []),
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
        ({"webhook": {"url": "https://a"}}, True),
        ({"webhook": {}}, False),
        ({"webhook": {"url": ""}}, False),
        *[
            ({"webhook": {"url": "https://a", "test_mode": mode}}, fine)
            for mode, fine in (
                ({"enabled": True, "return_task_status": "TASK_STATUS_FAILED"}, True),
                ({"enabled": True, "return_task_status": "TASK_STATUS_QUEUED"}, False),
                ({"return_task_status": "TASK_STATUS_FAILED"}, False),
                ({"enabled": True}, False),
            )
        ],
        ({"custom_storage": {"aws_s3": BUCKET}}, True),
        ({"custom_storage": {"aws_s3": {**BUCKET, "save_to_path_directly": True}}}, True),
        ({"custom_storage": {"aws_s3": {**BUCKET, "save_to_path_directly": "no"}}}, False),
        *[
            ({"custom_storage": {"aws_s3": {**BUCKET, name: None}}}, False)
            for name in ("region", "bucket", "path")
        ],
        ({"custom_storage": {"aws_s3": 5}}, False),
        ({"enterprise_plan": {"enabled": False}}, True),
        ({"enterprise_plan": {"enabled": "no"}}, False),
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


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_body_that_cannot_be_unpacked(
    coding: str, bare: "Callable[[Simulator], Bare]", caplog: pytest.LogCaptureFixture
) -> None:
    """It is a mistake of the client's, not a crash."""
    async with Simulator() as simulator:
        client = bare(simulator)
        headers = {**JSON, "Content-Encoding": coding}
        reply = await client.send("POST", "/v3/async/img2img", data=b"nonsense", headers=headers)
        assert (reply.status, reply.reason) == (400, "INVALID_REQUEST_BODY")
        assert (simulator.counters.submits, simulator.counters.refused) == (0, 1)
        await client.submit()
    assert not caplog.records


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large(
    announced: bool,  # noqa: FBT001  # one axis of the table
    bare: "Callable[[Simulator], Bare]",
    asked: Callable[..., dict[str, Any]],
) -> None:
    """It is refused before or while it is read, also when it grows in unpacking."""
    body = orjson.dumps(asked())
    async with Simulator(tiny_images=True, max_body_bytes=len(body)) as simulator:
        client = bare(simulator)

        async def send(data: bytes, **headers: str) -> "Reply":
            async def pieces() -> AsyncIterator[bytes]:
                yield data[:100]
                yield data[100:]

            return await client.send(
                "POST",
                "/v3/async/img2img",
                data=data if announced else pieces(),
                headers={**JSON, **headers},
            )

        assert (await send(body)).status == 200
        reply = await send(body + b" ")
        assert (reply.status, reply.reason) == (413, "INVALID_REQUEST_BODY")
        packed = await send(gzip.compress(body + b" " * 1000), **{"Content-Encoding": "gzip"})
        assert packed.status == 413
        assert (simulator.counters.submits, simulator.counters.refused) == (1, 2)


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
        {"controlnet": {"units": [{**UNIT, "preprocessor": "hed"}]}},
        {"ip_adapters": [{**ADAPTER, "model_name": "other"}]},
    ],
)
async def test_unknown_models_are_refused(
    changes: dict[str, Any],
    bare: "Callable[[Simulator], Bare]",
    asked: Callable[..., dict[str, Any]],
) -> None:
    """A name outside the catalogue, or of another type, or with a wrong ending; on wish, none is."""
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


@pytest.mark.parametrize(
    "changes",
    [
        {"loras": [1] * 300_000},
        {"controlnet": {"units": [{}] * 300_000}},
        {"controlnet": {"units": [1] * 300_000}},
        {"prompt": ["long"] * 300_000},
        {"prompt": "long" * 300_000},
        {"sampler_name": "long" * 300_000},
    ],
)
async def test_endless_mistakes_get_a_short_answer(
    changes: dict[str, Any],
    bare: "Callable[[Simulator], Bare]",
    asked: Callable[..., dict[str, Any]],
) -> None:
    """At most twenty problems, none of them longer than a line; no look into lists too long."""
    body = asked(**changes)
    assert 1 <= len(problems(body)) <= 20
    async with Simulator(tiny_images=True) as simulator:
        reply = await bare(simulator).send(
            "POST", "/v3/async/img2img", data=io.BytesIO(orjson.dumps(body)), headers=JSON
        )
        assert reply.status == 400
        assert len(reply.body) < 3000


def test_a_list_that_is_too_long_is_one_problem(asked: Callable[..., dict[str, Any]]) -> None:
    """Whatever its items are."""
    assert problems(asked(loras=[1] * 6)) == ["request.loras: length must be inside range [-∞, 5]"]


async def test_only_known_fields_are_kept(
    bare: "Callable[[Simulator], Bare]", asked: Callable[..., dict[str, Any]]
) -> None:
    """A record holds what the service would look at."""
    async with Simulator(tiny_images=True) as simulator:
        body = asked(
            other=[{"a": 1}], loras=[{"model_name": "add_detail_44319", "strength": 1, "b": 2}]
        )
        reply = await bare(simulator).post(
            {**body, "extra": {"response_image_type": "png", "c": 3}}
        )
        assert reply.status == 200
        (record,) = simulator.tasks.values()
        assert record.request["loras"] == [{"model_name": "add_detail_44319", "strength": 1}]
        assert "other" not in record.request
        assert record.extra == {"response_image_type": "png"}


async def test_a_large_seed_is_told_again(
    bare: "Callable[[Simulator], Bare]",
) -> None:
    """Also in a batch, where each image has the next one."""
    async with Simulator(queue=0, processing=0, tiny_images=True) as simulator:
        client = bare(simulator)
        tree = await client.finished(await client.submit(seed=2**63 - 1, image_num=8))
        assert tree["extra"]["seed"] == str(2**63 - 1)


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


@pytest.mark.filterwarnings("error")
async def test_pictures_that_pillow_warns_of_are_no_crash(
    bare: "Callable[[Simulator], Bare]", asked: Callable[..., dict[str, Any]]
) -> None:
    """Where warnings are errors, as in many test suites: an animation without frames."""
    out = io.BytesIO()
    frame = Image.new("RGB", (16, 16))
    frame.save(out, "PNG", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")])
    data = out.getvalue()
    start = data.index(b"acTL")
    chunk = b"acTL" + bytes(4) + data[start + 8 : start + 12]
    data = data[:start] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[start + 16 :]
    async with Simulator() as simulator:
        reply = await _with_picture(bare(simulator), asked, _text(data))
        assert (reply.status, reply.reason) == (400, "INVALID_IMAGE_FORMAT")


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
