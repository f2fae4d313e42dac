"""Sends calls and fetches pictures over aiohttp; refuses to decide what a reply or a failure means.

Submits, polls and downloads have a connector each, so that a large upload cannot keep a poll
waiting, and downloads never see the key or a cookie.

Timeouts are deadlines that move with progress: aiohttp's ``total`` would count the time that a large
picture rightly needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from email.utils import formatdate
from types import TracebackType
from typing import Any

import aiohttp
from attrs import frozen
from yarl import URL

from ppinfra_async._sansio.addresses import DownloadRules, is_local
from ppinfra_async._sansio.wire import BodyPlan, HttpCall, HttpReply, TransportFailure
from ppinfra_async._threads import WorkerThreads
from ppinfra_async._transport.body import Phase, StreamedBody
from ppinfra_async._transport.deadline import Deadline
from ppinfra_async._transport.failures import TooLongError, failure_of
from ppinfra_async._transport.network import Proxies, Proxy, guarded_socket, upload_socket
from ppinfra_async._transport.protocol import CommitPoint, Fetched, MaskedText
from ppinfra_async.options import Network, Timeouts

_LARGEST_REPLY = 32 * 1024 * 1024
_MOST_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
# What aiohttp, the system and the parsers of addresses and names raise; RuntimeError is what aiohttp
# says when a session is closed under a call.
_FAILURES = (aiohttp.ClientError, OSError, ValueError, RuntimeError)

_SHORTEST_KEY = 8
"""A shorter text, which only a test has as its key, may stand in any word."""

_LONGEST_WORDS = 1 << 20
"""Bytes of a result that may be words; in a longer one there are pictures, in which to look takes long."""


class AiohttpTransport:
    """The real one."""

    def __init__(
        self, base_url: URL, api_key: MaskedText, timeouts: Timeouts, network: Network
    ) -> None:
        self._base_url = base_url
        self._headers: dict[str, str] = {
            "Authorization": MaskedText(f"Bearer {api_key}"),
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        self._api_key = api_key
        self._ways: dict[str, _Way] = {}
        self._timeouts = timeouts
        self._network = network
        local = is_local(base_url)
        self._rules = DownloadRules(
            allow_http=local, allow_private=local or network.allow_private_hosts
        )
        self._proxies = _proxies(network)
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._readers = WorkerThreads(4)
        self._closed = False

    # --- calls ---

    async def send(self, call: HttpCall, commit: CommitPoint | None = None) -> HttpReply:
        """See ``Transport``."""
        if call.body is None:
            return await self._ask(call)
        commit = commit or CommitPoint()
        arriving = _Arriving(self._api_key)
        try:
            return await self._submit(call, call.body, commit, arriving)
        except TransportFailure as failed:
            failure = failed
        except _FAILURES as error:
            failure = failure_of(error, commit)
        failure.arrived = arriving.reply
        # Raised out here: while the other one is handled it would become its context.
        commit.raise_objection()
        raise failure

    async def _ask(self, call: HttpCall) -> HttpReply:
        try:
            with Deadline(self._timeouts.poll):
                async with self._open("poll", call, None) as response:
                    return await _Arriving(self._api_key).whole(response)
            failure = TransportFailure(f"no answer within {self._timeouts.poll:g} s")
        except TransportFailure as failed:
            failure = failed
        except _FAILURES as error:
            failure = failure_of(error, CommitPoint())
        raise failure

    async def _submit(
        self, call: HttpCall, plan: BodyPlan, commit: CommitPoint, arriving: _Arriving
    ) -> HttpReply:
        phase = Phase("the connection was not made", self._timeouts.connect)
        body = StreamedBody(plan, commit, phase, self._timeouts, self._readers)
        with phase:
            async with self._open("submit", call, body) as response:
                if commit.passed:
                    return await arriving.whole(response)
                # An answer to less than the request: keep the rest back, so that "not sent" stays
                # true, and do not use a connection again that stopped in the middle of a body.
                body.hold_back()
                reply = await arriving.whole(response)
                response.close()
                return reply
        # Only a deadline of ours leads here: a caller's cancellation goes on.
        raise TransportFailure(f"{phase.what} within {phase.seconds:g} s", committed=commit.passed)

    def _open(
        self, kind: str, call: HttpCall, body: StreamedBody | None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        way = self._way_to(call.path)
        url = way.url.with_query(call.query) if call.query else way.url
        # aiohttp would send the paid body again on a 307, even to another origin.
        return self._session(kind).request(
            call.method, url, data=body, allow_redirects=False, **way.options
        )

    def _way_to(self, path: str) -> _Way:
        """Return how to reach *path* below the base URL; found out once, because polls are many."""
        if path not in self._ways:
            url = self._base_url / path.lstrip("/")
            options = _headers_and_proxy(url, self._headers, self._proxies.of(url))
            self._ways[path] = _Way(url, options)
        return self._ways[path]

    # --- pictures ---

    def fetch(self, url: str) -> AbstractAsyncContextManager[Fetched]:
        """See ``Transport``."""
        return _Fetching(self._open_picture, url, self._timeouts.download_stall)

    async def _open_picture(self, url: str) -> aiohttp.ClientResponse:
        target = _parsed(url)
        for _ in range(_MOST_REDIRECTS + 1):
            response = await self._get(target)
            if response.status not in _REDIRECTS or "Location" not in response.headers:
                return response
            response.close()
            target = target.join(_parsed(response.headers["Location"]))
        raise TransportFailure(f"more than {_MOST_REDIRECTS} redirects")

    async def _get(self, url: URL) -> aiohttp.ClientResponse:
        if objection := self._rules.objection(url):
            raise TransportFailure(objection)
        proxy = self._proxies.of(url)
        # A proxy resolves the name itself, and may be a private address rightly.
        session = self._session("download" if proxy is None else "proxied download")
        try:
            with Deadline(self._timeouts.connect + self._timeouts.download_stall):
                options = _headers_and_proxy(url, {}, proxy)
                return await session.get(url, allow_redirects=False, **options)
            failure = TransportFailure("the image host did not answer in time")
        except _FAILURES as error:
            failure = failure_of(error, CommitPoint())
        raise failure

    # --- sessions ---

    def _session(self, kind: str) -> aiohttp.ClientSession:
        if self._closed:
            raise TransportFailure("the client is closed")
        if kind not in self._sessions:
            self._sessions[kind] = aiohttp.ClientSession(
                connector=self._connector(kind),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "ppinfra-async"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect),
                trust_env=False,
                trace_configs=list(self._network.trace_configs),
                # Pictures are not compressed again, and a length must be the length.
                auto_decompress=not kind.endswith("download"),
                skip_auto_headers=["Accept-Encoding"] if kind.endswith("download") else None,
            )
        return self._sessions[kind]

    def _connector(self, kind: str) -> aiohttp.TCPConnector:
        factories = {"submit": upload_socket}
        if not self._rules.allow_private:
            factories["download"] = guarded_socket
        return aiohttp.TCPConnector(
            limit=0,
            ssl=self._network.ssl_context or True,
            # A submit must not meet a socket that the server is about to close; a second is short
            # enough for that and long enough to save TLS handshakes in a bulk job.
            keepalive_timeout=1 if kind == "submit" else 30,
            socket_factory=factories.get(kind),
        )

    async def close(self) -> None:
        """See ``Transport``."""
        # Whoever downloads meanwhile must not open a session that nobody closes.
        self._closed = True
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()
        await self._readers.idle(self._timeouts.cancel_grace)


@frozen
class _Way:
    """An endpoint's address, and what is always said there."""

    url: URL
    options: dict[str, Any]


class _Fetching(AbstractAsyncContextManager[Fetched]):
    """Opens a picture and closes it; a generator would cost twice as much."""

    def __init__(
        self, opening: Callable[[str], Awaitable[aiohttp.ClientResponse]], url: str, stall: float
    ) -> None:
        self._opening = opening
        self._url = url
        self._stall = stall

    async def __aenter__(self) -> Fetched:
        self._response = await self._opening(self._url)
        return _Fetched(self._response, self._stall)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._response.close()


class _Fetched:
    """The body of a download, each read with its own deadline."""

    def __init__(self, response: aiohttp.ClientResponse, stall: float) -> None:
        self._response = response
        self._stall = stall
        self.status = response.status
        self.length = response.content_length
        self.content_type = response.content_type

    async def read(self) -> bytes:
        content = self._response.content
        try:
            # What is there already needs no deadline.
            if (piece := content.read_nowait()) or content.at_eof():
                return piece
            with Deadline(self._stall):
                return await content.readany()
            failure = TransportFailure(f"the image host sent nothing for {self._stall:g} s")
        except _FAILURES as error:
            failure = failure_of(error, CommitPoint())
        raise failure


class _Arriving:
    """A reply, as far as it has come.

    Attributes:
        reply: Status, headers and what there is of the body, or None before the headers.
    """

    def __init__(self, api_key: MaskedText) -> None:
        self._api_key = api_key
        self.reply: HttpReply | None = None

    async def whole(self, response: aiohttp.ClientResponse) -> HttpReply:
        headers: Mapping[str, str] = response.headers
        if "Retry-After" in headers and "Date" not in headers:
            # What a date in it counts from; the server's own clock would be better.
            headers = {name.lower(): value for name, value in headers.items()}
            headers["date"] = formatdate(usegmt=True)
        chunks: list[bytes] = []
        length = 0
        try:
            while chunk := await response.content.readany():
                chunks.append(chunk)
                length += len(chunk)
                if length > _LARGEST_REPLY:
                    raise TooLongError(f"the answer is longer than {_LARGEST_REPLY:,} bytes")
        finally:
            body = self._without_key(response.status, b"".join(chunks))
            reply = HttpReply(status=response.status, headers=headers, body=body)
            self.reply = reply
        return reply

    def _without_key(self, status: int, body: bytes) -> bytes:
        """Mask the key where a service repeats it: its words go into messages, logs and journals."""
        has_pictures = status == 200 and len(body) > _LONGEST_WORDS
        if has_pictures or len(self._api_key) < _SHORTEST_KEY:
            return body
        return body.replace(self._api_key.encode(), b"***")


def _proxies(network: Network) -> Proxies:
    if network.proxy is not None:
        return Proxies({"all": Proxy.of(network.proxy)})
    return Proxies.from_environment() if network.proxy_from_env else Proxies({})


def _headers_and_proxy(url: URL, headers: dict[str, str], proxy: Proxy | None) -> dict[str, Any]:
    """Return arguments for aiohttp; the proxy's password goes to the proxy only."""
    if proxy is None:
        return {"headers": headers}
    known = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
    if url.scheme == "https":
        return {"headers": headers, "proxy": proxy.url, "proxy_headers": known}
    return {"headers": headers | known, "proxy": proxy.url}


def _parsed(url: str) -> URL:
    """Parse without touching a byte: a signed query must arrive as it was signed."""
    try:
        parsed = URL(url, encoded=True)
        # Both are only now read out of the text.
        _ = parsed.host, parsed.port
        return parsed
    except ValueError:
        raise TransportFailure("the result address is not an address") from None
