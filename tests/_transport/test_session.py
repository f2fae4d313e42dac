"""The real transport: its deadlines, its connections, and what it says to whom."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import anyio
import pytest
from anyio.abc import SocketAttribute
from yarl import URL

from ppinfra_async import Network, Timeouts
from ppinfra_async._sansio.wire import HttpReply, TransportFailure, Upload
from ppinfra_async._transport import AiohttpTransport, CommitPoint
from tests._transport.stages import KEY, SMALL_BUFFER, real_transport
from tests.exchanges import ACCEPTED, status_call, submit_call
from tests.raw_server import Connection, Head, RawServer, raw_server, response
from tests.sockets import open_sockets, until_open_sockets_are
from tests.tls import client_context
from tests.waiting import until

LARGE = b"x" * 8_000_000


async def silent(connection: Connection) -> None:
    """Take the first byte and nothing more."""
    await connection.body(1)
    await anyio.sleep_forever()


async def accepting(connection: Connection) -> None:
    """Take every request and accept it."""
    while True:
        head = await connection.head()
        await connection.body(head.length)
        await connection.answer(ACCEPTED)


async def failure_of(call: Any) -> TransportFailure:
    with anyio.fail_after(10), pytest.raises(TransportFailure) as caught:
        await call
    return caught.value


async def opened(transport: AiohttpTransport, url: str) -> tuple[int, bytes]:
    async with transport.fetch(url) as fetched:
        data = b""
        while piece := await fetched.read():
            data += piece
        return fetched.status, data


# --- deadlines ------------------------------------------------------------------------------------


@asynccontextmanager
async def full_backlog() -> AsyncIterator[int]:
    """Listen on a port where no further connection is taken."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for filler in fillers:
                filler.close()


async def test_connection_that_is_not_taken_ends_at_the_connect_deadline() -> None:
    """A machine that does not answer holds nobody for ever, and was paid nothing."""
    timeouts = Timeouts(connect=0.1)
    async with full_backlog() as port, real_transport(port, timeouts) as transport:
        submit = await failure_of(transport.send(submit_call()))

    assert not submit.committed
    assert submit.what in {"the connection was not made within 0.1 s", "no connection in time"}


async def test_status_call_ends_at_the_connect_deadline() -> None:
    """It is not left to the longer deadline of the whole call."""
    timeouts = Timeouts(connect=0.1, poll=60)
    async with full_backlog() as port, real_transport(port, timeouts) as transport:
        poll = await failure_of(transport.send(status_call()))

    assert poll.what == "no connection in time"


async def test_tls_that_is_never_answered_ends_at_the_connect_deadline() -> None:
    """The handshake is a part of connecting."""
    network = Network(ssl_context=client_context())
    async with raw_server(silent) as server:
        transport = AiohttpTransport(
            URL(f"https://localhost:{server.port}"), KEY, Timeouts(connect=0.1), network
        )
        failure = await failure_of(transport.send(submit_call()))
        await transport.close()

    assert not failure.committed


@pytest.mark.parametrize("pieces", [(LARGE,), (Upload(data=LARGE, size=len(LARGE)),)])
async def test_server_that_never_reads_ends_at_the_upload_deadline(pieces: Any) -> None:
    """The library below has no such deadline."""
    timeouts = Timeouts(upload_stall=0.1)
    async with (
        raw_server(silent, receive_buffer=SMALL_BUFFER) as server,
        real_transport(server.port, timeouts) as transport,
    ):
        failure = await failure_of(transport.send(submit_call(*pieces)))

    assert failure.what == "the server took no more of the request within 0.1 s"
    assert not failure.committed


async def test_server_that_stops_reading_ends_at_the_upload_deadline() -> None:
    """What went before is no excuse."""

    async def read_some(connection: Connection) -> None:
        await connection.body(1_000_000)
        await anyio.sleep_forever()

    timeouts = Timeouts(upload_stall=0.1)
    async with (
        raw_server(read_some, receive_buffer=SMALL_BUFFER) as server,
        real_transport(server.port, timeouts) as transport,
    ):
        failure = await failure_of(transport.send(submit_call(LARGE)))

    assert failure.what == "the server took no more of the request within 0.1 s"


async def test_slow_upload_that_makes_progress_arrives() -> None:
    """The deadline is for standing still, not for a picture that takes its time."""

    async def read_slowly(connection: Connection) -> None:
        head = await connection.head()
        for _ in range(head.length // 100_000):
            await connection.body(100_000)
            await anyio.sleep(0.1)
        await connection.body(head.length % 100_000)
        await connection.answer(ACCEPTED)

    # Far above one step, so that a busy machine is not taken for a server that stands still.
    timeouts = Timeouts(upload_stall=1, submit_reply=1)
    async with (
        raw_server(read_slowly, receive_buffer=SMALL_BUFFER) as server,
        real_transport(server.port, timeouts) as transport,
    ):
        began = anyio.current_time()
        reply = await transport.send(submit_call(bytes(2_000_000)))
        took = anyio.current_time() - began

    assert reply.status == 200
    assert took > 1, "slower than the deadline, or the test shows nothing"


async def test_answer_that_does_not_come_ends_at_the_reply_deadline() -> None:
    """The message tells that it was sent."""

    async def take_and_wait(connection: Connection) -> None:
        head = await connection.head()
        await connection.body(head.length)
        await anyio.sleep_forever()

    async with (
        raw_server(take_and_wait) as server,
        real_transport(server.port, Timeouts(submit_reply=0.1)) as transport,
    ):
        failure = await failure_of(transport.send(submit_call()))

    assert failure.what == "the service did not answer within 0.1 s"
    assert failure.committed


async def test_answer_that_trickles_ends_at_the_reply_deadline() -> None:
    """A byte now and then does not keep a submit alive."""

    async def trickle(connection: Connection) -> None:
        head = await connection.head()
        await connection.body(head.length)
        for byte in response(200, {}, bytes(200)):
            await connection.send(bytes([byte]))
            await anyio.sleep(0.01)

    async with (
        raw_server(trickle) as server,
        real_transport(server.port, Timeouts(submit_reply=0.1)) as transport,
    ):
        failure = await failure_of(transport.send(submit_call()))

    assert failure.committed


async def test_status_answer_that_trickles_ends_at_the_poll_deadline() -> None:
    """A status call has one deadline for all of it."""

    async def trickle(connection: Connection) -> None:
        await connection.head()
        for byte in response(200, {}, bytes(200)):
            await connection.send(bytes([byte]))
            await anyio.sleep(0.01)

    async with (
        raw_server(trickle) as server,
        real_transport(server.port, Timeouts(poll=0.1)) as transport,
    ):
        failure = await failure_of(transport.send(status_call()))

    assert failure.what == "no answer within 0.1 s"


async def test_image_host_that_does_not_answer_ends_at_its_deadline() -> None:
    """Connecting and the first byte together."""
    async with (
        raw_server(silent) as server,
        real_transport(server.port, Timeouts(connect=0.05, download_stall=0.05)) as transport,
    ):
        failure = await failure_of(opened(transport, f"http://127.0.0.1:{server.port}/"))

    assert failure.what == "the image host did not answer in time"


async def test_picture_that_trickles_may_take_its_time() -> None:
    """Only standing still ends a download."""

    async def trickle(connection: Connection) -> None:
        await connection.head()
        await connection.send(response(200, {}, b"", 10))
        for _ in range(10):
            await anyio.sleep(0.12)
            await connection.send(b"x")

    async with (
        raw_server(trickle) as server,
        real_transport(server.port, Timeouts(download_stall=1)) as transport,
    ):
        answer = await opened(transport, f"http://127.0.0.1:{server.port}/")

    assert answer == (200, b"x" * 10)


async def test_picture_that_stands_still_ends_at_its_deadline() -> None:
    """The message says for how long."""

    async def stop(connection: Connection) -> None:
        await connection.head()
        await connection.send(response(200, {}, b"x", 10))
        await anyio.sleep_forever()

    async with (
        raw_server(stop) as server,
        real_transport(server.port, Timeouts(download_stall=0.1)) as transport,
    ):
        failure = await failure_of(opened(transport, f"http://127.0.0.1:{server.port}/"))

    assert failure.what == "the image host sent nothing for 0.1 s"


# --- early answers --------------------------------------------------------------------------------


async def test_early_answer_stops_the_upload() -> None:
    """Megabytes that nobody wants are not sent, even to a server that would read them."""
    received = 0

    async def answer_then_read(connection: Connection) -> None:
        nonlocal received
        head = await connection.head()
        refusal = response(400, {}, b'{"reason":"x"}')
        await connection.send(refusal[:-1])
        with anyio.move_on_after(0.1):
            await connection.body(head.length)
        received = len(connection.received)
        await connection.send(refusal[-1:])
        await connection.stream.receive()

    commit = CommitPoint()
    async with raw_server(answer_then_read) as server, real_transport(server.port) as transport:
        reply = await transport.send(submit_call(LARGE), commit)

    assert (reply.status, reply.body) == (400, b'{"reason":"x"}')
    assert received < len(LARGE) // 2
    assert not commit.passed


async def test_answer_wins_over_the_reset_that_follows_it() -> None:
    """A server that answers and closes with the body unread has still answered."""

    async def answer_and_close(connection: Connection) -> None:
        await connection.head()
        await connection.answer(HttpReply(status=429, body=b'{"reason":"RATE_LIMIT_EXCEEDED"}'))

    async with raw_server(answer_and_close) as server, real_transport(server.port) as transport:
        for _ in range(20):
            commit = CommitPoint()
            reply = await transport.send(submit_call(b"x" * 3_000_000), commit)

            assert reply.status == 429
            assert not commit.passed


async def test_connection_of_an_early_answer_is_not_used_again() -> None:
    """It ended in the middle of a body."""
    bodies: list[bytes] = []

    async def handle(connection: Connection) -> None:
        head = await connection.head()
        if not server.connections[1:]:
            await connection.answer(HttpReply(status=429))
            await connection.body(head.length)
        bodies.append(await connection.body(head.length))
        await connection.answer(ACCEPTED)

    async with (
        raw_server(handle, receive_buffer=SMALL_BUFFER) as server,
        real_transport(server.port) as transport,
    ):
        refused = await transport.send(submit_call(LARGE))
        accepted = await transport.send(submit_call())

    assert (refused.status, accepted.status) == (429, 200)
    assert bodies == [b'{"request":{"prompt":"a cat"}}']


async def test_connection_with_an_answer_that_nobody_asked_for_is_not_used_again() -> None:
    """Who finds it there has sent nothing yet; after it the connection would be out of step."""
    kept, said = anyio.Event(), anyio.Event()

    async def handle(connection: Connection) -> None:
        head = await connection.head()
        await connection.body(head.length)
        await connection.answer(ACCEPTED)
        if not server.connections[1:]:
            await kept.wait()
            await connection.answer(HttpReply(status=503, body=b"we close"))
            said.set()
        await accepting(connection)

    async with raw_server(handle) as server, real_transport(server.port) as transport:
        await transport.send(submit_call())
        kept.set()
        with anyio.fail_after(10):
            await said.wait()
        # For the client to read it, before the connection is too old to be used again.
        await anyio.sleep(0.02)
        await transport.send(submit_call())
        third = await transport.send(submit_call())

        assert third.status == 200
        assert [len(one.received) > 0 for one in server.connections] == [True, True]
        assert bytes(server.connections[0].received) == b'{"request":{"prompt":"a cat"}}'


def server_socket(server: RawServer) -> socket.socket:
    """Return the server's end of the last connection, to act on it with no step of the loop."""
    raw: socket.socket = server.connections[-1].stream.extra(SocketAttribute.raw_socket)
    return raw


async def test_answer_in_the_moment_of_the_mark_keeps_the_last_byte() -> None:
    """A refusal that has arrived is not turned into an unknown outcome."""

    async def before() -> None:
        await until(lambda: len(server.received) == 29)
        os.write(server_socket(server).fileno(), response(500, {}, b"sorry"))

    commit = CommitPoint(before)
    async with raw_server(accepting) as server, real_transport(server.port) as transport:
        reply = await transport.send(submit_call(), commit)

    assert (reply.status, reply.body) == (500, b"sorry")
    assert not commit.passed


async def test_end_in_the_moment_of_the_mark_is_not_committed() -> None:
    """The last byte is handed to nobody."""

    async def before() -> None:
        await until(lambda: len(server.received) == 29)
        server_socket(server).shutdown(socket.SHUT_WR)

    commit = CommitPoint(before)
    async with raw_server(accepting) as server, real_transport(server.port) as transport:
        failure = await failure_of(transport.send(submit_call(), commit))

    assert not failure.committed
    assert not commit.passed


async def test_connection_that_the_server_has_just_closed_is_not_committed() -> None:
    """A connection kept for the next submit may end in the moment that it is used."""
    async with raw_server(accepting) as server, real_transport(server.port) as transport:
        await transport.send(submit_call())
        server_socket(server).shutdown(socket.SHUT_WR)
        failure = await failure_of(transport.send(submit_call()))

        assert len(server.received) == 30
    assert not failure.committed


# --- connections ----------------------------------------------------------------------------------


async def test_submits_share_a_connection_only_when_it_is_fresh() -> None:
    """Within a second a handshake is saved; later the server may be about to close it."""
    async with raw_server(accepting) as server, real_transport(server.port) as transport:
        for _ in range(3):
            await transport.send(submit_call())
        together = len(server.connections)
        await anyio.sleep(1.1)
        await transport.send(submit_call())

        assert together == 1
        assert len(server.connections) == 2


async def test_submits_polls_and_downloads_have_connections_of_their_own() -> None:
    """A large upload keeps no poll waiting, and a download meets no connection with a key."""
    async with raw_server(accepting) as server, real_transport(server.port) as transport:
        for _ in range(2):
            await transport.send(submit_call())
            await transport.send(status_call())
            await opened(transport, f"http://127.0.0.1:{server.port}/picture")

        assert len(server.connections) == 3


@pytest.mark.parametrize("end", ["deadline", "cancelled"])
async def test_connection_to_a_server_that_does_not_read_ends_with_its_submit(end: str) -> None:
    """What is left in its buffer is dropped, or the socket would stay for ever."""
    timeouts = Timeouts(upload_stall=0.05 if end == "deadline" else 60)
    async with (
        raw_server(silent, receive_buffer=SMALL_BUFFER) as server,
        real_transport(server.port, timeouts) as transport,
    ):
        before = await anyio.to_thread.run_sync(open_sockets)
        with anyio.move_on_after(10 if end == "deadline" else 0.05):
            await failure_of(transport.send(submit_call(LARGE)))

        # The server's own end is still open.
        await until_open_sockets_are(before + 1)


async def test_close_leaves_no_socket() -> None:
    """Whatever was open is closed."""
    async with raw_server(accepting) as server:
        before = await anyio.to_thread.run_sync(open_sockets)
        async with real_transport(server.port) as transport:
            await transport.send(submit_call())
            await transport.send(status_call())
            await opened(transport, f"http://127.0.0.1:{server.port}/")
        await until_open_sockets_are(before)

        assert server.open_now == 0


async def test_closed_transport_opens_nothing_new() -> None:
    """Whoever still downloads gets an error, not a session that nobody closes."""
    async with raw_server(accepting) as server, real_transport(server.port) as transport:
        await transport.send(submit_call())
        await transport.close()
        await transport.close()

        for call in (
            transport.send(submit_call()),
            transport.send(status_call()),
            opened(transport, f"http://127.0.0.1:{server.port}/"),
        ):
            assert (await failure_of(call)).what == "the client is closed"
        assert len(server.connections) == 1


async def test_close_ends_what_is_under_way() -> None:
    """It waits for nobody."""

    async def stop(connection: Connection) -> None:
        await connection.head()
        await connection.send(response(200, {}, b"x", 10))
        await anyio.sleep_forever()

    async with (
        raw_server(stop) as server,
        real_transport(server.port) as transport,
        transport.fetch(f"http://127.0.0.1:{server.port}/") as fetched,
    ):
        assert await fetched.read() == b"x"
        await transport.close()

        assert (await failure_of(fetched.read())).what == "the client was closed"


async def test_concurrent_submits_do_not_wait_for_each_other() -> None:
    """One that stands still takes no place that another needs."""

    async def handle(connection: Connection) -> None:
        if len(server.connections) <= 120:
            await anyio.sleep_forever()
        await accepting(connection)

    async with (
        raw_server(handle) as server,
        real_transport(server.port) as transport,
        anyio.create_task_group() as group,
    ):
        for _ in range(120):
            group.start_soon(transport.send, submit_call())
        await until(lambda: len(server.connections) == 120)
        with anyio.fail_after(10):
            reply = await transport.send(submit_call())
        group.cancel_scope.cancel()

    assert reply.status == 200


TROUBLED = """
import asyncio, sys
from pathlib import Path
import anyio
from ppinfra_async import Timeouts
from ppinfra_async._sansio.wire import TransportFailure, Upload
from tests._transport.stages import act, real_transport, serve
from tests.exchanges import Exchange, Page, submit_call
from tests.raw_server import raw_server

SCRIPT = [
    Exchange(takes_body=False, then="cut"),
    Exchange(then="cut"),
    Exchange(takes_body=False),
    Exchange(takes_body=False, then="silence"),
    Exchange(whole=False),
    Exchange(then="garbage"),
    Exchange(then="silence"),
    Exchange(takes_body=False, then="silence"),
]
TIMEOUTS = Timeouts(upload_stall=0.1, submit_reply=0.1, download_stall=0.1)

async def main(path):
    # A busy machine is no trouble of ours.
    asyncio.get_running_loop().slow_callback_duration = 60
    status = path.stat()
    size = status.st_size
    upload = Upload(path=path, size=size, modified_ns=status.st_mtime_ns)
    script = list(SCRIPT)

    async def handle(connection):
        while await act(connection, script.pop(0)):
            pass

    async def pages(connection):
        await serve(connection, {"/": Page(pieces=(b"x",), length=9, then="silence")})

    async with (
        raw_server(handle, receive_buffer=32768) as server,
        raw_server(pages) as images,
        real_transport(server.port, TIMEOUTS) as transport,
    ):
        for _ in SCRIPT[:-1]:
            try:
                await transport.send(submit_call(b"[", upload, b"]"))
            except TransportFailure:
                pass
        for after in (0, 0.01, 0.03):
            script.append(SCRIPT[-1])
            with anyio.move_on_after(after):
                await transport.send(submit_call(b"[", upload, b"]"))
        async with transport.fetch(f"http://127.0.0.1:{images.port}/") as fetched:
            await fetched.read()
            await transport.close()

asyncio.run(main(Path(sys.argv[1])))
"""


def test_troubles_are_silent_in_development_mode(tmp_path: Path) -> None:
    """No socket, file, task or coroutine is forgotten, whatever went wrong."""
    picture = tmp_path / "cat.png"
    picture.write_bytes(bytes(8_000_000))
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-X", "dev", "-W", "error", "-c", TROUBLED, str(picture)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


# --- what is said ---------------------------------------------------------------------------------


@asynccontextmanager
async def listening(**headers: str) -> AsyncIterator[tuple[RawServer, list[Head]]]:
    """Serve everything, with *headers*, and note the heads."""
    heads: list[Head] = []

    async def handle(connection: Connection) -> None:
        while True:
            heads.append(head := await connection.head())
            await connection.body(head.length)
            await connection.send(response(200, headers, b"abc"))

    async with raw_server(handle) as server:
        yield server, heads


async def test_reply_without_a_date_gets_the_time_it_came() -> None:
    """What a `Retry-After` date counts from must be known somehow."""
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    async with (
        listening(**{"retry-after": later}) as (server, _),
        real_transport(server.port) as transport,
    ):
        reply = await transport.send(status_call())

    assert reply.retry_after is not None
    assert 30 < reply.retry_after <= 60


async def test_status_call_is_below_the_base_url() -> None:
    """A path of the base URL stays, and values of the query are quoted."""
    async with listening() as (server, heads):
        base = URL(f"http://127.0.0.1:{server.port}/prefix")
        transport = AiohttpTransport(base, KEY, Timeouts(), Network())
        await transport.send(status_call())
        await transport.close()

    assert heads[0].method == "GET"
    assert heads[0].target == "/prefix/v3/async/task-result?task_id=a+b/c%26d"
    assert heads[0].headers["authorization"] == "Bearer sk_test"
    assert heads[0].headers["content-type"] == "application/json"


async def test_download_says_nothing_about_the_account() -> None:
    """Neither key nor cookies go to an image host, and no compression is asked for."""
    async with (
        listening(**{"set-cookie": "session=1"}) as (server, heads),
        real_transport(server.port) as transport,
    ):
        await transport.send(status_call())
        for _ in range(2):
            await opened(transport, f"http://127.0.0.1:{server.port}/a")

    for head in heads[1:]:
        assert set(head.headers) <= {"host", "user-agent", "accept"}
        assert head.headers["user-agent"] == "ppinfra-async"


async def test_cookies_are_not_kept() -> None:
    """The service needs none, and what it or an image host sets is no business of the next call."""
    async with listening(**{"set-cookie": "session=1; Path=/"}) as (server, heads):
        # By name: of an address that is a number nobody keeps a cookie.
        origin = f"http://localhost:{server.port}"
        transport = AiohttpTransport(URL(origin), KEY, Timeouts(), Network())
        for _ in range(2):
            await transport.send(status_call())
            await transport.send(submit_call())
            await opened(transport, f"{origin}/picture")
        await transport.close()

    assert len(heads) == 6
    assert all("cookie" not in head.headers for head in heads)


SIGNED = "/a%2Fb%7Ec+d/%E7%8C%AB.png?X-Sig=a%2Bb%3D%3d+c~%7e&b=&a=1;2&&x=%20"


async def test_signed_address_is_sent_byte_for_byte() -> None:
    """A quoting that is merely equal breaks the signature."""
    async with listening() as (server, heads), real_transport(server.port) as transport:
        await opened(transport, f"http://127.0.0.1:{server.port}{SIGNED}#part")

    assert heads[0].target == SIGNED


async def test_redirect_to_a_signed_address_is_followed_byte_for_byte() -> None:
    """An image host's own redirects are signed as well."""
    heads = []

    async def handle(connection: Connection) -> None:
        while True:
            heads.append(head := await connection.head())
            moved = head.target == "/"
            headers = {"location": SIGNED} if moved else {}
            await connection.send(response(302 if moved else 200, headers, b"abc"))

    async with raw_server(handle) as server, real_transport(server.port) as transport:
        assert await opened(transport, f"http://127.0.0.1:{server.port}/") == (200, b"abc")

    assert [head.target for head in heads] == ["/", SIGNED]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "no address",
        "https://",
        "https:///path",
        "https://h:99999/",
        "https://ü.example/",
        f"http://{'a' * 70}.localhost:1/",
        "http://a..localhost:1/",
        "http://127.0.0.1:1/\ud800",
        "http://[::1",
    ],
)
async def test_address_that_cannot_be_used_is_a_failure(url: str) -> None:
    """Text from the network raises nothing but our own."""
    async with real_transport(1) as transport:
        assert (await failure_of(opened(transport, url))).what


async def test_redirect_that_cannot_be_used_is_a_failure() -> None:
    """The next hop is text from the network as well."""

    async def handle(connection: Connection) -> None:
        await connection.head()
        await connection.send(response(302, {"location": "http://[::1"}, b""))

    async with raw_server(handle) as server, real_transport(server.port) as transport:
        failure = await failure_of(opened(transport, f"http://127.0.0.1:{server.port}/"))

    assert failure.what == "the result address is not an address"


async def test_answer_that_never_ends_is_not_kept_whole() -> None:
    """It is refused at a size that no answer has."""

    async def endless(connection: Connection) -> None:
        await connection.head()
        await connection.send(response(200, {}, b"", 10**9))
        while True:
            await connection.send(bytes(1024 * 1024))

    async with raw_server(endless) as server, real_transport(server.port) as transport:
        failure = await failure_of(transport.send(status_call()))

    assert failure.what == "the answer is longer than 33,554,432 bytes"


async def test_compressed_status_answer_is_unpacked() -> None:
    """JSON may come compressed; a picture's length must be its length."""
    packed = gzip.compress(b"abc")

    async def handle(connection: Connection) -> None:
        while True:
            await connection.head()
            await connection.send(response(200, {"content-encoding": "gzip"}, packed))

    async with raw_server(handle) as server, real_transport(server.port) as transport:
        reply = await transport.send(status_call())
        picture = await opened(transport, f"http://127.0.0.1:{server.port}/")

    assert reply.body == b"abc"
    assert picture == (200, packed)


async def test_tracing_sees_the_calls() -> None:
    """``Network.trace_configs`` is for whoever has to look at the traffic."""
    seen = []
    trace = aiohttp.TraceConfig()

    async def note(_: Any, __: SimpleNamespace, what: aiohttp.TraceRequestStartParams) -> None:
        seen.append((what.method, what.url.path))

    trace.on_request_start.append(note)
    async with (
        listening() as (server, _),
        real_transport(server.port, network=Network(trace_configs=(trace,))) as transport,
    ):
        await transport.send(submit_call())
        await transport.send(status_call())

    assert seen == [("POST", "/v3/async/img2img"), ("GET", "/v3/async/task-result")]
