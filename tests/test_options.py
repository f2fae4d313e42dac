"""Option groups: defaults that are right, bounds that name themselves."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from ppinfra_async import Limits, Network, Polling, Retries, Timeouts

NOT_NUMBERS: list[Any] = ["5", None, True, False, [], float("nan"), float("inf"), float("-inf"),
                          10**400, -(10**400)]  # fmt: skip

POSITIVE: list[tuple[Any, str]] = [
    *((Polling, name) for name in (
        "price", "min_interval", "polls_per_second", "processing_deadline", "total_deadline",
    )),
    *((Timeouts, name) for name in (
        "connect", "upload_stall", "submit_reply", "poll", "download_stall",
    )),
]  # fmt: skip
NOT_NEGATIVE = [(Retries, "max_wait"), (Timeouts, "cancel_grace"), (Limits, "max_wait")]
AT_LEAST_ONE = [(Retries, "attempts"), (Limits, "images_per_minute")]
OPTIONAL = {(Limits, "max_wait")}


def refused(group: Any, name: str, value: Any) -> None:
    """Check that *value* is refused in a sentence that names the option."""
    with pytest.raises(ValueError, match=rf"^{group.__name__}\.{name} must be ") as caught:
        group(**{name: value})
    assert "got " in str(caught.value)


def test_defaults() -> None:
    """What a client does when nobody says anything."""
    assert Limits() == Limits(images_per_minute="auto", max_wait=None)
    assert Polling() == Polling(
        price=0.15,
        min_interval=0.25,
        max_interval=10,
        polls_per_second=20,
        processing_deadline=600,
        total_deadline=1800,
    )
    assert Retries() == Retries(attempts=5, max_wait=60, resubmit_unknown=False)
    assert Timeouts() == Timeouts(
        connect=10, upload_stall=30, submit_reply=120, poll=30, download_stall=30, cancel_grace=3
    )
    assert Network() == Network(
        proxy=None,
        proxy_from_env=True,
        ssl_context=None,
        trace_configs=(),
        allow_private_hosts=False,
    )


@pytest.mark.parametrize(("group", "name"), POSITIVE)
def test_numbers_above_zero(group: Any, name: str) -> None:
    """Neither zero nor less, nor what is no number."""
    for value in (1e-3, 1, 5.5, 10):
        assert getattr(group(**{name: value}), name) == value
    for value in (0, 0.0, -1, -0.5, *NOT_NUMBERS):
        refused(group, name, value)


@pytest.mark.parametrize(("group", "name"), NOT_NEGATIVE)
def test_numbers_from_zero(group: Any, name: str) -> None:
    """Zero is allowed: not to wait is a wish one may have."""
    for value in (0, 0.0, 1, 5.5, 1e6):
        assert getattr(group(**{name: value}), name) == value
    for value in (-1, -1e-9, *NOT_NUMBERS):
        if not (value is None and (group, name) in OPTIONAL):
            refused(group, name, value)


@pytest.mark.parametrize(("group", "name"), AT_LEAST_ONE)
def test_whole_numbers_from_one(group: Any, name: str) -> None:
    """Halves and words are refused; only the quota may be found out."""
    for whole in (1, 2, 10**6):
        assert getattr(group(**{name: whole}), name) == whole
    for value in (0, -1, 1.0, 1.5, "AUTO", "10", True, None, float("nan")):
        refused(group, name, value)


def test_the_longest_interval() -> None:
    """It is a number above 0 and not below the shortest one."""
    assert Polling(min_interval=3, max_interval=3).max_interval == 3
    with pytest.raises(ValueError, match=r"Polling\.min_interval must not be above"):
        Polling(min_interval=3, max_interval=2.9)
    with pytest.raises(ValueError, match=r"Polling\.min_interval must not be above"):
        Polling(min_interval=11)
    for value in (0, -1, *NOT_NUMBERS):
        refused(Polling, "max_interval", value)


@pytest.mark.parametrize("group", [Limits, Polling, Retries, Timeouts, Network])
def test_groups_are_frozen_values(group: Any) -> None:
    """Keyword-only, equal by content, never changed."""
    name = next(iter(group.__attrs_attrs__)).name

    assert group() == group()
    assert hash(group()) == hash(group())
    with pytest.raises(TypeError):
        group(1)
    with pytest.raises(AttributeError):
        setattr(group(), name, None)


@pytest.mark.parametrize(
    "proxy",
    ["http://proxy", "http://proxy:3128", "https://proxy:3128/", "http://user:pass@10.0.0.1:3128"],
)
def test_a_proxy(proxy: str) -> None:
    """By http or https, with or without a user; kept as it was given."""
    assert Network(proxy=proxy).proxy == proxy


@pytest.mark.parametrize(
    "proxy",
    ["", "proxy", "proxy:3128", "socks5://proxy:1080", "http://", "http:proxy", "//proxy:3128",
     "http://[::1", "http://proxy:port", 5, b"http://proxy", ["http://proxy"]],
)  # fmt: skip
def test_what_is_no_http_proxy_is_refused(proxy: Any) -> None:
    """In a sentence that names the option."""
    refused(Network, "proxy", proxy)


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://user:secret@proxy:3128", "proxy='http://proxy:3128'"),
        ("http://secret@proxy:3128", "proxy='http://proxy:3128'"),
        ("http://proxy:3128", "proxy='http://proxy:3128'"),
        (None, "proxy=None"),
    ],
)
def test_repr_hides_the_proxys_user_and_password(proxy: str | None, shown: str) -> None:
    """A log that shows the options shows no secret."""
    assert shown in repr(Network(proxy=proxy))
    assert "secret" not in repr(Network(proxy=proxy))


@pytest.mark.parametrize(
    "proxy",
    ["socks5://user:secret@proxy:1080", "user:secret@proxy:3128", "http://user:secret@",
     "http://user:secret@[::1", "http://user:secret@proxy:port", "http:/user:secret@proxy"],
)  # fmt: skip
def test_a_refused_proxy_keeps_its_secret(proxy: str) -> None:
    """Also an address that is not understood may hold a password."""
    with pytest.raises(ValueError, match=r"Network\.proxy") as caught:
        Network(proxy=proxy)

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_trace_configs_become_a_tuple() -> None:
    """A list that is changed later does not change the options."""
    configs = [object()]
    network = Network(trace_configs=configs)
    configs.clear()

    assert len(network.trace_configs) == 1


def test_a_private_certificate_authority() -> None:
    """The context is kept as it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    assert Network(ssl_context=context).ssl_context is context
