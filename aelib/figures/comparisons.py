"""Models side by side: one number of many, and numbers along a curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.ticker import StrMethodFormatter

from aelib.figures.drawing import COLOURS, GUIDE, MARKERS, Drawing, Stored, log_losses, log_numbers, new_figure, styled


@styled()
def dots(
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    label: str,
    *,
    of: Sequence[Stored],
) -> Drawing:
    """One number of several models (rows) in several ways (colours), a dot a seed, on a logarithmic axis.

    Args:
        rows: the values of all seeds, by way, by model.
        label: what the number is.
    """
    points = [(model, way, value) for model, ways in rows.items() for way, values in ways.items() for value in values]
    columns = dict(zip(("model", "way", "value"), zip(*points, strict=True), strict=True))
    figure = new_figure(1.3 + 0.5 * len(rows), of, columns)
    axis = figure.subplots()
    ways = list(dict.fromkeys(way for _, way, _ in points))
    for number, way in enumerate(ways):
        mine = [
            (place + 0.5 * (number / max(1, len(ways) - 1) - 0.5), value)
            for place, each in enumerate(rows.values())
            for value in each.get(way, ())
        ]
        heights, values = zip(*mine, strict=True)
        marker = MARKERS[number % len(MARKERS)]
        axis.plot(values, heights, marker, color=COLOURS[number], markersize=5, alpha=0.8, label=way)
    axis.set(xscale="log", xlabel=f"{label}, log scale", ylim=(len(rows) - 0.5, -0.6))
    axis.set_yticks(range(len(rows)), list(rows))
    log_numbers(axis.xaxis)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


@dataclass(frozen=True)
class Curve:
    """Numbers along a parameter, for one panel of `along`.

    Attributes:
        what: the numbers are, as their axis is called.
        lines: of each, where it is and its values of all seeds there, two sequences as long as each other.
        dotted: of what no training has found, its places and values.
        levels: numbers that hold everywhere, by name.
        log: whether the axis is logarithmic.
    """

    what: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]]
    dotted: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    log: bool = False


@styled()
def along(panels: Sequence[Curve], label: str, *, log: bool = True, of: Sequence[Stored]) -> Drawing:
    """Panels, one below the other, over one axis: a dot a seed, a line through their means.

    Args:
        label: what is along the axis.
        log: whether that is in logarithm.
    """
    points: list[tuple[Any, ...]] = []
    figure = new_figure(0.7 + 2.4 * len(panels), of)
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for axis, panel in zip(axes, panels, strict=True):
        for number, (name, (places, values)) in enumerate(panel.lines.items()):
            colour, marker = COLOURS[(0, 6, 3, 5)[number % 4]], MARKERS[number]
            axis.plot(places, [np.mean(each) for each in values], color=colour, linewidth=1)
            every = [(place, value) for place, each in zip(places, values, strict=True) for value in each]
            axis.plot(*zip(*every, strict=True), marker, color=colour, markersize=4, alpha=0.75, label=name)
            points += [(panel.what, name, *each) for each in every]
        for number, (name, drawn) in enumerate(panel.dotted.items()):
            axis.plot(*drawn, ":", color=COLOURS[(-1, 2)[number % 2]], linewidth=1.5, label=name)
            points += [(panel.what, name, *each) for each in zip(*drawn, strict=True)]
        for number, (name, value) in enumerate(panel.levels.items()):
            axis.axhline(value, color=GUIDE, linewidth=1, linestyle=("--", "-.")[number % 2], label=name)
        if log:
            axis.set_xscale("log")
        axis.set_ylabel(panel.what)
        if panel.log:
            log_losses(axis, (1, 2, 5))
        axis.legend(fontsize=8, loc="best")
    axes[-1].set_xlabel(label + (", log scale" if log else ""))
    axes[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    columns = zip(("panel", "line", "place", "value"), zip(*points, strict=True), strict=True)
    figure.columns = {name: list(column) for name, column in columns}
    return figure
