"""Says when a submit may go to find something out, though it may be refused; refuses to know limits.

Every accepted submit pays for a small part of a refusal. The more there is in hand, the less sure a
probe must be. A refused one costs one, and makes the time until the next longer.
"""

from __future__ import annotations

import math

from attrs import define, field

from ppinfra_async._sansio.quota_belief import Outlook

_START = 1.0
_PER_ACCEPTED = 0.0165
"""Refusals that an accepted submit pays for."""

_MOST = 12.0
_BOLDNESS = 0.5
"""Weight of what speaks against a probe, per refusal in hand."""

_PLENTY = 3.0
"""Refusals in hand from which on a probe goes that nothing speaks for."""

_EXPLORE = 600.0
"""Seconds without a refusal after which one such goes."""

_AFTER_CONTRADICTION = 60.0
"""The same after the belief began anew."""

_EXPLORE_AGAIN = 7.0
"""Seconds from one such to the next, as long as they are accepted."""

_SUSPICIOUS, _LONGEST_SUSPICION = 60.0, 600.0
"""Seconds after a refusal until one such goes while the limit seems to be less than anybody documents."""

_LEAST_HOPE = 0.15
_SHORTEST_CAUTION = 10.0
_LONGEST_CAUTION = 1800.0


@define
class Probes:
    """The probes of one endpoint, and what they may cost."""

    credit: float = field(factory=lambda: _START, init=False)
    under_way: int = field(default=0, init=False)
    _caution: float = field(default=_SHORTEST_CAUTION, init=False)
    _not_before: float = field(default=float("-inf"), init=False)
    _climbing: bool = field(default=False, init=False)
    _explore_at: float = field(default=float("-inf"), init=False)
    _suspicion: float = field(default=_SUSPICIOUS, init=False)
    _suspect_at: float = field(default=float("-inf"), init=False)

    def at(
        self, outlook: Outlook, at_once: int, now: float, *, is_suspicious: bool = False
    ) -> float:
        """Return when the next may go, with at most *at_once* under way; inf for not yet.

        A suspicious limit is so small that rather somebody else uses the account, and may have stopped.
        """
        if is_suspicious and not self.under_way:
            return max(now, self._suspect_at)
        # Those under way may all be refused for one reason.
        in_hand = self.credit - self.under_way
        if in_hand <= 0 or self.under_way >= at_once:
            return math.inf
        hopeful = outlook.sure_at(max(_LEAST_HOPE, 1 - _BOLDNESS * in_hand))
        if in_hand >= _PLENTY or self._climbing:
            # The account may be larger than anything that is believed in.
            hopeful = min(hopeful, self._explore_at)
        return max(now, hopeful, self._not_before)

    def sent(self, now: float) -> None:
        """Note that one goes."""
        self.under_way += 1
        # One that is accepted and tells nothing costs nothing either.
        self._explore_at = now + _EXPLORE_AGAIN

    def accepted(self, *, probe: bool) -> None:
        """Note that the service took a submit."""
        self.credit = min(self.credit + _PER_ACCEPTED, _MOST)
        if probe:
            self._caution = _SHORTEST_CAUTION

    def surprised(self) -> None:
        """Note that one was accepted that nothing spoke for: there may be more where it came from."""
        self._climbing = True
        self._explore_at = float("-inf")
        self._suspicion = _SUSPICIOUS

    def begun(self, now: float, *, is_early: bool) -> None:
        """Note that there is a belief; an early one may be about what others had left."""
        self._suspect_at = now + self._suspicion
        if is_early:
            self.contradicted(now)

    def contradicted(self, now: float) -> None:
        """Note that the belief begins anew after refusals: soon there may be more again."""
        self._climbing = True
        self._explore_at = now + _AFTER_CONTRADICTION

    def refused(self, now: float, *, probe: bool) -> None:
        """Note that it refused one."""
        # One that was no probe is paid as far as there is something: it must not stop all probes.
        self.credit = self.credit - 1 if probe else max(self.credit - 1, min(self.credit, 0.0))
        self._climbing = False
        self._explore_at = now + _EXPLORE
        self._suspect_at = now + self._suspicion
        if probe:
            self._suspicion = min(2 * self._suspicion, _LONGEST_SUSPICION)
        if probe and now >= self._not_before:
            self._not_before = now + self._caution
            self._caution = min(2 * self._caution, _LONGEST_CAUTION)
