"""A transport that acts out a script: no sockets, so that hours pass in no time.

It passes the contract tests of the real one (``tests/_transport/test_protocol.py``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import anyio
import pybase64
from attrs import define, evolve, field

from ppinfra_async import Timeouts
from ppinfra_async._sansio.wire import BodyPlan, HttpCall, HttpReply, TransportFailure, Upload
from ppinfra_async._transport import CommitPoint, Fetched, Withdrawn
from tests.exchanges import Answering, Exchange, Page, Serving

_MOST_REDIRECTS = 5


@define
class ScriptedTransport:
    """A ``Transport``: paid calls and status calls take the next exchange of their list.

    Attributes:
        submits: What happens to paid calls, one after the other; the last one again and again.
        polls: The same for calls without a body; or a function of the call.
        pages: What downloads get, by address; a function is asked each time.
        timeouts: How long it is silent before it fails.
        calls: Every call so far.
        began: When each paid call began, on the loop's clock.
        received: Every byte of bodies that reached the server.
        paid: How many bodies reached it whole and were answered with a success, or not at all.
        fetched: Every address that was opened.
        pieces_read: How many pieces of downloads were handed over.
        closed: True after ``close``.
    """

    submits: list[Exchange] = field(factory=list)
    polls: list[Exchange] | Answering = field(factory=list)
    pages: Mapping[str, Page | Serving] = field(factory=dict)
    timeouts: Timeouts = field(factory=Timeouts)
    calls: list[HttpCall] = field(factory=list)
    began: list[float] = field(factory=list)
    received: bytearray = field(factory=bytearray)
    paid: int = 0
    fetched: list[str] = field(factory=list)
    pieces_read: int = 0
    closed: bool = False

    @property
    def asked(self) -> list[str]:
        """The task ids of all status calls so far."""
        queries = (dict(call.query) for call in self.calls if call.body is None)
        return [query["task_id"] for query in queries if "task_id" in query]

    async def send(self, call: HttpCall, commit: CommitPoint | None = None) -> HttpReply:
        self._check_open()
        self.calls.append(call)
        if call.body is None:
            return await self._ask(call)
        self.began.append(anyio.current_time())
        commit = commit or CommitPoint()
        exchange = _next(self.submits)
        if not exchange.takes_body:
            commit.withdrawn = True
            return await self._act(exchange, self.timeouts.upload_stall, committed=False)
        await self._upload(exchange, call.body, commit)
        answer = exchange.then
        if not isinstance(answer, HttpReply) or 200 <= answer.status < 300:
            self.paid += 1
        return await self._act(exchange, self.timeouts.submit_reply, committed=True)

    async def _ask(self, call: HttpCall) -> HttpReply:
        limit = self.timeouts.poll
        with anyio.move_on_after(limit):
            exchange = await self.polls(call) if callable(self.polls) else _next(self.polls)
            return await self._act(exchange, limit, committed=False)
        raise TransportFailure(f"no answer within {limit:g} s")

    async def _upload(self, exchange: Exchange, plan: BodyPlan, commit: CommitPoint) -> None:
        self.received += encoded(plan.pieces)
        await anyio.sleep(exchange.uploading)
        await commit.approach()
        try:
            commit.cross()
        except Withdrawn:
            raise TransportFailure("it was withdrawn") from None
        self.received += plan.commit

    async def _act(self, exchange: Exchange, limit: float, *, committed: bool) -> HttpReply:
        with anyio.move_on_after(limit):
            await anyio.sleep(exchange.after)
            if isinstance(exchange.then, Exception):
                raise exchange.then
            if exchange.then == "silence":
                await anyio.sleep_forever()
            if isinstance(exchange.then, HttpReply) and exchange.whole:
                return exchange.then
            failure = TransportFailure("the connection broke", committed=committed)
            if isinstance(exchange.then, HttpReply):
                failure.arrived = evolve(exchange.then, body=exchange.then.body[:-1])
            raise failure
        raise TransportFailure(f"nothing within {limit:g} s", committed=committed)

    @asynccontextmanager
    async def fetch(self, url: str) -> AsyncIterator[Fetched]:
        for _ in range(_MOST_REDIRECTS + 1):
            self._check_open()
            self.fetched.append(url)
            page = await self._page(url)
            if 300 <= page.status < 400 and "location" in page.headers:
                url = urljoin(url, page.headers["location"])
            else:
                yield ScriptedPage(page, self)
                return
        raise TransportFailure(f"more than {_MOST_REDIRECTS} redirects")

    async def _page(self, url: str) -> Page:
        page = self.pages[url]
        if not callable(page):
            return page
        with anyio.move_on_after(self.timeouts.connect + self.timeouts.download_stall):
            return await page()
        raise TransportFailure("the image host did not answer in time")

    def _check_open(self) -> None:
        if self.closed:
            raise TransportFailure("the client is closed")

    async def close(self) -> None:
        self.closed = True


class ScriptedPage:
    """A ``Fetched``."""

    def __init__(self, page: Page, transport: ScriptedTransport) -> None:
        self.status = page.status
        true_length = sum(map(len, page.pieces))
        declared = true_length if page.length is None else page.length
        self.length = None if isinstance(declared, str) else declared
        declared_type = page.headers.get("content-type", "application/octet-stream")
        self.content_type = declared_type.partition(";")[0]
        self._pieces = list(page.pieces)
        self._left = self.length
        self._pause = page.pause
        self._then = page.then
        self._transport = transport

    async def read(self) -> bytes:
        stall = self._transport.timeouts.download_stall
        with anyio.move_on_after(stall):
            return await self._next_piece()
        raise TransportFailure(f"the image host sent nothing for {stall:g} s")

    async def _next_piece(self) -> bytes:
        if self._left == 0:
            return b""
        if self._pieces:
            await anyio.sleep(self._pause)
            piece = self._pieces.pop(0)
            self._transport.pieces_read += 1
            if self._left is not None:
                piece = piece[: self._left]
                self._left -= len(piece)
            return piece
        if isinstance(self._then, Exception):
            raise self._then
        if self._then == "silence":
            await anyio.sleep_forever()
        if self._then == "cut" or self._left is not None:
            raise TransportFailure("the connection broke")
        return b""


def encoded(pieces: tuple[bytes | Upload, ...]) -> bytes:
    """Return what goes over the wire for *pieces*."""
    return b"".join(
        pybase64.b64encode(piece.data or b"") if isinstance(piece, Upload) else piece
        for piece in pieces
    )


def _next(script: list[Exchange]) -> Exchange:
    return script.pop(0) if len(script) > 1 else script[0]
