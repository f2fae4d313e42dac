"""Decides where result pictures may be fetched from; refuses to resolve or connect.

A result address is text from the network. It must not make a server of ours read its own metadata
service or a neighbour's admin page, so it has to be https and to lead to a public address, unless
the configured base URL is itself local or private hosts are allowed explicitly.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Literal

from attrs import frozen
from yarl import URL

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Proxies with "fake IP" DNS, common in China, answer every name from here.
_FAKE_IP = ipaddress.ip_network("198.18.0.0/15")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# All that is assigned to be reached by everybody; Python calls much of the rest "global" too, such
# as the local NAT64 prefix 64:ff9b:1::/48 and the old site-local addresses fec0::/10.
_GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")

_LOOPBACK_NAMES = {"localhost", "localhost.localdomain"}


def is_public(text: str, *, known_from: Literal["dns", "literal"]) -> bool:
    """Tell whether the IP address *text* is one that everybody can reach.

    Addresses that carry an IPv4 address inside (mapped, NAT64, 6to4, Teredo) are what they carry.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    address = _unwrapped(address)
    if known_from == "dns" and address in _FAKE_IP:
        return True
    if address.version == 6 and address not in _GLOBAL_IPV6:
        return False
    return address.is_global and not address.is_multicast


def is_local(url: URL) -> bool:
    """Tell whether *url* names this machine itself."""
    return _is_local_host(url.host or "")


# The results of a client come from very few hosts.
@lru_cache(maxsize=64)
def _is_local_host(host: str) -> bool:
    if _is_loopback_name(host):
        return True
    try:
        return _unwrapped(ipaddress.ip_address(host)).is_loopback
    except ValueError:
        return False


@frozen(kw_only=True)
class DownloadRules:
    """What a result address must be.

    Attributes:
        allow_http: Plain http is fine (the base URL is local).
        allow_private: Private and loopback addresses are fine.
    """

    allow_http: bool = False
    allow_private: bool = False

    def objection(self, url: URL) -> str | None:
        """Return why *url* must not be fetched, or None. Names are judged when connecting."""
        if url.scheme not in ({"http", "https"} if self.allow_http else {"https"}):
            return f"a result address must be https, not {url.scheme or 'nothing'}"
        if not url.host:
            return "a result address must name a host"
        if self.allow_private:
            return None
        if _is_loopback_name(url.host):
            return f"the result address leads to this machine ({url.host})"
        try:
            ipaddress.ip_address(url.host)
        except ValueError:
            # 127.1 and 0x7f000001 are addresses to whoever connects, perhaps a proxy of ours.
            last = url.host.rstrip(".").rpartition(".")[2].lower()
            hidden = last.isdecimal() or last.startswith("0x")
            return f"the result address hides its number ({url.host})" if hidden else None
        if is_public(url.host, known_from="literal"):
            return None
        return f"the result address leads to a private address ({url.host})"


def _is_loopback_name(host: str) -> bool:
    name = host.rstrip(".").lower()
    return name in _LOOPBACK_NAMES or name.endswith(".localhost")


def _unwrapped(address: IPAddress) -> IPAddress:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour:
        return address.sixtofour
    if address.teredo:
        return address.teredo[1]
    return address
