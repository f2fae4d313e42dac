"""Says what went wrong in sentences for the command line; refuses to print them.

A sentence says what happened, whether money was spent, and what to do next. What the package says to
programmers (``fit=``, ``api_key=``, ``error.task``) is said here in the command line's own words.
"""

from __future__ import annotations

import os
import re
from enum import IntEnum

from ppinfra_async import errors
from ppinfra_async.errors import InvalidRequestError, PPInfraError, Violation


def command_name() -> str:
    """Return how the command was called, for commands that a person copies."""
    # Set by `uv run`, which puts the command on nobody's path.
    return "uv run ppinfra" if "UV_RUN_RECURSION_DEPTH" in os.environ else "ppinfra"


class ExitCode(IntEnum):
    """What ``ppinfra`` ends with. ``EXIT_CODES`` is the same for people."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    ACCOUNT = 3
    PAID_NOT_HERE = 4
    SERVICE = 5
    BUG = 70
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


EXIT_CODES = """\
- 0: everything is done.
- 1: jobs failed; the service gave up on them or refused them.
- 2: usage or bad input; nothing was paid.
- 3: the account; key, balance or permission.
- 4: something is paid, or may be, and is not here; look before you run it again.
- 5: the service or the network; nothing was paid.
- 70: a bug in ppinfra itself.
- 129: the terminal was closed; what is paid is listed with how to fetch it.
- 130: the same after Ctrl-C.
- 143: the same after SIGTERM."""


class CommandError(Exception):
    """Something given on the command line cannot be used. The message is for people, and complete.

    Attributes:
        code: What to exit with.
    """

    def __init__(self, message: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.code = code


class UnwritableError(OSError):
    """A picture that is paid could not be written. The message is for people, and complete."""


# The first match counts, so a special case stands before the general one.
_CODES: dict[type[BaseException], ExitCode] = {
    errors.AccountError: ExitCode.ACCOUNT,
    errors.SubmitOutcomeUnknownError: ExitCode.PAID_NOT_HERE,
    errors.ImageError: ExitCode.PAID_NOT_HERE,
    errors.TaskTimeoutError: ExitCode.PAID_NOT_HERE,
    errors.InvalidRequestError: ExitCode.USAGE,
    errors.NotSentError: ExitCode.SERVICE,
    errors.ServiceError: ExitCode.SERVICE,
    errors.ProtocolError: ExitCode.SERVICE,
    errors.RateLimitedError: ExitCode.SERVICE,
    PPInfraError: ExitCode.SOME_FAILED,
    OSError: ExitCode.SOME_FAILED,
}


def exit_code(error: BaseException) -> ExitCode:
    """Return what one error alone ends the command with."""
    if isinstance(error, CommandError):
        return error.code
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), ExitCode.BUG)
    has_task = getattr(error, "task_id", None) is not None
    if isinstance(error, errors.TaskNotFoundError) and error.billed == "yes":
        return ExitCode.PAID_NOT_HERE
    if isinstance(error, errors.TaskTimeoutError) and not has_task:
        return ExitCode.SERVICE
    # That code promises that nothing was paid.
    return ExitCode.PAID_NOT_HERE if code is ExitCode.SERVICE and has_task else code


# What must not be overlooked wins over what is merely wrong.
_WEIGHT = (
    ExitCode.PAID_NOT_HERE,
    ExitCode.BUG,
    ExitCode.ACCOUNT,
    ExitCode.SOME_FAILED,
    ExitCode.USAGE,
    ExitCode.SERVICE,
)


def exit_code_of_all(found: list[BaseException], *, done: int) -> ExitCode:
    """Return what the command ends with when *done* jobs were done and the others failed so."""
    codes = {_exit_code_of_job(error) for error in found}
    if not codes:
        return ExitCode.DONE
    worst = next(code for code in _WEIGHT if code in codes)
    if done and worst in {ExitCode.SERVICE, ExitCode.USAGE}:
        # Those two promise that nothing was paid.
        return ExitCode.SOME_FAILED
    return worst


def _exit_code_of_job(error: BaseException) -> ExitCode:
    if isinstance(error, OSError) and not isinstance(error, PPInfraError):
        # A picture that is paid could not be written.
        return ExitCode.PAID_NOT_HERE
    return exit_code(error)


def sentence(error: BaseException) -> str:
    """Return what a person should read about *error*: what, whether it was paid, what next."""
    match error:
        case CommandError():
            return str(error)
        case InvalidRequestError(violations=violations) if violations:
            return f"{'; '.join(map(violation, violations))}. Nothing was sent or paid."
        case errors.TaskTimeoutError(task_id=str()):
            return _about_timeout(error)
        case errors.TaskNotFoundError(task_id=str(), billed="unknown"):
            return (
                f"The service does not know the task {error.task_id}: the id is wrong, of another "
                "account, or too old to be kept."
            )
        case PPInfraError():
            return _about_service(error)
        case OSError():
            return os_sentence(error)
    return f"This is a bug in ppinfra: {type(error).__name__}: {error}. --debug shows where."


def _about_timeout(error: errors.TaskTimeoutError) -> str:
    what = error.message.partition(". ")[0].rstrip(".")
    if error.billed == "unknown":
        return f"{what}. Whether there is a task {error.task_id} is not known."
    return f"{what}. The task {error.task_id} goes on at the service and is paid."


def _about_service(error: PPInfraError) -> str:
    text = error.message
    for pattern, words in _OTHER_WORDS.items():
        text = re.sub(pattern, words, text)
    if "paid" not in text and "billed" not in text:
        text = f"{text} {_PAID[error.billed]}"
    return f"{text} (trace {error.trace_id})" if error.trace_id else text


_PAID = {
    "no": "Nothing was paid for it.",
    "yes": "It is paid.",
    "unknown": "It may have been paid.",
}

_OTHER_WORDS = {
    r"ask for scaling with fit=(\d+)": r"add --fit \1 to scale it down",
    r"The error's \.result holds the others; attach to the task to try again\.": (
        "Any others are saved."
    ),
    r" \(Limits\.max_wait\)": "",
    r"(?<=model )(\S+) not allowed\.": r"\1 not allowed. `ppinfra models` lists what there is.",
}


def violation(broken: Violation) -> str:
    """Return one broken rule in the command line's words, without a full stop."""
    rule = broken.rule
    for pattern, words in _OTHER_WORDS.items():
        rule = re.sub(pattern, words, rule)
    name = broken.path.partition("[")[0]
    if name == "image":
        return f"{broken.value}: {rule}"
    flag = "--" + _FLAGS.get(name, name).replace("_", "-")
    return f"{flag} {rule}, got {_given(broken.value)}"


# Fields whose option is not called like them.
_FLAGS = {"model_name": "model", "loras": "lora", "embeddings": "embedding"}
_LONG = 60


def _given(value: object) -> str:
    if isinstance(value, str) and len(value) > _LONG:
        return f"{len(value)} characters"
    return repr(value)


def os_sentence(error: OSError) -> str:
    """Return what went wrong with a file or a port."""
    if isinstance(error, UnwritableError):
        return str(error)
    what = error.strerror or str(error)
    return f"{error.filename}: {what}." if error.filename else f"{what}."


def one_line(text: str) -> str:
    """Return *text* fit for a terminal: what a stranger wrote cannot move the cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
