"""Which addresses may be connected to, and through which proxy; refuses to connect."""

from __future__ import annotations

import logging
import socket
import urllib.request

import aiohttp
from yarl import URL

from ppinfra_async._sansio.addresses import is_public

_log = logging.getLogger("ppinfra_async")


class ForbiddenAddressError(OSError):
    """The host of a result address resolves to an address that must not be connected to."""


def guarded_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """Make a socket for a download, unless the address really connected to is private."""
    family, kind, proto, _, address = info
    if not is_public(str(address[0]), known_from="dns"):
        # The same words for every address: happy eyeballs then keeps the class of the error.
        raise ForbiddenAddressError("the result address leads to a private network")
    return socket.socket(family=family, type=kind, proto=proto)


def environment_proxies() -> dict[str, str]:
    """Return the proxies that the environment asks for and aiohttp can use.

    Never aiohttp's ``trust_env``: it also reads ``.netrc`` and sends what it finds to result hosts.
    """
    proxies: dict[str, str] = urllib.request.getproxies_environment()
    usable = {}
    for scheme, proxy in proxies.items():
        if scheme == "no" or proxy.startswith(("http://", "https://")):
            usable[scheme] = proxy
        elif scheme in {"http", "https", "all"}:
            _log.warning("The %s proxy of the environment is not http and is ignored.", scheme)
    return usable


def proxy_of(proxies: dict[str, str], url: URL) -> URL | None:
    """Return the proxy among *proxies* that *url* goes through, or None."""
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy is None or _is_bypassed(url.host or "", proxies):
        return None
    return URL(proxy)


def _is_bypassed(host: str, proxies: dict[str, str]) -> bool:
    # Public in CPython, missing in the type stubs.
    bypass = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]  # see above
    return bool(bypass(host, proxies))
