"""Options of ``ppinfra simulate``, held against what makes sense; refuses to start anything."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated, Literal

from attrs import asdict, frozen
from cyclopts import Parameter

from ppinfra_async._cli._messages import CommandError
from ppinfra_async.testing import Settings, as_draw


@Parameter(name="*", group="How it behaves")
@frozen(kw_only=True)
class Behaviour:
    """How the look-alike behaves.

    Attributes:
        port: Where it listens; 0 takes a free one.
        state: A file that keeps accepted tasks from one run to the next.
        images_per_minute: Its quota; no limit if not given.
        window: How it counts the quota.
        retry_after: Form of that header on a 429; left out if not given.
        queue: Seconds a task waits: 2, uniform:LOW,HIGH, lognormal:MEDIAN,SIGMA or exponential:MEAN.
        processing: Seconds a task is worked on, in the same forms.
        failure_rate: Share of tasks that fail, 0 to 1.
        balance: Images that can be paid; no end if not given.
        seed: Of everything random.
        tiny_images: Answer with pictures of 8 × 8 pixels, for load tests.
    """

    port: int = 0
    state: Path | None = None
    images_per_minute: int | None = None
    window: Literal["sliding", "fixed", "bucket"] = "sliding"
    retry_after: Literal["seconds", "date"] | None = None
    queue: str = "uniform:0.2,0.8"
    processing: str = "lognormal:3.8,0.3"
    failure_rate: float = 0.0
    balance: int | None = None
    seed: int = 0
    tiny_images: Annotated[bool, Parameter(negative="", show_default=False)] = False

    def settings(self) -> Settings:
        """Return the simulator's settings.

        Raises:
            CommandError: when one makes no sense.
        """
        _check("--queue", self.queue)
        _check("--processing", self.processing)
        if self.images_per_minute is not None and self.images_per_minute < 1:
            raise _out_of_range("--images-per-minute", "1 or more", self.images_per_minute)
        if self.balance is not None and self.balance < 0:
            raise _out_of_range("--balance", "0 or more", self.balance)
        if not 0 <= self.failure_rate <= 1:
            raise _out_of_range("--failure-rate", "0 to 1", self.failure_rate)
        if not 0 <= self.port < 2**16:
            raise _out_of_range("--port", "0 to 65535", self.port)
        return Settings(**asdict(self))


def _check(flag: str, latency: str) -> None:
    try:
        seconds = as_draw(latency)(random.Random(0))  # noqa: S311  # one draw to see that it works
    except (ValueError, TypeError, ArithmeticError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise CommandError(
            f"{flag} must be seconds, such as 0.5, uniform:1,3, lognormal:4,0.3 or exponential:2, "
            f"got {latency!r}."
        )


def _out_of_range(flag: str, allowed: str, value: float) -> CommandError:
    return CommandError(f"{flag} must be {allowed}, got {value}.")
