"""Rules for request fields."""

from __future__ import annotations

import json
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given

from ppinfra_async import Sampler
from ppinfra_async.requests._checks import as_dict, as_tuple, is_json, json_object, picture, text
from tests import strategies


@given(strategies.json_values)
def test_json_is_json(value: Any) -> None:
    """Whatever comes back the same from JSON text is plain JSON."""
    assert is_json(value)
    assert json.loads(json.dumps(value)) == value


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63) + 1, "", {}, [], (), ((),), Sampler.DDIM])
def test_edges_of_json(value: Any) -> None:
    """Both ends of 64 bits; tuples are lists; enums of text are text."""
    assert is_json(value)
    assert is_json({"key": [value]})


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63),
        float("nan"),
        float("inf"),
        1j,
        b"bytes",
        bytearray(b"a"),
        {1, 2},
        object(),
        int,
        "\ud800",
        {"\udfff": 1},
        {1: "number as a key"},
        {None: 1},
        iter([]),
        range(3),
    ],
    ids=lambda value: repr(value).split(" at ")[0],
)
def test_what_json_cannot_carry_exactly(value: Any) -> None:
    """At the top or far below."""
    assert not is_json(value)
    assert not is_json([{"key": (value,)}])


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"key": [value]}
    return value


def test_how_deep_json_may_be() -> None:
    """Deep enough for anybody, and not so deep that it could not be written."""
    endless: dict[str, Any] = {}
    endless["self"] = endless

    assert is_json(nested(40))
    assert not is_json(nested(60))
    assert not is_json(nested(5000))
    assert not is_json(endless)


def test_a_wrong_key_is_shown_in_its_path() -> None:
    """Also one that no text can hold."""
    found = list(json_object()("more", {"\ud800": 1, "fine": 1, "bad": {1}}))

    assert [violation.path for violation in found] == [r"more['\ud800']", "more['bad']"]


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
def test_mappings_become_dicts(kind: Any) -> None:
    """Of our own; anything else is left for the rule to report."""
    given_mapping = kind({"a": 1})

    assert as_dict(given_mapping) == {"a": 1}
    assert type(as_dict(given_mapping)) is dict
    assert as_dict(given_mapping) is not given_mapping
    assert as_dict([1]) == [1]
    assert as_dict(None) is None


def test_lists_become_tuples() -> None:
    """Anything else is left for the rule to report."""
    assert as_tuple([1, 2]) == (1, 2)
    assert as_tuple((1, 2)) == (1, 2)
    assert as_tuple("ab") == "ab"
    assert as_tuple(None) is None


def test_rules_do_not_raise() -> None:
    """One broken field must not hide the next."""
    for rule in (picture(), text(1), json_object()):
        for value in (None, object(), "", 5, [], float("nan"), 10**5000):
            assert len(list(rule("field", value))) == 1
