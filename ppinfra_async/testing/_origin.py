"""Listens on one port and drops everything at once when told; knows no service."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from aiohttp import web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_BACKLOG = 2048
# aiohttp takes 0 for "wait for ever".
_AT_ONCE = 0.05


class Origin:
    """One listening address; can be started again on the same port."""

    def __init__(
        self, handler: Handler, *, on_connect: Callable[[], None], keepalive: float
    ) -> None:
        self._handler = handler
        self._on_connect = on_connect
        self._keepalive = keepalive
        self._web: web.Server | None = None
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[object]] = set()
        self.port = 0

    async def start(self, host: str, port: int, receive_buffer: int | None) -> None:
        """Listen on *port*; 0 takes the port of the last time, at first a free one."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port or self.port), family=family, backlog=_BACKLOG)
        try:
            if receive_buffer is not None:
                # Accepted connections inherit it.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            # Small answers must not wait for an acknowledgement; a request must not end with its
            # client: the service finishes what it began.
            self._web = web.Server(
                self._tracked,
                access_log=None,
                keepalive_timeout=self._keepalive,
                handler_cancellation=False,
            )
            self.port = listener.getsockname()[1]
            # Serving from the start would lose the server to a cancellation in between.
            self._server = await asyncio.get_running_loop().create_server(
                self._connected, sock=listener, backlog=_BACKLOG, start_serving=False
            )
        except BaseException:
            listener.close()
            raise
        await self._server.start_serving()

    @property
    def listening(self) -> bool:
        """Whether connections are taken now."""
        return self._server is not None

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return 0 if self._web is None else len(self._web.connections)

    def cut(self) -> None:
        """Stop listening, drop all connections and cancel all handlers, as a kill would; at once."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in () if self._web is None else self._web.connections:
            if connection.transport is not None:
                connection.transport.abort()
        for task in self._running:
            task.cancel()

    async def stop(self) -> None:
        """Cut, and wait until nothing of it is left."""
        self.cut()
        # A connection that was accepted just before shows up in the next turn of the loop.
        await asyncio.sleep(0)
        self.cut()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._web is not None:
            await self._web.shutdown(_AT_ONCE)
            self._web = None

    def _connected(self) -> asyncio.Protocol:
        if self._web is None:  # pragma: no cover  # listening implies it
            raise RuntimeError("not started")
        self._on_connect()
        return self._web()

    async def _tracked(self, request: web.BaseRequest) -> web.StreamResponse:
        # aiohttp forgets a handler whose client left; `stop` must not.
        task = asyncio.current_task()
        if task is None:  # pragma: no cover  # handlers run in tasks
            raise RuntimeError("no task")
        self._running.add(task)
        try:
            return await self._handler(request)
        except ConnectionError:
            # The other side left in the middle.
            with contextlib.suppress(AttributeError):
                request.transport.abort()  # type: ignore[union-attr]  # None is suppressed
            return web.Response()
        finally:
            self._running.discard(task)
