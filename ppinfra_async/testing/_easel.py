"""Says what is to be painted, with what chances, and whether anybody still waits; paints nothing."""

import random
import time
from collections.abc import Callable

from attrs import frozen

# Multiples of the golden ratio: neighbouring seeds, as those of one batch, get hues far apart.
_FAR_APART = 0.618033988749895


class StoppedError(Exception):
    """Nobody waits for this painting any more."""


@frozen(kw_only=True)
class Commission:
    """What is to be painted.

    `picture` is the source as a file (None: something abstract), `width` and `height` are pixels,
    `strength` goes from 0 (the original) to 1, `image_type` is png, jpeg or webp.
    """

    picture: bytes | None
    width: int
    height: int
    prompt: str
    strength: float
    seed: int
    image_type: str


@frozen
class Easel:
    """Chance in two forms, both fixed by prompt and seed.

    `chance` is for what may be anything, `turn` (0 to 1) for what must differ visibly between the
    images of a batch.
    """

    chance: random.Random
    turn: float
    stopped: Callable[[], bool]

    @classmethod
    def for_seed(cls, prompt: str, seed: int, stopped: Callable[[], bool]) -> "Easel":
        """Prepare for one image."""
        start = random.Random(prompt).random()  # noqa: S311  # no secret
        chance = random.Random(f"{prompt}|{seed}")  # noqa: S311
        return cls(chance, (start + seed % 2**20 * _FAR_APART) % 1, stopped)

    def step(self) -> None:
        """Mark the border between two steps, where others may have the interpreter.

        Raises:
            StoppedError: the painting is not wanted any more.
        """
        if self.stopped():
            raise StoppedError
        # Does not wait; without it, event loops wait 5 ms for each painter before their turn.
        time.sleep(0)  # noqa: TID251

    def spread(self, low: float, high: float, steps: int = 1) -> float:
        """Give a number from the range that differs between neighbours; *steps* decorrelates."""
        return low + (high - low) * (self.turn * steps % 1)
