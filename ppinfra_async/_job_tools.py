"""What a run of many jobs needs of its client; refuses to run any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen

from ppinfra_async._background import Background
from ppinfra_async._submission import Ledger, Owner
from ppinfra_async._task import Task
from ppinfra_async.errors import SubmitOutcomeUnknownError
from ppinfra_async.options import Retries
from ppinfra_async.requests import Request


class Submit(Protocol):
    """Sends a request for somebody who may withdraw it."""

    async def __call__(
        self, request: Request, *, owner: Owner, ledger: Ledger | None = None
    ) -> Task:
        """Return the handle of the paid task."""
        ...


@frozen(kw_only=True)
class JobTools:
    """The client's parts that run many jobs.

    Attributes:
        background: Where work that must not end with its caller lives.
        submit: See ``Submit``.
        withdraw: Stops the submits that an owner objects to.
        handle: Makes the handle of a task that is known to be ours.
        set_aside: Keeps a task that nobody has taken yet; returns what claims it.
        report_lost: Tells of money in doubt that nobody else will hear of.
        retries: What is tried again, and how often.
    """

    background: Background
    submit: Submit
    withdraw: Callable[[Owner], None]
    handle: Callable[[str, Request], Task]
    set_aside: Callable[[Task], Callable[[], None]]
    report_lost: Callable[[SubmitOutcomeUnknownError], None]
    retries: Retries
