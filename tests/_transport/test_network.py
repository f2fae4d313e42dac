"""Which way a connection goes: proxies of the options and of the environment, and no other."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from yarl import URL

from ppinfra_async import Network, Timeouts
from ppinfra_async._sansio.wire import TransportFailure
from ppinfra_async._transport import AiohttpTransport, MaskedText
from ppinfra_async._transport.network import (
    ForbiddenAddressError,
    Proxies,
    Proxy,
    guarded_socket,
    upload_socket,
)
from tests._transport.stages import KEY
from tests.exchanges import status_call, submit_call
from tests.proxies import proxy
from tests.raw_server import Connection, Head, RawServer, raw_server, response
from tests.tls import server_context, trusting_context

ACCOUNT = "user:p%40ss"
BASIC = "Basic dXNlcjpwQHNz"


@asynccontextmanager
async def host(*, encrypted: bool) -> AsyncIterator[tuple[RawServer, list[Head]]]:
    """Serve everything and note the heads."""
    heads: list[Head] = []

    async def handle(connection: Connection) -> None:
        while True:
            heads.append(head := await connection.head())
            await connection.body(head.length)
            await connection.send(response(200, {}, b"abc"))

    async with raw_server(handle, tls=server_context() if encrypted else None) as server:
        yield server, heads


@asynccontextmanager
async def transport_to(
    base_url: str, network: Network, timeouts: Timeouts | None = None
) -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport(URL(base_url), KEY, timeouts or Timeouts(), network)
    try:
        yield transport
    finally:
        await transport.close()


async def download(transport: AiohttpTransport, url: str) -> bytes:
    async with transport.fetch(url) as fetched:
        data = b""
        while piece := await fetched.read():
            data += piece
        return data


# --- a proxy's text -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url", "authorization"),
    [
        ("http://proxy:8080", "http://proxy:8080", None),
        ("https://proxy", "https://proxy", None),
        ("proxy:8080", "http://proxy:8080", None),
        (f"http://{ACCOUNT}@proxy:8080", "http://proxy:8080", BASIC),
        ("http://user@proxy:8080", "http://proxy:8080", "Basic dXNlcjo="),
        ("user:pass@proxy:8080", "http://proxy:8080", "Basic dXNlcjpwYXNz"),
    ],
)
def test_proxy_is_read(text: str, url: str, authorization: str | None) -> None:
    """The password stands apart from the address, and a missing scheme is http."""
    read = Proxy.of(text)

    assert str(read.url).rstrip("/") == url
    assert read.authorization == authorization


@pytest.mark.parametrize("text", ["socks5://proxy:1080", "http://", "http://h:99999", "://", ""])
def test_proxy_that_cannot_be_used_is_refused(text: str) -> None:
    """Aiohttp speaks to http proxies only."""
    with pytest.raises(ValueError):
        Proxy.of(text)


def test_password_of_a_proxy_is_not_shown() -> None:
    """Not in the text of the options, nor in what is made of them."""
    read = Proxies({"all": Proxy.of(f"http://{ACCOUNT}@proxy:8080")})

    assert "p%40ss" not in repr(read)
    assert "p@ss" not in repr(read)
    assert BASIC not in repr(read)


# --- the environment ------------------------------------------------------------------------------


def chosen(monkeypatch: pytest.MonkeyPatch, url: str, **environment: str) -> str | None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = Proxies.from_environment().of(URL(url))
    return None if found is None else str(found.url).rstrip("/")


@pytest.mark.parametrize(
    ("environment", "url", "proxy_url"),
    [
        ({}, "https://h/", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://h/", "http://p:1"),
        ({"https_proxy": "http://p:1"}, "https://h/", "http://p:1"),
        ({"HTTPS_PROXY": "p:1"}, "https://h/", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://h/", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://h/", "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "https://h/", "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "HTTPS_PROXY": "http://q:2"}, "https://h/", "http://q:2"),
        ({"ALL_PROXY": "http://p:1", "HTTPS_PROXY": "socks5://q:2"}, "https://h/", "http://p:1"),
        ({"FTP_PROXY": "http://p:1"}, "https://h/", None),
        ({"HTTPS_PROXY": ""}, "https://h/", None),
    ],
)
def test_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    url: str,
    proxy_url: str | None,
) -> None:
    """The variables that every tool reads, read as every tool does."""
    assert chosen(monkeypatch, url, **environment) == proxy_url


@pytest.mark.parametrize(
    ("exceptions", "url", "direct"),
    [
        ("h.example", "https://h.example/", True),
        ("h.example", "https://other.example/", False),
        ("h.example", "https://sub.h.example/", True),
        (".h.example", "https://sub.h.example/", True),
        ("a.example, h.example", "https://h.example/", True),
        ("*", "https://h.example/", True),
        ("h.example:443", "https://h.example/", True),
        ("h.example:8443", "https://h.example:8443/", True),
        ("h.example:8443", "https://h.example/", False),
        ("10.0.0.1", "http://10.0.0.1:8000/", True),
        ("fd00::1", "http://[fd00::1]:8000/", True),
        ("", "https://h.example/", False),
    ],
)
def test_exceptions_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, exceptions: str, url: str, *, direct: bool
) -> None:
    """``NO_PROXY`` names hosts, domains and ports."""
    found = chosen(monkeypatch, url, ALL_PROXY="http://p:1", NO_PROXY=exceptions)

    assert (found is None) is direct


def test_proxies_that_cannot_be_used_are_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning for all of them, without their passwords."""
    monkeypatch.setenv("ALL_PROXY", f"socks5://{ACCOUNT}@p:1")
    monkeypatch.setenv("HTTPS_PROXY", f"http://{ACCOUNT}@[p")
    assert Proxies.from_environment().of(URL("https://h/")) is None

    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "https_proxy, all_proxy" in record.getMessage()
    assert "p%40ss" not in record.getMessage()


# --- on the wire ----------------------------------------------------------------------------------


async def test_everything_goes_through_the_proxy_of_the_options() -> None:
    """Submits, polls and downloads tunnel; its password goes to the proxy only."""
    async with host(encrypted=True) as (server, heads), proxy(server.port) as via:
        network = Network(
            proxy=f"http://{ACCOUNT}@127.0.0.1:{via.port}", ssl_context=trusting_context()
        )
        async with transport_to("https://api.example", network) as transport:
            await transport.send(submit_call())
            await transport.send(status_call())
            assert await download(transport, "https://images.example/a?b=c") == b"abc"

    assert [(head.method, head.target) for head in via.heads] == [
        ("CONNECT", "api.example:443"),
        ("CONNECT", "api.example:443"),
        ("CONNECT", "images.example:443"),
    ]
    assert all(head.headers["proxy-authorization"] == BASIC for head in via.heads)
    assert all("authorization" not in head.headers for head in via.heads)
    assert [head.headers.get("authorization") for head in heads] == ["Bearer sk_test"] * 2 + [None]
    assert all("proxy-authorization" not in head.headers for head in heads)


async def test_plain_pictures_are_forwarded_by_the_proxy() -> None:
    """Next to a local base URL they may be plain http; the address stays as it was signed."""
    async with host(encrypted=False) as (server, heads), proxy(server.port) as via:
        network = Network(proxy=f"http://{ACCOUNT}@127.0.0.1:{via.port}")
        async with transport_to("http://localhost:1", network) as transport:
            assert await download(transport, "http://images.example/a?b=%2f") == b"abc"

    [asked] = via.heads
    assert (asked.method, asked.target) == ("GET", "http://images.example/a?b=%2f")
    assert asked.headers["proxy-authorization"] == BASIC
    assert "authorization" not in asked.headers
    assert [head.target for head in heads] == ["/a?b=%2f"]


async def test_this_machine_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address means nothing to a proxy, which would see the key in plain http."""
    async with host(encrypted=False) as (server, heads), proxy(server.port) as via:
        monkeypatch.setenv("HTTP_PROXY", via.url)
        for network in (Network(), Network(proxy=via.url)):
            async with transport_to(f"http://127.0.0.1:{server.port}", network) as transport:
                await transport.send(submit_call())
                await download(transport, f"http://localhost:{server.port}/")

    assert via.heads == []
    assert len(heads) == 4


async def test_environment_is_followed_and_its_exceptions_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``NO_PROXY`` wins."""
    async with host(encrypted=True) as (server, heads), proxy(server.port) as via:
        monkeypatch.setenv("HTTPS_PROXY", via.url)
        monkeypatch.setenv("NO_PROXY", "0.0.0.0:1")
        network = Network(ssl_context=trusting_context())
        async with transport_to("https://api.example", network) as transport:
            await transport.send(submit_call())
        async with transport_to("https://0.0.0.0:1", network) as transport:
            with pytest.raises(TransportFailure, match=r"no connection to 0\.0\.0\.0:1"):
                await transport.send(submit_call())

    assert [head.target for head in via.heads] == ["api.example:443"]
    assert len(heads) == 1


async def test_environment_can_be_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """``proxy_from_env=False``."""
    async with proxy(1) as via:
        monkeypatch.setenv("ALL_PROXY", via.url)
        network = Network(proxy_from_env=False)
        async with transport_to("https://0.0.0.0:1", network) as transport:
            with pytest.raises(TransportFailure, match=r"no connection to 0\.0\.0\.0:1"):
                await transport.send(submit_call())

    assert via.heads == []


async def test_given_proxy_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also over its exceptions: it was given for this client."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "*")
    async with host(encrypted=True) as (server, heads), proxy(server.port) as via:
        network = Network(proxy=via.url, ssl_context=trusting_context())
        async with transport_to("https://api.example", network) as transport:
            await transport.send(submit_call())

    assert len(via.heads) == len(heads) == 1


async def test_netrc_is_never_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A password kept for other programs is sent to nobody."""
    netrc = tmp_path / ".netrc"
    await to_thread.run_sync(netrc.write_text, "default login user password netrc-secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    async with (
        host(encrypted=False) as (server, heads),
        transport_to(f"http://127.0.0.1:{server.port}", Network()) as transport,
    ):
        await transport.send(submit_call())
        await download(transport, f"http://127.0.0.1:{server.port}/")

    assert [head.headers.get("authorization") for head in heads] == ["Bearer sk_test", None]


@pytest.mark.parametrize("status", [403, 407, 502])
async def test_proxy_that_refuses_means_not_sent(status: int) -> None:
    """The service has not seen anything."""
    async with proxy(1) as via:
        via.refuse = status
        async with transport_to("https://api.example", Network(proxy=via.url)) as transport:
            with pytest.raises(TransportFailure) as caught:
                await transport.send(submit_call())

    assert caught.value.what == f"the proxy answered {status}"
    assert not caught.value.committed


async def test_proxy_that_is_not_there_means_not_sent() -> None:
    """The message names the proxy, not the service."""
    network = Network(proxy="http://127.0.0.1:1")
    async with transport_to("https://api.example", network) as transport:
        with pytest.raises(TransportFailure, match=r"no connection to .*:1 \(Connection refused"):
            await transport.send(submit_call())


async def test_proxy_that_never_answers_ends_at_the_connect_deadline() -> None:
    """Its tunnel is a part of connecting."""

    async def silent(connection: Connection) -> None:
        await connection.body(1)
        await anyio.sleep_forever()

    async with raw_server(silent) as server:
        network = Network(proxy=f"http://127.0.0.1:{server.port}")
        timeouts = Timeouts(connect=0.1)
        async with transport_to("https://api.example", network, timeouts) as transport:
            with anyio.fail_after(10), pytest.raises(TransportFailure) as caught:
                await transport.send(submit_call())

    assert not caught.value.committed


# --- sockets --------------------------------------------------------------------------------------


def info(address: str) -> tuple[int, int, int, str, tuple[str, int]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 443))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "198.18.0.7"])
def test_socket_to_a_public_address_is_made(address: str) -> None:
    """Addresses of fake-IP proxies are public when they come from a name."""
    with guarded_socket(info(address)) as made:
        assert made.family == info(address)[0]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.1",
        "100.64.0.1", "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe",
    ],
)  # fmt: skip
def test_socket_to_a_private_address_is_refused(address: str) -> None:
    """Whatever name led there."""
    with pytest.raises(ForbiddenAddressError, match="leads to a private network"):
        guarded_socket(info(address))


def test_socket_of_a_submit_keeps_little_unsent() -> None:
    """What waits in the operating system looks sent and is not."""
    with upload_socket(info("127.0.0.1")) as made:
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 65536


def test_masked_header_of_a_proxy_is_masked() -> None:
    """It would show up in tracebacks otherwise."""
    assert isinstance(Proxy.of("http://u:p@h").authorization, MaskedText)
