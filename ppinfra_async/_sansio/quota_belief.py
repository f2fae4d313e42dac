"""Weighs what kind of limiter the service has, and how large, by its answers; refuses to send.

Bayes' rule over a few hundred hypotheses, most of which are soon out of the question. An answer that
nothing believed in could explain means that the world has changed, or is not in the book: then the
belief starts anew from what went through lately.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate

from attrs import define, field, frozen

from ppinfra_async._sansio.quota_kinds import (
    PHASE,
    WINDOW,
    Bucket,
    Event,
    Fixed,
    Hypothesis,
    Kind,
    Sliding,
    Traffic,
    is_wide,
)

DOUBT = 0.02
"""How often an answer may contradict a true hypothesis."""

_NEGLIGIBLE = 1e-5
"""Weight below which a hypothesis is dropped."""

_STEP = 0.04
"""Width of a hypothesis to begin with, as a part of its limit."""

_HEAVY = 0.03
"""Weight above which it is worth while to halve one."""

_CLOSE = 0.02
_SETTLED = 0.9
"""A limit is known when so much of the weight lies within 2 % of it."""

_SURPRISING = 0.06
"""How likely an answer is held that surprises."""

_MEMORY_OF_SURPRISES = 300.0
"""Seconds in which a surprise fades."""

_ENOUGH_SURPRISES = 1.8
_REPLAYED = 200
"""Entries of the log that a bucket is filled with anew, at most."""

_HIGHER = 4
"""Times what went through, up to which is looked after a surprise."""

_SMALLEST_TOP = 16
"""Up to this limit at least is thought of: the documented default is 10."""


@frozen
class Outlook:
    """From when on a submit fits, for everything believed in: (time, weight), earliest first."""

    steps: list[tuple[float, float]]

    def sure_at(self, trust: float) -> float:
        """Return the first time at which it fits for at least *trust* of the weight."""
        total = 0.0
        for when, weight in self.steps:
            total += weight
            if total >= trust:
                return when
        return math.inf


@define
class Belief:
    """What is believed of the limiter of one endpoint, since its first refusal."""

    hypotheses: list[Hypothesis]
    _surprises: float = field(default=0.0, init=False)
    _surprised_at: float = field(default=float("-inf"), init=False)
    _events: int = field(default=0, init=False)

    @classmethod
    def after_refusal(cls, event: Event, traffic: Traffic, *, shared: bool = False) -> Belief:
        """Begin with a refusal, by what went through before it; *shared*: others used a part."""
        bottom = max(1, traffic.by_answer.after(event.answered - WINDOW) // 2)
        top = max(traffic.most(event.answered - WINDOW) + event.images, _SMALLEST_TOP)
        belief = cls(_seeds(bottom, top, event.answered, traffic))
        if shared:
            for hypothesis in belief.hypotheses:
                if isinstance(hypothesis, Bucket):
                    hypothesis.may_be_empty(event.answered)
        belief.learn(event, traffic)
        return belief

    @classmethod
    def after_surprise(cls, event: Event, traffic: Traffic) -> Belief:
        """Begin with a submit that was accepted though nothing said that it would be."""
        used = traffic.most(event.answered - WINDOW)
        top = _HIGHER * used
        return cls(_seeds(max(1, used // 2), top, event.answered, traffic))

    def outlook(self, images: int, now: float, traffic: Traffic) -> Outlook:
        """Return from when on *images* fit, if nothing else is sent."""
        # Where it never fits there is nothing to wait for.
        able = [h for h in self.hypotheses if images <= h.low]
        total = sum(h.weight for h in able)
        return Outlook(sorted((h.free_at(images, now, traffic), h.weight / total) for h in able))

    def learn(self, event: Event, traffic: Traffic) -> bool:
        """Weigh by one answer; return False when the belief is at an end.

        *traffic* neither holds *event* yet nor counts it as under way.
        """
        likelihoods = [
            _likelihood(fits=h.fits(event, traffic), ok=event.ok) for h in self.hypotheses
        ]
        known = self._weigh(likelihoods)
        for hypothesis in self.hypotheses:
            hypothesis.note(event)
        self._events += 1
        if not event.ok or self._events % 16 == 0:
            self._refine()
        return known >= _SURPRISING or not self._is_too_much(event.answered, ok=event.ok)

    def suppose(self, event: Event) -> None:
        """Count what may have been accepted, and learn nothing from it."""
        for hypothesis in self.hypotheses:
            hypothesis.note(event)

    def limit(self) -> int:
        """Return the limit in the middle of the belief."""
        ordered = sorted(self.hypotheses, key=lambda h: h.low)
        below = accumulate(hypothesis.weight for hypothesis in ordered)
        middle = bisect_left(list(below), 0.5)
        return ordered[min(middle, len(ordered) - 1)].low

    def is_settled(self) -> bool:
        """Tell whether the limit is known, whatever the kind: nearly all of the weight is close to it."""
        limit = self.limit()
        close = sum(h.weight for h in self.hypotheses if abs(h.low - limit) <= _CLOSE * limit)
        return close >= _SETTLED

    def likeliest(self) -> Hypothesis:
        """Return the one with the largest weight."""
        return max(self.hypotheses, key=lambda h: h.weight)

    def kind(self, trust: float = 0.9) -> Kind | None:
        """Return the kind if it is known."""
        kinds: tuple[Kind, ...] = ("sliding", "fixed", "bucket")
        for kind in kinds:
            if sum(h.weight for h in self.hypotheses if h.kind == kind) >= trust:
                return kind
        return None

    def _weigh(self, likelihoods: list[float]) -> float:
        """Multiply, drop the negligible; return how likely the answer was."""
        known = sum(h.weight * p for h, p in zip(self.hypotheses, likelihoods, strict=True))
        for hypothesis, likelihood in zip(self.hypotheses, likelihoods, strict=True):
            hypothesis.weight *= likelihood / known
        kept = [h for h in self.hypotheses if h.weight > _NEGLIGIBLE]
        if len(kept) < len(self.hypotheses):
            total = sum(h.weight for h in kept)
            for hypothesis in kept:
                hypothesis.weight /= total
            self.hypotheses = kept
        return known

    def _is_too_much(self, now: float, *, ok: bool) -> bool:
        # What was accepted did fit; a refusal may have another cause.
        faded = self._surprises * math.exp((self._surprised_at - now) / _MEMORY_OF_SURPRISES)
        self._surprises, self._surprised_at = faded + 1, now
        return ok or self._surprises >= _ENOUGH_SURPRISES

    def _refine(self) -> None:
        refined: list[Hypothesis] = []
        for hypothesis in self.hypotheses:
            if is_wide(hypothesis) and hypothesis.weight > _HEAVY:
                refined += hypothesis.halves()
            else:
                refined.append(hypothesis)
        self.hypotheses = refined


def _likelihood(*, fits: bool | None, ok: bool) -> float:
    # What is open is no evidence: several answers at once may all be open for one reason, and
    # a hypothesis that says less is not worse for it.
    return 1 - DOUBT if fits is None or fits is ok else DOUBT


def _seeds(bottom: int, top: int, now: float, traffic: Traffic) -> list[Hypothesis]:
    """Return hypotheses of all kinds, weighed by what they allowed so far."""
    cells = _cells(bottom, top)
    phases = [now + step * PHASE for step in range(int(WINDOW / PHASE))]
    share = 1 / (3 * sum(math.log(high / low) for low, high in cells))
    seeds: list[Hypothesis] = []
    sent = _gathered(traffic.by_sending.entries(), min)
    answered = _gathered(traffic.by_answer.entries(), max)
    for low, high in cells:
        weight = share * math.log(high / low)
        each = weight / len(phases)
        seeds.append(_judged(Sliding(weight, low, high), now, traffic))
        seeds += [_judged(Fixed(each, low, high, phase), now, traffic) for phase in phases]
        seeds.append(_replayed(Bucket(weight, low, high, -math.inf, -math.inf), sent, answered))
    total = sum(seed.weight for seed in seeds)
    for seed in seeds:
        seed.weight /= total
    return seeds


def _cells(bottom: int, top: int) -> list[tuple[int, int]]:
    """Return limits from *bottom* to *top*: each by itself while small, then gathered."""
    cells = []
    low = bottom
    while low <= top:
        high = low + max(1, int(low * _STEP))
        cells.append((low, high))
        low = high
    return cells


def _judged(seed: Hypothesis, now: float, traffic: Traffic) -> Hypothesis:
    """Weigh less what went through already and could not."""
    if seed.fits(Event(now, now, 0, ok=False), traffic) is False:
        seed.weight *= DOUBT
    return seed


Entries = list[tuple[float, int]]


def _gathered(entries: Entries, when: Callable[[float, float], float]) -> Entries:
    """Return so few entries that replaying them for all buckets takes milliseconds, on the safe side."""
    size = math.ceil(len(entries) / _REPLAYED) or 1
    chunks = [entries[first : first + size] for first in range(0, len(entries), size)]
    return [
        (when(chunk[0][0], chunk[-1][0]), sum(images for _, images in chunk)) for chunk in chunks
    ]


def _replayed(bucket: Bucket, sent: Entries, answered: Entries) -> Bucket:
    """Fill it with what went through, and weigh it less if that was more than it held."""
    overdrawn = False
    for when, images in sent:
        bucket.early = max(bucket.early, when) + images * WINDOW / (bucket.high - 1)
        overdrawn = overdrawn or bucket.overdrawn(when)
    for when, images in answered:
        bucket.late = max(bucket.late, when) + images * WINDOW / bucket.low
    if answered:
        bucket.settle(answered[-1][0])
    if overdrawn:
        bucket.weight *= DOUBT
    return bucket
