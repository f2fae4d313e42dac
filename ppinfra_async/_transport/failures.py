"""Translates what aiohttp raises into ``TransportFailure``; refuses to judge it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp

from ppinfra_async._sansio.wire import TransportFailure
from ppinfra_async._transport.body import InputChangedError
from ppinfra_async._transport.network import ForbiddenAddressError
from ppinfra_async._transport.protocol import CommitPoint


def failure_of(error: BaseException, commit: CommitPoint | None) -> TransportFailure:
    """Translate what aiohttp raised. Its frames hold headers and addresses: they are dropped."""
    changed = _find(error, InputChangedError)
    committed = commit is not None and commit.passed
    what = in_words(error)
    _drop_tracebacks(error)
    return TransportFailure(
        what, committed=committed, changed_input=str(changed) if changed else ""
    )


def in_words(error: BaseException) -> str:
    """Return what happened, as a clause for a message."""
    for kind, words in _WORDS.items():
        if isinstance(error, kind):
            return words(error)
    return f"the connection broke ({type(error).__name__})"


def _refused_connection(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error.os_error, ForbiddenAddressError):
        return str(error.os_error)
    reason = error.os_error.strerror or type(error.os_error).__name__
    return f"no connection to {error.host}:{error.port} ({reason})"


# The first match counts, so a special case stands before the general one.
_WORDS: dict[type[BaseException], Callable[[Any], str]] = {
    aiohttp.ClientConnectorDNSError: lambda e: f"the name {e.host} could not be resolved",
    aiohttp.ClientConnectorCertificateError: lambda e: (
        f"the certificate of {e.host} is not trusted"
    ),
    aiohttp.ClientConnectorError: _refused_connection,
    aiohttp.ClientHttpProxyError: lambda e: f"the proxy answered {e.status}",
    aiohttp.ServerTimeoutError: lambda _: "no connection in time",
    aiohttp.ServerDisconnectedError: lambda _: "the server closed the connection without an answer",
    aiohttp.ClientPayloadError: lambda _: "the answer was cut short",
    aiohttp.ClientResponseError: lambda e: f"the answer was not HTTP ({e.message})",
    aiohttp.InvalidURL: lambda _: "the address cannot be used",
}


def _find(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


def _drop_tracebacks(error: BaseException | None) -> None:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
