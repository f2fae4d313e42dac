"""Every fault on real sockets: what the other side sees, and whether it was paid."""

import asyncio
import io
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import anyio
import orjson
import pybase64
import pytest
from anyio.abc import SocketAttribute, SocketStream
from yarl import URL

from ppinfra_async.testing import Call, Fault, Simulator

if TYPE_CHECKING:
    from tests.testing.conftest import Bare

    Connect = Callable[[Simulator], Bare]

FAST: dict[str, Any] = {"queue": 0, "processing": 0, "tiny_images": True}
Broken = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)


async def raw_submit(simulator: Simulator, body: bytes, headers: str = "") -> SocketStream:
    """Open a connection and send the head of a submit whose body has the length of *body*."""
    parts = urlsplit(simulator.url)
    stream = await anyio.connect_tcp(str(parts.hostname), parts.port or 0)
    await stream.send(
        f"POST /v3/async/img2img HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {simulator.api_key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{headers}\r\n".encode()
    )
    return stream


async def answer_of(stream: SocketStream) -> bytes:
    """Read until the other side ends or breaks the connection."""
    data = b""
    try:
        while True:
            data += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return data


@pytest.mark.parametrize(
    ("fault", "status", "kind", "paid"),
    [
        (Fault.status(503), 503, "application/json", 0),
        (Fault.status(503, paid=True), 503, "application/json", 1),
        (Fault.status(503, early=True), 503, "application/json", 0),
        (Fault.status(500, "BILLING_FAILED", headers={"X-A": "b"}), 500, "application/json", 0),
        (Fault.status(429, body="slow down", content_type="text/plain"), 429, "text/plain", 0),
        (Fault.status(418, body=b"raw"), 418, "application/json", 0),
        (Fault.html(), 502, "text/html", 0),
        (Fault.html(200, paid=True), 200, "text/html", 1),
        (Fault.redirect(307, "http://127.0.0.1:9/elsewhere"), 307, "text/html", 0),
        (Fault.wrong_json(), 200, "application/json", 1),
        (Fault.wrong_json([1, 2]), 200, "application/json", 1),
        (Fault.wrong_json(5, paid=False), 200, "application/json", 0),
        (Fault.garbage(), 200, "application/json", 1),
        (Fault.empty(), 200, "application/json", 1),
        (Fault.empty(204), 204, "application/json", 1),
    ],
)
async def test_other_answers(
    fault: Fault, status: int, kind: str, paid: int, bare: "Connect"
) -> None:
    """The answer is replaced; the task exists only where the fault says so."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        simulator.faults.order("submit", fault)
        reply = await client.post()
        assert (reply.status, reply.body) == (status, fault.answer.body)
        assert reply.headers["Content-Type"].partition(";")[0] == kind
        for name, value in fault.answer.headers:
            assert reply.headers[name] == value
        assert len(simulator.tasks) == simulator.counters.accepted == paid
        assert (simulator.counters.faults, simulator.faults.waiting) == (1, 0)
        await client.submit()


async def test_a_status_is_worded_like_the_service(bare: "Connect") -> None:
    """Without a body of one's own it is the documented shape."""
    async with Simulator(**FAST) as simulator:
        for code, reason in ((503, "SERVICE_NOT_AVAILABLE"), (507, "UNKNOWN")):
            simulator.faults.order("submit", Fault.status(code))
            tree = (await bare(simulator).post()).tree
            assert (tree["code"], tree["reason"], tree["metadata"]) == (code, reason, {})
        simulator.faults.order("submit", Fault.status(500, "CREATE_TASK_FAILED"))
        assert (await bare(simulator).post()).reason == "CREATE_TASK_FAILED"


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize(
    ("make", "submits", "paid"),
    [
        (Fault.cut_before_read, 0, 0),
        (lambda reset: Fault.cut_at(30, reset=reset), 0, 0),
        (lambda reset: Fault.cut_at(-1, reset=reset), 0, 0),
        (lambda reset: Fault.cut_at(10**9, reset=reset), 0, 0),
        (lambda reset: Fault.cut_after_read(paid=False, reset=reset), 1, 0),
        (lambda reset: Fault.cut_after_read(reset=reset), 1, 1),
    ],
)
async def test_cuts_around_the_body(
    make: Callable[..., Fault],
    submits: int,
    paid: int,
    reset: bool,  # noqa: FBT001  # one axis of the table
    bare: "Connect",
) -> None:
    """The connection ends without an answer; only a body read to its end can be paid."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        simulator.faults.order("submit", make(reset=reset))
        with pytest.raises(Broken):
            await client.post()
        counters = simulator.counters
        assert (counters.submit_starts, counters.submits, counters.accepted) == (1, submits, paid)
        await client.submit()


@pytest.mark.parametrize(("fault", "seen"), [(Fault.cut_at(5), 5), (Fault.cut_at(-1), 9)])
async def test_a_cut_comes_exactly_when_its_bytes_are_there(
    fault: Fault, seen: int, bare: "Connect"
) -> None:
    """One byte fewer and the connection still stands."""
    async with Simulator(**FAST) as simulator:
        simulator.faults.order("submit", fault)
        body = b'{"a": "b"}'
        stream = await raw_submit(simulator, body)
        async with stream:
            await stream.send(body[: seen - 1])
            with pytest.raises(TimeoutError), anyio.fail_after(0.1):
                await stream.receive()
            await stream.send(body[seen - 1 : seen])
            with anyio.fail_after(2):
                assert await answer_of(stream) == b""
        assert simulator.counters.submits == 0


async def test_a_client_that_leaves_early_pays_nothing(bare: "Connect") -> None:
    """All but the closing brace is no request."""
    async with Simulator(**FAST) as simulator:
        body = orjson.dumps({"request": {}})
        async with await raw_submit(simulator, body) as stream:
            await stream.send(body[:-1])
        await _until(lambda: simulator.open_connections == 0)
        assert (simulator.counters.submit_starts, simulator.counters.submits) == (1, 0)
        await bare(simulator).submit()


async def _until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(3):
        while not condition():  # noqa: ASYNC110  # the simulator announces nothing
            await anyio.sleep(0.01)


async def test_a_task_is_made_though_its_client_left(
    asked: Callable[..., Any], picture: Callable[..., bytes]
) -> None:
    """The service finishes what it began; leaving does not unpay."""
    async with Simulator() as simulator:
        text = pybase64.b64encode(picture((2048, 2048))).decode()
        body = orjson.dumps(asked(image_base64=text))
        async with await raw_submit(simulator, body) as stream:
            await stream.send(body)
            await _until(lambda: simulator.counters.submits == 1)
            assert simulator.counters.accepted == 0
        await _until(lambda: simulator.counters.accepted == 1)


@pytest.mark.parametrize("sent", [0, 1, 20])
async def test_an_answer_cut_in_its_middle(sent: int, bare: "Connect") -> None:
    """The length was announced, so the client can notice."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        simulator.faults.order("submit", Fault.cut_in_reply(sent), times=2)
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.post()
        body = orjson.dumps({})
        assert simulator.counters.accepted == 1
        async with await raw_submit(simulator, body) as stream:
            await stream.send(body)
            head, _, rest = (await answer_of(stream)).partition(b"\r\n\r\n")
        assert (b"Content-Length:" in head, len(rest)) == (True, sent)


@pytest.mark.parametrize("difference", [7, -7])
async def test_an_answer_of_the_wrong_length(difference: int) -> None:
    """Longer or shorter than announced."""
    async with Simulator(**FAST) as simulator:
        simulator.faults.order("submit", Fault.wrong_length(difference))
        async with await raw_submit(simulator, b"{}") as stream:
            await stream.send(b"{}")
            head, _, rest = (await answer_of(stream)).partition(b"\r\n\r\n")
        announced = int(head.lower().partition(b"content-length: ")[2].split()[0])
        assert announced == len(rest) + difference
        assert orjson.loads(rest)["code"] == 400


async def test_a_body_that_is_never_read(bare: "Connect") -> None:
    """A few megabytes stall the sender; its reset or the set time ends the matter."""
    async with Simulator(**FAST) as simulator:
        simulator.faults.order("submit", Fault.never_read())
        block, sent = bytes(256 * 1024), 0
        stream = await raw_submit(simulator, bytes(64 * 1024 * 1024))
        async with stream:
            with anyio.move_on_after(0.5):
                while True:
                    await stream.send(block)
                    sent += len(block)
            assert sent < 8 * 1024 * 1024
            assert simulator.open_connections == 1
            connection = stream.extra(SocketAttribute.raw_socket)  # not Django
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await _until(lambda: simulator.open_connections == 0)
        simulator.faults.order("submit", Fault.never_read(0.05))
        async with await raw_submit(simulator, bytes(1024)) as stream:
            assert await answer_of(stream) == b""
        assert simulator.counters.submits == 0
        await bare(simulator).submit()


@pytest.mark.parametrize("paid", [True, False])
async def test_an_answer_that_never_comes(
    paid: bool,  # noqa: FBT001  # one axis of the table
    bare: "Connect",
) -> None:
    """Silence, until the client gives up; no handler is left behind."""
    async with Simulator(**FAST) as simulator:
        simulator.faults.order("submit", Fault.never_answer(paid=paid))
        with pytest.raises(TimeoutError):
            await bare(simulator).post(timeout=aiohttp.ClientTimeout(total=0.1))
        assert simulator.counters.accepted == int(paid)
        await _until(lambda: simulator.open_connections == 0)


async def test_slowness(bare: "Connect") -> None:
    """Late, trickling, and slow to read: all end well."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        for fault, least in (
            (Fault.delay(0.1), 0.1),
            (Fault.slow(500), 0.08),
            (Fault.slow_read(5_000), 0.05),
        ):
            simulator.faults.order("submit", fault)
            start = anyio.current_time()
            await client.submit()
            assert least <= anyio.current_time() - start < 2


async def test_a_client_that_asks_before_it_sends(bare: "Connect") -> None:
    """`Expect: 100-continue` is answered, as curl wants it."""
    async with Simulator(**FAST) as simulator:
        assert (await bare(simulator).post(expect100=True)).status == 200


@pytest.mark.parametrize(
    ("fault", "invited"),
    [
        (Fault.slow_read(1e6), True),
        (Fault.cut_at(5), True),
        (Fault.cut_at(-1), True),
        (Fault.never_read(0.2), True),
        (Fault.delay(0), True),
        (Fault.cut_before_read(), False),
        (Fault.status(503, early=True), False),
    ],
)
async def test_who_asks_before_sending_is_invited_by_faults_too(
    fault: Fault,
    invited: bool,  # noqa: FBT001  # one column of the table
) -> None:
    """But by none that answers, or cuts, without reading."""
    async with Simulator(**FAST) as simulator:
        simulator.faults.order("submit", fault)
        async with await raw_submit(simulator, b"{}" * 5, "Expect: 100-continue\r\n") as stream:
            with anyio.fail_after(2):
                if invited:
                    assert (await stream.receive()).startswith(b"HTTP/1.1 100 Continue\r\n")
                    await stream.send(b"{}" * 5)
                else:
                    assert b"100 Continue" not in await answer_of_some(stream)


async def answer_of_some(stream: SocketStream) -> bytes:
    try:
        return await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return b""


async def test_faults_are_taken_first_in_first_out(bare: "Connect") -> None:
    """Each as often as ordered; `times=None` never ends; `clear` ends all."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        simulator.faults.order("submit", Fault.status(500), times=2)
        simulator.faults.order("submit", Fault.status(503, early=True))
        simulator.faults.order("submit", Fault.status(502), times=None)
        assert simulator.faults.waiting == 4
        codes = [(await client.post()).status for _ in range(5)]
        assert codes == [500, 500, 503, 502, 502]
        simulator.faults.clear()
        assert (await client.post()).status == 200


async def test_faults_may_be_choosy(bare: "Connect", asked: Callable[..., Any]) -> None:
    """A predicate sees the body of a submit, the task of a poll and the index of a download."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        simulator.faults.order(
            "submit", Fault.status(500), when=lambda call: call.body["request"]["prompt"] == "b"
        )
        simulator.faults.order(
            "submit", Fault.status(503, early=True), when=lambda call: call.number == 3
        )
        codes = [(await client.post(asked(prompt=text))).status for text in "abcd"]
        assert codes == [200, 500, 503, 200]
        first, second = simulator.tasks

        def is_second(call: Call) -> bool:
            return call.task is not None and call.task.task_id == second

        simulator.faults.order("poll", Fault.html(), when=is_second, times=None)
        assert [(await client.poll(each)).status for each in (first, second)] == [200, 502]
        simulator.faults.order("download", Fault.status(403), when=lambda call: call.index == 1)
        tree = await client.finished(await client.submit(image_num=2))
        replies = [await client.download(image["image_url"]) for image in tree["images"]]
        assert [reply.status for reply in replies] == [200, 403]


async def test_polls_break_in_their_own_ways(bare: "Connect") -> None:
    """Other states, other trees, other URLs; errors are not edited."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        task_id = await client.submit()
        faults = simulator.faults
        faults.order("poll", Fault.unknown_status())
        faults.order("poll", Fault.unknown_status("TASK_STATUS_DREAMING"))
        faults.order("poll", Fault.image_url("http://169.254.169.254/latest/meta-data"))
        faults.order("poll", Fault.edited(lambda tree: {**tree, "images": None, "task": {}}))
        faults.order("poll", Fault.status(500, "GET_RESULT_FAILED"))
        trees = [(await client.poll(task_id)).tree for _ in range(5)]
        assert trees[0]["task"]["status"] == "TASK_STATUS_UNKNOWN"
        assert trees[1]["task"]["status"] == "TASK_STATUS_DREAMING"
        assert trees[2]["images"][0]["image_url"] == "http://169.254.169.254/latest/meta-data"
        assert (trees[3]["images"], trees[3]["task"]) == (None, {})
        assert trees[4]["reason"] == "GET_RESULT_FAILED"
        faults.order("poll", Fault.unknown_status())
        assert (await client.poll("unheard-of")).reason == "TASK_NOT_FOUND"
        # aiohttp asks a second time when a reused connection breaks.
        faults.order("poll", Fault.cut_after_read(), times=2)
        with pytest.raises(Broken):
            await client.poll(task_id)
        assert simulator.counters.polls == 8


async def test_listings_break_too(bare: "Connect") -> None:
    """Models and account have places of their own."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        simulator.faults.order("models", Fault.status(500))
        simulator.faults.order("account", Fault.garbage())
        assert (await client.send("GET", "/v3/model")).status == 500
        assert (await client.send("GET", "/v3/user")).body == b'{"task_id": "0f'


@pytest.mark.parametrize(
    ("fault", "status", "start"),
    [
        (Fault.status(403), 403, b"{"),
        (Fault.html(200), 200, b"<!DOCTYPE html>"),
        (Fault.not_an_image(), 200, b"this is no picture"),
        (Fault.bomb(), 200, b"\x89PNG"),
        (Fault.empty(), 200, b""),
        (Fault.redirect(302, "http://10.0.0.1/x"), 302, b""),
        (Fault.slow(2_000), 200, b"\x89PNG"),
    ],
)
async def test_downloads_break_in_their_own_ways(
    fault: Fault, status: int, start: bytes, bare: "Connect"
) -> None:
    """Errors, pages, things that are no pictures, and a bomb of a hundred bytes."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        url = await client.image_url()
        simulator.faults.order("download", fault)
        reply = await client.download(url)
        assert (reply.status, reply.body[: len(start)]) == (status, start)
        assert len(reply.body) < 500
        assert (await client.download(url)).status == 200


async def test_downloads_that_end_early(bare: "Connect") -> None:
    """Fewer bytes than announced."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        url = await client.image_url()
        for fault in (Fault.cut_in_reply(40), Fault.wrong_length(3), Fault.cut_after_read()):
            # aiohttp asks a second time when a reused connection breaks.
            simulator.faults.order("download", fault, times=None)
            with pytest.raises(Broken):
                await client.download(url)
            simulator.faults.clear()


async def test_a_download_without_end(bare: "Connect") -> None:
    """It starts like a picture and goes on until the client leaves."""
    async with Simulator(**FAST) as simulator:
        client = bare(simulator)
        url = await client.image_url()
        for start in (None, b"GIF89a"):
            simulator.faults.order("download", Fault.endless(start))
            async with aiohttp.ClientSession() as session:
                reply = await session.get(URL(url, encoded=True))
                data = await reply.content.readexactly(2_000_000)
                assert data.startswith(start or b"\x89PNG")
                reply.close()
        # The bare client's own connection is idle and stays.
        await _until(lambda: simulator.open_connections <= 2)


async def test_stopping_ends_all_that_hangs(bare: "Connect") -> None:
    """Silent, unread and endless requests at once; nothing is left in the loop."""
    before = asyncio.all_tasks()
    simulator = Simulator(**FAST)
    await simulator.start()
    url = await bare(simulator).image_url()
    faults = (Fault.never_answer(), Fault.never_read(), Fault.delay(60))
    for fault in faults:
        simulator.faults.order("submit", fault)
    simulator.faults.order("download", Fault.endless())

    async def broken(send: Callable[[], Any]) -> None:
        with pytest.raises(Broken):
            await send()

    async with anyio.create_task_group() as group:
        for _ in faults:
            group.start_soon(broken, bare(simulator).post)
        group.start_soon(broken, lambda: bare(simulator).download(url))
        await _until(lambda: simulator.faults.waiting == 0)
        await simulator.stop()
    assert simulator.open_connections == 0
    await anyio.sleep(0.02)
    assert asyncio.all_tasks() <= before


async def test_a_small_receive_buffer_for_all(bare: "Connect") -> None:
    """An option makes every upload feel a narrow line."""
    async with Simulator(**FAST, receive_buffer=4096) as simulator:
        client = bare(simulator)
        body = io.BytesIO(orjson.dumps({"filler": "x" * 300_000}))
        headers = {**client.headers, "Content-Type": "application/json"}
        reply = await client.send("POST", "/v3/async/img2img", data=body, headers=headers)
        assert reply.status == 400
