"""Option groups of a client, each a frozen value with defaults that are right; refuses to act on them.

A value out of range is a ``ValueError`` that names the option: options come from a programmer, once,
at start-up.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeGuard

import attrs
from attrs import field, frozen
from yarl import URL

KEY_VARIABLES = ("PPINFRA_API_KEY", "PPIO_API_KEY")
"""Environment variables that a key is looked for in, in this order."""

BASE_URL_VARIABLE = "PPINFRA_BASE_URL"

_TINY = 0.001

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Not math.isfinite, which fails for whole numbers that no float can hold.
    return abs(value) <= sys.float_info.max


def _positive(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not (_is_number(value) and value > 0):
        name = f"{type(instance).__name__}.{attribute.name}"
        raise ValueError(f"{name} must be a number above 0, got {value!r}.")


def _not_negative(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not (_is_number(value) and value >= 0):
        name = f"{type(instance).__name__}.{attribute.name}"
        raise ValueError(f"{name} must be a number from 0, got {value!r}.")


def _not_tiny(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not (_is_number(value) and value >= _TINY):
        name = f"{type(instance).__name__}.{attribute.name}"
        raise ValueError(f"{name} must be a number from {_TINY}, got {value!r}.")


def _at_least_one(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        name = f"{type(instance).__name__}.{attribute.name}"
        raise ValueError(f"{name} must be a whole number from 1, got {value!r}.")


def _auto_or_at_least_one(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value != "auto":
        _at_least_one(instance, attribute, value)


def _optional(validator: Validator) -> Validator:
    return attrs.validators.optional(validator)


@frozen(kw_only=True)
class Limits:
    """How fast images may be asked for. The service meters images per minute, not requests.

    Attributes:
        images_per_minute: The account's quota, or ``"auto"`` to go until the service says 429 and
            then follow what it accepts. PPInfra documents 10 for img2img by default.
        max_wait: Seconds a submit may wait for its turn before it raises ``RateLimitedError``.
            None waits as long as it takes while others get through.
    """

    images_per_minute: int | Literal["auto"] = field(
        default="auto", validator=_auto_or_at_least_one
    )
    max_wait: float | None = field(default=None, validator=_optional(_not_negative))


@frozen(kw_only=True)
class Polling:
    """How the one poller asks about tasks, and when it gives up waiting. Times in seconds.

    Attributes:
        price: Seconds of delay that one poll is worth. Higher asks less often. It rises by itself
            while ``polls_per_second`` are not enough for all tasks.
        min_interval: Never ask about a task again sooner than this.
        max_interval: Never leave a task unasked for longer than this.
        polls_per_second: Ceiling over all tasks of the client together. What it allows for a
            tenth of a second may be asked at once, and one more.
        processing_deadline: How long a task may be in ``PROCESSING``.
        total_deadline: How long a task may take from when we start to wait for it, its time in the
            queue included.
    """

    price: float = field(default=0.15, validator=_positive)
    min_interval: float = field(default=0.25, validator=_not_tiny)
    max_interval: float = field(default=10, validator=_positive)
    polls_per_second: float = field(default=20, validator=_not_tiny)
    processing_deadline: float = field(default=600, validator=_positive)
    total_deadline: float = field(default=1800, validator=_positive)

    def __attrs_post_init__(self) -> None:
        if self.min_interval > self.max_interval:
            raise ValueError("Polling.min_interval must not be above Polling.max_interval.")


@frozen(kw_only=True)
class Retries:
    """What is tried again, and how often.

    Attributes:
        attempts: How often one call is tried when it certainly did not happen (or may be repeated).
        max_wait: Longest pause between two tries in seconds; also the ceiling for ``Retry-After``.
        resubmit_unknown: Send a paid submit again even when the first one may have been paid.
            A person's decision: it can cost money twice.
    """

    attempts: int = field(default=5, validator=_at_least_one)
    max_wait: float = field(default=60, validator=_not_negative)
    resubmit_unknown: bool = False


@frozen(kw_only=True)
class Timeouts:
    """How long each phase may make no progress, in seconds. There is no total: large uploads are fine.

    Attributes:
        connect: DNS, TCP and TLS.
        upload_stall: A submit's body, from one piece taken by the server to the next.
        submit_reply: From the last byte sent to the answer.
        poll: One status call, whole.
        download_stall: A result picture, from one piece to the next.
        cancel_grace: How long a cancelled caller, or ``close()``, waits for the id of a submit that
            may already be paid.
    """

    connect: float = field(default=10, validator=_positive)
    upload_stall: float = field(default=30, validator=_positive)
    submit_reply: float = field(default=120, validator=_positive)
    poll: float = field(default=30, validator=_positive)
    download_stall: float = field(default=30, validator=_positive)
    cancel_grace: float = field(default=3, validator=_not_negative)


def _proxy_text(value: object) -> str:
    """Return how a proxy is shown: its password stays hidden."""
    if not isinstance(value, str):
        return repr(value)
    try:
        return repr(str(URL(value).with_user(None)))
    except ValueError:
        return "'…'"


def _http_proxy(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    del instance, attribute
    try:
        url = URL(value) if isinstance(value, str) else URL()
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(
            f"Network.proxy must be an http:// or https:// address, got {_proxy_text(value)}."
        )


def _as_tuple(values: Iterable[Any]) -> tuple[Any, ...]:
    # Not `tuple` itself: type checkers would refuse every value.
    return tuple(values)


@frozen(kw_only=True)
class Network:
    """How connections are made.

    Attributes:
        proxy: ``http://[user:password@]host:port`` for everything, or None.
        proxy_from_env: Without ``proxy``, follow ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and
            ``NO_PROXY``. Nothing else of the environment is read (no ``.netrc``).
        ssl_context: For a private certificate authority; None is the system's.
        trace_configs: ``aiohttp.TraceConfig`` values. They see every header, the key included.
        allow_private_hosts: Let result addresses point into private networks, which is refused
            otherwise unless the base URL itself is local.
    """

    proxy: str | None = field(default=None, validator=_optional(_http_proxy), repr=_proxy_text)
    proxy_from_env: bool = True
    ssl_context: ssl.SSLContext | None = None
    trace_configs: tuple[Any, ...] = field(default=(), converter=_as_tuple)
    allow_private_hosts: bool = False
