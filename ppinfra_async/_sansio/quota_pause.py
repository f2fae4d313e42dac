"""Says how long everything waits after a 429, and when to give up; refuses to know the limit."""

from __future__ import annotations

from attrs import define, field

_SHORTEST = 0.5
_FIRST = 1.0
_LONGEST = 30.0

_QUIET = 180.0
"""Refusals further apart than this are not one story of refusals."""

PATIENCE = 600.0
"""Seconds of nothing but refusals after which a submit is given up."""


@define
class Pauses:
    """The pauses of one endpoint, from its refusals."""

    longest_retry_after: float
    not_before: float = field(default=float("-inf"), init=False)
    in_a_row: int = field(default=0, init=False)
    """Pauses since something was accepted."""
    _since: float | None = field(default=None, init=False)
    _last: float = field(default=float("-inf"), init=False)

    def accepted(self) -> None:
        """Note that the service took one: the pause that runs goes on, the next is short again."""
        self._since = None
        self.in_a_row = 0

    def refused(self, now: float, retry_after: float | None) -> None:
        """Note a 429: everything waits for what the service asked, or longer each time."""
        is_new = now - max(self._last, self.not_before) > _QUIET
        if now >= self.not_before:
            # Several that went together and were refused together are one refusal.
            self.in_a_row += 1
        # Less, asked or as the ceiling, would mean uploading again without a break.
        asked = max(min(retry_after or 0.0, self.longest_retry_after), _SHORTEST)
        own = min(_FIRST * 2.0 ** min(self.in_a_row - 1, 10), _LONGEST)
        self.not_before = max(self.not_before, now + (asked if retry_after else own))
        if self._since is None or is_new:
            self._since = now
        self._last = now

    def hopeless(self, now: float) -> bool:
        """Tell whether nothing but refusals came for longer than ``PATIENCE``."""
        return self._since is not None and now - self._since > PATIENCE
