"""A bare client: what it knows of the service is written here by hand, once more."""

import io
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import anyio
import orjson
import pybase64
import pytest
from attrs import frozen
from PIL import Image
from yarl import URL

from ppinfra_async.testing import Simulator
from tests.blocking import blocking_is_an_error


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_blocking_call_at_all() -> Iterator[None]:
    with blocking_is_an_error():
        yield


@frozen
class Reply:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def tree(self) -> Any:
        return orjson.loads(self.body)

    @property
    def reason(self) -> Any:
        return self.tree.get("reason")


def picture_file(size: tuple[int, int] = (96, 64), kind: str = "PNG", mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert(mode).save(out, kind)
    return out.getvalue()


def as_text(data: bytes) -> str:
    return pybase64.b64encode(data).decode()


PICTURE = as_text(picture_file())


def request_body(**changes: Any) -> dict[str, Any]:
    request = {
        "model_name": "sd_xl_base_1.0.safetensors",
        "image_base64": PICTURE,
        "prompt": "a cat, oil painting",
        "width": 128,
        "height": 192,
        "image_num": 1,
        "steps": 20,
        "guidance_scale": 7.5,
        "sampler_name": "Euler a",
        **changes,
    }
    return {"request": {name: value for name, value in request.items() if value is not ...}}


class Bare:
    """A client without any cleverness."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.session = session
        self.headers = {"Authorization": f"Bearer {simulator.api_key}"}

    async def send(self, method: str, url: str | URL, **options: Any) -> Reply:
        if isinstance(url, str) and url.startswith("/"):
            url = self.simulator.url + url
            options.setdefault("headers", self.headers)
        options.setdefault("allow_redirects", False)
        async with self.session.request(method, url, **options) as reply:
            return Reply(reply.status, await reply.read(), dict(reply.headers))

    async def post(self, body: Any = None, **options: Any) -> Reply:
        body = request_body() if body is None else body
        return await self.send("POST", "/v3/async/img2img", json=body, **options)

    async def submit(self, **changes: Any) -> str:
        reply = await self.post(request_body(**changes))
        assert reply.status == 200, reply
        task_id = reply.tree["task_id"]
        assert isinstance(task_id, str)
        return task_id

    async def poll(self, task_id: str) -> Reply:
        return await self.send("GET", f"/v3/async/task-result?task_id={task_id}")

    async def finished(self, task_id: str) -> Any:
        with anyio.fail_after(5):
            while True:
                tree = (await self.poll(task_id)).tree
                if tree["task"]["status"] in {"TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"}:
                    return tree
                await anyio.sleep(0.01)

    async def image_url(self, **changes: Any) -> str:
        tree = await self.finished(await self.submit(**changes))
        return str(tree["images"][0]["image_url"])

    async def download(self, url: str, **options: Any) -> Reply:
        return await self.send("GET", URL(url, encoded=True), **options)


@pytest.fixture
async def bare() -> AsyncIterator[Callable[[Simulator], Bare]]:
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield lambda simulator: Bare(simulator, session)


class Time:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def turned() -> Time:
    return Time()


@pytest.fixture
def asked() -> Callable[..., dict[str, Any]]:
    return request_body


@pytest.fixture
def picture() -> Callable[..., bytes]:
    return picture_file
