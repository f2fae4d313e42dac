"""Every error this package raises about the service, one tree; refuses to do anything but describe.

Branches are what the caller does next, not HTTP codes::

    PPInfraError                      .task_id .trace_id .billed .retryable
    ├── InvalidRequestError           fix the request: .violations (path, value, rule)
    ├── ContentRejectedError          change the prompt or the picture
    ├── AccountError                  see to the account
    │   ├── InvalidKeyError           the key is missing or wrong: dooms every request
    │   ├── InsufficientBalanceError  top up: dooms every request
    │   └── NotAllowedError           this model or endpoint only: verify the account, or use another
    ├── RateLimitedError              wait .retry_after seconds
    ├── NotSentError                  nothing reached the service: try again
    ├── ServiceError                  the service answered that it could not
    ├── ProtocolError                 the service answered something we cannot read
    ├── SubmitOutcomeUnknownError     .request may have been paid; look before sending it again
    ├── TaskFailedError               the service gave up on the task: .reason
    ├── TaskNotFoundError             the service does not know this task id (any more)
    ├── TaskTimeoutError              the task goes on and is billed: attach again, .task
    └── ImageError                    the task is done, a picture of it could not be had
        ├── DownloadError             the bytes did not arrive: read the result again
        ├── BadImageError             the bytes are not the picture promised
        ├── ResultExpiredError        the address is no longer served
        └── IncompleteResultError     some pictures are missing; .result holds the others

``billed`` is what we know of the money: ``"no"``, ``"yes"`` or ``"unknown"``.
PPInfra documents no price field and no rule for failed tasks, so a task that was accepted counts as
``"yes"``, and one that failed afterwards as ``"unknown"``.

Every error can be copied and pickled; what belongs to a live client (``TaskTimeoutError.task``) stays behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from attrs import define, field, frozen

from ppinfra_async._showing import shown

Billed = Literal["no", "yes", "unknown"]


class _AsShown(str):
    """A value that could not travel, as it was shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@frozen
class Violation:
    """One broken rule of a request.

    Attributes:
        path: Where, in the names a person typed: ``width``, ``loras[1].strength``.
        value: What was given.
        rule: What is allowed, as a sentence part: ``must be 128…2048``.
    """

    path: str
    value: object
    rule: str

    def __str__(self) -> str:
        value = self.value if isinstance(self.value, _AsShown) else shown(self.value)
        return f"{self.path}: {self.rule}, got {value}"

    def __reduce__(self) -> tuple[type[Violation], tuple[str, object, str]]:
        # Anything may have been given, an open file or a lambda too; plain values travel as they are.
        is_plain = isinstance(self.value, str | int | float | bool | None)
        value = self.value if is_plain else _AsShown(shown(self.value))
        return (type(self), (self.path, value, self.rule))

    def __deepcopy__(self, memo: object) -> Violation:
        # Frozen, and what was given stays what it is.
        return self


@define(slots=False, eq=False)
class PPInfraError(Exception):
    """Root of everything this package raises about a request, a task or an image.

    Attributes:
        message: What happened and what to do next, one or two sentences.
        task_id: The service's id of the task, as soon as there is one.
        trace_id: The service's ``x-trace-id``; its support asks for it.
        billed: Whether money was spent, as far as we know.
        retryable: True when the same call may succeed later without paying twice.
    """

    message: str = ""
    task_id: str | None = None
    trace_id: str | None = None
    billed: Billed = "no"
    retryable: bool = False

    def __str__(self) -> str:
        facts = [f"task {self.task_id}"] if self.task_id else []
        facts += [f"trace {self.trace_id}"] if self.trace_id else []
        facts.append(f"billed: {self.billed}")
        return f"{self.message} [{', '.join(facts)}]"


@define(slots=False, eq=False)
class InvalidRequestError(PPInfraError):
    """The request breaks a rule, found by us before sending or by the service; nothing was paid.

    Attributes:
        violations: All broken rules that we found; empty when the service refused the request.
    """

    violations: tuple[Violation, ...] = ()

    @classmethod
    def of(cls, what: str, violations: Iterable[Violation]) -> InvalidRequestError:
        """Make the error from all broken rules of *what* (a class name) at once."""
        violations = tuple(violations)
        lines = "; ".join(map(str, violations))
        return cls(f"{what} is not valid: {lines}.", violations=violations)


@define(slots=False, eq=False)
class ContentRejectedError(PPInfraError):
    """The service refuses the prompt or the picture (``ILLEGAL_PROMPT``, ``ILLEGAL_IMAGE_CONTENT``)."""


@define(slots=False, eq=False)
class AccountError(PPInfraError):
    """Something about the account must be seen to before this can work."""


@define(slots=False, eq=False)
class InvalidKeyError(AccountError):
    """The API key is missing or wrong. Every further request would fail the same way."""


@define(slots=False, eq=False)
class InsufficientBalanceError(AccountError):
    """The balance does not cover the request. Every further request would fail the same way."""


@define(slots=False, eq=False)
class NotAllowedError(AccountError):
    """This account may not use this model or endpoint, for example before real-name verification."""


@define(slots=False, eq=False)
class RateLimitedError(PPInfraError):
    """The service kept answering 429 for longer than we wait.

    Attributes:
        retry_after: Seconds the service asked to wait, or None when it did not say.
    """

    retryable: bool = True
    retry_after: float | None = None


@define(slots=False, eq=False)
class NotSentError(PPInfraError):
    """The request did not reach the service as a whole, so nothing was paid."""

    retryable: bool = True


@define(slots=False, eq=False)
class ServiceError(PPInfraError):
    """The service understood the call and answered that it could not do it.

    Attributes:
        status: HTTP status of the answer.
        reason: The service's ``reason``, such as ``CREATE_TASK_FAILED``.
    """

    status: int | None = None
    reason: str = ""


@define(slots=False, eq=False)
class ProtocolError(PPInfraError):
    """The service answered something that cannot be read as what it documents.

    Attributes:
        status: HTTP status of the answer.
        body: Its beginning, as text.
    """

    status: int | None = None
    body: str = ""


@define(slots=False, eq=False)
class SubmitOutcomeUnknownError(PPInfraError):
    """The request was handed over completely, and what became of it is not known.

    It is never sent again by itself: the service has no idempotency key, so a second submit could
    be paid a second time.

    Attributes:
        request: What was submitted.
    """

    billed: Billed = "unknown"
    request: Any = field(default=None, repr=False)


@define(slots=False, eq=False)
class TaskFailedError(PPInfraError):
    """The service ended the task without a usable result.

    Attributes:
        reason: The service's own words (``task.reason``).
    """

    billed: Billed = "unknown"
    reason: str = ""


@define(slots=False, eq=False)
class TaskNotFoundError(PPInfraError):
    """The service does not know the task id: it is wrong, or too old to be kept."""

    billed: Billed = "unknown"


@define(slots=False, eq=False)
class TaskTimeoutError(PPInfraError, TimeoutError):
    """We stopped waiting; the task itself goes on at the service and is billed.

    Attributes:
        task: The handle; ``await error.task`` goes on waiting. None after pickling.
    """

    billed: Billed = "yes"
    retryable: bool = True
    task: Any = field(default=None, repr=False)

    def __reduce__(self) -> tuple[type[TaskTimeoutError], tuple[object, ...], dict[str, Any]]:
        # The handle belongs to a live client and an event loop; neither travels. Notes do.
        fields = (self.message, self.task_id, self.trace_id, self.billed, self.retryable)
        return (type(self), fields, {**vars(self), "task": None})


@define(slots=False, eq=False)
class ImageError(PPInfraError):
    """The task is done and paid, and a picture of it could not be had.

    Attributes:
        index: Position in the result's list, from 0; None when all are concerned.
    """

    billed: Billed = "yes"
    index: int | None = None


@define(slots=False, eq=False)
class DownloadError(ImageError):
    """The picture's bytes did not arrive. The result can be read again while the service keeps it."""

    retryable: bool = True


@define(slots=False, eq=False)
class BadImageError(ImageError):
    """What arrived is not the picture that was promised: an error page, cut short, or too large."""


@define(slots=False, eq=False)
class ResultExpiredError(ImageError):
    """The picture's address is no longer served (an hour after signing, as documented)."""


@define(slots=False, eq=False)
class IncompleteResultError(ImageError):
    """At least one listed picture could not be had.

    Attributes:
        result: Everything that did arrive, with ``failed`` naming the rest.
    """

    retryable: bool = True
    result: Any = field(default=None, repr=False)
