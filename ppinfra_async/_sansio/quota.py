"""Decides when the next submit may go, by what the service allowed; refuses to wait or to send it.

The service meters images per minute and counts a submit at some moment between its sending and its
answer. A pinned limit is kept in every 60 s, whatever kind of window the service has. With ``"auto"``
nothing is held back until the service says 429; from then on a belief about its limiter says what
fits, and a few probes, paid from a small credit, make it better.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Literal

from attrs import define, evolve, field, frozen

from ppinfra_async._sansio.quota_belief import Belief
from ppinfra_async._sansio.quota_kinds import WINDOW, Event, Kind, Traffic
from ppinfra_async._sansio.quota_log import Durations
from ppinfra_async._sansio.quota_pause import Pauses
from ppinfra_async._sansio.quota_probes import Probes
from ppinfra_async.options import Limits

_AT_ONCE = 4
"""Submits that may be under way before the first was accepted."""

_RISK = 0.03
"""Submits that may be refused, of those that go by the belief at one time."""

_RISK_PER_IMAGE = 1 / 1000
"""The same for large accounts, per image of the last minute."""

_IMAGES_PER_PROBE = 20
"""Images of the last minute for which there may be one probe under way, while the limit is not known."""

_TELLING = 3
"""Refusals of those that went together that are learnt from."""

_CLOCKS = 0.1
"""Seconds by which a minute of the service may be longer than ours: clocks are corrected while they run."""

_LEAST_DOCUMENTED = 10
"""Images per minute of a new account: https://ppio.cn/docs/model/rate-limits. Nobody documents less."""

_LEAST_USABLE = 8
"""A limit below the largest ``image_num`` is rather what others leave than an account's."""

_MANY = 1_000_000
"""More images than that are never said to be free."""

_REST = 1.5 * WINDOW
"""Seconds without anybody asking after which others may have used what was ours before."""

_HOMECOMING = 10.0
"""Seconds that a refusal waits for the answers of those that went with it."""


@frozen
class Go:
    """Send it now. ``alone``: it is a probe, nobody else may go until it is answered."""

    alone: bool = False


@frozen
class Wait:
    """Ask again at *until* (seconds), and whenever something was answered; inf: only then."""

    until: float


@frozen(eq=False)
class Sent:
    """One submit under way: when it went (seconds), how many images, and why."""

    at: float
    images: int
    alone: bool = False
    probe: bool = False


@frozen
class QuotaState:
    """What is known of the quota of one endpoint.

    Attributes:
        limit: Images per minute; None as long as it is unknown.
        is_pinned: Whether a person said so.
        kind: How the service's window works, if that is known.
        used: Images of the last minute, those under way included.
        free: Images that may go now; None as long as the limit is unknown.
        paused: Seconds until anything may go, after a 429.
        accepted: Submits that the service took.
        refused: Submits that it answered with 429.
    """

    limit: int | None
    is_pinned: bool
    kind: Kind | None
    used: int
    free: int | None
    paused: float
    accepted: int
    refused: int


@define
class Quota:
    """The quota of one endpoint. All times are seconds on one clock that never goes back."""

    limits: Limits
    longest_retry_after: float = 60.0
    _traffic: Traffic = field(factory=Traffic, init=False)
    _durations: Durations = field(factory=Durations, init=False)
    _under_way: set[Sent] = field(factory=set, init=False)
    _pauses: Pauses = field(init=False)
    _belief: Belief | None = field(default=None, init=False)
    _accepted: int = field(default=0, init=False)
    _refused: int = field(default=0, init=False)
    _careful: bool = field(default=False, init=False)
    _careful_until: float = field(default=float("-inf"), init=False)
    _busy_since: float = field(default=float("-inf"), init=False)
    _asked_at: float = field(default=float("-inf"), init=False)
    _probes: Probes = field(factory=Probes, init=False)
    _unjudged: list[Event] = field(factory=list, init=False)
    _next_alone: bool = field(default=False, init=False)
    _next_probe: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._pauses = Pauses(self.longest_retry_after)

    # --- asking ---

    def too_large(self, images: int) -> bool:
        """Tell whether *images* can never fit the pinned limit."""
        pinned = self.limits.images_per_minute
        return pinned != "auto" and images > pinned

    def decide(self, images: int, now: float) -> Go | Wait:
        """Say whether the first of the queue may go; ``Go`` is to be followed by ``sent``."""
        self._next_alone = self._next_probe = False
        self._note_rest(now)
        self._judge(now)
        if any(sent.alone for sent in self._under_way):
            return Wait(math.inf)
        if now < self._pauses.not_before:
            return Wait(self._pauses.not_before)
        is_careful = self._careful or now < self._careful_until
        if is_careful and self._under_way:
            return Wait(math.inf)
        if self._unjudged:
            return Wait(self._unjudged[0].answered + _HOMECOMING)
        decision = self._by_what_is_known(images, now)
        if isinstance(decision, Go) and (decision.alone or is_careful):
            self._next_alone = True
            return Go(alone=True)
        return decision

    def _note_rest(self, now: float) -> None:
        # Who waits for its turn asks again after a window at the latest.
        if now - self._asked_at > _REST:
            self._busy_since = now
        self._asked_at = now

    def _by_what_is_known(self, images: int, now: float) -> Go | Wait:
        pinned = self.limits.images_per_minute
        if pinned != "auto":
            return _go_at(self._pinned_free_at(images, pinned, now), now)
        if self._belief is None:
            may_go = len(self._under_way) < max(_AT_ONCE, self._accepted)
            return Go() if may_go else Wait(math.inf)
        outlook = self._belief.outlook(images, now, self._traffic)
        if not outlook.steps:
            # It may be too large for ever, or the belief is wrong: only trying can tell.
            return Wait(math.inf) if self._under_way else Go(alone=True)
        used = self._traffic.by_answer.used(now, WINDOW)
        # Those under way rest on the same belief: if it is wrong all are refused together.
        risk = max(_RISK, _RISK_PER_IMAGE * used) / (1 + len(self._under_way))
        sure = outlook.sure_at(1 - min(_RISK, risk))
        if sure <= now:
            return Go()
        is_suspicious = self._belief.limit() < _LEAST_USABLE
        # Above a limit that is known one at a time; to find it, a large account can afford a few.
        at_once = 1 if self._belief.is_settled() else max(1, used // _IMAGES_PER_PROBE)
        probe = self._probes.at(outlook, at_once, now, is_suspicious=is_suspicious)
        if probe > now:
            return Wait(min(sure, probe))
        self._next_probe = True
        return Go(alone=used < 2 * _IMAGES_PER_PROBE)

    def _pinned_free_at(self, images: int, limit: int, now: float) -> float:
        room = limit - images - self._traffic.under_way
        if room < 0:
            return math.inf
        span = WINDOW + _CLOCKS - self._durations.shared()
        return max(now, self._traffic.by_answer.few_at(room, span))

    # --- what happened ---

    def sent(self, images: int, now: float) -> Sent:
        """Note that a submit goes now, by the decision just made."""
        sent = Sent(now, images, self._next_alone, self._next_probe)
        if sent.probe:
            self._probes.sent(now)
        self._next_alone = self._next_probe = False
        self._under_way.add(sent)
        self._traffic.under_way += images
        return sent

    def accepted(self, sent: Sent, now: float) -> None:
        """Note that the service took it."""
        if not self._home(sent):
            return
        self._accepted += 1
        self._careful = False
        self._pauses.accepted()
        self._durations.add(now - sent.at)
        self._probes.accepted(probe=sent.probe)
        ahead = sum(other.images for other in self._under_way if other.at <= sent.at)
        event = Event(sent.at, now, sent.images, ok=True, ahead=ahead)
        alive = self._belief is None or self._belief.learn(event, self._traffic)
        self._traffic.accepted(event)
        if not alive:
            self._belief = Belief.after_surprise(event, self._traffic)
            self._probes.surprised()

    def refused(
        self,
        sent: Sent,
        now: float,
        retry_after: float | None,
        cause: Literal["quota", "overload"] = "quota",
    ) -> None:
        """Note a 429: it was not counted, and all wait. An overload says nothing of the limit."""
        if not self._home(sent):
            return
        self._refused += 1
        first_of_several = now >= self._pauses.not_before
        self._pauses.refused(now, retry_after)
        self._careful = cause == "overload" or self._pauses.in_a_row > 1
        if cause == "overload" or self.limits.images_per_minute != "auto":
            return
        event = Event(sent.at, now, sent.images, ok=False)
        if self._is_others_fault(event):
            self._careful_until = now + WINDOW
            return
        self._unjudged.append(event)
        # What was refused before anything was known is not a probe's fault.
        if self._belief is not None and (first_of_several or sent.probe):
            self._probes.refused(now, probe=sent.probe)

    def _is_others_fault(self, event: Event) -> bool:
        """Tell whether a refusal says nothing of the limit: others used it before we began."""
        if event.answered - self._busy_since > WINDOW:
            return False
        used = self._traffic.by_answer.used(event.answered, WINDOW) + self._traffic.under_way
        expected = _LEAST_DOCUMENTED if self._belief is None else self._belief.limit()
        return used + event.images <= expected

    def _may_be_a_rest(self, event: Event) -> bool:
        """Tell whether a large account may have allowed what others had left just before we began."""
        used = self._traffic.by_answer.used(event.answered, WINDOW)
        return used > 2 * _LEAST_DOCUMENTED and event.answered - self._busy_since <= WINDOW

    def _judge(self, now: float) -> None:
        """Learn from refusals, once those that went with them are answered too."""
        if not self._unjudged:
            return
        if self._under_way and now < self._unjudged[0].answered + _HOMECOMING:
            return
        # Of many that were refused together the smallest say the most, and the rest little more.
        for refused in sorted(self._unjudged, key=lambda event: event.images)[:_TELLING]:
            event = evolve(refused, ahead=self._traffic.under_way)
            if self._belief is None:
                shared = event.answered <= self._careful_until + WINDOW
                self._belief = Belief.after_refusal(event, self._traffic, shared=shared)
                self._probes.begun(now, is_early=self._may_be_a_rest(event))
            elif not self._belief.learn(event, self._traffic):
                self._belief = Belief.after_refusal(event, self._traffic)
                self._probes.contradicted(now)
        self._unjudged.clear()

    def not_sent(self, sent: Sent) -> None:
        """Note that it certainly did not reach the service: it is not counted."""
        self._home(sent)

    def lost(self, sent: Sent, now: float) -> None:
        """Note that nobody knows whether it was counted: it is, as late as can be."""
        if not self._home(sent):
            return
        event = Event(sent.at, now, sent.images, ok=True)
        self._traffic.accepted(event)
        if self._belief is not None:
            self._belief.suppose(event)

    def _home(self, sent: Sent) -> bool:
        """Take it from what is under way; False if it was no longer there."""
        if sent not in self._under_way:
            return False
        self._under_way.remove(sent)
        self._traffic.under_way -= sent.images
        self._probes.under_way -= sent.probe
        return True

    # --- what is known ---

    def hopeless(self, now: float) -> bool:
        """Tell whether nothing but refusals came for ten minutes."""
        return self._pauses.hopeless(now)

    def state(self, now: float) -> QuotaState:
        """Return what is known."""
        limit = self._limit()
        return QuotaState(
            limit=limit,
            is_pinned=self.limits.images_per_minute != "auto",
            kind=None if self._belief is None else self._belief.kind(),
            used=self._traffic.by_answer.used(now, WINDOW) + self._traffic.under_way,
            free=None if limit is None else self._free(now),
            paused=max(0.0, self._pauses.not_before - now),
            accepted=self._accepted,
            refused=self._refused,
        )

    def estimate(self, images: int, now: float) -> float:
        """Return the seconds until so many images, beyond those under way, can have been sent.

        0 as long as no limit is known.
        """
        if images <= 0 or self._limit() is None:
            return 0.0
        begin = max(now, self._pauses.not_before)
        minutes, rest = divmod(images - 1, self._at_once())
        free = self._free_at(rest + 1, begin)
        return (begin if free == math.inf else free) - now + minutes * WINDOW

    def _limit(self) -> int | None:
        pinned = self.limits.images_per_minute
        if pinned != "auto":
            return pinned
        return None if self._belief is None else self._belief.limit()

    def _at_once(self) -> int:
        """Return how many images fit at most, as far as is known."""
        pinned = self.limits.images_per_minute
        if pinned != "auto":
            return pinned
        return 0 if self._belief is None else self._belief.likeliest().low

    def _free_at(self, images: int, now: float) -> float:
        pinned = self.limits.images_per_minute
        if pinned != "auto":
            return self._pinned_free_at(images, pinned, now)
        assert self._belief is not None  # noqa: S101  # only asked when a limit is known
        return self._belief.likeliest().free_at(images, now, self._traffic)

    def _free(self, now: float) -> int:
        """Return how many images fit now."""
        sizes = range(1, min(self._at_once(), _MANY) + 1)
        return bisect_left(sizes, True, key=lambda images: self._free_at(images, now) > now)


def _go_at(when: float, now: float) -> Go | Wait:
    return Go() if when <= now else Wait(when)
