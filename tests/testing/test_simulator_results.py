"""The origin of the results: signed, short-lived, without the key; and what is painted."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import pytest
from PIL import Image, ImageChops

from ppinfra_async.testing import Simulator
from ppinfra_async.testing._easel import Commission
from ppinfra_async.testing._painter import paint

if TYPE_CHECKING:
    from tests.testing.conftest import Bare, Time

    Connect = Callable[[Simulator], Bare]

FAST: dict[str, Any] = {"queue": 0, "processing": 0}


async def test_results_live_on_another_origin(bare: "Connect") -> None:
    """The query looks signed and holds an encoded slash."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        url = await client.image_url()
        assert url.startswith(simulator.result_url)
        assert urlsplit(simulator.result_url).port != urlsplit(simulator.url).port
        assert "%2F" in url
        reply = await client.download(url)
        assert (reply.status, reply.headers["Content-Type"]) == (200, "image/png")
        (record,) = simulator.tasks.values()
        assert (record.downloads, simulator.counters.downloads) == (1, 1)


async def test_a_changed_query_is_refused(bare: "Connect") -> None:
    """Decoding `%2F`, dropping the signature or asking for another index breaks it."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        url = await client.image_url()
        for bad in (
            url.replace("%2F", "/"),
            url.replace("%2F", "%2f"),
            url.partition("?")[0],
            url[:-1] + ("0" if url[-1] != "0" else "1"),
            url.replace("/0-", "/1-"),
            f"{simulator.result_url}/elsewhere",
        ):
            reply = await client.download(bad)
            assert (reply.status, reply.headers["Content-Type"]) == (403, "application/xml")
            assert b"<Code>SignatureDoesNotMatch</Code>" in reply.body
        assert (await client.download(url)).status == 200


async def test_the_key_is_refused_beside_a_signature(bare: "Connect") -> None:
    """As S3 does: two ways of saying who one is are one too many."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        url = await client.image_url()
        reply = await client.download(url, headers=client.headers)
        assert reply.status == 400
        assert b"Only one auth mechanism allowed" in reply.body
        assert (await client.send("POST", url)).status == 405


@pytest.mark.parametrize("name", ["%C2%B2-0.png", "%D9%A3-0.png", f"{'9' * 5000}-0.png", "0", "-"])
async def test_a_name_that_is_none_is_no_crash(name: str, bare: "Connect") -> None:
    """Digits of other scripts and numbers without end are not signed, and that is all."""
    async with Simulator(**FAST) as simulator:
        reply = await bare(simulator).download(f"{simulator.result_url}/prod/x/{name}")
        assert reply.status == 403


async def test_urls_expire_from_their_signing(bare: "Connect", turned: "Time") -> None:
    """The clock starts at the task's end; only with `resign` a new poll helps."""
    for resign in (False, True):
        async with Simulator(**FAST, clock=turned, result_ttl=60, resign=resign) as simulator:
            client = bare(simulator)
            task_id = await client.submit()
            url = (await client.finished(task_id))["images"][0]["image_url"]
            turned.now += 60
            assert (await client.download(url)).status == 200
            turned.now += 1
            reply = await client.download(url)
            assert reply.status == 403
            assert b"Request has expired" in reply.body
            url = (await client.finished(task_id))["images"][0]["image_url"]
            assert (await client.download(url)).status == (200 if resign else 403)


async def test_a_forgotten_result_is_missing(bare: "Connect") -> None:
    """A good signature of something that is gone is 404."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        url = await client.image_url()
        simulator.reset()
        reply = await client.download(url)
        assert reply.status == 404
        assert b"NoSuchKey" in reply.body


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
@pytest.mark.parametrize("tiny", [False, True])
async def test_results_have_the_asked_format_and_size(
    kind: str,
    tiny: bool,  # noqa: FBT001  # one column of the table
    bare: "Connect",
    asked: Callable[..., dict[str, Any]],
) -> None:
    """Real pictures are painted in the asked size; tiny ones are valid all the same."""
    async with Simulator(**FAST, tiny_images=tiny) as simulator:
        client = bare(simulator)
        body = {**asked(width=200, height=136), "extra": {"response_image_type": kind}}
        tree = await client.finished((await client.post(body)).tree["task_id"])
        reply = await client.download(tree["images"][0]["image_url"])
        assert reply.headers["Content-Type"] == f"image/{kind}"
        with Image.open(io.BytesIO(reply.body)) as image:
            image.load()
            assert image.format == kind.upper()
            assert image.size == ((8, 8) if tiny else (200, 136))
        if tiny and kind != "webp":
            (task_id,) = simulator.tasks
            assert f"{task_id}:0".encode() in reply.body


async def test_equal_requests_give_equal_results(bare: "Connect") -> None:
    """The picture follows from the request; a repeated download is the same file."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        urls = [await client.image_url(seed=seed) for seed in (1, 1, 2)]
        files = [(await client.download(url)).body for url in (*urls, urls[0])]
        assert files[0] == files[1] == files[3] != files[2]


async def test_many_paintings_are_not_all_kept(bare: "Connect") -> None:
    """Old ones are painted again when asked for again."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        urls = [await client.image_url(seed=seed) for seed in range(18)]
        files: list[bytes] = []

        async def fetch(url: str) -> None:
            files.append((await client.download(url)).body)

        async with anyio.create_task_group() as group:
            for url in urls:
                group.start_soon(fetch, url)
        assert (await client.download(urls[0])).body in files


@pytest.mark.parametrize("style", ["oil", "watercolor", "sketch", "poster", "neon", "glass", "猫"])
def test_each_style_is_blended_by_strength(style: str) -> None:
    """Stronger is further from the source; another seed looks different."""
    ground = Image.radial_gradient("L").resize((160, 120)).convert("RGB")
    out = io.BytesIO()
    ground.save(out, "PNG")

    def painted(strength: float, seed: int = 5) -> Image.Image:
        data = paint(
            Commission(
                picture=out.getvalue(),
                width=160,
                height=120,
                prompt=f"a lake, {style}",
                strength=strength,
                seed=seed,
                image_type="png",
            )
        )
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB")

    def distance(image: Image.Image) -> int:
        grey = ImageChops.difference(image, ground).convert("L")
        return sum(level * count for level, count in enumerate(grey.histogram()))

    assert 0 < distance(painted(0.2)) < distance(painted(1.0))
    assert painted(1.0).tobytes() != painted(1.0, seed=6).tobytes()


def test_without_a_source_something_is_painted_too() -> None:
    """For endpoints that take no picture."""
    data = paint(
        Commission(
            picture=None,
            width=128,
            height=128,
            prompt="neon",
            strength=1,
            seed=1,
            image_type="jpeg",
        )
    )
    assert data.startswith(b"\xff\xd8")
