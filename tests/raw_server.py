"""A server on real sockets that is exact to the byte, because it leaves everything to the test."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream
from attrs import define, field

from ppinfra_async._sansio.wire import HttpReply


@define
class Head:
    """Request line and headers."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))


@define(eq=False)
class Connection:
    """One connection that a client made.

    Attributes:
        received: Every byte of bodies so far.
    """

    stream: ByteStream
    received: bytearray = field(factory=bytearray)
    _pending: bytes = b""

    async def head(self) -> Head:
        """Read the next request up to its body."""
        while b"\r\n\r\n" not in self._pending:
            self._pending += await self.stream.receive()
        text, _, self._pending = self._pending.partition(b"\r\n\r\n")
        first, *lines = text.decode().split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.split(": ", 1) for line in lines)
        return Head(method, target, {name.lower(): value for name, value in pairs})

    async def body(self, count: int) -> bytes:
        """Read *count* bytes of a body."""
        start = len(self.received)
        while len(self.received) - start < count:
            if not self._pending:
                self._pending = await self.stream.receive(65536)
            taken = self._pending[: count - (len(self.received) - start)]
            self.received += taken
            self._pending = self._pending[len(taken) :]
        return bytes(self.received[start:])

    def rest(self) -> bytes:
        """Return what was received and not read yet."""
        taken, self._pending = self._pending, b""
        return taken

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def answer(self, reply: HttpReply) -> None:
        """Send a whole answer."""
        await self.send(response(reply.status, reply.headers, reply.body))

    def cut(self) -> None:
        """End the connection at once, with a reset; the caller returns after it."""
        linger = struct.pack("ii", 1, 0)
        raw: socket.socket = self.stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def response(
    status: int, headers: Mapping[str, str], body: bytes, length: int | str | None = None
) -> bytes:
    """Return an answer as bytes; *length* is what it declares, "none" declares nothing."""
    lines = [f"HTTP/1.1 {status} Something", *(f"{name}: {headers[name]}" for name in headers)]
    if length != "none":
        lines.append(f"content-length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


Handler = Callable[[Connection], Awaitable[None]]


@define(eq=False)
class RawServer:
    """A listening server.

    Attributes:
        port: Where, on 127.0.0.1.
        connections: All connections so far, in order.
        open_now: How many of them are open.
    """

    port: int
    connections: list[Connection] = field(factory=list)
    open_now: int = 0

    @property
    def received(self) -> bytes:
        """Every byte of every body."""
        return b"".join(bytes(one.received) for one in self.connections)


@asynccontextmanager
async def raw_server(
    handler: Handler, *, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Serve every connection with *handler*; it ends when the handler returns."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    if receive_buffer is not None:
        raw: socket.socket = listener.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    server = RawServer(listener.extra(SocketAttribute.local_port))

    async def serve(stream: ByteStream) -> None:
        server.open_now += 1
        try:
            if tls is not None:
                stream = await TLSStream.wrap(
                    stream, server_side=True, ssl_context=tls, standard_compatible=False
                )
            connection = Connection(stream)
            server.connections.append(connection)
            await handler(connection)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
        finally:
            server.open_now -= 1
            await stream.aclose()

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        try:
            yield server
        finally:
            group.cancel_scope.cancel()
