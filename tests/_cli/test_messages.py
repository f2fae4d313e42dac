"""Sentences and exit codes."""

from __future__ import annotations

import errno
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppinfra_async import errors
from ppinfra_async._cli._messages import (
    EXIT_CODES,
    CommandError,
    ExitCode,
    UnwritableError,
    exit_code,
    exit_code_of_all,
    one_line,
    sentence,
    violation,
)
from ppinfra_async.errors import InvalidRequestError, PPInfraError, Violation


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("which?"), 2),
        (CommandError("no key", ExitCode.ACCOUNT), 3),
        (InvalidRequestError("bad"), 2),
        (errors.InvalidKeyError("key"), 3),
        (errors.InsufficientBalanceError("balance"), 3),
        (errors.NotAllowedError("permission"), 3),
        (errors.SubmitOutcomeUnknownError("cut"), 4),
        (errors.TaskTimeoutError("slow", task_id="t"), 4),
        (errors.IncompleteResultError("one of two", task_id="t"), 4),
        (errors.DownloadError("cut", task_id="t"), 4),
        (errors.TaskTimeoutError("no turn"), 5),
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (errors.ServiceError("status", task_id="t"), 4),
        (errors.ServiceError("submit"), 5),
        (errors.NotSentError("no connection"), 5),
        (errors.RateLimitedError("429"), 5),
        (errors.ProtocolError("HTML"), 5),
        (errors.TaskFailedError("gave up", task_id="t"), 1),
        (errors.TaskNotFoundError("unknown", task_id="t"), 1),
        (errors.ContentRejectedError("illegal"), 1),
        (ZeroDivisionError("bug"), 70),
    ],
)
def test_every_error_has_an_exit_code(error: Exception, code: int) -> None:
    """What a script must do next decides the code."""
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("found", "done", "code"),
    [
        ([], 3, 0),
        ([errors.TaskFailedError("x")], 2, 1),
        ([errors.NotSentError("x")], 0, 5),
        ([errors.NotSentError("x")], 1, 1),
        ([OSError("a paid picture that could not be written")], 5, 4),
        ([InvalidRequestError("x")], 0, 2),
        ([InvalidRequestError("x")], 1, 1),
        ([InvalidRequestError("x"), errors.NotSentError("x")], 0, 2),
        ([errors.InvalidKeyError("x"), errors.NotSentError("x")], 1, 3),
        ([errors.InvalidKeyError("x"), errors.SubmitOutcomeUnknownError("x")], 5, 4),
        ([errors.TaskFailedError("x"), errors.TaskTimeoutError("x", task_id="t")], 5, 4),
    ],
)
def test_what_must_not_be_overlooked_wins(found: list[BaseException], done: int, code: int) -> None:
    """Money in doubt beats the account, which beats failures; 2 and 5 promise that nothing was paid."""
    assert exit_code_of_all(found, done=done) == code


def test_all_exit_codes_are_documented() -> None:
    """The help names every code and no other."""
    documented = [int(number) for number in re.findall(r"^- (\d+):", EXIT_CODES, re.MULTILINE)]
    assert documented == [code.value for code in ExitCode]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (
            Violation("width", 100, "must be a whole number in 128…2048"),
            "--width must be a whole number in 128…2048, got 100",
        ),
        (Violation("model_name", "", "must be text"), "--model must be text, got ''"),
        (
            Violation("prompt", "x" * 2000, "must be text of 1…1024 characters"),
            "--prompt must be text of 1…1024 characters, got 2000 characters",
        ),
        (
            Violation("loras", 6, "must have at most 5 items"),
            "--lora must have at most 5 items, got 6",
        ),
        (
            Violation("embeddings[1].model_name", "", "must be text"),
            "--embedding must be text, got ''",
        ),
        (
            Violation(
                "image", "big.png (4000 × 3000)", "at most 2048: ask for scaling with fit=2048"
            ),
            "big.png (4000 × 3000): at most 2048: add --fit 2048 to scale it down",
        ),
    ],
)
def test_a_broken_rule_names_the_option_as_it_is_typed(broken: Violation, words: str) -> None:
    """Not the field of the package, and for a picture its file."""
    assert violation(broken) == words


def test_all_broken_rules_are_one_sentence() -> None:
    """Several violations stand side by side, and the money is mentioned once."""
    error = InvalidRequestError.of(
        "Img2Img", [Violation("steps", 0, "must be 1…100"), Violation("seed", -2, "must be ≥ -1")]
    )
    assert sentence(error) == (
        "--steps must be 1…100, got 0; --seed must be ≥ -1, got -2. Nothing was sent or paid."
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CommandError("Which picture?"), "Which picture?"),
        (
            errors.InsufficientBalanceError("The balance is not enough.", trace_id="abc"),
            "The balance is not enough. Nothing was paid for it. (trace abc)",
        ),
        (
            errors.NotSentError("It was not sent: no connection. Nothing was paid; try again."),
            "It was not sent: no connection. Nothing was paid; try again.",
        ),
        (
            errors.TaskFailedError("The task failed: out of memory.", task_id="t"),
            "The task failed: out of memory. It may have been paid.",
        ),
        (
            errors.DownloadError("Image 0 could not be downloaded: cut short.", task_id="t"),
            "Image 0 could not be downloaded: cut short. It is paid.",
        ),
        (
            errors.TaskTimeoutError("Not done after 5 s. It goes on; await .task.", task_id="t-1"),
            "Not done after 5 s. The task t-1 goes on at the service and is paid.",
        ),
        (
            errors.TaskTimeoutError("Not done after 5 s.", task_id="t-1", billed="unknown"),
            "Not done after 5 s. Whether there is a task t-1 is not known.",
        ),
        (
            errors.TaskNotFoundError("It is gone.", task_id="t-1", billed="yes"),
            "It is gone. It is paid.",
        ),
        (UnwritableError("It could not be written."), "It could not be written."),
        (
            errors.TaskNotFoundError("404", task_id="t-1"),
            (
                "The service does not know the task t-1: the id is wrong, of another account, or "
                "too old to be kept."
            ),
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "out/cat-1.png"),
            "out/cat-1.png: Permission denied.",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device."),
        (
            InvalidRequestError("400: checkpoint model foo not allowed."),
            (
                "400: checkpoint model foo not allowed. `ppinfra models` lists what there is. "
                "Nothing was paid for it."
            ),
        ),
        (
            ZeroDivisionError("division by zero"),
            "This is a bug in ppinfra: ZeroDivisionError: division by zero. --debug shows where.",
        ),
    ],
)
def test_a_sentence_says_what_happened_to_the_money(error: Exception, words: str) -> None:
    """What, whether it was paid, and what to do next, in the command line's own words."""
    assert sentence(error) == words


@given(st.sampled_from(PPInfraError.__subclasses__()), st.sampled_from(["no", "yes", "unknown"]))
def test_every_error_of_the_package_speaks_of_money(
    kind: type[PPInfraError], billed: errors.Billed
) -> None:
    """No error leaves open whether something was paid."""
    assert "paid" in sentence(kind("Something happened.", billed=billed))


@given(st.text(st.characters()))
def test_what_a_stranger_wrote_stays_on_one_line(text: str) -> None:
    """Line breaks, escapes and control characters never reach the terminal."""
    line = one_line(text)
    assert len(line) == len(text)
    assert all(letter == " " or letter.isprintable() for letter in line)
