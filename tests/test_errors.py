"""One tree of errors, drawn where it is defined, that travels whole."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import attrs
import pytest

from ppinfra_async import Img2Img, errors
from ppinfra_async._showing import shown
from ppinfra_async.errors import PPInfraError, Violation

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, BaseException)
]
REQUEST = Img2Img(model_name="m", image=b"abc", prompt="p")

# One value for each field, none of them its default.
VALUES: dict[str, Any] = {
    "message": "It went wrong.",
    "task_id": "t1",
    "trace_id": "trace",
    "billed": "yes",
    "retryable": True,
    "violations": (Violation("width", 5, "must be 128…2048"),),
    "retry_after": 7.5,
    "status": 503,
    "reason": "BECAUSE",
    "body": "<html>",
    "request": REQUEST,
    "task": object(),
    "index": 3,
    "result": {"images": [1]},
}

TREE = {
    "PPInfraError": None,
    "InvalidRequestError": "PPInfraError",
    "ContentRejectedError": "PPInfraError",
    "AccountError": "PPInfraError",
    "InvalidKeyError": "AccountError",
    "InsufficientBalanceError": "AccountError",
    "NotAllowedError": "AccountError",
    "RateLimitedError": "PPInfraError",
    "NotSentError": "PPInfraError",
    "ServiceError": "PPInfraError",
    "ProtocolError": "PPInfraError",
    "SubmitOutcomeUnknownError": "PPInfraError",
    "TaskFailedError": "PPInfraError",
    "TaskNotFoundError": "PPInfraError",
    "TaskTimeoutError": "PPInfraError",
    "ImageError": "PPInfraError",
    "DownloadError": "ImageError",
    "BadImageError": "ImageError",
    "ResultExpiredError": "ImageError",
    "IncompleteResultError": "ImageError",
}


def fields_of(kind: type[PPInfraError]) -> list[str]:
    return [field.name for field in attrs.fields(kind)]


def full(kind: type[PPInfraError]) -> PPInfraError:
    return kind(**{name: VALUES[name] for name in fields_of(kind)})


def drawn_tree() -> dict[str, str | None]:
    """Read the drawing in the module's docstring: each class with the one above it."""
    tree: dict[str, str | None] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        name = line.lstrip(" │├└─").split(" ")[0]
        if name.endswith("Error") and line.startswith("    "):
            depth = (len(line) - len(line.lstrip(" │├└─"))) // 4 - 1
            above[depth:] = [name]
            tree[name] = above[depth - 1] if depth else None
    return tree


def test_the_tree() -> None:
    """Every class is where the caller's next step puts it."""
    bases = {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES}

    assert bases == {**TREE, "PPInfraError": "Exception"}


def test_the_drawing_shows_the_tree() -> None:
    """Nothing is drawn that is not there, or somewhere else."""
    assert drawn_tree() == TREE


@pytest.mark.parametrize("kind", CLASSES)
def test_a_class_explains_itself(kind: type[PPInfraError]) -> None:
    """It is one of ours, has a sentence, and names each attribute of its own."""
    inherited = [name for base in kind.__mro__[1:] for name in getattr(base, "__annotations__", ())]
    own = set(fields_of(kind)) - set(inherited)

    assert issubclass(kind, PPInfraError)
    assert kind.__doc__ is not None
    assert len(kind.__doc__.split()) > 4
    assert all(f"{name}:" in kind.__doc__ for name in own)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("travel", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])  # noqa: S301  # our own bytes
def test_an_error_travels_whole(kind: type[PPInfraError], travel: Any) -> None:
    """Copied or pickled, it has all attributes; only a live task handle stays behind."""
    error = full(kind)

    arrived = travel(error)

    assert type(arrived) is kind
    assert arrived is not error
    for name in fields_of(kind):
        expected = None if name == "task" else VALUES[name]
        assert getattr(arrived, name) == expected
    assert str(arrived) == str(error)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_may_be_made_of_nothing(kind: type[PPInfraError]) -> None:
    """Every attribute has a default, and the default travels, too."""
    arrived = pickle.loads(pickle.dumps(kind()))  # noqa: S301  # our own bytes

    assert (arrived.message, arrived.task_id, arrived.trace_id) == ("", None, None)
    assert arrived.billed in {"no", "yes", "unknown"}


@pytest.mark.parametrize("kind", CLASSES)
def test_text_has_the_facts(kind: type[PPInfraError]) -> None:
    """Task id, trace id and what was billed are in what a log shows."""
    assert str(full(kind)) == "It went wrong. [task t1, trace trace, billed: yes]"
    assert str(kind("No ids.", billed="no")) == "No ids. [billed: no]"


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_is_itself_only(kind: type[PPInfraError]) -> None:
    """Two of the same content are two errors, and can be told apart in a set."""
    assert full(kind) != full(kind)
    assert len({full(kind), full(kind)}) == 2


DEFAULTS = {
    "InvalidRequestError": ("no", False),
    "ContentRejectedError": ("no", False),
    "InvalidKeyError": ("no", False),
    "InsufficientBalanceError": ("no", False),
    "NotAllowedError": ("no", False),
    "RateLimitedError": ("no", True),
    "NotSentError": ("no", True),
    "ServiceError": ("no", False),
    "ProtocolError": ("no", False),
    "SubmitOutcomeUnknownError": ("unknown", False),
    "TaskFailedError": ("unknown", False),
    "TaskNotFoundError": ("unknown", False),
    "TaskTimeoutError": ("yes", True),
    "ImageError": ("yes", False),
    "DownloadError": ("yes", True),
    "BadImageError": ("yes", False),
    "ResultExpiredError": ("yes", False),
    "IncompleteResultError": ("yes", True),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_is_known_of_the_money(name: str) -> None:
    """A class says what it usually means for the bill and for trying again."""
    error = getattr(errors, name)("x")

    assert (error.billed, error.retryable) == DEFAULTS[name]


def test_a_timeout_is_a_timeout() -> None:
    """`except TimeoutError` catches it, and its text is ours."""
    with pytest.raises(TimeoutError, match="It goes on"):
        raise errors.TaskTimeoutError("It goes on", task_id="t1")


def test_values_of_live_things_are_not_shown() -> None:
    """Requests, tasks and results stay out of `repr`."""
    unknown = errors.SubmitOutcomeUnknownError("x", request=REQUEST)

    assert "Img2Img" not in repr(unknown)
    assert "object" not in repr(errors.TaskTimeoutError("x", task=object()))
    assert "secret" not in repr(errors.IncompleteResultError("x", result="secret"))


def test_an_invalid_request_says_everything_at_once() -> None:
    """All violations, as data and in one sentence."""
    violations = [
        Violation("width", 5, "must be 128…2048"),
        Violation("prompt", "", "must be text"),
    ]

    error = errors.InvalidRequestError.of("Img2Img", iter(violations))

    assert error.violations == tuple(violations)
    assert error.message == (
        "Img2Img is not valid: width: must be 128…2048, got 5; prompt: must be text, got ''."
    )


@pytest.mark.parametrize("value", [5, "cat", None, lambda: 1, b"bytes", object()])
def test_broken_rule_travels_whatever_was_given(value: object) -> None:
    """An open file or a function cannot be pickled; what it looked like can."""
    error = errors.InvalidRequestError.of("Img2Img", [Violation("image", value, "must be one")])

    told = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes

    assert (told.message, str(told.violations[0])) == (error.message, str(error.violations[0]))
    assert copy.deepcopy(error.violations[0]).value is value
    assert (told.violations[0].path, told.violations[0].rule) == ("image", "must be one")
    plain = isinstance(value, int | str | None)
    assert told.violations[0].value == (value if plain else shown(value))


def test_timeout_keeps_its_notes_and_not_its_handle() -> None:
    """What was added to explain it travels; what belongs to a live client does not."""
    error = errors.TaskTimeoutError("x", task_id="t", billed="unknown", task=object())
    error.add_note("a note")

    for told in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  # our own
        assert (told.task_id, told.billed, told.task) == ("t", "unknown", None)
        assert told.__notes__ == ["a note"]


class Stubborn:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        ("a" * 60, "'" + "a" * 60 + "'"),
        ("a" * 2000, "'" + "a" * 60 + "'… (2,000 characters)"),
        (b"\0" * 1000, "<1,000 bytes>"),
        ([1] * 30, "[" + "1, " * 19 + "1,…"),
        (10**5000, "<int>"),
        (Stubborn(), "<Stubborn>"),
        (Path("a" * 100), "'" + "a" * 100 + "'"),
    ],
    ids=lambda value: str(type(value)),
)
def test_values_are_shown_short(value: object, text: str) -> None:
    """No value can make a message unreadable, or fail; only paths are never cut."""
    assert shown(value) == text
    assert str(Violation("field", value, "must be x")) == f"field: must be x, got {text}"
