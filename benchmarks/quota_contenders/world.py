"""A service and a client in virtual time, and the best client that knows how the service counts."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from itertools import count

from attrs import define, field, frozen

from ppinfra_async import Limits
from ppinfra_async._sansio.quota import Go, Quota, QuotaState, Sent
from ppinfra_async.testing._limits import Limiter, Window, limiter

WINDOW = 60.0
ANSWER = 0.05
AT_ONCE = 64
OTHER = 1 / 3


@frozen
class World:
    """What is tried: the service's limiter, what is asked of it, and what happens meanwhile."""

    kind: Window
    known: bool
    limit: int = 10
    sizes: tuple[int, ...] = (1,)
    jitter: float = 0.5
    seconds: float = 7200.0
    event: str = ""
    seed: int = 0

    @property
    def phase(self) -> float:
        """When the first fixed window begins."""
        return random.Random(self.seed * 7919 + 1).uniform(0, WINDOW)


@define
class Run:
    """What happened: (time, images) of what the server accepted, and when it refused."""

    accepted: list[tuple[float, int]] = field(factory=list)
    refused: list[float] = field(factory=list)
    state: QuotaState | None = None
    busy: float = 0.0

    def images(self, begin: float, end: float) -> int:
        """Return the images that were accepted from *begin* to *end*."""
        return sum(images for when, images in self.accepted if begin <= when < end)

    def submits(self, begin: float, end: float) -> int:
        """Return all submits of that time."""
        return sum(begin <= when < end for when, _ in self.accepted) + self.refusals(begin, end)

    def refusals(self, begin: float, end: float) -> int:
        """Return those that were refused."""
        return sum(begin <= when < end for when in self.refused)


def sizes_of(world: World) -> Iterator[int]:
    draw = random.Random(world.seed * 104729 + 2)
    while True:
        yield draw.choice(world.sizes)


@define
class Server:
    """The limiter, and what the world's event does to it."""

    world: World
    limiter: Limiter = field(init=False)
    limit: int = field(init=False)
    _others: Iterator[float] = field(init=False)
    _other_at: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._make(self.world.limit)
        rate = self.world.limit * OTHER / WINDOW
        draw = random.Random(self.world.seed + 99)
        self._others = iter(lambda: draw.expovariate(rate), None)
        self._other_at = next(self._others) if self.world.event == "shared" else math.inf

    def _make(self, limit: int) -> None:
        self.limit = limit
        self.limiter = limiter(self.world.kind, limit, WINDOW, self.world.phase)

    def _live(self, now: float) -> None:
        while self._other_at <= now:
            self.limiter.take(1, self._other_at)
            self._other_at += next(self._others)
        factor = {"raised": 2, "lowered": 0.5}.get(self.world.event, 1)
        if now >= self.world.seconds / 2 and self.limit == self.world.limit and factor != 1:
            self._make(int(self.world.limit * factor))

    def overloaded(self, now: float) -> bool:
        """Tell whether the whole platform is, at *now*."""
        middle = self.world.seconds / 2
        return self.world.event == "overload" and middle <= now < middle + 300

    def take(self, images: int, now: float) -> float | None:
        """Count *images*, or return the seconds until they fit."""
        self._live(now)
        return self.limiter.take(images, now)


def best(world: World) -> Run:
    """Send each at the first moment at which the server takes it; no jitter, first come first served."""
    server, run, now = Server(world), Run(), 0.0
    for images in sizes_of(world):
        while (wait := server.take(images, now)) is not None:
            now += wait
        if now >= world.seconds:
            return run
        run.accepted.append((now, images))
    raise AssertionError


def logged(world: World) -> Run:
    """Do what the best client does that keeps a log of 60 s and knows the limit, but not the kind."""
    run, now = Run(), 0.0
    log = limiter("sliding", world.limit, WINDOW)
    for images in sizes_of(world):
        while (wait := log.take(images, now)) is not None:
            now += wait
        if now >= world.seconds:
            return run
        run.accepted.append((now, images))
    raise AssertionError


@define
class Play:
    """One world with our quota as the client."""

    world: World
    server: Server = field(init=False)
    quota: Quota = field(init=False)
    run: Run = field(factory=Run)
    now: float = 0.0
    _events: list[tuple[float, int, str, tuple[int, int, Sent]]] = field(factory=list)
    _order: Iterator[int] = field(factory=count)
    _queue: list[tuple[int, int]] = field(factory=list)
    _under_way: int = 0
    _wake: float = math.inf

    def __attrs_post_init__(self) -> None:
        self.server = Server(self.world)
        limit = self.world.limit if self.world.known else "auto"
        self.quota = Quota(Limits(images_per_minute=limit))

    def play(self) -> Run:
        """Go on to the end of the world's time."""
        draw = random.Random(self.world.seed * 31 + 5)
        fresh = enumerate(sizes_of(self.world))
        self._send(draw, fresh)
        while True:
            at = self._events[0][0] if self._events else math.inf
            self.now = min(at, self._wake)
            if self.now >= self.world.seconds:
                self.run.state = self.quota.state(self.world.seconds)
                return self.run
            if self._wake <= at:
                self._wake = math.inf
                self._send(draw, fresh)
                continue
            _, _, what, job = heapq.heappop(self._events)
            if what == "arrives":
                self._arrive(job)
            else:
                self._answer(what, job)
                self._send(draw, fresh)

    def _send(self, draw: random.Random, fresh: Iterator[tuple[int, int]]) -> None:
        self._wake = math.inf
        while self._under_way < AT_ONCE:
            if not self._queue:
                heapq.heappush(self._queue, next(fresh))
            decision = self.quota.decide(self._queue[0][1], self.now)
            if not isinstance(decision, Go):
                assert decision.until > self.now, decision
                assert self._under_way or decision.until < math.inf, "nobody would ever ask again"
                self._wake = decision.until
                return
            ticket, images = heapq.heappop(self._queue)
            sent = self.quota.sent(images, self.now)
            self._under_way += 1
            arrival = self.now + draw.uniform(0, self.world.jitter)
            self._push(arrival, "arrives", (ticket, images, sent))

    def _push(self, when: float, what: str, job: tuple[int, int, Sent]) -> None:
        heapq.heappush(self._events, (when, next(self._order), what, job))

    def _arrive(self, job: tuple[int, int, Sent]) -> None:
        images = job[1]
        if self.server.overloaded(self.now):
            self.run.refused.append(self.now)
            self._push(self.now + ANSWER, "overload", job)
        elif self.server.take(images, self.now) is None:
            self.run.accepted.append((self.now, images))
            self._push(self.now + ANSWER, "accepted", job)
        else:
            self.run.refused.append(self.now)
            self._push(self.now + ANSWER, "quota", job)

    def _answer(self, what: str, job: tuple[int, int, Sent]) -> None:
        ticket, images, sent = job
        self._under_way -= 1
        if what == "accepted":
            self.quota.accepted(sent, self.now)
            return
        heapq.heappush(self._queue, (ticket, images))
        self.quota.refused(sent, self.now, None, "overload" if what == "overload" else "quota")
