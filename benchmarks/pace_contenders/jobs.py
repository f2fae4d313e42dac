"""What a contender is asked for and what it tells; needs the standard library only."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

MODEL = "dreamshaper_8_93211.safetensors"
SIDE = 128


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


@dataclass
class Tally:
    """How many jobs ended well; how often a submit was refused and sent again; why the first fell."""

    done: int = 0
    failed: int = 0
    again: int = 0
    first_failure: str | None = None

    def fell(self, error: BaseException) -> None:
        """Count a job that did not end well."""
        self.failed += 1
        self.first_failure = self.first_failure or repr(error)


def compete(run: Callable[[Work], Tally]) -> None:
    """Be the main program of a contender; without arguments, only import what it needs."""
    if len(sys.argv) == 1:
        return
    print(json.dumps(asdict(run(Work(**json.loads(sys.argv[1]))))))
