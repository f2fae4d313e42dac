"""What is made of the errors below: words for a message, and nothing that holds a secret."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey, RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ppinfra_async._transport import CommitPoint, Withdrawn
from ppinfra_async._transport.body import InputChangedError
from ppinfra_async._transport.failures import TooLongError, failure_of
from ppinfra_async._transport.network import ForbiddenAddressError

SECRET = "Bearer sk_secret"
PROXY = URL(f"http://user:{SECRET}@p")
KEY = ConnectionKey(
    host="h.example", port=443, is_ssl=True, ssl=True,
    proxy=PROXY, proxy_auth=None, proxy_headers_hash=None,
)  # fmt: skip
HEADERS = CIMultiDictProxy(CIMultiDict({"Authorization": SECRET}))
INFO = RequestInfo(URL("https://h.example/"), "POST", HEADERS, URL("https://h.example/"))


def connector_error(kind: Any, below: OSError) -> aiohttp.ClientConnectorError:
    error: aiohttp.ClientConnectorError = kind(KEY, below)
    error.__cause__ = below
    return error


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")
UNKNOWN_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
UNTRUSTED = ssl.SSLCertVerificationError(1, "self-signed certificate")

ERRORS: list[tuple[BaseException, str, type[BaseException], str]] = [
    (
        connector_error(aiohttp.ClientConnectorError, REFUSED),
        "no connection to h.example:443 (Connection refused)",
        ConnectionRefusedError,
        f"[Errno {errno.ECONNREFUSED}] Connection refused",
    ),
    (
        connector_error(aiohttp.ClientConnectorError, OSError("several exceptions")),
        "no connection to h.example:443 (OSError)",
        ConnectionError,
        "ClientConnectorError",
    ),
    (
        connector_error(aiohttp.ClientConnectorDNSError, UNKNOWN_NAME),
        "the name h.example could not be resolved",
        socket.gaierror,
        f"[Errno {socket.EAI_NONAME}] Name or service not known",
    ),
    (
        connector_error(aiohttp.ClientConnectorSSLError, ssl.SSLError(1, "WRONG_VERSION_NUMBER")),
        "no TLS connection to h.example:443",
        ssl.SSLError,
        "WRONG_VERSION_NUMBER",
    ),
    (
        aiohttp.ClientConnectorCertificateError(KEY, UNTRUSTED),
        "the certificate of h.example is not trusted",
        ssl.SSLCertVerificationError,
        "self-signed certificate",
    ),
    (
        connector_error(aiohttp.ClientConnectorError, ForbiddenAddressError("a private network")),
        "a private network",
        ForbiddenAddressError,
        "a private network",
    ),
    (
        aiohttp.ClientHttpProxyError(INFO, (), status=407, message="No", headers=HEADERS),
        "the proxy answered 407",
        ConnectionError,
        "ClientHttpProxyError",
    ),
    (
        aiohttp.ConnectionTimeoutError("timeout"),
        "no connection in time",
        ConnectionError,
        "ConnectionTimeoutError",
    ),
    (
        aiohttp.ServerDisconnectedError(),
        "the server closed the connection without an answer",
        ConnectionError,
        "ServerDisconnectedError",
    ),
    (
        aiohttp.ClientPayloadError("Response payload is not completed"),
        "the answer was cut short",
        ConnectionError,
        "ClientPayloadError",
    ),
    (
        aiohttp.ClientResponseError(INFO, (), status=400, message="Bad status line"),
        "the answer was not HTTP (Bad status line)",
        ConnectionError,
        "ClientResponseError",
    ),
    (
        aiohttp.ClientOSError(errno.EPIPE, f"Can not write {SECRET}"),
        "the connection broke (ClientOSError)",
        BrokenPipeError,
        "[Errno 32] Broken pipe",
    ),
    (
        TooLongError("the answer is longer than 3 bytes"),
        "the answer is longer than 3 bytes",
        TooLongError,
        "the answer is longer than 3 bytes",
    ),
    (UnicodeError(SECRET), "the address cannot be used", ConnectionError, "UnicodeError"),
    (RuntimeError("Session is closed"), "the client was closed", ConnectionError, "RuntimeError"),
]


@pytest.mark.parametrize(
    ("error", "what", "kind", "text"), ERRORS, ids=[type(each[0]).__name__ for each in ERRORS]
)
def test_error_becomes_words_and_a_bare_cause(
    error: BaseException, what: str, kind: type[BaseException], text: str
) -> None:
    """The clause is for a message; the cause refers to no request, no proxy and no frame."""
    failure = failure_of(error, CommitPoint())
    cause = failure.__cause__

    assert failure.what == what
    assert type(cause) is kind
    assert str(cause) == text
    assert cause.__traceback__ is None
    assert cause.__cause__ is cause.__context__ is None
    assert "secret" not in repr(cause) + repr(vars(cause)) + repr(failure)


@pytest.mark.parametrize("passed", [False, True])
def test_failure_says_on_which_side_of_the_commit_it_was(*, passed: bool) -> None:
    """Nothing else decides over a second try."""
    assert failure_of(OSError(), CommitPoint(passed=passed)).committed is passed


def wrapped(error: Exception) -> aiohttp.ClientConnectionError:
    outer = aiohttp.ClientConnectionError("Failed to send bytes")
    outer.__cause__ = error
    return outer


def test_changed_picture_is_found_below_what_wraps_it() -> None:
    """It is our own news, and the message of it is for people."""
    failure = failure_of(wrapped(InputChangedError("cat.png changed")), CommitPoint())

    assert failure.changed_input == failure.what == "cat.png changed"
    assert type(failure.__cause__) is InputChangedError


def test_withdrawal_is_found_below_what_wraps_it() -> None:
    """It is no broken connection."""
    failure = failure_of(wrapped(Withdrawn()), CommitPoint())

    assert failure.what == "it was withdrawn"
    assert failure.changed_input == ""


def test_errors_in_a_circle_end() -> None:
    """Some library's bookkeeping may refer to itself."""
    first, second = wrapped(OSError()), wrapped(OSError())
    first.__cause__, second.__cause__ = second, first

    assert failure_of(first, CommitPoint()).what == "the connection broke (ClientConnectionError)"
