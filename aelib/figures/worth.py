"""What networks are good for: few labels, damage, probabilities, what is odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from aelib.figures.drawing import COLOURS, GUIDE, MARKERS, Drawing, Stored, new_figure, styled

LINES = ("-", "--", "-.", ":")


def _style(place: int) -> dict[str, Any]:
    return {
        "color": COLOURS[(2 * place + place // 5) % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": LINES[place % len(LINES)],
        "markersize": 4,
        "linewidth": 1.2,
    }


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


@styled()
def with_labels(
    curves: Mapping[str, tuple[Sequence[int], Sequence[Sequence[float]]]],
    what: str,
    *,
    marks: Mapping[str, float] | None = None,
    of: Sequence[Stored],
) -> Drawing:
    """Means over draws against the number of labels, each in a band from the lowest to the highest draw.

    Args:
        curves: by title, the numbers of labels and, of each, a value for each draw.
        what: the values are, as the axis is called.
        marks: what others have reached, by name, at the right edge.
    """
    rows = [
        (title, number, np.mean(values), min(values), max(values), len(values))
        for title, (numbers, each) in curves.items()
        for number, values in zip(numbers, each, strict=True)
    ]
    figure = new_figure(
        4.2 + 0.11 * len(curves), of, _columns(("method", "labels", "mean", "low", "high", "draws"), rows)
    )
    axis = figure.subplots()
    for place, (title, (numbers, each)) in enumerate(curves.items()):
        style = _style(place)
        axis.plot(numbers, [np.mean(values) for values in each], label=title, **style)
        low, high = [min(values) for values in each], [max(values) for values in each]
        axis.fill_between(numbers, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axis.set(xscale="log", xlabel="Labelled images, log scale", ylabel=what)
    ticks = sorted({number for numbers, _ in curves.values() for number in numbers})
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=8)
    axis.xaxis.set_minor_formatter(NullFormatter())
    for name, value in (marks or {}).items():
        axis.axhline(value, 0.99, 1.01, color=GUIDE, linewidth=1.5, clip_on=False)
        axis.annotate(name, (1.02, value), xycoords=axis.get_yaxis_transform(), fontsize=8, va="center")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


@styled()
def restoring(
    panels: Mapping[str, tuple[Sequence[float], str, Mapping[str, tuple[np.ndarray, np.ndarray]]]],
    *,
    of: Sequence[Stored],
) -> Drawing:
    """PSNR against the strength of each kind of damage, with 95 % intervals of the mean over images.

    Args:
        panels: by kind of damage, S strengths, what they are, and by method the means and standard errors, (S,) each.
    """
    rows = [
        (kind, strength, name, mean, 1.96 * error)
        for kind, (strengths, _, lines) in panels.items()
        for name, (means, errors) in lines.items()
        for strength, mean, error in zip(strengths, means, errors, strict=True)
    ]
    figure = new_figure(6.2, of, _columns(("damage", "strength", "method", "psnr_db", "interval"), rows))
    axes: Any = figure.subplots(2, -(-len(panels) // 2), squeeze=False).flat
    for axis, (kind, (strengths, unit, lines)) in zip(axes, panels.items(), strict=False):
        for place, (name, (means, errors)) in enumerate(lines.items()):
            axis.errorbar(strengths, means, 1.96 * errors, label=name, **_style(place))
        axis.set(title=kind, xlabel=unit, ylabel="PSNR, dB")
    handles, titles = axes[0].get_legend_handles_labels()
    figure.legend(handles, titles, loc="outside lower center", ncols=3, fontsize=8)
    return figure


@styled()
def reliability(panels: Mapping[str, Mapping[str, np.ndarray]], *, of: Sequence[Stored]) -> Drawing:
    """Accuracy against confidence in bins, by classifier, `before` and `after` scaling: (3, B) counts, both shares."""
    rows = [
        (title, when, *values)
        for title, both in panels.items()
        for when, bins in both.items()
        for values in bins.T.tolist()
        if values[0]
    ]
    figure = new_figure(3.1, of, _columns(("classifier", "when", "images", "confidence", "accuracy"), rows))
    axes: Any = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    for axis, (title, both) in zip(axes, panels.items(), strict=True):
        axis.plot([0, 1], [0, 1], color=GUIDE, linewidth=0.8)
        for place, (when, (counts, confidence, accuracy)) in enumerate(both.items()):
            some = counts > 0
            sizes = 4 + 60 * np.sqrt(counts[some] / counts.sum())
            colour = COLOURS[(0, 6)[place]]
            axis.plot(confidence[some], accuracy[some], color=colour, linewidth=0.9, linestyle=LINES[place])
            axis.scatter(confidence[some], accuracy[some], sizes, color=colour, marker="os"[place], label=when)
        axis.set(title=title, xlabel="Confidence", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axis.title.set_fontsize(9)
    axes[0].set_ylabel("Accuracy")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    return figure


@styled()
def refusing(shares: np.ndarray, curves: Mapping[str, np.ndarray], *, of: Sequence[Stored]) -> Drawing:
    """Accuracy on what is answered, (S,), against the share of the images that is refused, (S,)."""
    rows = [
        (name, share, value) for name, values in curves.items() for share, value in zip(shares, values, strict=True)
    ]
    figure = new_figure(3.2, of, _columns(("classifier", "refused", "accuracy"), rows))
    axis = figure.subplots()
    for place, (name, values) in enumerate(curves.items()):
        axis.plot(100 * shares, values, label=name, **_style(place) | {"markersize": 3})
    axis.set(xlabel="Refused, % of the images, the least sure first", ylabel="Accuracy on the others")
    axis.legend(fontsize=8)
    return figure


@styled()
def odd(titles: Sequence[str], scores: Mapping[str, Sequence[tuple[float, float]]], *, of: Sequence[Stored]) -> Drawing:
    """Area under the ROC curve of each score for each of what is odd, with 95 % intervals; at 0.5 nothing is told.

    Args:
        titles: N, of what is odd.
        scores: by name N areas and their standard errors.
    """
    rows = [
        (title, name, area, 1.96 * error)
        for name, each in scores.items()
        for title, (area, error) in zip(titles, each, strict=True)
    ]
    figure = new_figure(1.2 + 0.45 * len(titles), of, _columns(("odd", "score", "auroc", "interval"), rows))
    axis: Axes = figure.subplots()
    axis.axvline(0.5, color=GUIDE, linewidth=1)
    for place, (name, each) in enumerate(scores.items()):
        shift = 0.6 * (place / max(len(scores) - 1, 1) - 0.5)
        areas, errors = np.array(each).T
        style = _style(place) | {"linestyle": ""}
        axis.errorbar(areas, np.arange(len(titles)) + shift, xerr=1.96 * errors, label=name, **style)
    axis.set_yticks(range(len(titles)), titles)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.02)
    axis.set_xlabel("Area under the ROC curve")
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure
