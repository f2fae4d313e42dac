"""Translates what aiohttp raises into ``TransportFailure``; refuses to judge it."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp

from ppinfra_async._sansio.wire import TransportFailure
from ppinfra_async._transport.body import InputChangedError
from ppinfra_async._transport.network import ForbiddenAddressError
from ppinfra_async._transport.protocol import CommitPoint, Withdrawn


class TooLongError(aiohttp.ClientPayloadError):
    """An answer is longer than any that can be expected."""


def failure_of(error: BaseException, commit: CommitPoint) -> TransportFailure:
    """Translate what aiohttp raised."""
    ours = _find(error, *_OURS)
    # An address that cannot be used is found out before anything is sent; later it is a hook's error.
    is_stray = isinstance(error, ValueError) and commit.passed
    failure = TransportFailure(
        _broken_by(error) if is_stray else in_words(ours or error),
        committed=commit.passed,
        changed_input=str(ours) if isinstance(ours, InputChangedError) else "",
    )
    failure.__cause__ = type(ours)(*ours.args) if ours else _bare(error)
    return failure


def _bare(error: BaseException) -> Exception:
    """Return *error* without what it refers to.

    The errors of aiohttp, and the frames behind them, hold requests with their headers and proxies
    with their passwords, and whoever reports an error may show all of that.
    """
    system = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if not isinstance(system, OSError) or system.errno is None:
        return ConnectionError(type(error).__name__)
    kind = type(system) if isinstance(system, _OWN_NUMBERS) else OSError
    return kind(system.errno, _system_words(system))


def in_words(error: BaseException) -> str:
    """Return what happened, as a clause for a message."""
    for kind, words in _WORDS.items():
        if isinstance(error, kind):
            return words(error)
    return _broken_by(error)


def _broken_by(error: BaseException) -> str:
    return f"the connection broke ({type(error).__name__})"


def _system_words(error: OSError) -> str:
    if isinstance(error, _OWN_NUMBERS) or not error.errno:
        return error.strerror or type(error).__name__
    # asyncio puts its own words, with the address again, where the system's would be.
    return os.strerror(error.errno)


# Errors whose numbers are not the operating system's.
_OWN_NUMBERS = (socket.gaierror, ssl.SSLError)

# What is raised by us somewhere below aiohttp.
_OURS = (InputChangedError, ForbiddenAddressError, TooLongError, Withdrawn)

# The first match counts, so a special case stands before the general one.
_WORDS: dict[type[BaseException], Callable[[Any], str]] = {
    InputChangedError: str,
    ForbiddenAddressError: str,
    TooLongError: str,
    Withdrawn: lambda _: "it was withdrawn",
    aiohttp.ClientConnectorDNSError: lambda e: f"the name {e.host} could not be resolved",
    aiohttp.ClientConnectorCertificateError: lambda e: (
        f"the certificate of {e.host} is not trusted"
    ),
    aiohttp.ClientConnectorSSLError: lambda e: f"no TLS connection to {e.host}:{e.port}",
    aiohttp.ClientConnectorError: lambda e: (
        f"no connection to {e.host}:{e.port} ({_system_words(e.os_error)})"
    ),
    aiohttp.ClientHttpProxyError: lambda e: f"the proxy answered {e.status}",
    aiohttp.ServerTimeoutError: lambda _: "no connection in time",
    aiohttp.ServerDisconnectedError: lambda _: "the server closed the connection without an answer",
    aiohttp.ClientPayloadError: lambda _: "the answer was cut short",
    aiohttp.ClientResponseError: lambda e: f"the answer was not HTTP ({e.message})",
    # What the parsers of addresses and names say; aiohttp.InvalidURL is one.
    ValueError: lambda _: "the address cannot be used",
    RuntimeError: lambda e: "the client was closed" if "closed" in str(e) else _broken_by(e),
}


def _find(error: BaseException | None, *kinds: type[Exception]) -> Exception | None:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, kinds):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
