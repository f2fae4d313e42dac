"""Decides how a batch meets a service that cannot be reached; refuses to wait by itself.

A job that could not be sent costs nothing and loses nothing, but a million of them would fail in a
minute while a server restarts. So all jobs pause together, longer each time, until one gets through.
"""

from __future__ import annotations

from attrs import define, field

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0


@define
class Outage:
    """Whether the service can be reached, as far as jobs have told.

    Attributes:
        patience: Seconds of nothing but failures after which there is no hope.
        since: When the failures began; None while all is well.
    """

    patience: float = 300.0
    since: float | None = None
    _pause: float = field(default=_FIRST_PAUSE, init=False)
    _quiet_until: float = field(default=float("-inf"), init=False)

    def pause(self, now: float) -> float | None:
        """Note a failure; return how long to wait before the next try, or None for no hope."""
        if self.since is None:
            self.since = now
        if now - self.since > self.patience:
            return None
        if now >= self._quiet_until:
            # Several that failed together are one failure.
            self._quiet_until = now + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        return self._quiet_until - now

    def ended(self) -> None:
        """Note that something got through."""
        self.since = None
        self._pause = _FIRST_PAUSE
