"""A tiny proxy on real sockets: it tunnels and forwards to where the test says, and notes everything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream
from attrs import define, field

from tests.raw_server import Connection, Head, raw_server


@define
class Proxying:
    """A running proxy.

    Attributes:
        port: Where.
        heads: What it was asked, in order.
        refuse: A status to answer every request with, or None.
    """

    port: int
    heads: list[Head] = field(factory=list)
    refuse: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def proxy(target: int) -> AsyncIterator[Proxying]:
    """Run a proxy that leads everybody to port *target* of this machine, whatever they ask for."""

    async def handle(connection: Connection) -> None:
        head = await connection.head()
        running.heads.append(head)
        if running.refuse is not None:
            await connection.send(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % running.refuse)
            return
        upstream = await anyio.connect_tcp("127.0.0.1", target)
        async with upstream:
            if head.method == "CONNECT":
                await connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                await upstream.send(_forwarded(head) + connection.rest())
            async with anyio.create_task_group() as group:
                group.start_soon(_pump, connection.stream, upstream)
                await _pump(upstream, connection.stream)
                group.cancel_scope.cancel()

    running = Proxying(0)
    async with raw_server(handle) as server:
        running.port = server.port
        yield running


def _forwarded(head: Head) -> bytes:
    """Return the request as it goes on: without the origin, and without what was for the proxy."""
    path = "/" + head.target.split("/", 3)[3]
    kept = [f"{n}: {v}" for n, v in head.headers.items() if not n.startswith("proxy-")]
    return "\r\n".join([f"{head.method} {path} HTTP/1.1", *kept, "", ""]).encode()


async def _pump(source: ByteReceiveStream, target: ByteSendStream) -> None:
    try:
        async for data in source:
            await target.send(data)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return
