"""Stages on which both transports are put: the same script, on a socket and without one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
from attrs import define
from yarl import URL

from ppinfra_async import Network, Timeouts
from ppinfra_async._sansio.wire import HttpCall, HttpReply
from ppinfra_async._transport import AiohttpTransport, MaskedText, Transport
from tests.exchanges import Answering, Exchange, Page, Serving
from tests.raw_server import Connection, RawServer, raw_server, response
from tests.scripted import ScriptedTransport

# A sender fills what the systems on both sides hold and then waits for a server that does not read.
SMALL_BUFFER = 32 * 1024
KEY = MaskedText("sk_test")


@define
class Stage:
    """A transport and what there is to see of it.

    Attributes:
        origin: Where downloads are found.
    """

    transport: Transport
    origin: str
    _seen: RawServer | ScriptedTransport

    @property
    def received(self) -> bytes:
        """Every byte of a body that reached the server."""
        return bytes(self._seen.received)


@asynccontextmanager
async def scripted_stage(
    *exchanges: Exchange,
    polls: Answering | None = None,
    pages: Mapping[str, Page | Serving] | None = None,
    timeouts: Timeouts,
) -> AsyncIterator[Stage]:
    origin = "https://images.example"
    found = {f"{origin}{path}": page for path, page in (pages or {}).items()}
    script = list(exchanges)
    transport = ScriptedTransport(
        submits=script, polls=polls or script, pages=found, timeouts=timeouts
    )
    yield Stage(transport, origin, transport)


@asynccontextmanager
async def real_stage(
    *exchanges: Exchange,
    polls: Answering | None = None,
    pages: Mapping[str, Page | Serving] | None = None,
    timeouts: Timeouts,
) -> AsyncIterator[Stage]:
    script = list(exchanges)

    async def handle(connection: Connection) -> None:
        while True:
            if pages is not None:
                await serve(connection, pages)
            elif not await act(connection, polls or _next(script)):
                return

    async with (
        raw_server(handle, receive_buffer=SMALL_BUFFER) as server,
        real_transport(server.port, timeouts) as transport,
    ):
        yield Stage(transport, f"http://127.0.0.1:{server.port}", server)


@asynccontextmanager
async def real_transport(
    port: int, timeouts: Timeouts | None = None, network: Network | None = None
) -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport(
        URL(f"http://127.0.0.1:{port}"), KEY, timeouts or Timeouts(), network or Network()
    )
    try:
        yield transport
    finally:
        await transport.close()


def _next(script: list[Exchange]) -> Exchange:
    return script.pop(0) if len(script) > 1 else script[0]


async def act(connection: Connection, exchange: Exchange | Answering) -> bool:
    """Act out one exchange; tell whether the connection goes on."""
    head = await connection.head()
    if callable(exchange):
        target = URL(head.target)
        query = tuple(target.query.items())
        exchange = await exchange(HttpCall(method=head.method, path=target.path, query=query))
    await anyio.sleep(exchange.uploading)
    if exchange.takes_body:
        await connection.body(head.length)
    await anyio.sleep(exchange.after)
    if isinstance(exchange.then, HttpReply):
        reply = exchange.then
        if exchange.whole:
            await connection.answer(reply)
            if not exchange.takes_body:
                await connection.body(head.length)
            return True
        short, length = reply.body[:-1], len(reply.body)
        await connection.send(response(reply.status, reply.headers, short, length))
    elif exchange.then == "garbage":
        await connection.send(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
    elif exchange.then == "silence":
        await anyio.sleep_forever()
    else:
        connection.cut()
    return False


async def serve(connection: Connection, pages: Mapping[str, Page | Serving]) -> None:
    """Answer one download."""
    head = await connection.head()
    found = pages[head.target]
    page = await found() if callable(found) else found
    body = b"".join(page.pieces)
    length = len(body) if page.length is None else page.length
    await connection.send(response(page.status, page.headers, b"", length))
    for piece in page.pieces:
        await anyio.sleep(page.pause)
        await connection.send(piece)
        await anyio.sleep(0.001)
    if page.then == "silence":
        await anyio.sleep_forever()
    if page.then == "cut":
        connection.cut()
    if page.then != "end" or length != len(body):
        raise anyio.EndOfStream
