"""Decides when the next submit may go; refuses to wait or to send it.

The service meters images per minute and counts an image when it accepts the submit. Whether its
window slides is not documented, so a pinned limit is kept over every 60 s plus a guard. With
``"auto"`` nothing is held back until the service says 429; from then on submits go one at a time,
each after the one before it was answered, with a pause after every refusal.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field

from ppinfra_async.options import Limits

_WINDOW = 60.0
_GUARD = 1.0
_SHORTEST_PAUSE = 0.5
_FIRST_PAUSE = 2.0
_LONGEST_PAUSE = 30.0

_QUIET = 180.0
"""Refusals further apart than this are not one story of refusals."""

PATIENCE = 600.0
"""Seconds of nothing but refusals after which a submit is given up."""


@define
class Quota:
    """The quota of one endpoint, as far as it is known."""

    limits: Limits
    longest_retry_after: float = 60.0
    _log: deque[tuple[float, int]] = field(factory=deque, init=False)
    _logged: int = field(default=0, init=False)
    _not_before: float = field(default=float("-inf"), init=False)
    _pause: float = field(default=_FIRST_PAUSE, init=False)
    _refused_since: float | None = field(default=None, init=False)
    _refused_at: float = field(default=float("-inf"), init=False)
    one_at_a_time: bool = field(default=False, init=False)
    """True once the service has refused something: the next goes when this one is answered."""

    def ready_at(self, images: int, now: float) -> float:
        """Return the earliest time at which a submit of *images* may go."""
        return max(now, self._not_before, self._window_free_at(images, now))

    def too_large(self, images: int) -> bool:
        """Tell whether *images* can never fit the pinned limit."""
        limit = self.limits.images_per_minute
        return limit != "auto" and images > limit

    def sent(self, images: int, now: float) -> None:
        """Note that a submit goes now."""
        if self.limits.images_per_minute != "auto":
            self._log.append((now, images))
            self._logged += images

    def not_sent(self, images: int, when: float) -> None:
        """Take a note back: that submit did not reach the service, so it was not counted."""
        if (when, images) in self._log:
            self._log.remove((when, images))
            self._logged -= images

    def accepted(self) -> None:
        """Note that the service took one."""
        self._refused_since = None
        self._pause = _FIRST_PAUSE

    def refused(self, now: float, retry_after: float | None) -> None:
        """Note a 429: everything waits for what the service asked, or longer each time."""
        self.one_at_a_time = True
        # Less, asked or as the ceiling, would mean uploading again without a break.
        asked = max(min(retry_after or 0.0, self.longest_retry_after), _SHORTEST_PAUSE)
        wait = asked if retry_after else self._pause
        if now >= self._not_before:
            # Several that went together and were refused together are one refusal.
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self._not_before = max(self._not_before, now + wait)
        if self._refused_since is None or now - self._refused_at > _QUIET:
            self._refused_since = now
        self._refused_at = now

    def hopeless(self, now: float) -> bool:
        """Tell whether nothing but refusals came for longer than ``PATIENCE``."""
        return self._refused_since is not None and now - self._refused_since > PATIENCE

    def _window_free_at(self, images: int, now: float) -> float:
        limit = self.limits.images_per_minute
        if limit == "auto":
            return now
        while self._log and self._log[0][0] + _WINDOW + _GUARD <= now:
            self._logged -= self._log.popleft()[1]
        surplus = self._logged + images - limit
        for when, count in self._log:
            if surplus <= 0:
                break
            surplus -= count
            now = when + _WINDOW + _GUARD
        return now
