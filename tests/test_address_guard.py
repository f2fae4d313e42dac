"""Where pictures are not fetched from: a result address is text from the network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from yarl import URL

from ppinfra_async import Client, Limits, Network, Polling, Retries, Timeouts
from ppinfra_async._sansio.wire import TransportFailure
from ppinfra_async._transport import AiohttpTransport, MaskedText
from ppinfra_async._transport.network import ForbiddenAddressError
from ppinfra_async.errors import IncompleteResultError
from ppinfra_async.testing import Fault, Simulator
from tests.proxies import proxy
from tests.raw_server import Connection, Head, RawServer, raw_server, response
from tests.requesting import img2img
from tests.tls import server_context, trusting_context

PUBLIC = URL("https://api.example")
LOCAL = URL("http://127.0.0.1:1")


@asynccontextmanager
async def transport(base_url: URL = PUBLIC, **network: Any) -> AsyncIterator[AiohttpTransport]:
    made = AiohttpTransport(
        base_url,
        MaskedText("sk_test"),
        Timeouts(connect=2),
        Network(ssl_context=trusting_context(), **network),
    )
    try:
        yield made
    finally:
        await made.close()


async def fetch(made: AiohttpTransport, url: str) -> bytes:
    async with made.fetch(url) as fetched:
        return await fetched.read()


async def refusal(made: AiohttpTransport, url: str) -> str:
    with pytest.raises(TransportFailure) as caught:
        await fetch(made, url)
    return caught.value.what


@asynccontextmanager
async def neighbour(
    answer: Callable[[Head], bytes] = lambda _: response(200, {}, b"admin"),
    *,
    encrypted: bool = True,
) -> AsyncIterator[RawServer]:
    """Run a server that nobody from outside should reach through us."""

    async def handle(connection: Connection) -> None:
        while True:
            await connection.send(answer(await connection.head()))

    async with raw_server(handle, tls=server_context() if encrypted else None) as server:
        yield server


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.8.8.8", "10.1.2.3", "192.168.0.1", "172.20.0.1", "169.254.169.254",
        "0.0.0.0",  # noqa: S104  # nothing is bound
        "100.100.100.200", "198.18.0.1", "224.0.0.1", "255.255.255.255",
        "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
        "localhost", "LOCALHOST", "localhost.", "sub.localhost",
        "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "10.0.513",
    ],
)  # fmt: skip
async def test_private_address_in_the_text_is_refused(host: str) -> None:
    """However it is written; nothing is connected to."""
    async with neighbour() as server, transport() as made:
        what = await refusal(made, f"https://{host}:{server.port}/")

        assert "result address" in what
        assert server.connections == []


@pytest.mark.parametrize("url", ["http://images.example/", "ftp://images.example/", "file:///etc"])
async def test_anything_but_https_is_refused(url: str) -> None:
    """A picture in the clear could be another one."""
    async with transport() as made:
        assert "must be https" in await refusal(made, url)


async def test_name_that_leads_to_a_private_address_is_refused() -> None:
    """The address that is really connected to counts, whatever name led there."""
    async with neighbour() as server, transport() as made:
        # Below the rule that knows this name: it stands for any that somebody points at us.
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await made._session("download").get(f"https://localhost:{server.port}/")

        assert isinstance(caught.value.os_error, ForbiddenAddressError)
        assert server.connections == []


@pytest.mark.parametrize(
    "target", ["https://127.0.0.1:{port}/", "https://localhost:{port}/", "https://127.1:{port}/"]
)
async def test_redirect_to_a_private_address_is_refused(target: str) -> None:
    """Each step is looked at anew."""
    seen = []

    def answer(head: Head) -> bytes:
        seen.append(head.headers["host"])
        return response(302, {"location": target.format(port=server.port)}, b"")

    async with (
        neighbour(answer) as server,
        proxy(server.port) as via,
        transport(proxy=via.url) as made,
    ):
        assert "result address" in await refusal(made, "https://images.example/")
        assert seen == ["images.example"]


async def test_redirect_to_plain_http_is_refused() -> None:
    """The first step's promise holds for the last."""
    async with (
        neighbour(lambda _: response(302, {"location": "http://images.example/"}, b"")) as server,
        proxy(server.port) as via,
        transport(proxy=via.url) as made,
    ):
        assert "must be https" in await refusal(made, "https://images.example/")
        assert len(via.heads) == 1


async def test_proxy_may_have_a_private_address() -> None:
    """It was chosen by the user, not by the network."""
    async with (
        neighbour() as server,
        proxy(server.port) as via,
        transport(proxy=via.url) as made,
    ):
        assert await fetch(made, "https://images.example/") == b"admin"


# --- allowed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_private_addresses_can_be_allowed(host: str) -> None:
    """``allow_private_hosts`` is for those whose image host stands beside them."""
    async with neighbour() as server, transport(allow_private_hosts=True) as made:
        assert await fetch(made, f"https://{host}:{server.port}/") == b"admin"


async def test_allowed_private_addresses_must_be_https() -> None:
    """One permission is not the other."""
    async with (
        neighbour(encrypted=False) as server,
        transport(allow_private_hosts=True) as made,
    ):
        assert "must be https" in await refusal(made, f"http://127.0.0.1:{server.port}/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_local_service_may_serve_local_pictures(host: str) -> None:
    """A simulator's pictures are plain http on this machine."""
    async with neighbour(encrypted=False) as server, transport(LOCAL) as made:
        assert await fetch(made, f"http://{host}:{server.port}/") == b"admin"


# --- the whole client -----------------------------------------------------------------------------


async def test_result_at_a_private_address_is_an_image_error() -> None:
    """The task is paid and done; the error says why its picture is not fetched."""
    async with (
        neighbour() as server,
        Simulator(queue=0, processing=0, tiny_images=True) as simulator,
        raw_server(_relay_to(simulator), tls=server_context()) as service,
        proxy(service.port) as via,
        Client(
            simulator.api_key,
            base_url="https://api.example",
            network=Network(proxy=via.url, ssl_context=trusting_context()),
            retries=Retries(attempts=1),
            polling=Polling(min_interval=0.01, max_interval=0.02, polls_per_second=500),
            limits=Limits(),
        ) as client,
    ):
        address = f"https://127.0.0.1:{server.port}/latest/meta-data"
        simulator.faults.order("poll", Fault.image_url(address), times=None)
        with pytest.raises(IncompleteResultError, match="leads to a private address") as caught:
            await client.generate(img2img())

        assert caught.value.billed == "yes"
        assert server.connections == []


def _relay_to(simulator: Simulator) -> Any:
    """Put a simulator behind a public name and TLS."""

    async def handle(connection: Connection) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                head = await connection.head()
                body = await connection.body(head.length)
                kept = {n: head.headers[n] for n in ("authorization", "content-type")}
                url = URL(simulator.url + head.target, encoded=True)
                async with session.request(head.method, url, data=body, headers=kept) as answer:
                    data = await answer.read()
                await connection.send(response(answer.status, {}, data))

    return handle
