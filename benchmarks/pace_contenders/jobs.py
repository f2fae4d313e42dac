"""What a contender is asked for and what it tells; needs the standard library only."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from measure import Tally


@dataclass(frozen=True)
class Work:
    """Jobs that are submitted and followed to their end, without the download.

    ``images_per_minute`` is our quota, if we are told.
    """

    url: str
    key: str
    folder: str
    at_once: int
    jobs: int
    interval: float
    images_per_minute: int | None
    polls_per_second: float

    @property
    def picture(self) -> Path:
        """The picture file of every job."""
        return Path(self.folder, "tiny.png")


def compete(run: Callable[[Work], Tally]) -> None:
    """Be the main program of a contender; without arguments, only import what it needs."""
    if len(sys.argv) == 1:
        return
    print(json.dumps(asdict(run(Work(**json.loads(sys.argv[1]))))))
