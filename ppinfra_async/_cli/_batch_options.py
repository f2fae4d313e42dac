"""Options of ``ppinfra batch``; refuses to act on them."""

from __future__ import annotations

from typing import Annotated

from attrs import frozen
from cyclopts import Group, Parameter

from ppinfra_async._cli._messages import CommandError
from ppinfra_async._cli._options import SERVICE

RESUME = Group("Known jobs", sort_key=4)

_SWITCH = Parameter(negative="", show_default=False)


@Parameter(name="*", group=RESUME)
@frozen(kw_only=True)
class Known:
    """What becomes of jobs that an earlier run knew.

    Attributes:
        retry_failed: Send failed jobs again; each is paid again if the service takes it.
        resubmit_unknown: Send jobs in doubt again; they may be paid twice.
        redo_changed: Make jobs anew whose key is known and whose request has changed.
    """

    retry_failed: Annotated[bool, _SWITCH] = False
    resubmit_unknown: Annotated[bool, _SWITCH] = False
    redo_changed: Annotated[bool, _SWITCH] = False


@Parameter(name="*", group=SERVICE)
@frozen(kw_only=True)
class Pace:
    """How fast, and how far.

    Attributes:
        images_per_minute: Your quota, or auto to find it out from the service's answers.
        max_in_flight: Jobs under way at once.
        max_images: Stop before more images than that are submitted, counted over all runs.
        patience: Seconds to wait for paid tasks after Ctrl-C.
    """

    images_per_minute: str = "auto"
    max_in_flight: int = 64
    max_images: int | None = None
    patience: float = 60

    def __attrs_post_init__(self) -> None:
        """Hold the numbers against what they are.

        Raises:
            CommandError: naming the option.
        """
        for name in ("max_in_flight", "max_images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                flag = name.replace("_", "-")
                raise CommandError(f"--{flag} must be 1 or more, got {value}. Nothing was sent.")
        if not 0 <= self.patience < float("inf"):
            raise CommandError(f"--patience must be 0 seconds or more, got {self.patience:g}.")
