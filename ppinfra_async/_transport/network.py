"""Which addresses may be connected to, and through which proxy; refuses to connect."""

from __future__ import annotations

import logging
import socket
import urllib.request
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
import pybase64
from attrs import frozen
from yarl import URL

from ppinfra_async._sansio.addresses import is_local, is_public
from ppinfra_async._transport.protocol import MaskedText

_log = logging.getLogger("ppinfra_async")

# Bytes that may wait unsent in the operating system; a window's worth of sent ones comes on top.
_UNSENT = 64 * 1024


class ForbiddenAddressError(OSError):
    """The host of a result address resolves to an address that must not be connected to."""


def guarded_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """Make a socket for a download, unless the address really connected to is private."""
    family, kind, proto, _, address = info
    if not is_public(str(address[0]), known_from="dns"):
        # The same words for every address: happy eyeballs then keeps the class of the error.
        raise ForbiddenAddressError("the result address leads to a private network")
    return socket.socket(family=family, type=kind, proto=proto)


def upload_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """Make a socket for a submit that takes from us only what it can send soon.

    Otherwise megabytes wait in the operating system: a server that stopped reading would not be
    noticed for long, and a cut would find the last byte "handed over" that never left.
    """
    family, kind, proto, _, _ = info
    made = socket.socket(family=family, type=kind, proto=proto)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
    return made


@frozen
class Proxy:
    """A proxy, its password apart from its address.

    Attributes:
        url: Without user and password.
        authorization: Value of ``Proxy-Authorization``, or None.
    """

    url: URL
    authorization: MaskedText | None

    @classmethod
    def of(cls, text: str) -> Proxy:
        """Read ``http://[user:password@]host:port``.

        Raises:
            ValueError: when it cannot be used.
        """
        # People leave the scheme out, and every other tool takes it for http.
        url = URL(text if "://" in text else f"http://{text}")
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError("not an http proxy")
        authorization = None
        if url.user is not None:
            pair = f"{url.user}:{url.password or ''}".encode()
            authorization = MaskedText(f"Basic {pybase64.b64encode(pair).decode()}")
        return cls(url.with_user(None), authorization)


@frozen
class Proxies:
    """Which proxy an address goes through.

    Attributes:
        by_scheme: For ``http``, ``https`` or ``all``.
        exceptions: ``NO_PROXY``, or None.
    """

    by_scheme: Mapping[str, Proxy]
    exceptions: str | None = None

    @classmethod
    def from_environment(cls) -> Proxies:
        """Read the proxies that the environment asks for, as far as aiohttp can use them.

        Never aiohttp's ``trust_env``: it also reads ``.netrc`` and sends what it finds to result
        hosts.
        """
        wanted: dict[str, str] = urllib.request.getproxies_environment()
        by_scheme: dict[str, Proxy] = {}
        ignored = []
        for scheme in ("http", "https", "all"):
            if scheme in wanted:
                try:
                    by_scheme[scheme] = Proxy.of(wanted[scheme])
                except ValueError:
                    ignored.append(f"{scheme}_proxy")
        if ignored:
            _log.warning(
                "Ignored from the environment, because only http:// and https:// proxies can be "
                "used: %s",
                ", ".join(ignored),
            )
        return cls(by_scheme, wanted.get("no"))

    def of(self, url: URL) -> Proxy | None:
        """Return the proxy that *url* goes through, or None.

        Never one for this machine itself: its address means nothing to a proxy, and plain http, which
        is allowed only there, would show the proxy the key.
        """
        if is_local(url):
            return None
        proxy = self.by_scheme.get(url.scheme) or self.by_scheme.get("all")
        return None if proxy is None or self._is_exception(url) else proxy

    def _is_exception(self, url: URL) -> bool:
        # Public in CPython, missing in the type stubs.
        bypassed = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]  # see above
        host = url.host or ""
        exceptions = {} if self.exceptions is None else {"no": self.exceptions}
        return bool(bypassed(host, exceptions) or bypassed(f"{host}:{url.port}", exceptions))
