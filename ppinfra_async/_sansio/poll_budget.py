"""Decides how many polls may go per second and what a poll is worth at present; refuses to choose tasks.

Everything that all tasks of a client share: a budget, adapted to what the service bears, and a price
that rises while the budget is short, so that fewer polls are asked for, each at a better time.
"""

from __future__ import annotations

import math

from attrs import define, field

from ppinfra_async.options import Polling

_LONGEST_BEAT = 0.1
"""Polls that are due within so many seconds are asked together: each time that the event loop is woken
up costs as much CPU as a good part of a poll, and with many tasks hardly two are due at the same time."""

_LEAST_SHARE = 0.05
"""However often polls are refused or fail: so much of the budget stays, so that its end is noticed."""

_ONE_STORY = 1.0
"""Refusals within so many seconds are one refusal: several polls were under way."""

_HALF = 0.5
_CAUTIOUS_FROM = 0.85
"""Share of the rate that was refused up to which the rate is raised quickly again."""

_QUICK, _CAUTIOUS = 0.02, 0.001
"""By what share of the whole budget one answered poll raises the rate."""

_WORN = 0.9
"""Each failure in a row leaves this share of the rate."""

_MANY_FAILURES = 40

_PRICE_STEP = 1.5
_HIGHEST_LEVEL = 12
_LATE = 0.5
"""A poll that goes out so many seconds after its time shows that the budget is short."""

_RAISE_EVERY, _LOWER_EVERY = 1.0, 3.0


@define
class PollBudget:
    """The budget of one client.

    Attributes:
        beat: Seconds between two beats, on which polls are asked.
        allowance: Seconds of the budget that may be made up for at once: whole polls of one beat.
        level: How often the price was raised because the budget was short.
        price: Seconds of delay that one poll is worth at present.
        free_at: When the next poll may go.
    """

    polling: Polling
    beat: float = field(init=False)
    allowance: float = field(init=False)
    level: int = field(default=0, init=False)
    price: float = field(init=False)
    free_at: float = field(default=-math.inf, init=False)
    _rate: float = field(init=False)
    _refused_rate: float = field(default=math.inf, init=False)
    _refused_at: float = field(default=-math.inf, init=False)
    _failures: int = field(default=0, init=False)
    _gap: float = field(init=False)
    _level_changed_at: float = field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        """Compute once what every poll needs."""
        self._rate = self.polling.polls_per_second
        self.price = self.polling.price
        self._gap = 1 / self._rate
        self.beat = min(_LONGEST_BEAT, self.polling.min_interval / 2)
        self.allowance = math.floor(self.beat / self._gap) * self._gap

    def spend(self, now: float, due: float) -> None:
        """Note that a poll goes out *now* that was planned for *due*."""
        late = now - due
        if late > _LATE:
            self._change_level(1, now, _RAISE_EVERY)
        elif self.level and late <= self.beat and self.free_at <= now - self._gap:
            # In time, and the one before it did not use the budget up.
            self._change_level(-1, now, _LOWER_EVERY)
        self.free_at = max(self.free_at, now - self.allowance) + self._gap

    def answered(self) -> None:
        """Note that a poll was answered: the service bears it."""
        if self._failures:
            # Halved, not forgotten: one answer among many failures is not yet the end of them.
            self._failures //= 2
        elif self._rate == self.polling.polls_per_second:
            return
        else:
            is_safe = self._rate < _CAUTIOUS_FROM * self._refused_rate
            whole = self.polling.polls_per_second
            self._rate = min(whole, self._rate + whole * (_QUICK if is_safe else _CAUTIOUS))
        self._set_gap()

    def failed(self) -> None:
        """Note that a poll brought nothing: a run of failures slows everything down."""
        self._failures = min(self._failures + 1, _MANY_FAILURES)
        self._set_gap()

    def refused(self, now: float, retry_after: float) -> None:
        """Note a 429: half as many polls from now on, and none for as long as the service asked."""
        pause = min(max(retry_after, self.polling.min_interval), self.polling.max_interval)
        self.free_at = max(self.free_at, now + pause)
        if now - self._refused_at > _ONE_STORY:
            self._refused_rate = self._rate
            least = self.polling.polls_per_second * _LEAST_SHARE
            self._rate = max(self._rate * _HALF, least)
            self._set_gap()
            self._refused_at = now

    def _set_gap(self) -> None:
        worn = self._rate * _WORN**self._failures
        self._gap = 1 / max(worn, self.polling.polls_per_second * _LEAST_SHARE)

    def _change_level(self, step: int, now: float, every: float) -> None:
        if now - self._level_changed_at >= every:
            self.level = min(max(self.level + step, 0), _HIGHEST_LEVEL)
            self.price = self.polling.price * _PRICE_STEP**self.level
            self._level_changed_at = now
