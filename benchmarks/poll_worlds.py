"""How near to the optimum is the schedule of polls, in worlds that hide when tasks end?

Virtual time, no sockets. A world draws how long each task takes and tells nobody; a client learns it
from its own polls. What counts is cost = price · polls + seconds from the end to the poll that notices
it, per task. Beside ours: the optimum that knows the distribution (dynamic programming, under the same
floor and ceiling), fixed intervals, and pauses that grow.

    uv run --group bench python benchmarks/poll_worlds.py
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from attrs import asdict, field, frozen
from poll_contenders import plots
from poll_contenders.million import bare_heap_step, memory_per_task, our_step
from poll_contenders.ours import follow, honest, lying
from poll_contenders.rivals import (
    Bill,
    asking_at,
    fixed,
    geometric,
    optimal_ages,
    same_delay,
)
from poll_contenders.worlds import WORLDS, Drawn, World, lognormal

from ppinfra_async import Polling

PRICES = (0.05, 0.15, 0.5)
INTERVALS = (0.1, 0.5, 1.0, 3.0)
LEARNT = 50
"""Completions of the class after which a task counts."""

BEST_FIXED_GOAL = 1.15
EQUAL_DELAY_GOALS = {0.1: 0.45, 0.2: 0.45, 0.3: 0.6}
STEP_GOAL = 2.0
MEMORY_GOAL = 1024


@frozen
class Row:
    """One world at one price.

    Attributes:
        optimum: Its cost per task in seconds.
        ours: Ours, as shares of the optimum's; ``early`` is of the 200 tasks after the first 50.
        fixed: Those of the fixed intervals, in seconds.
        equal_delay: Our polls as a share of the polls of the fixed interval with the same delay.
        optimum_equal_delay: The same for the optimum.
    """

    world: str
    price: float
    ceiling: float
    polls: float
    delay: float
    optimum: float
    free_optimum: float
    ours: float
    early: float
    fixed: list[float]
    geometric: float
    equal_delay: float
    optimum_equal_delay: float
    goal: float | None = field(default=None)
    equal_delay_goal: float | None = field(default=None)

    @property
    def best_fixed(self) -> float:
        """Our cost as a multiple of the best fixed interval's."""
        return self.ours * self.optimum / min(self.fixed)

    def misses(self) -> Iterator[str]:
        """Yield a sentence for each goal that is not reached."""
        if self.goal and self.ours > self.goal:
            yield f"{self.ours:.3f} × the optimum, goal {self.goal}"
        if self.best_fixed > BEST_FIXED_GOAL:
            yield f"{self.best_fixed:.2f} × the best fixed interval, goal {BEST_FIXED_GOAL}"
        if self.equal_delay_goal and self.equal_delay > self.equal_delay_goal:
            yield (
                f"{self.equal_delay:.2f} of a fixed interval's polls at equal delay, goal "
                f"{self.equal_delay_goal} (the optimum itself: {self.optimum_equal_delay:.2f})"
            )


def optimum(drawn: Drawn, price: float, floor: float, ceiling: float) -> Bill:
    """Return the bill of whoever knows from which distribution each task was drawn."""
    bill = Bill(np.zeros(len(drawn.took)), np.zeros(len(drawn.took)))
    for number, (cdf, end) in enumerate(drawn.cdfs):
        of = drawn.known == number
        if of.any():
            part = asking_at(optimal_ages(cdf, end, price, floor, ceiling), drawn.took[of])
            bill.polls[of], bill.delay[of] = part.polls, part.delay
    return bill


def measure(world: World, price: float, ceiling: float, tasks: int, seeds: int) -> Row:
    """Return the means over *seeds* runs of *tasks* tasks each."""
    polling = Polling(
        price=price,
        max_interval=ceiling,
        polls_per_second=10_000,
        processing_deadline=1e6,
        total_deadline=1e6,
    )
    runs = [_run(world, polling, tasks, seed) for seed in range(seeds)]
    mean = {name: np.mean([run[name] for run in runs], axis=0) for name in runs[0]}
    return Row(
        world=world.name,
        price=price,
        ceiling=ceiling,
        polls=float(mean["polls"]),
        delay=float(mean["delay"]),
        optimum=float(mean["optimum"]),
        free_optimum=float(mean["free optimum"]),
        ours=float(mean["ours"] / mean["optimum"]),
        early=float(mean["early"] / mean["early optimum"]),
        fixed=[float(cost) for cost in mean["fixed"]],
        geometric=float(mean["geometric"]),
        equal_delay=float(mean["equal delay"]),
        optimum_equal_delay=float(mean["optimum equal delay"]),
        goal=world.goal,
        equal_delay_goal=EQUAL_DELAY_GOALS.get(world.sigma) if world.sigma else None,
    )


def _run(world: World, polling: Polling, tasks: int, seed: int) -> dict[str, float | list[float]]:
    drawn = world.draw(np.random.default_rng(seed), tasks)
    price, floor, ceiling = polling.price, polling.min_interval, polling.max_interval
    bill, known = follow(drawn, polling, seed=seed)
    best = optimum(drawn, price, floor, ceiling)
    first = int(np.argmax(known >= LEARNT))
    late, early = slice(first, None), slice(first, first + 200)
    took = drawn.took[late]
    return {
        "polls": float(bill.polls[late].mean()),
        "delay": float(bill.delay[late].mean()),
        "ours": bill.cost(price, late),
        "optimum": best.cost(price, late),
        "free optimum": optimum(drawn, price, 0.0, math.inf).cost(price, late),
        "early": bill.cost(price, early),
        "early optimum": best.cost(price, early),
        "fixed": [fixed(interval, took).cost(price) for interval in INTERVALS],
        "geometric": geometric(took).cost(price),
        "equal delay": _share(bill, late, took),
        "optimum equal delay": _share(best, late, took),
    }


def _share(bill: Bill, of: slice, took: np.ndarray) -> float:
    return float(bill.polls[of].mean() / same_delay(float(bill.delay[of].mean()), took))


def table(rows: list[Row]) -> None:
    intervals = " ".join(f"{interval:>5g} s" for interval in INTERVALS)
    print(
        f"\n{'world':32} {'price':>5} {'polls':>6} {'delay':>6} {'ours':>7} {'optimum':>8} "
        f"{'× opt.':>7} {'early':>6} {'× free':>7}   {intervals}  grows  × best  equal delay (opt.)"
    )
    for row in rows:
        fixed_costs = " ".join(f"{cost:7.2f}" for cost in row.fixed)
        print(
            f"{row.world:32} {row.price:5} {row.polls:6.2f} {row.delay:6.2f} "
            f"{row.ours * row.optimum:7.3f} {row.optimum:8.3f} {row.ours:7.3f} {row.early:6.3f} "
            f"{row.ours * row.optimum / row.free_optimum:7.3f}   {fixed_costs} {row.geometric:6.2f} "
            f"{row.best_fixed:7.2f} {row.equal_delay:8.2f} ({row.optimum_equal_delay:.2f})"
        )


def announcements(tasks: int) -> list[dict[str, float | str]]:
    """Measure what honest and lying ``eta`` and ``progress_percent`` do to the cost."""
    print(
        "\nWhat the service says about the remaining time, at the default price: cost per task in s"
    )
    print(f"{'world':32} {'nothing':>8} {'the truth':>10} {'always the same':>16}")
    found: list[dict[str, float | str]] = []
    polling = Polling(polls_per_second=10_000, processing_deadline=1e6, total_deadline=1e6)
    for world in WORLDS:
        drawn = world.draw(np.random.default_rng(0), tasks)
        row: dict[str, float | str] = {"world": world.name}
        for name, saying in (("nothing", None), ("truth", honest), ("same", lying)):
            bill, known = follow(drawn, polling, **({"saying": saying} if saying else {}))
            row[name] = bill.cost(polling.price, slice(int(np.argmax(known >= LEARNT)), None))
        print(
            f"{world.name:32} {row['nothing']:8.3f} {row['truth']:10.3f} {row['same']:16.3f}",
            flush=True,
        )
        found.append(row)
    return found


def short_budget(tasks: int) -> list[dict[str, float]]:
    """Measure a budget that is too small for the default price, beside fixed intervals that fit it."""
    print("\nA budget that is short: 15 s tasks, σ 0.3, 10 new ones per second; seconds of delay")
    print(
        f"{'polls/s':>8} {'polls per task':>15} {'ours':>6} {'best fixed interval within it':>31}"
    )
    found = []
    world = lognormal(15, 0.3, rate=10)
    for budget in (60.0, 30.0, 20.0, 14.0):
        drawn = world.draw(np.random.default_rng(0), tasks)
        polling = Polling(polls_per_second=budget, processing_deadline=1e6, total_deadline=1e6)
        bill, known = follow(drawn, polling)
        late = slice(int(np.argmax(known >= LEARNT)) + 1000, None)
        interval = _interval_with(budget / 10, drawn.took)
        rival = float(fixed(interval, drawn.took).delay.mean())
        ours = float(bill.delay[late].mean())
        print(f"{budget:8g} {bill.polls[late].mean():15.2f} {ours:6.2f} {rival:31.2f}", flush=True)
        found.append({"budget": budget, "delay": ours, "fixed": rival})
    return found


def _interval_with(polls: float, took: np.ndarray) -> float:
    low, high = 0.01, float(took.max())
    for _ in range(60):
        middle = math.sqrt(low * high)
        if fixed(middle, took).polls.mean() > polls:
            low = middle
        else:
            high = middle
    return high


def million(waiting: int) -> dict[str, float]:
    """Measure what one step costs with a million waiting tasks, and the memory of each."""
    print(
        f"\nOne step with {waiting:,} waiting tasks: take what is due, note the answer, plan anew"
    )
    bare = bare_heap_step(waiting)
    ours, looks = our_step(waiting)
    memory = memory_per_task(waiting // 5)
    print(f"bare heapq (pop and push): {bare * 1e6:.2f} µs")
    print(f"ours, {looks} looks at the class included: {ours * 1e6:.2f} µs = {ours / bare:.2f} ×")
    print(f"memory per waiting task, its id included: {memory:.0f} bytes")
    return {"bare": bare, "ours": ours, "ratio": ours / bare, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=3000, help="per run")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each world and price")
    parser.add_argument("--waiting", type=int, default=1_000_000, help="tasks of the last part")
    parser.add_argument("--plots", type=Path, default=Path(__file__).parent / "plots")
    options = parser.parse_args()

    rows = []
    for world in WORLDS:
        rows += [measure(world, price, 10.0, options.tasks, options.seeds) for price in PRICES]
    table(rows)
    print("\nThe same with a ceiling (Polling.max_interval) of 60 s instead of 10 s:")
    long = [world for world in WORLDS if world.name.startswith("log-normal 60")]
    high = [measure(w, p, 60.0, options.tasks, options.seeds) for w in long for p in PRICES]
    table(high)

    said = announcements(options.tasks)
    short = short_budget(options.tasks)
    steps = million(options.waiting)
    plots.draw(rows, options.plots)

    print("\nGoals")
    misses = [f"{r.world}, price {r.price}: {miss}" for r in rows for miss in r.misses()]
    if steps["ratio"] > STEP_GOAL:
        misses.append(f"a step costs {steps['ratio']:.2f} × bare heapq, goal {STEP_GOAL}")
    if steps["memory"] > MEMORY_GOAL:
        misses.append(f"{steps['memory']:.0f} bytes per waiting task, goal {MEMORY_GOAL}")
    print("\n".join(misses) or "all reached")
    print(
        json.dumps(
            {
                "rows": [asdict(row) for row in rows],
                "high ceiling": [asdict(row) for row in high],
                "announcements": said,
                "short budget": short,
                "million": steps,
                "misses": misses,
            }
        )
    )


if __name__ == "__main__":
    main()
