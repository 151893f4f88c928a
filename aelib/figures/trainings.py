"""How trainings went, and what classifiers confuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from aelib import epochs
from aelib.figures.drawing import (
    COLOURS,
    INK,
    PAPER,
    REPORT,
    Drawing,
    Stored,
    classes_of,
    log_losses,
    new_figure,
    styled,
)

History = Sequence[Mapping[str, float]]
"""One row an epoch, with `epoch`, `train_loss` and `validation_loss`."""


@styled()
def loss_history(
    histories: Sequence[History],
    *,
    label: str = "Loss (mean squared error)",
    theirs: Mapping[str, np.ndarray] | None = None,
    of: Sequence[Stored],
) -> Drawing:
    """Training and validation loss of each epoch, in logarithm, the best epoch marked (Figures 7 and 19).

    Args:
        histories: that of the run, and those of others that differ in the seed.
        label: what the loss is.
        theirs: the report's, as `report.losses` has them.
    """
    figure = new_figure(3.4, of, _loss_columns(histories, theirs))
    _losses(figure.subplots(), histories, label, theirs)
    return figure


def _loss_columns(histories: Sequence[History], theirs: Mapping[str, np.ndarray] | None) -> dict[str, list[Any]]:
    """What is drawn, and the report's beside it; where one training has stopped its columns are empty."""
    columns = {name: [row[name] for row in histories[0]] for name in histories[0][0]}
    for number, history in enumerate(histories[1:], start=1):
        columns |= {f"other_{number}_{name}": [row[name] for row in history] for name in LOSSES}
    columns |= {f"report_{name}": each.tolist() for name, each in (theirs or {}).items()}
    longest = max(len(column) for column in columns.values())
    columns["epoch"] = list(range(1, longest + 1))
    return {name: [*column, *[""] * (longest - len(column))] for name, column in columns.items()}


LOSSES = ("train_loss", "validation_loss")


def _losses(
    axis: Axes,
    histories: Sequence[History],
    label: str = "Loss",
    theirs: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Of several trainings each in thin lines, and their median, for as long as most of them lasted, in thick ones."""
    ours = COLOURS[0]
    last = max(len(each) for each in histories)
    shared = sorted(len(each) for each in histories)[(len(histories) - 1) // 2]
    for name, style in zip(LOSSES, ("--", "-"), strict=True):
        said = "training" if name == "train_loss" else "validation"
        lines = [np.array([row[name] for row in each]) for each in histories]
        if len(lines) > 1:
            for line in lines:
                axis.plot(range(1, len(line) + 1), line, style, color=ours, linewidth=0.6, alpha=0.4)
            said = f"{said}, median of {len(lines)}"
        middle = [np.median([line[epoch] for line in lines if len(line) > epoch]) for epoch in range(shared)]
        axis.plot(range(1, shared + 1), middle, style, color=ours, label=said)
        if theirs:
            losses = theirs[name]
            last = max(last, len(losses))
            said = said.partition(",")[0]
            axis.plot(range(1, len(losses) + 1), losses, style, color=REPORT, linewidth=1, label=f"{said}, report")
    best = epochs.best(histories[0])
    lowest = f"lowest: {best['validation_loss']:#.4g} in epoch {best['epoch']:.0f}"
    axis.plot(best["epoch"], best["validation_loss"], "*", color=ours, markersize=12, clip_on=False, label=lowest)
    axis.axhline(best["validation_loss"], color=ours, linewidth=1, linestyle=":")
    axis.set(xlabel="Epoch", ylabel=label, xlim=(0, last + 1))
    log_losses(axis, (1, 1.5, 2, 3, 4, 5, 7))
    axis.legend(fontsize=8, ncols=2 if theirs else 1)


@styled()
def loss_histories(
    histories: Mapping[str, Sequence[History]],
    *,
    theirs: Mapping[str, Mapping[str, np.ndarray]],
    of: Sequence[Stored],
) -> Drawing:
    """One panel a model, from top to bottom, as `loss_history`, with the report's of the same title (Figure 19)."""
    tables = {title: _loss_columns(each, theirs.get(title)) for title, each in histories.items()}
    names = [*dict.fromkeys(name for table in tables.values() for name in table if name.endswith(LOSSES))]
    columns: dict[str, list[Any]] = {"model": [title for title, table in tables.items() for _ in table["epoch"]]}
    for name in ("epoch", *names):
        columns[name] = [each for table in tables.values() for each in table.get(name, [""] * len(table["epoch"]))]
    figure = new_figure(2.5 * len(histories), of, columns)
    axes = figure.subplots(len(histories), 1)
    for axis, (title, several) in zip(axes, histories.items(), strict=True):
        _losses(axis, several, theirs=theirs.get(title))
        axis.set_title(title, fontsize=10)
        if axis is not axes[-1]:
            axis.set_xlabel("")
    return figure


@styled()
def confusion_matrix(matrix: np.ndarray, *, of: Sequence[Stored]) -> Drawing:
    """Counts, (C, C): predicted class across, true class down (Figures 8 and 14)."""
    # The square root lets the few confusions be seen beside the many right answers.
    dark = matrix > 0.3 * matrix.max()
    return _classes_by_classes(matrix, str, dark, of, shades=np.sqrt(matrix), cmap="Blues")


@styled()
def confusion_difference(ours: np.ndarray, theirs: np.ndarray, *, of: Sequence[Stored]) -> Drawing:
    """Our answers to a thousand images of each class minus the report's: predicted class across, true class down.

    Args:
        ours, theirs: counts, (C, C), true class down; the report's of a thousand each.
    """
    difference = np.rint(1000 * ours / ours.sum(1, keepdims=True)).astype(int) - theirs
    most = max(np.abs(difference).max(), 1)

    def said(count: int) -> str:
        return f"{count:+d}".replace("-", "−") if count else "0"

    dark = np.abs(difference) > 0.6 * most
    return _classes_by_classes(difference, said, dark, of, shades=difference, cmap="PuOr", vmin=-most, vmax=most)


def _classes_by_classes(
    counts: np.ndarray,
    said: Callable[[int], str],
    dark: np.ndarray,
    of: Sequence[Stored],
    *,
    shades: np.ndarray,
    **colours: Any,
) -> Drawing:
    """A field for each true class, down, and predicted class, across, with its count; white where it is `dark`."""
    names = classes_of(of)[: len(counts)]
    columns = {f"predicted {name}": each for name, each in zip(names, counts.T, strict=True)}
    figure = new_figure(5.6, of, {"true class": names} | columns)
    axis = figure.subplots()
    axis.imshow(shades, **colours)
    for (row, column), count in np.ndenumerate(counts):
        colour = PAPER if dark[row, column] else INK
        axis.text(column, row, said(count), ha="center", va="center", fontsize=8, color=colour)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="Predicted class", ylabel="True class")
    axis.grid(False)
    axis.spines[:].set_visible(False)
    return figure


@styled()
def finder_curve(
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
    chosen: Sequence[float],
    theirs: tuple[np.ndarray, np.ndarray],
    theirs_chosen: float,
    *,
    of: Sequence[Stored],
) -> Drawing:
    """What learning-rate finders saw, ours and the report's, a star at the value that each chose (Figure 13).

    Args:
        curves, theirs: learning rates and smoothed losses, (N,) each; ours of a run, and of others of other seeds.
        chosen, theirs_chosen: rates.
    """
    whose = ["ours", *(f"another of ours, {number}" for number in range(1, len(curves))), "report"]
    all_curves = [*curves, theirs]
    columns: dict[str, Iterable[Any]] = {
        "whose": [who for who, (rates, _) in zip(whose, all_curves, strict=True) for _ in rates],
        "learning_rate": np.concatenate([rates for rates, _ in all_curves]),
        "smoothed_loss": np.concatenate([losses for _, losses in all_curves]),
    }
    figure = new_figure(3.2, of, columns)
    axis = figure.subplots()
    drawn = [(theirs, theirs_chosen, REPORT), *((*each, COLOURS[0]) for each in zip(curves, chosen, strict=True))]
    for number, ((rates, losses), rate, colour) in enumerate(drawn):
        other = number > 1
        axis.plot(rates, losses, color=colour, linewidth=0.7 if other else 1.3, alpha=0.5 if other else 1)
        at = int(np.argmin(np.abs(np.log(rates / rate))))
        label: str | None = f"{'ours' if number else 'report'}, chosen: {rate:.3g}"
        if other:
            label = "ours, with other seeds" if number == 2 else None
        axis.plot(rate, losses[at], "*", color=colour, markersize=7 if other else 13, label=label)
    axis.set(xlabel="Learning rate", ylabel="Training loss, smoothed", xscale="log")
    axis.legend()
    return figure
