"""Where result pictures may be fetched from."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from ppinfra_async._sansio.addresses import DownloadRules, is_local, is_public

PUBLIC = [
    "1.1.1.1",
    "52.219.0.1",
    "192.88.99.1",
    "198.17.255.255",
    "198.20.0.0",
    "223.5.5.5",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2606:4700::1111%eth0",
    # What they carry is public.
    "::ffff:1.1.1.1",
    "64:ff9b::1.1.1.1",
    "2002:0101:0101::1",
]

PRIVATE = [
    "0.0.0.0",  # noqa: S104  # to be refused
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.2.1",
    "192.168.1.1",
    "203.0.113.5",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "4000::1",
    # IPv4 inside IPv6: mapped, compatible, NAT64 (also the local prefix), 6to4, Teredo.
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    # No addresses.
    "",
    "localhost",
    "1.1.1",
    "1.1.1.1.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "1.1.1.1/32",
    "[::1]",
    "%eth0",
]

FAKE = ["198.18.0.1", "198.19.255.254", "::ffff:198.18.0.1", "64:ff9b::198.18.0.1"]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    """Everybody can reach them, wherever they came from."""
    assert is_public(address, known_from="dns")
    assert is_public(address, known_from="literal")


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    """Neither a name nor a literal may lead there."""
    assert not is_public(address, known_from="dns")
    assert not is_public(address, known_from="literal")


@pytest.mark.parametrize("address", FAKE)
def test_fake_addresses(address: str) -> None:
    """What a proxy's own DNS answers is fine; nobody writes such an address."""
    assert is_public(address, known_from="dns")
    assert not is_public(address, known_from="literal")


@given(st.ip_addresses(network="127.0.0.0/8") | st.ip_addresses(network="10.0.0.0/8"))
def test_a_private_address_cannot_hide(address: object) -> None:
    """However it is wrapped."""
    text = str(address)
    first, second, third, fourth = map(int, text.split("."))
    hexadecimal = f"{first:02x}{second:02x}:{third:02x}{fourth:02x}"

    for wrapped in (
        text,
        f"::ffff:{text}",
        f"64:ff9b::{text}",
        f"2002:{hexadecimal}::1",
        f"::{text}",
    ):
        assert not is_public(wrapped, known_from="dns")


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    """What is no address is not public."""
    if is_public(text, known_from="dns"):
        ipaddress.ip_address(text.partition("%")[0])


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "http://localhost:8000/v3",
        "http://LOCALHOST",
        "http://localhost.",
        "http://localhost.localdomain",
        "http://api.localhost",
        "http://127.0.0.1:8000",
        "http://127.8.9.10",
        "http://[::1]:8000",
        "http://[::ffff:127.0.0.1]",
    ],
)
def test_this_machine_is_local(url: str) -> None:
    """By name or by number; plain http is fine there."""
    assert is_local(URL(url))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.ppinfra.com",
        "https://localhost.ppinfra.com",
        "https://mylocalhost",
        "http://192.168.1.1",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://[fe80::1]",
        "/v3",
        "",
    ],
)
def test_other_machines_are_not_local(url: str) -> None:
    """Neighbours are not this machine."""
    assert not is_local(URL(url))


STRICT = DownloadRules()
LOCAL = DownloadRules(allow_http=True, allow_private=True)
INTRANET = DownloadRules(allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://faas-output-image.s3.ap-southeast-1.amazonaws.com/prod/1.jpeg?X-Amz-Expires=3600",
        "https://1.1.1.1/1.png",
        "https://[2606:4700::1111]/1.png",
        "https://host:8443/1.png",
        "https://10.example.com/1.png",
        "https://localhost.example.com/1.png",
        "https://192.168.1.1.example.com/1.png",
    ],
)
def test_addresses_that_may_be_fetched(url: str) -> None:
    """A name is judged when it is connected to, so the private ones are refused there."""
    assert STRICT.objection(URL(url, encoded=True)) is None
    assert LOCAL.objection(URL(url, encoded=True)) is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://host/1.png", "must be https, not http"),
        ("ftp://host/1.png", "must be https, not ftp"),
        ("file:///etc/passwd", "must be https, not file"),
        ("data:image/png;base64,aaaa", "must be https, not data"),
        ("/1.png", "must be https, not nothing"),
        ("", "must be https, not nothing"),
        ("https:///1.png", "must name a host"),
        ("https:1.png", "must name a host"),
        ("https://localhost/1.png", "leads to this machine (localhost)"),
        ("https://LocalHost:8000/1.png", "leads to this machine (localhost)"),
        ("https://localhost./1.png", "leads to this machine (localhost.)"),
        ("https://a.localhost/1.png", "leads to this machine (a.localhost)"),
        ("https://127.0.0.1/1.png", "leads to a private address (127.0.0.1)"),
        ("https://user@10.0.0.1:80/1.png", "leads to a private address (10.0.0.1)"),
        ("https://169.254.169.254/latest", "leads to a private address (169.254.169.254)"),
        ("https://198.18.0.1/1.png", "leads to a private address (198.18.0.1)"),
        ("https://[::1]/1.png", "leads to a private address (::1)"),
        ("https://[::ffff:10.0.0.1]/1.png", "leads to a private address (::ffff:10.0.0.1)"),
        ("https://[64:ff9b::7f00:1]/1.png", "leads to a private address (64:ff9b::7f00:1)"),
        ("https://[fe80::1%25eth0]/1.png", "leads to a private address (fe80::1%eth0)"),
        ("https://127.1/1.png", "hides its number (127.1)"),
        ("https://127.1./1.png", "hides its number (127.1.)"),
        ("https://2130706433/1.png", "hides its number (2130706433)"),
        ("https://0177.0.0.1/1.png", "hides its number (0177.0.0.1)"),
        ("https://0X7F000001/1.png", "hides its number (0X7F000001)"),
        ("https://127.0.0.0x1/1.png", "hides its number (127.0.0.0x1)"),
        ("https://１２７.0.0.1/1.png", "hides its number (１２７.0.0.1)"),
    ],
)
def test_addresses_that_must_not_be_fetched(url: str, why: str) -> None:
    """The reason is a clause for a message."""
    objection = STRICT.objection(URL(url, encoded=True))

    assert objection is not None
    assert why in objection


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "10.0.0.1", "[::1]", "198.18.0.1"])
def test_a_local_service_may_serve_from_here(host: str) -> None:
    """With a local base URL also plain http; with private hosts allowed only https."""
    assert LOCAL.objection(URL(f"http://{host}/1.png")) is None
    assert LOCAL.objection(URL(f"https://{host}/1.png")) is None
    assert INTRANET.objection(URL(f"https://{host}/1.png")) is None
    assert INTRANET.objection(URL(f"http://{host}/1.png")) is not None


@pytest.mark.parametrize("url", ["ftp://localhost/1.png", "file:///etc/passwd", "http:///1.png"])
def test_a_local_service_cannot_do_everything(url: str) -> None:
    """Other schemes and no host are refused there, too."""
    assert LOCAL.objection(URL(url)) is not None
