"""Draws the results of the worlds as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt  # after the choice of what to draw with


class Row(Protocol):
    """What is drawn of one world at one price."""

    world: str
    price: float
    optimum: float
    ours: float
    fixed: list[float]
    geometric: float


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Write one picture per price into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    for price in sorted({row.price for row in rows}):
        part = [row for row in rows if row.price == price]
        figure, axes = plt.subplots(figsize=(10, 0.34 * len(part) + 1.5))
        places = range(len(part))
        for number, interval in enumerate(("0.1 s", "0.5 s", "1 s", "3 s")):
            shares = [row.fixed[number] / row.optimum for row in part]
            axes.plot(shares, places, "|", markersize=9, label=f"every {interval}")
        axes.plot([row.geometric / row.optimum for row in part], places, "x", label="growing")
        axes.plot([row.ours for row in part], places, "ko", label="ours")
        axes.axvline(1, color="grey", linewidth=0.8)
        axes.set_yticks(list(places), [row.world for row in part])
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xticks([1, 1.5, 2, 3, 5, 10, 20], ["1", "1.5", "2", "3", "5", "10", "20"])
        axes.set_xlabel(f"cost as a multiple of the optimum's, at a price of {price} s per poll")
        axes.legend(loc="lower right", fontsize=8)
        figure.tight_layout()
        figure.savefig(folder / f"polls-price-{price}.png", dpi=110)
        plt.close(figure)
