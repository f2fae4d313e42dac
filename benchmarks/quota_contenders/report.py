"""Tables, verdicts and plots of the quota worlds."""

from __future__ import annotations

import statistics
from pathlib import Path

import matplotlib as mpl
from attrs import frozen
from matplotlib import pyplot as plt
from quota_contenders.world import Play, Run, World, best, logged

mpl.use("Agg")

NAMES = {(1,): "1", (1, 2, 4): "1,2,4", tuple(range(1, 9)): "1-8", (8,): "8"}
FIRST_MINUTES = 120.0


@frozen
class Score:
    """How one world went, with one seed."""

    world: World
    per_minute: float
    share: float
    share_of_log: float
    refused: int
    refused_share: float
    pace_after: float
    kind: str | None
    limit: int | None

    @property
    def ok(self) -> bool | None:
        """Whether its goal holds; None where no goal was set."""
        if self.world.event:
            return None
        if self.world.known:
            return self.share >= 60 / (60 + self.world.jitter) - 0.01 and not self.refused
        return self.share >= 0.9 and self.refused_share <= 0.02


def score(world: World) -> Score:
    """Play a world and compare; without the first two minutes where the limit is to be learnt."""
    run, end = Play(world).play(), world.seconds
    begin = 0.0 if world.known else FIRST_MINUTES
    images, most = run.images(begin, end), best(world).images(begin, end)
    assert run.state is not None
    return Score(
        world,
        images / (end - begin) * 60,
        images / most,
        images / logged(world).images(begin, end),
        run.refusals(begin, end),
        run.refusals(begin, end) / run.submits(begin, end),
        pace_after(run, world.limit),
        run.state.kind,
        run.state.limit,
    )


def pace_after(run: Run, limit: int) -> float:
    """Return the seconds until 90 % of what the first minute allows was accepted."""
    total = 0
    for when, images in run.accepted:
        total += images
        if total >= 0.9 * limit:
            return when
    return float("inf")


HEAD = (
    f"{'limit':>5} {'known':5} {'kind':7} {'images':6} {'J':>3} {'event':8}"
    f" {'per min':>7} {'of best':>15} {'of a log':>8} {'refused':>7} {'share':>12} {'pace':>5}  goal"
)


def row(scores: list[Score]) -> str:
    """Return one line for all seeds of a world: means, with the worst in brackets."""
    world = scores[0].world
    shares = [each.share for each in scores]
    refused = [each.refused_share for each in scores]
    return (
        f"{world.limit:5} {'yes' if world.known else 'no':5} {world.kind:7}"
        f" {NAMES[world.sizes]:6} {world.jitter:3.1f} {world.event:8}"
        f" {statistics.mean(each.per_minute for each in scores):7.2f}"
        f" {statistics.mean(shares):7.1%} ({min(shares):5.1%})"
        f" {statistics.mean(each.share_of_log for each in scores):8.1%}"
        f" {statistics.mean(each.refused for each in scores):7.1f}"
        f" {statistics.mean(refused):5.2%} ({max(refused):4.1%})"
        f" {statistics.mean(each.pace_after for each in scores):5.1f}  {verdict(scores)}"
    )


def verdict(scores: list[Score]) -> str:
    """Return whether the goal holds for all seeds."""
    failed = sum(each.ok is False for each in scores)
    if scores[0].ok is None:
        return "–"
    return "ok" if not failed else f"MISSED by {failed} of {len(scores)}"


def plot(directory: Path, table: list[list[Score]]) -> None:
    """Draw the shares of all worlds, and the first minutes of some."""
    directory.mkdir(parents=True, exist_ok=True)
    for known in (True, False):
        rows = [scores for scores in table if scores[0].world.known is known]
        figure, axes = plt.subplots(figsize=(9, 0.22 * len(rows) + 1.5))
        for place, scores in enumerate(rows):
            axes.plot([each.share for each in scores], [place] * len(scores), "o", alpha=0.5)
        labels = [
            f"{w.limit}/min {w.kind} {NAMES[w.sizes]} J={w.jitter} {w.event}"
            for w in (scores[0].world for scores in rows)
        ]
        axes.set_yticks(range(len(rows)), labels, fontsize=7)
        axes.axvline(0.9, color="grey", linestyle=":")
        axes.set_xlabel("images, share of the best client that knows kind, limit and phase")
        axes.set_title(f"limit {'known' if known else 'unknown'}, two hours, each dot one seed")
        figure.tight_layout()
        figure.savefig(directory / f"quota_{'known' if known else 'unknown'}.png", dpi=110)
        plt.close(figure)
    _plot_start(directory)


def _plot_start(directory: Path) -> None:
    figure, all_axes = plt.subplots(1, 3, figsize=(13, 4), sharey=True)
    for axes, kind in zip(all_axes, ("bucket", "sliding", "fixed"), strict=True):
        world = World(kind, known=False, sizes=tuple(range(1, 9)), jitter=3.0, seconds=1800, seed=1)
        ours = Play(world).play()
        for name, run in (("best", best(world)), ("a log of 60 s", logged(world)), ("ours", ours)):
            total, steps = 0, []
            for _, images in run.accepted:
                total += images
                steps.append(total)
            minutes = [when / 60 for when, _ in run.accepted]
            axes.step(minutes, steps, where="post", label=name)
        axes.plot([when / 60 for when in ours.refused], [0] * len(ours.refused), "rx", label="429")
        axes.set_title(f"{kind}, 10 a minute, unknown")
        axes.set_xlabel("minutes")
        axes.legend(fontsize=7)
    all_axes[0].set_ylabel("images accepted")
    figure.tight_layout()
    figure.savefig(directory / "quota_first_half_hour.png", dpi=110)
    plt.close(figure)
