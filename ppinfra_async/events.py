"""What a client tells ``on_event`` while it works: frozen values; refuses to log or count them.

No event holds a key or a picture. The callback runs on the event loop, so it must not block; what it
raises is logged and goes no further, because a paid task must not die of a progress bar.
"""

from __future__ import annotations

from attrs import frozen

from ppinfra_async.errors import PPInfraError, SubmitOutcomeUnknownError
from ppinfra_async.requests import Request
from ppinfra_async.results import TaskResult, TaskUpdate


@frozen(kw_only=True)
class InputReencoded:
    """A picture is not sent byte for byte.

    Attributes:
        path: Which one, such as ``image``.
        name: Its file, or what it is.
        why: ``fit``, ``EXIF orientation``, such as ``GIF format``, or several of them.
        size: What is sent, in pixels.
    """

    path: str
    name: str
    why: str
    size: tuple[int, int]


@frozen(kw_only=True)
class SubmitDelayed:
    """A submit did not get through yet and will be sent again.

    Attributes:
        error: Why: ``RateLimitedError`` or ``NotSentError``, for which nothing was paid; with
            ``Retries.resubmit_unknown`` also ``SubmitOutcomeUnknownError``.
        wait: Seconds until the next try.
    """

    error: PPInfraError
    wait: float


@frozen(kw_only=True)
class TaskSubmitted:
    """The service accepted a request; it is paid from now on.

    Attributes:
        task_id: The service's id.
        request: What was asked, with its output size.
    """

    task_id: str
    request: Request


@frozen(kw_only=True)
class TaskAbandoned:
    """A task is paid, and its caller was cancelled meanwhile. It is in ``client.unfinished``.

    Attributes:
        task_id: The service's id.
    """

    task_id: str


@frozen(kw_only=True)
class SubmitAbandoned:
    """A submit may be paid, its caller was cancelled meanwhile, and no task id ever came.

    Attributes:
        error: What is known, with the request.
    """

    error: SubmitOutcomeUnknownError


@frozen(kw_only=True)
class TaskPolled:
    """The service said how a task stands.

    Attributes:
        update: What it said.
    """

    update: TaskUpdate


@frozen(kw_only=True)
class PollFailed:
    """A status call brought nothing; the task goes on waiting.

    Attributes:
        task_id: The service's id.
        error: Why.
    """

    task_id: str
    error: PPInfraError


@frozen(kw_only=True)
class ResultDelivered:
    """A caller got a task's pictures.

    Attributes:
        result: What it got.
    """

    result: TaskResult


Event = (
    InputReencoded
    | SubmitDelayed
    | TaskSubmitted
    | TaskAbandoned
    | SubmitAbandoned
    | TaskPolled
    | PollFailed
    | ResultDelivered
)

__all__ = [
    "Event",
    "InputReencoded",
    "PollFailed",
    "ResultDelivered",
    "SubmitAbandoned",
    "SubmitDelayed",
    "TaskAbandoned",
    "TaskPolled",
    "TaskSubmitted",
]
