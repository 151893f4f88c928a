"""Costs as they grow, and each number of the report beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter

from aelib.figures.drawing import COLOURS, GUIDE, PAPER, REPORT, Drawing, Stored, log_losses, new_figure, styled


@dataclass(frozen=True)
class CostPanel:
    """How costs grow with a number, for one panel of `growth`.

    Attributes:
        what: there is more of, as its axis is called.
        counts: N numbers of it.
        cost: what the other axis is called.
        lines: N costs each, by what they are of.
    """

    what: str
    counts: Sequence[int]
    cost: str
    lines: Mapping[str, Sequence[float]]


@styled()
def growth(panels: Sequence[CostPanel], *, of: Sequence[Stored]) -> Drawing:
    """What more costs, all axes in logarithm; a dotted line of slope 1 leaves each first point."""
    points = [
        (panel.what, count, f"{panel.cost}: {name}", value)
        for panel in panels
        for name, values in panel.lines.items()
        for count, value in zip(panel.counts, values, strict=True)
    ]
    columns = dict(zip(("of_what", "count", "cost", "value"), zip(*points, strict=True), strict=True))
    figure = new_figure(3.2, of, columns)
    for axis, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
        styles = zip((COLOURS[0], COLOURS[6], COLOURS[3]), "osD", strict=True)
        for (name, values), (colour, marker) in zip(panel.lines.items(), styles, strict=False):
            axis.plot(panel.counts, values, color=colour, marker=marker, markersize=5, label=name)
            proportional = [values[0] * each / panel.counts[0] for each in panel.counts]
            axis.plot(panel.counts, proportional, color=colour, linestyle=":", linewidth=0.9)
        axis.set(xscale="log", xlabel=f"{panel.what}, log scale", ylabel=panel.cost)
        axis.set_xticks(panel.counts, [f"{each:,}" for each in panel.counts], minor=False)
        axis.xaxis.set_minor_formatter(NullFormatter())
        log_losses(axis, (1, 2, 5))
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8)  # within, it would cover a line
    return figure


@dataclass(frozen=True)
class Reproduced:
    """A number of the report's beside ours, a row of `reproductions`.

    Attributes:
        quantity: in words.
        theirs: the report's.
        ours: of each seed, (n,).
        interval: where one more of ours lies.
        margin: what counts as near `theirs`: from, to.
        verdict: a word or two.
    """

    quantity: str
    theirs: float
    ours: Sequence[float]
    interval: tuple[float, float]
    margin: tuple[float, float]
    verdict: str


FARTHEST = 300
"""Per cent that a number differs by; what differs by more, as in a profile of synthetic garments, is drawn there."""


@styled()
def reproductions(rows: Sequence[Reproduced], *, of: Sequence[Stored]) -> Drawing:
    """Each number of the report's with ours, by how many per cent they differ; the scale is logarithmic beyond ±2 %."""
    seeds = max(len(row.ours) for row in rows)
    columns: dict[str, Iterable[Any]] = {
        "quantity": [row.quantity for row in rows],
        "report": [row.theirs for row in rows],
        **{
            f"ours {number + 1}": [row.ours[number] if number < len(row.ours) else "" for row in rows]
            for number in range(seeds)
        },
        "low": [row.interval[0] for row in rows],
        "high": [row.interval[1] for row in rows],
        "verdict": [row.verdict for row in rows],
    }
    figure = new_figure(0.9 + 0.45 * len(rows), of, columns)
    axis = figure.subplots()
    axis.set_xscale("symlog", linthresh=2, linscale=0.6)
    axis.axvline(0, color=REPORT, linewidth=1.5, zorder=1)
    for place, row in enumerate(rows):

        def differ(values: Sequence[float], theirs: float = row.theirs) -> np.ndarray:
            return np.clip(100 * (np.asarray(values) / theirs - 1), -FARTHEST, FARTHEST)

        near, interval = differ(row.margin), differ(row.interval)
        axis.barh(place, near[1] - near[0], 0.42, near[0], color=REPORT, alpha=0.18, linewidth=0)
        axis.plot(interval, [place, place], color=GUIDE, linewidth=1)
        axis.plot(interval, [place, place], "|", color=GUIDE, markersize=7)
        axis.plot(differ(row.ours), np.full(len(row.ours), place), "o", color=COLOURS[0], markersize=4, alpha=0.75)
        axis.plot(0, place, "D", color=REPORT, markersize=5, zorder=3)
        edge, ground = axis.get_yaxis_transform(), {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
        named = f"{row.quantity}: {row.theirs:g}"
        axis.text(0, place - 0.3, named, transform=edge, fontsize=8, va="bottom", bbox=ground)
        axis.text(1, place - 0.3, row.verdict, transform=edge, fontsize=8, va="bottom", ha="right")
    axis.set_ylim(len(rows) - 0.5, -0.9)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    ends = [100 * (end / row.theirs - 1) for row in rows for end in (*row.interval, *row.margin, *row.ours)]
    widest = min(max(2.5, *map(abs, ends)), FARTHEST)
    axis.set_xlim(-1.15 * widest, 1.15 * widest)
    ticks = [tick for tick in ((1, 2, 5, 10, 20, 50, 100) if widest <= 100 else (2, 10, 50, 200)) if tick <= widest]
    places = [*(-tick for tick in reversed(ticks)), 0, *ticks]
    axis.set_xticks(places, [f"{tick:+d}".replace("-", "−") if tick else "0" for tick in places], fontsize=8)
    axis.set_xticks([], minor=True)
    axis.set_xlabel("Ours against the report's, %")
    handles = [
        Line2D([], [], color=REPORT, marker="D", linestyle="", markersize=5, label="report"),
        Rectangle((0, 0), 1, 1, color=REPORT, alpha=0.18, linewidth=0, label="counts as near"),
        Line2D([], [], color=COLOURS[0], marker="o", linestyle="", markersize=4, alpha=0.75, label="a seed of ours"),
        Line2D([], [], color=GUIDE, marker="|", linewidth=1, label="one more, 95 %"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8)
    return figure
