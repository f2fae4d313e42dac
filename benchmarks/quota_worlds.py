"""How much of its quota does the client use, and how often is it refused, when nobody knows the limiter?

Virtual time, no sockets: the decisions of `_sansio` against the simulator's three kinds of limiter.
Demand is endless, first come first served, 64 at most under way. A submit reaches the server U(0, J)
seconds after it was sent, its answer comes 50 ms later, a 429 says nothing of when to come again.
Beside each: the best first-come-first-served client that knows kind, limit and phase and has no
jitter, and the best that keeps a log of 60 s and knows the limit only. Two hours each; where the limit
is unknown the first two minutes are left out.

    uv run --group bench python benchmarks/quota_worlds.py [--seeds 5] [--only no] [--plots DIR]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from attrs import evolve
from quota_contenders.report import HEAD, NAMES, Score, plot, row, score
from quota_contenders.world import World

KINDS = ("bucket", "sliding", "fixed")
SMALL = ((1,), (1, 2, 4), tuple(range(1, 9)), (8,))
LARGE = ((1,), tuple(range(1, 9)))
JITTERS = (0.5, 3.0)
EVENTS = ("raised", "lowered", "shared", "overload")

WHY = """\
Known limit, a bucket at the server, requests of different sizes: the goal cannot be reached without a
429. Until a client sends more than a log of 60 s allows, a bucket and a sliding window answer alike; the
first time that it does, a sliding window refuses. Who must never be refused can only keep the log, and
of what such a client can reach see the column "of a log".

Worlds in which something happens have no goal. "shared": another process takes a third, when it gets it;
the best client is there first always and leaves it nothing, so that 67 % of it is a fair share."""


def worlds() -> Iterator[World]:
    for known, kind, sizes, jitter in product((True, False), KINDS, SMALL, JITTERS):
        yield World(kind, known, sizes=sizes, jitter=jitter)
    for known, kind, sizes, jitter in product((True, False), KINDS, LARGE, JITTERS):
        yield World(kind, known, limit=600, sizes=sizes, jitter=jitter)
    for event, kind, sizes in product(EVENTS, KINDS, ((1,), (1, 2, 4))):
        yield World(kind, known=False, limit=20, sizes=sizes, jitter=3.0, event=event)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--large-seeds", type=int, default=1, help="seeds of the accounts with 600")
    parser.add_argument("--only", choices=("yes", "no"), help="limit known?")
    parser.add_argument("--plots", type=Path, default=Path(__file__).parent / "plots")
    args = parser.parse_args()
    table: list[list[Score]] = []
    print(HEAD)
    for world in worlds():
        if args.only and world.known is not (args.only == "yes"):
            continue
        seeds = args.large_seeds if world.limit == 600 else args.seeds
        table.append([score(evolve(world, seed=seed)) for seed in range(seeds)])
        print(row(table[-1]), flush=True)
    plot(args.plots, table)
    report(table)


def report(table: list[list[Score]]) -> None:
    scores = [each for scores in table for each in scores if each.ok is not None]
    hard = [each for each in scores if impossible(each.world)]
    print(f"\n{WHY}\n")
    for known in (True, False):
        some = [each for each in scores if each.world.known is known and each not in hard]
        held = sum(bool(each.ok) for each in some)
        name = "known" if known else "unknown"
        print(f"limit {name}: goal holds in {held} of {len(some)} runs")
    print(f"known, bucket, sizes above 1: {sum(bool(e.ok) for e in hard)} of {len(hard)} runs")
    missed = [each for each in scores if not each.ok and each not in hard]
    print(
        "VERDICT:",
        "all goals hold but for those rows"
        if not missed
        else f"{len(missed)} runs miss their goal",
    )
    print(json.dumps({"quota_worlds": [summary(scores) for scores in table]}))


def impossible(world: World) -> bool:
    return world.known and world.kind == "bucket" and world.sizes != (1,)


def summary(scores: list[Score]) -> dict[str, object]:
    world = scores[0].world
    return {
        "limit": world.limit,
        "known": world.known,
        "kind": world.kind,
        "images": NAMES[world.sizes],
        "jitter": world.jitter,
        "event": world.event,
        "share": [round(each.share, 4) for each in scores],
        "refused_share": [round(each.refused_share, 5) for each in scores],
    }


if __name__ == "__main__":
    main()
