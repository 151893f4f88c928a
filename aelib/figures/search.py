"""The study of hyper-parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from aelib.figures.drawing import (
    COLOURS,
    INK,
    PAPER,
    REPORT,
    SHADE,
    Drawing,
    Stored,
    log_losses,
    log_numbers,
    new_figure,
    ours_and_theirs,
    styled,
)
from aelib.metrics import usual


@styled()
def study_history(
    values: np.ndarray, pruned: np.ndarray, random: int, *, theirs: np.ndarray | None = None, of: Sequence[Stored]
) -> Drawing:
    """Lowest validation loss of each trial, in logarithm, and the best so far (Figure 1).

    Args:
        values: (N,), NaN where a trial failed.
        theirs: those of the report's completed trials, NaN for the others.
        pruned: (N,), whether a trial was stopped by the pruner.
        random: how many trials were drawn at random before the sampler learned.
    """
    numbers = np.arange(len(values))
    columns = {"trial": numbers, "lowest_validation_loss": values, "pruned": pruned.astype(int)}
    if theirs is not None:
        columns["report"] = np.resize(np.append(theirs, [np.nan] * max(0, len(values) - len(theirs))), len(values))
    figure = new_figure(3.4 if theirs is None else 3.8, of, columns)
    axis = figure.subplots()
    axis.axvspan(-1, random - 0.5, color=SHADE, zorder=0, label="random trials")
    complete = ~pruned & np.isfinite(values)
    axis.plot(numbers[complete], values[complete], "o", color=COLOURS[0], markersize=4, label="completed trial")
    if pruned.any():
        axis.plot(numbers[pruned], values[pruned], "x", color=COLOURS[6], markersize=5, label="pruned trial")
    best = np.fmin.accumulate(np.where(complete, values, np.nan))
    axis.step(numbers, best, where="post", color=COLOURS[0], linewidth=1.2, label="best so far")
    if theirs is not None:
        axis.plot(theirs, "o", color=REPORT, markersize=4, fillstyle="none", label="completed trial, report")
        lowest = np.fmin.accumulate(theirs)
        axis.step(range(len(theirs)), lowest, where="post", color=REPORT, linewidth=1, label="best so far, report")
    axis.set(xlabel="Trial", ylabel="Lowest validation loss", xlim=(-1, len(values)))
    log_losses(axis)
    _cut(axis, numbers, values)
    figure.legend(loc="outside lower center", ncols=4 if theirs is None else 3, fontsize=8)
    return figure


@styled()
def latent_scatter(
    dims: np.ndarray,
    values: np.ndarray,
    optimizers: Sequence[str],
    *,
    theirs: Mapping[str, np.ndarray] | None = None,
    of: Sequence[Stored],
) -> Drawing:
    """Lowest validation loss, in logarithm, against the latent dimension, by optimiser (Figure 2).

    Args:
        dims, values: (N,), of the trials that have a value.
        optimizers: N names.
        theirs: the report's trials, as `report.completed` has them.
    """
    columns = ours_and_theirs(
        {"latent_dim": dims, "lowest_validation_loss": values, "optimizer": np.array(optimizers)},
        theirs and {**theirs, "lowest_validation_loss": theirs["value"]},
    )
    figure = new_figure(3.6, of, columns)
    axis = figure.subplots()
    for name, colour, marker in zip(
        ("adam", "sgd", "adamax"), (COLOURS[1], COLOURS[6], COLOURS[0]), "sDo", strict=True
    ):
        chosen = np.array(optimizers) == name
        axis.plot(
            dims[chosen], values[chosen], marker, color=colour, markersize=5, alpha=0.85, linestyle="", label=name
        )
        if theirs is not None and (same := theirs["optimizer"] == name).any():
            hollow: dict[str, Any] = {"color": REPORT, "fillstyle": "none", "markersize": 5, "linestyle": ""}
            axis.plot(theirs["latent_dim"][same], theirs["value"][same], marker, label=f"{name}, report", **hollow)
    axis.set(xlabel="Latent dimension", ylabel="Lowest validation loss")
    log_losses(axis)
    _cut(axis, *(np.array(columns[name]) for name in ("latent_dim", "lowest_validation_loss")))
    if theirs is None:
        axis.legend(title="Optimiser")
    else:
        figure.legend(title="Optimiser", loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _cut(axis: Axes, places: np.ndarray, losses: np.ndarray) -> None:
    """End the vertical axis above the `usual` losses; mark the others, (N,) at `places`, and say how high."""
    others = np.isfinite(losses) & ~usual(losses)
    if not others.any():
        return
    axis.set_ylim(top=1.1 * losses[usual(losses)].max())
    edge = axis.get_xaxis_transform()
    axis.plot(places[others], np.full(others.sum(), 0.98), "^", color=INK, markersize=4, transform=edge)
    ends = dict.fromkeys(f"{loss:.2f}" for loss in (losses[others].min(), losses[others].max()))
    axis.set_title(f"▲ {' to '.join(ends)}", loc="right", fontsize=8)


@styled()
def best_of(
    bands: Mapping[str, np.ndarray], courses: Mapping[str, np.ndarray], colours: Sequence[str], *, of: Sequence[Stored]
) -> Drawing:
    """How good the best of n trials is: a band over the orders of the random ones, and the course that a study took.

    Args:
        bands: of each study, (N, 3): lower end, median and upper end for n from 1 to N.
        courses: of each study, (M,): the lowest loss after each of its trials.
        colours: of each study.
    """
    most = max(map(len, courses.values()))
    columns: dict[str, list[Any]] = {"trials": list(range(1, most + 1))}
    for name in bands:
        parts = {
            "low": bands[name][:, 0],
            "median": bands[name][:, 1],
            "high": bands[name][:, 2],
            "study": courses[name],
        }
        columns |= {f"{name} {part}": [*each, *[""] * (most - len(each))] for part, each in parts.items()}
    figure = new_figure(3.4, of, columns)
    axis = figure.subplots()
    for name, colour in zip(bands, colours, strict=True):
        draws = np.arange(1, len(bands[name]) + 1)
        axis.fill_between(draws, bands[name][:, 0], bands[name][:, 2], color=colour, alpha=0.15, linewidth=0)
        axis.plot(draws, bands[name][:, 1], color=colour, linestyle="--", label=f"random trials, {name}")
        steps = np.arange(1, len(courses[name]) + 1)
        axis.plot(steps, courses[name], color=colour, drawstyle="steps-post", label=f"the study, {name}")
    axis.set(xlabel="Trials", ylabel="Lowest validation loss")
    log_losses(axis)
    axis.legend(fontsize=8)
    return figure


@styled()
def found_rates(
    rates: Mapping[str, np.ndarray], taken: Mapping[str, float], theirs: Mapping[str, float], *, of: Sequence[Stored]
) -> Drawing:
    """What the learning-rate finder suggests to one training with many seeds, for each of several trainings.

    It takes one of a hundred rates, so that many seeds have the same: a dot has an area for each of them.

    Args:
        rates: by the name of a training, (N,), NaN where the finder saw no finite loss.
        taken: the rate that it was trained with, where it is ours.
        theirs: the rate that the report trained it with, where it is the report's.
    """
    stars = (("taken", taken, COLOURS[6]), ("taken by the report", theirs, REPORT))
    rows = [(name, "suggested", rate) for name, each in rates.items() for rate in each]
    rows += [(name, how, rate) for how, given, _ in stars for name, rate in given.items()]
    columns = dict(zip(("training", "how", "rate"), map(list, zip(*rows, strict=True)), strict=True))
    figure = new_figure(1.3 + 0.32 * len(rates), of, columns)
    axis = figure.subplots()
    for place, each in enumerate(rates.values()):
        seen, counts = np.unique(each[np.isfinite(each)], return_counts=True)
        axis.scatter(seen, np.full(len(seen), place), 12 * counts, color=COLOURS[1], label="suggested")
    for how, given, colour in stars:
        places = [[*rates].index(name) for name in given]
        axis.plot([*given.values()], places, "*", color=colour, markersize=11, label=how, markeredgecolor=PAPER)
    axis.set(xscale="log", xlabel="Learning rate, log scale", yticks=range(len(rates)), yticklabels=[*rates])
    log_numbers(axis.xaxis)
    axis.set_ylim(len(rates) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    shown = dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))  # "suggested" is there once a row
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=3)
    return figure


@styled()
def importances(ours: Mapping[str, float], report: Mapping[str, float], *, of: Sequence[Stored]) -> Drawing:
    """Share of the variation of the loss that each hyper-parameter explains, beside the report's (Figure 15).

    Args:
        ours, report: shares in [0, 1], by name; drawn in the order of `ours`, the largest on top.
    """
    columns: dict[str, Any] = {"hyper-parameter": ours.keys(), "ours": ours.values()}
    columns["report"] = [report[name] for name in ours]
    figure = new_figure(3.4, of, columns)
    axis = figure.subplots()
    places = np.arange(len(ours))[::-1]
    for offset, shares, colour, label in ((0.2, ours, COLOURS[0], "ours"), (-0.2, report, REPORT, "report")):
        bars = axis.barh(places + offset, [shares[name] for name in ours], 0.38, color=colour, label=label)
        axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axis.set_yticks(places, list(ours))
    axis.set(xlabel="Importance", xlim=(0, 1.1 * max([*ours.values(), *report.values()])))
    axis.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled()
def study_contour(
    dims: np.ndarray, units: np.ndarray, values: np.ndarray, theirs: Mapping[str, np.ndarray], *, of: Sequence[Stored]
) -> Drawing:
    """The loss, interpolated over latent dimension and linear units; dots are trials (Figure 16): ours, the report's.

    Args:
        dims, units, values: (N,), of the trials that have a value.
        theirs: the report's trials, as `report.completed` has them.
    """
    columns = ours_and_theirs(
        {"latent_dim": dims, "linear_units": units, "lowest_validation_loss": values},
        {**theirs, "lowest_validation_loss": theirs["value"]},
    )
    figure = new_figure(3.8, of, columns)
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    both = [*values, *theirs["value"]]
    levels = np.geomspace(min(both), max(both), 16)
    surfaces = (
        ("ours", PAPER, (dims, units, values)),
        ("report", REPORT, (theirs["latent_dim"], theirs["linear_units"], theirs["value"])),
    )
    for axis, (name, colour, (across, up, losses)) in zip(axes, surfaces, strict=True):
        filled = axis.tricontourf(across, up, losses, levels=levels, cmap="viridis_r", norm=LogNorm())
        # Trials lie on the border, too.
        marks: dict[str, Any] = {"color": colour, "markeredgecolor": INK, "clip_on": False, "linestyle": ""}
        axis.plot(across, up, "o", markersize=4, label=f"trials, {name}", **marks)
        best = np.argmin(losses)
        axis.plot(across[best], up[best], "*", markersize=14, label=f"best trial, {name}", **marks)
        axis.set(title=name.capitalize(), xlabel="Latent dimension")
    axes[0].set_ylabel("Linear units")
    bar = figure.colorbar(filled, ax=axes, label="Lowest validation loss, log scale", format="%.4f")
    bar.ax.minorticks_off()
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure


@styled()
def pareto_fronts(costs: Mapping[str, np.ndarray], values: np.ndarray, *, of: Sequence[Stored]) -> Drawing:
    """The loss against each cost; a line joins the trials that no other beats in both.

    Args:
        costs: (N,) each, by what it is called on the axis.
        values: (N,), losses.
    """
    figure = new_figure(3.2, of, dict(costs) | {"lowest_validation_loss": values})
    axes = figure.subplots(1, len(costs), sharey=True)
    for axis, (label, cost) in zip(axes, costs.items(), strict=True):
        front = pareto_front(cost, values)
        axis.plot(cost, values, "o", color=COLOURS[1], markersize=4, label="trial")
        axis.step(cost[front], values[front], where="post", color=COLOURS[6], linewidth=1.2)
        axis.plot(cost[front], values[front], "o", color=COLOURS[6], markersize=5, label="on the front")
        axis.set(xlabel=label, ylabel="Lowest validation loss" if axis is axes[0] else "")
        log_losses(axis)
        _cut(axis, cost, values)
    axes[-1].legend()
    return figure


def pareto_front(cost: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Indices, by rising cost, of the points that no other beats in both `cost` and `value`, (N,) each."""
    order = np.lexsort((value, cost))
    best = np.concatenate([[np.inf], np.minimum.accumulate(value[order])[:-1]])
    return order[value[order] < best]
