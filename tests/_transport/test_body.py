"""What a submit writes, to the byte, and what happens when a picture changes meanwhile."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import anyio
import orjson
import pytest
from aiohttp.abc import AbstractStreamWriter
from anyio import to_thread
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from yarl import URL

from ppinfra_async import ControlNetUnit, ImageInput, Img2Img, IPAdapter, Network, Timeouts
from ppinfra_async._sansio import wire
from ppinfra_async._sansio.wire import Piece, TransportFailure, Upload
from ppinfra_async._threads import WorkerThreads
from ppinfra_async._transport import AiohttpTransport, CommitPoint
from ppinfra_async._transport.body import Phase, StreamedBody
from ppinfra_async._uploads import prepare
from tests._transport.stages import KEY, SMALL_BUFFER, real_transport
from tests.exchanges import ACCEPTED, submit_call
from tests.pictures import draw_picture
from tests.raw_server import Connection, Head, raw_server
from tests.tls import client_context, server_context
from tests.waiting import until

# Pictures are read and encoded in parts of this size.
PART = 768 * 1024


@define
class Catcher:
    """What a server that takes everything got."""

    port: int = 0
    requests: list[tuple[Head, bytes]] = field(factory=list)
    connections: int = 0


@asynccontextmanager
async def catching(receive_buffer: int | None = None) -> AsyncIterator[Catcher]:
    """Run a server that takes everything and accepts it."""
    catcher = Catcher()

    async def handle(connection: Connection) -> None:
        catcher.connections += 1
        while True:
            head = await connection.head()
            body = await connection.body(head.length)
            catcher.requests.append((head, body))
            await connection.answer(ACCEPTED)

    async with raw_server(handle, receive_buffer=receive_buffer) as server:
        catcher.port = server.port
        yield catcher


@pytest.fixture
async def catcher() -> AsyncIterator[Catcher]:
    async with catching() as running:
        yield running


@pytest.fixture
async def transport(catcher: Catcher) -> AsyncIterator[AiohttpTransport]:
    async with real_transport(catcher.port) as opened:
        yield opened


def noise(size: int) -> bytes:
    return Random(size).randbytes(size)


def from_file(path: Path, data: bytes) -> Upload:
    path.write_bytes(data)
    status = path.stat()
    return Upload(path=path, size=status.st_size, modified_ns=status.st_mtime_ns, name=str(path))


# --- what arrives ---------------------------------------------------------------------------------


async def test_body_is_what_a_json_library_makes_of_it(
    transport: AiohttpTransport, catcher: Catcher, picture_file: Path
) -> None:
    """Pictures from a file, from bytes and from Pillow stand where their base64 belongs."""
    png, jpeg = draw_picture(64, 48, "PNG"), draw_picture(40, 30, "JPEG")
    pixels = Image.effect_noise((50, 20), 90)
    # Large enough to be read while it is sent.
    large = draw_picture(200, 160, "PNG") + bytes(70_000)
    await to_thread.run_sync(picture_file.write_bytes, large)
    request = Img2Img(
        model_name="m.safetensors",
        image=picture_file,
        prompt='a "cat" – 猫 \0 \\u0000',
        controlnet=[ControlNetUnit("canny", jpeg), ControlNetUnit("depth", pixels, 0.5)],
        ip_adapters=[IPAdapter("ip-adapter_sd15.bin", ImageInput.from_bytes(png))],
    )
    prepared = await prepare(request, WorkerThreads(1))
    call = wire.submit_call(prepared.request, prepared.uploads)
    from_pil = next(u.data for u in prepared.uploads.values() if u.data not in {None, png, jpeg})
    assert from_pil is not None

    def inline(data: bytes) -> str:
        return b64encode(data).decode()

    expected = {
        "request": {
            "model_name": "m.safetensors",
            "image_base64": inline(await to_thread.run_sync(picture_file.read_bytes)),
            "prompt": 'a "cat" – 猫 \0 \\u0000',
            "width": 200,
            "height": 160,
            "image_num": 1,
            "steps": 20,
            "guidance_scale": 7.5,
            "sampler_name": "Euler a",
            "controlnet": {
                "units": [
                    {"model_name": "canny", "image_base64": inline(jpeg), "strength": 1.0},
                    {"model_name": "depth", "image_base64": inline(from_pil), "strength": 0.5},
                ]
            },
            "ip_adapters": [
                {
                    "model_name": "ip-adapter_sd15.bin",
                    "image_base64": inline(png),
                    "strength": 1.0,
                }
            ],
        }
    }

    await transport.send(call)

    [(head, body)] = catcher.requests
    assert expected == orjson.loads(body)
    assert orjson.dumps(orjson.loads(body)) == body
    assert head.headers["content-length"] == str(len(body))
    with Image.open(BytesIO(from_pil)) as sent:
        assert sent.tobytes() == pixels.tobytes()


async def test_headers_of_a_submit(transport: AiohttpTransport, catcher: Catcher) -> None:
    """The key, JSON both ways, the exact length, and no chunks."""
    await transport.send(submit_call())

    [(head, _)] = catcher.requests
    assert (head.method, head.target) == ("POST", "/v3/async/img2img")
    assert head.headers["authorization"] == "Bearer sk_test"
    assert head.headers["content-type"] == "application/json"
    assert head.headers["accept"] == "application/json"
    assert head.headers["content-length"] == "30"
    assert "transfer-encoding" not in head.headers
    assert "expect" not in head.headers


sizes = st.one_of(
    st.integers(0, 5),
    st.integers(PART - 4, PART + 4),
    st.integers(2 * PART - 2, 2 * PART + 2),
)
uploads = st.tuples(sizes, st.booleans())
texts = st.binary(min_size=1, max_size=40)


@settings(max_examples=20)
@given(first=texts, pictures=st.lists(st.tuples(uploads, texts), max_size=3))
async def test_any_pieces_arrive_in_order_and_whole(
    first: bytes, pictures: list[tuple[tuple[int, bool], bytes]]
) -> None:
    """Whatever the sizes and wherever from, each part is encoded as if the whole had been."""
    pieces: list[Piece] = [first]
    expected = first
    with TemporaryDirectory() as folder:
        for number, ((size, on_disk), text) in enumerate(pictures):
            data = noise(size)
            path = Path(folder) / str(number)
            upload = from_file(path, data) if on_disk else Upload(data=data, size=size)
            pieces += [upload, text]
            expected += b64encode(data) + text

        async with catching() as catcher, real_transport(catcher.port) as transport:
            await transport.send(submit_call(*pieces, commit=b"}"))

    [(head, body)] = catcher.requests
    assert expected + b"}" == body
    assert head.length == len(body)


async def test_one_picture_can_stand_in_several_places(
    transport: AiohttpTransport, catcher: Catcher, tmp_path: Path
) -> None:
    """It is read again each time."""
    upload = from_file(tmp_path / "a", b"abcd")

    await transport.send(submit_call(b"[", upload, b",", upload, b"]"))

    assert catcher.requests[0][1] == b"[YWJjZA==,YWJjZA==]}"


async def test_whole_body_is_never_held() -> None:
    """There is no text to show of a body that exists only while it is sent."""
    plan = submit_call().body
    assert plan is not None
    phase = Phase("nothing", 1)
    readers = WorkerThreads(1)
    body = StreamedBody(plan, CommitPoint(), phase, Timeouts(), readers)

    assert body.size == 30
    with pytest.raises(TypeError, match="never held"):
        body.decode()


async def test_reading_a_file_takes_no_thread_of_the_applications(
    transport: AiohttpTransport, catcher: Catcher, tmp_path: Path
) -> None:
    """However busy the application keeps its own worker threads, an upload goes on."""
    upload = from_file(tmp_path / "cat.png", noise(PART + 1))
    limiter = to_thread.current_default_thread_limiter()
    busy = [object() for _ in range(int(limiter.available_tokens))]
    for one in busy:
        limiter.acquire_on_behalf_of_nowait(one)
    try:
        with anyio.fail_after(10):
            await transport.send(submit_call(b"[", upload, b"]"))
    finally:
        for one in busy:
            limiter.release_on_behalf_of(one)

    assert len(catcher.requests) == 1


# --- files that change ----------------------------------------------------------------------------


def _shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _rewrite(path: Path) -> None:
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def _vanish(path: Path) -> None:
    path.unlink()


def _become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = [_shrink, _grow, _rewrite, _vanish, _become_a_folder, _become_a_pipe]


@pytest.mark.parametrize("change", CHANGES)
async def test_file_that_changed_since_it_was_looked_at_is_not_sent(
    transport: AiohttpTransport, catcher: Catcher, tmp_path: Path, change: Callable[[Path], Any]
) -> None:
    """Whatever became of it, the submit stops before it is paid, and names the file."""
    upload = from_file(tmp_path / "cat.png", noise(1000))
    await to_thread.run_sync(change, tmp_path / "cat.png")
    commit = CommitPoint()

    with anyio.fail_after(10), pytest.raises(TransportFailure) as caught:
        await transport.send(submit_call(b"[", upload, b"]"), commit)

    assert "cat.png" in caught.value.changed_input
    assert "nothing was paid" in caught.value.changed_input
    assert not caught.value.committed
    assert not commit.passed
    assert catcher.requests == []


@pytest.mark.parametrize("change", CHANGES)
async def test_file_that_changes_while_it_is_sent_is_not_paid(
    tmp_path: Path, change: Callable[[Path], Any]
) -> None:
    """A server has the first part of it when it changes, and never gets the last byte."""
    path = tmp_path / "cat.png"
    upload = from_file(path, noise(8 * PART))

    async def handle(connection: Connection) -> None:
        head = await connection.head()
        await connection.body(1000)
        await to_thread.run_sync(change, path)
        await connection.body(head.length)

    async with (
        raw_server(handle, receive_buffer=SMALL_BUFFER) as server,
        real_transport(server.port) as transport,
    ):
        with anyio.fail_after(10), pytest.raises(TransportFailure) as caught:
            await transport.send(submit_call(b"[", upload, b"]"))
        await anyio.sleep(0.02)

        assert "cat.png" in caught.value.changed_input
        assert not caught.value.committed
        assert len(server.received) < upload.encoded_size
        assert server.open_now == 0


async def test_connection_of_a_changed_file_is_not_used_again(
    transport: AiohttpTransport, catcher: Catcher, tmp_path: Path
) -> None:
    """It ended in the middle of a body: what followed would be read as the rest of it."""
    await transport.send(submit_call())
    upload = from_file(tmp_path / "cat.png", noise(1000))
    await to_thread.run_sync(_shrink, tmp_path / "cat.png")
    with pytest.raises(TransportFailure):
        await transport.send(submit_call(b"[", upload, b"]"))

    await transport.send(submit_call())

    assert catcher.connections == 2
    assert [body for _, body in catcher.requests] == [b'{"request":{"prompt":"a cat"}}'] * 2


async def test_cancelled_reading_leaves_no_file_open(
    transport: AiohttpTransport, catcher: Catcher, tmp_path: Path
) -> None:
    """A thread may still be reading when its submit is cancelled; it closes what it opened."""
    upload = from_file(tmp_path / "cat.png", noise(PART))
    for delay in range(20):
        with anyio.move_on_after(delay / 4000):
            await transport.send(submit_call(b"[", upload, b"]"))
    await anyio.sleep(0.05)

    def open_files() -> list[str]:
        links = Path("/proc/self/fd").iterdir()
        return [target for link in links if (target := _target(link)).endswith("cat.png")]

    assert await to_thread.run_sync(open_files) == []


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


# --- the commit point -----------------------------------------------------------------------------


class PlainWriter(AbstractStreamWriter):
    """What aiohttp hands to a body, without anything around it."""

    def __init__(self, transport: asyncio.Transport | None) -> None:
        self._transport = transport

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._transport

    async def write(self, chunk: Any) -> None:
        assert self._transport is not None
        self._transport.write(chunk)

    async def write_eof(self, chunk: bytes = b"") -> None:
        raise NotImplementedError

    async def drain(self) -> None:
        raise NotImplementedError

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        raise NotImplementedError

    def enable_chunking(self) -> None:
        raise NotImplementedError

    async def write_headers(self, status_line: str, headers: Any) -> None:
        raise NotImplementedError


def body_of(size: int, commit: CommitPoint) -> StreamedBody:
    plan = submit_call(bytes(size)).body
    assert plan is not None
    return StreamedBody(plan, commit, Phase("", 9), Timeouts(), WorkerThreads(1))


@asynccontextmanager
async def connected(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Any]:
    """Connect with a small buffer of the system's, so that ours are soon needed."""
    loop = asyncio.get_running_loop()
    made = socket.socket()
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    await loop.sock_connect(made, ("127.0.0.1", port))
    hostname = "localhost" if tls else None
    transport, _ = await loop.create_connection(
        asyncio.Protocol, sock=made, ssl=tls, server_hostname=hostname
    )
    try:
        yield transport
    finally:
        transport.abort()


@pytest.mark.parametrize("kind", ["plain", "tls"])
@pytest.mark.parametrize("size", [10, 300_000, 3_000_000])
async def test_mark_is_made_when_nothing_waits_in_our_buffers(kind: str, size: int) -> None:
    """A dead peer is noticed before the submit counts as sent, over TLS as well."""
    encrypted = kind == "tls"
    seen: list[int] = []

    async def before() -> None:
        seen.append(line.get_write_buffer_size())
        if encrypted:
            seen.append(line._ssl_protocol._transport.get_write_buffer_size())

    async def read_late(connection: Connection) -> None:
        await anyio.sleep(0.02)
        await connection.body(size + 1)

    commit = CommitPoint(before)
    async with (
        raw_server(
            read_late, receive_buffer=SMALL_BUFFER, tls=server_context() if encrypted else None
        ) as server,
        connected(server.port, client_context() if encrypted else None) as line,
    ):
        with anyio.fail_after(10):
            await body_of(size, commit).write(PlainWriter(line))

    assert seen == [0, 0][: len(seen)]
    assert seen
    assert commit.passed


async def test_small_body_is_two_writes(tmp_path: Path) -> None:
    """Each is a call of the operating system: all pieces together, and the last byte apart."""
    (tmp_path / "a").write_bytes(b"file")
    status = (tmp_path / "a").stat()
    of_file = Upload(path=tmp_path / "a", size=4, modified_ns=status.st_mtime_ns)
    plan = submit_call(b"{a", Upload(data=b"picture", size=7), b"b", of_file, b"c").body
    assert plan is not None
    written: list[bytes] = []

    class Noting(PlainWriter):
        async def write(self, chunk: Any) -> None:
            written.append(bytes(chunk))
            await super().write(chunk)

    commit = CommitPoint()
    async with catching() as catcher, connected(catcher.port) as transport:
        body = StreamedBody(plan, commit, Phase("", 9), Timeouts(), WorkerThreads(1))
        await body.write(Noting(transport))

    assert written == [b"{a" + b64encode(b"picture") + b"b" + b64encode(b"file") + b"c", b"}"]


async def test_connection_that_was_gone_already_is_not_committed() -> None:
    """It may end between its making and the first byte."""
    commit = CommitPoint()
    with pytest.raises(aiohttp.ClientConnectionResetError):
        await body_of(10, commit).write(PlainWriter(None))

    assert not commit.passed


async def test_connection_that_ends_while_our_buffers_empty_is_not_committed() -> None:
    """They are empty then, and nothing has arrived."""

    async def read_nothing(connection: Connection) -> None:
        await connection.body(1)
        await anyio.sleep_forever()

    commit = CommitPoint()
    async with (
        raw_server(read_nothing, receive_buffer=SMALL_BUFFER) as server,
        connected(server.port) as transport,
        anyio.create_task_group() as group,
    ):

        async def end_it() -> None:
            await until(lambda: transport.get_write_buffer_size() > 0)
            await anyio.sleep(0.02)
            transport.abort()

        group.start_soon(end_it)
        # anyio's stream only stops reading when it was asked before the first bytes came.
        await until(lambda: len(server.connections) == 1)
        with pytest.raises(aiohttp.ClientConnectionResetError):
            await body_of(3_000_000, commit).write(PlainWriter(transport))

    assert not commit.passed


@pytest.mark.parametrize("size", [10, 300_000, 3_000_000])
async def test_submit_over_tls_arrives(size: int) -> None:
    """The service speaks nothing else."""
    bodies = []

    async def handle(connection: Connection) -> None:
        while True:
            head = await connection.head()
            bodies.append(await connection.body(head.length))
            await connection.answer(ACCEPTED)

    network = Network(ssl_context=client_context())
    async with raw_server(handle, tls=server_context()) as server:
        transport = AiohttpTransport(
            URL(f"https://localhost:{server.port}"), KEY, Timeouts(upload_stall=2), network
        )
        for _ in range(2):
            reply = await transport.send(submit_call(noise(size)))
            assert reply.body == ACCEPTED.body
        await transport.close()

    assert bodies == [noise(size) + b"}"] * 2
    assert len(server.connections) == 1
