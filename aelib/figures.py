"""Arrays and histories → matplotlib figures, in one visual language; nothing here trains, loads or shows."""

from __future__ import annotations

import base64
import csv
import functools
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from aelib import epochs
from aelib.data import CLASSES
from aelib.profiles import notice_of
from aelib.runs import PATHS, portable

WIDTH = 6.4
"""Of every figure, in inches: readable on a page and, scaled down, on a phone."""

DPI = 300
"""Of the picture of each figure: as journals ask for."""

COLOURS = ("#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddaa33", "#cc6677", "#882255", "#aa4499", "#444444")
"""One a class, everywhere; told apart with any kind of colour vision (after Paul Tol's muted scheme)."""

STYLE: dict[str, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "grid.alpha": 0.3,
    "image.interpolation": "none",
    "legend.frameon": False,
    "savefig.dpi": 200,
    # The same drawing gives the same file.
    "svg.hashsalt": "aelib",
}
"""Of each figure, whatever a user's matplotlibrc says; what else is drawn in this process stays as it is."""


def _styled() -> AbstractContextManager[None]:
    return matplotlib.style.context(["default", STYLE])


Draw = TypeVar("Draw", bound=Callable[..., "Drawing"])


def _figure_of(draw: Draw) -> Draw:
    """A function that draws in our style."""

    @functools.wraps(draw)
    def styled(*arguments: Any, **options: Any) -> Drawing:
        with _styled():
            return draw(*arguments, **options)

    return cast(Draw, styled)


class Stored(Protocol):
    """A run, or a study."""

    @property
    def path(self) -> Path:
        """Its own folder."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """How, where and when it was made, and on which images."""


class Drawing(Figure):
    """A figure that gives its runs and its numbers as well, these as CSV, to a notebook that shows it."""

    of: Sequence[Stored]
    columns: Mapping[str, list[Any]]

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """The drawing for the book, and its picture for Jupyter, which draws none that it does not trust."""
        from IPython.core.pylabtools import print_figure

        with _styled():
            # The drawing first: a picture leaves traces in how the figure is laid out.
            bundle = {"text/plain": "a figure", "image/svg+xml": print_figure(self, "svg")}
            picture = print_figure(self, "png", dpi=DPI)
        bundle["image/png"] = base64.b64encode(picture).decode()
        width, height = (round(100 / DPI * int.from_bytes(picture[at : at + 4])) for at in (16, 20))  # of its header
        bundle[PATHS] = "\n".join(portable(each.path) for each in self.of)
        if self.columns:
            bundle["text/csv"] = self.csv()
        return bundle, {"image/png": {"width": width, "height": height}}

    def csv(self) -> str:
        """Its numbers, with six digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in zip(*self.columns.values(), strict=True):
            writer.writerow([f"{each:.6g}" if isinstance(each, (float, np.floating)) else each for each in row])
        return text.getvalue()

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """As of any figure, in our style."""
        with _styled():
            super().savefig(*arguments, **options)


def classes_of(of: Sequence[Stored]) -> Sequence[str]:
    """Names of the classes of the images that runs are of."""
    return of[0].provenance.get("classes", CLASSES) if of else CLASSES


REPORT = "#d55e00"
"""What the report has published, wherever it stands beside ours."""


def _figure(height: float, of: Sequence[Stored], columns: Mapping[str, Iterable[Any]] | None = None) -> Drawing:
    """An empty figure of `height` inches, and a bit more where the profile of its runs has it marked.

    Args:
        of: the runs that it is drawn from, all of one profile and one data set; none for what no training decides.
        columns: the numbers that are drawn, texts or numbers by name, all as many.
    """
    notice = notice_of(of[0].path, of[0].provenance) if of else ""
    figure = Drawing(figsize=(WIDTH, height + 0.3 * bool(notice)))
    figure.of = of
    figure.columns = {name: list(column) for name, column in (columns or {}).items()}
    assert len({len(column) for column in figure.columns.values()}) < 2, "IPython would leave the numbers out"
    if notice:
        figure.suptitle(notice, color="#b00020", fontsize=9, fontweight="bold")
    return figure


def _both(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray] | None) -> dict[str, list[Any]]:
    """The columns of `ours`, with the report's of the same names below them, if there are any, and one of whose."""
    columns = {name: [*ours[name], *(theirs[name] if theirs else ())] for name in ours}
    first = next(iter(ours))
    report = len(columns[first]) - len(ours[first])
    return {"whose": ["ours"] * len(ours[first]) + ["report"] * report, **columns}


def colours(labels: np.ndarray) -> np.ndarray:
    """A colour for each of `labels`, (N,); of many classes some share one."""
    return np.array(COLOURS)[labels % len(COLOURS)]


def _add_legend(figure: Drawing, of: Sequence[Stored], **options: Any) -> None:
    """A dot and a name for each class."""
    handles = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=name)
        for colour, name in zip(colours(np.arange(len(classes_of(of)))), classes_of(of), strict=True)
    ]
    figure.legend(handles=handles, handletextpad=0.1, **options)


@_figure_of
def class_map(
    points: np.ndarray, labels: np.ndarray, images: np.ndarray, axes: tuple[str, str], *, of: Sequence[Stored]
) -> Drawing:
    """Scatter plot of a two-dimensional map, one colour a class, some of the images set on it (Figures 3, 4 and 11).

    Args:
        points: (N, 2).
        labels: (N,), in [0, C).
        images: (N, 28, 28), in [0, 1].
        axes: what the two axes show.
    """
    names = [classes_of(of)[label] for label in labels]
    figure = _figure(4.7, of, {axes[0]: points[:, 0], axes[1]: points[:, 1], "class": names})
    axis = figure.subplots()
    # Drawn in random order, or the last class would cover the others.
    order = np.random.default_rng(0).permutation(len(points))
    axis.scatter(
        points[order, 0], points[order, 1], s=5, c=colours(labels[order]), alpha=0.7, linewidths=0, rasterized=True
    )
    for index in _spread(points, distance=0.13):
        thumbnail = OffsetImage(images[index], zoom=0.5, cmap="gray_r", norm=Normalize(0, 1))
        frame = {"edgecolor": str(colours(labels[index])), "linewidth": 1.2, "boxstyle": "square,pad=0.1"}
        axis.add_artist(AnnotationBbox(thumbnail, tuple(points[index]), pad=0, bboxprops=frame))
    axis.set(xlabel=axes[0], ylabel=axes[1])
    _add_legend(figure, of, loc="outside right center")
    return figure


def pca_axes(shares: Sequence[float]) -> tuple[str, str]:
    """What the axes of a map by PCA show; `shares`: of the variance, in [0, 1]."""
    first, second = (f"principal component ({100 * share:.0f} % of the variance)" for share in shares)
    return f"First {first}", f"Second {second}"


def _spread(points: np.ndarray, *, distance: float) -> list[int]:
    """Indices of points, (N, 2), in crowded places that are `distance` apart or more, as a share of the map's sides."""
    low, high = np.percentile(points, [1, 99], axis=0)
    places = (points - low) / np.maximum(high - low, 1e-12)
    chosen: list[int] = []
    for index in np.random.default_rng(0).permutation(len(points)):
        apart = np.abs(places[chosen] - places[index]).max(1).min() if chosen else np.inf
        # Were the points evenly spread, a hundredth of them would be so near; with much fewer it is a straggler.
        if apart >= distance and (np.abs(places - places[index]).max(1) < 0.05).mean() > 0.01 / 6:
            chosen.append(int(index))
    return chosen


def _show(axis: Axes, image: np.ndarray, title: str = "") -> None:
    """One image, (28, 28) in [0, 1], dark on white as in the report."""
    axis.imshow(image, cmap="gray_r", vmin=0, vmax=1)
    axis.set_axis_off()
    axis.set_title(title, fontsize=9, pad=3)


@_figure_of
def image_grid(images: np.ndarray, *, columns: int, titles: Sequence[str] = (), of: Sequence[Stored]) -> Drawing:
    """Images in rows of `columns`, each with its title if there are any (Figures 5, 6 and 20).

    Args:
        images: (N, 28, 28), in [0, 1].
    """
    rows = -(-len(images) // columns)
    title_height = 0.25 if titles else 0.05
    figure = _figure(rows * (WIDTH / columns + title_height), of)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis, image, title in zip(axes, images, [*titles, *[""] * (len(images) - len(titles))], strict=False):
        _show(axis, image, title)
    for axis in list(axes)[len(images) :]:
        axis.set_axis_off()
    return figure


@_figure_of
def reconstructions(images: np.ndarray, outputs: np.ndarray, *, of: Sequence[Stored]) -> Drawing:
    """Originals above and their reconstructions below, one column a class.

    Args:
        images, outputs: (C, 28, 28), in [0, 1], one of each class.
    """
    named = [name.replace(" ", "\n") for name in classes_of(of)]
    return image_grid(np.concatenate([images, outputs]), columns=len(images), titles=named, of=of)


def epochs_shown(total: int, report: Sequence[int]) -> list[int]:
    """Seven epochs of a training of `total`: the report's, with its last replaced by ours.

    A training too short for them is shown at as many epochs, evenly spaced in the logarithm.
    """
    if total > report[-2]:
        return [*report[:-1], total]
    return np.unique(np.geomspace(1, total, len(report)).round().astype(int)).tolist()


History = Sequence[Mapping[str, float]]
"""One row an epoch, with `epoch`, `train_loss` and `validation_loss`."""


@_figure_of
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
    figure = _figure(3.4, of, _loss_columns(histories, theirs))
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
    _log_losses(axis, (1, 1.5, 2, 3, 4, 5, 7))
    axis.legend(fontsize=8, ncols=2 if theirs else 1)


@_figure_of
def architecture(
    sizes: Sequence[int], channels: Sequence[int], convs: Sequence[tuple[int, int, int]], units: Sequence[int]
) -> Drawing:
    """The encoder above and the decoder that mirrors it below, each stage over its twin.

    Args:
        sizes: image heights, from 28 to the last convolution's, in pixels.
        channels: output channels of each convolution.
        convs: (kernel, stride, padding) of each convolution.
        units: lengths of the flattened features, the linear block and the code.
    """
    figure = _figure(4.0, ())
    axis = figure.subplots()
    axis.set_axis_off()
    axis.grid(False)
    stages = [(f"{count}", f"{size}×{size}") for count, size in zip([1, *channels], sizes, strict=True)]
    heights = [np.sqrt(size / sizes[0]) for size in sizes]
    shapes = [*zip(stages, heights, strict=True)]
    longest = max(units)
    shapes += [((f"{unit}", ""), 0.15 + 0.75 * np.sqrt(unit / longest)) for unit in units]
    operations = [f"conv {kernel}×{kernel}\nstride {stride}" for kernel, stride, _ in convs]
    operations += ["flatten", "linear\nblock", "linear"]
    mirrored = [operation.replace("conv", "convᵀ") for operation in operations[: len(convs)]]
    mirrored += ["reshape", "linear\nblock", "linear\nblock"]
    last = len(shapes) - 1
    for row, names in ((1.75, operations), (0.0, mirrored)):
        for column, ((count, size), height) in enumerate(shapes):
            if column == last:
                continue
            image = column < len(stages)
            width = 0.32 if image else 0.16
            axis.add_patch(
                Rectangle(
                    (column - width / 2, row - height / 2), width, height,
                    facecolor=COLOURS[1] if image else COLOURS[5], edgecolor="black", linewidth=0.8,
                )
            )  # fmt: skip
            label = f"{count} × {size}" if size else count
            axis.text(column, row - height / 2 - 0.06, label, ha="center", va="top", fontsize=8)
        for column, name in enumerate(names[:-1]):
            ends = (column + 0.24, row), (column + 0.76, row)
            axis.add_patch(_arrow(*(ends if row else ends[::-1])))
            axis.text(column + 0.5, row + 0.08, name, ha="center", va="bottom", fontsize=6.5)
    middle = 0.875
    axis.add_patch(Rectangle((last - 0.08, middle - 0.2), 0.16, 0.4, facecolor=COLOURS[6], edgecolor="black"))
    axis.text(last + 0.14, middle, f"code\n{units[-1]}", va="center", fontsize=9)
    axis.add_patch(_arrow((last - 0.7, 1.7), (last - 0.05, middle + 0.24)))
    axis.add_patch(_arrow((last - 0.05, middle - 0.24), (last - 0.7, 0.05)))
    axis.text(last - 0.2, 1.5, operations[-1], fontsize=6.5, va="center")
    axis.text(last - 0.2, 0.25, mirrored[-1], fontsize=6.5, va="center")
    axis.text(0, 2.45, "Encoder", ha="center", fontweight="bold")
    axis.text(0, 0.7, "Decoder", ha="center", fontweight="bold")
    axis.set(xlim=(-0.5, last + 0.6), ylim=(-0.75, 2.6))
    return figure


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> FancyArrowPatch:
    return FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, color="0.3", linewidth=0.9)


@_figure_of
def class_maps(maps: Mapping[str, np.ndarray], labels: np.ndarray, *, of: Sequence[Stored]) -> Drawing:
    """Several maps side by side, with one legend for all (Figures 17 and 18).

    Args:
        maps: (N, 2) each, by title.
        labels: (N,), in [0, C).
    """
    columns = {f"{title}, {axis}": points[:, axis - 1] for title, points in maps.items() for axis in (1, 2)}
    figure = _figure(3.1, of, columns | {"class": [classes_of(of)[label] for label in labels]})
    order = np.random.default_rng(0).permutation(len(labels))
    for axis, (title, points) in zip(figure.subplots(1, len(maps)), maps.items(), strict=True):
        axis.scatter(
            points[order, 0],
            points[order, 1],
            s=1.5,
            c=colours(labels[order]),
            alpha=0.7,
            linewidths=0,
            rasterized=True,
        )
        axis.set_title(title, fontsize=10)
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
    _add_legend(figure, of, loc="outside lower center", ncols=5, fontsize=8)
    return figure


@_figure_of
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
    figure = _figure(2.5 * len(histories), of, columns)
    axes = figure.subplots(len(histories), 1)
    for axis, (title, several) in zip(axes, histories.items(), strict=True):
        _losses(axis, several, theirs=theirs.get(title))
        axis.set_title(title, fontsize=10)
        if axis is not axes[-1]:
            axis.set_xlabel("")
    return figure


@_figure_of
def confusion_matrix(matrix: np.ndarray, *, of: Sequence[Stored]) -> Drawing:
    """Counts, (C, C): predicted class across, true class down (Figures 8 and 14)."""
    # The square root lets the few confusions be seen beside the many right answers.
    dark = matrix > 0.3 * matrix.max()
    return _classes_by_classes(matrix, str, dark, of, shades=np.sqrt(matrix), cmap="Blues")


@_figure_of
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
    figure = _figure(5.6, of, {"true class": names} | columns)
    axis = figure.subplots()
    axis.imshow(shades, **colours)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if dark[row, column] else "black"
        axis.text(column, row, said(count), ha="center", va="center", fontsize=8, color=colour)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="Predicted class", ylabel="True class")
    axis.grid(False)
    axis.spines[:].set_visible(False)
    return figure


@_figure_of
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
    figure = _figure(3.2, of, columns)
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


@_figure_of
def rows_of_images(rows: Mapping[str, np.ndarray], *, titles: Sequence[str] = (), of: Sequence[Stored]) -> Drawing:
    """Images in labelled rows, one column an example (Figure 10).

    Args:
        rows: (N, 28, 28) each, in [0, 1], by label.
        titles: one a column, or none.
    """
    columns = len(next(iter(rows.values())))
    size = WIDTH / (columns + 1.2)
    figure = _figure(len(rows) * size + 0.4 * bool(titles), of)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for number, (label, images) in enumerate(rows.items()):
        for column, image in enumerate(images):
            _show(axes[number, column], image, titles[column] if titles and not number else "")
        axes[number, 0].text(-4, 13.5, label, ha="right", va="center", fontsize=9)
    return figure


@_figure_of
def generated(models: Mapping[str, tuple[np.ndarray, np.ndarray]], *, of: Sequence[Stored]) -> Drawing:
    """For each model its decoded centroids, titled by class, and its decoded random codes (Figure 20).

    Args:
        models: centroids (C, 28, 28) and random codes (20, 28, 28), in [0, 1], by title.
    """
    height = 2.2  # of a model's part, in inches
    figure = _figure(height * len(models), of)
    # Placed by hand: the solver of a nested layout comes out with other last digits each time.
    figure.set_layout_engine("none")
    for number, (title, (means, drawn)) in enumerate(models.items()):
        low, high = ((height * (len(models) - number) - inches) / figure.get_figheight() for inches in (height, 0.45))
        figure.text(0.5, high + 0.2 / figure.get_figheight(), title, ha="center", va="center", fontsize=10)
        place = {"bottom": low + 0.05 / figure.get_figheight(), "top": high}
        left = figure.add_gridspec(2, 5, left=0.01, right=0.61, hspace=0.2, wspace=0.05, **place)
        for axis, image, name in zip(left.subplots(squeeze=False).flat, means, classes_of(of), strict=False):
            _show(axis, image)
            axis.set_title(name, fontsize=6.5, pad=2)
        right = figure.add_gridspec(4, 5, left=0.65, right=0.99, hspace=0.05, wspace=0.05, **place)
        for axis, image in zip(right.subplots(squeeze=False).flat, drawn, strict=True):
            _show(axis, image)
    return figure


@_figure_of
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
    figure = _figure(3.4 if theirs is None else 3.8, of, columns)
    axis = figure.subplots()
    axis.axvspan(-1, random - 0.5, color="0.93", zorder=0, label="random trials")
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
    _log_losses(axis)
    _cut(axis, numbers, values)
    figure.legend(loc="outside lower center", ncols=4 if theirs is None else 3, fontsize=8)
    return figure


@_figure_of
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
    columns = _both(
        {"latent_dim": dims, "lowest_validation_loss": values, "optimizer": np.array(optimizers)},
        theirs and {**theirs, "lowest_validation_loss": theirs["value"]},
    )
    figure = _figure(3.6, of, columns)
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
    _log_losses(axis)
    _cut(axis, *(np.array(columns[name]) for name in ("latent_dim", "lowest_validation_loss")))
    if theirs is None:
        axis.legend(title="Optimiser")
    else:
        figure.legend(title="Optimiser", loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _log_losses(axis: Axes, named: Sequence[float] = (1, 1.2, 1.5, 2, 3, 5)) -> None:
    """A logarithmic axis for losses, which span about a decade: numbers at `named`, and at ten times these."""
    axis.set_yscale("log")
    if label := axis.get_ylabel():
        axis.set_ylabel(f"{label}, log scale")
    axis.yaxis.set_major_locator(LogLocator(subs=named))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def usual(losses: np.ndarray) -> np.ndarray:
    """Whether each of `losses`, (N,), is at most twice their median: one that is not would decide every scale."""
    return losses <= 2 * np.nanmedian(losses)


def _cut(axis: Axes, places: np.ndarray, losses: np.ndarray) -> None:
    """End the vertical axis above the `usual` losses; name the others, (N,) at `places`, at its upper edge."""
    others = np.isfinite(losses) & ~usual(losses)
    if not others.any():
        return
    axis.set_ylim(top=1.1 * losses[usual(losses)].max())
    for place, loss in zip(places[others], losses[others], strict=True):
        edge = axis.get_xaxis_transform()
        axis.annotate(f"▲ {loss:.2f}", (place, 1), (-4, 0), edge, "offset points", fontsize=8, va="top")


@_figure_of
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
    figure = _figure(3.4, of, columns)
    axis = figure.subplots()
    for name, colour in zip(bands, colours, strict=True):
        draws = np.arange(1, len(bands[name]) + 1)
        axis.fill_between(draws, bands[name][:, 0], bands[name][:, 2], color=colour, alpha=0.15, linewidth=0)
        axis.plot(draws, bands[name][:, 1], color=colour, linestyle="--", label=f"random trials, {name}")
        steps = np.arange(1, len(courses[name]) + 1)
        axis.plot(steps, courses[name], color=colour, drawstyle="steps-post", label=f"the study, {name}")
    axis.set(xlabel="Trials", ylabel="Lowest validation loss")
    _log_losses(axis)
    axis.legend(fontsize=8)
    return figure


@_figure_of
def importances(ours: Mapping[str, float], report: Mapping[str, float], *, of: Sequence[Stored]) -> Drawing:
    """Share of the variation of the loss that each hyper-parameter explains, beside the report's (Figure 15).

    Args:
        ours, report: shares in [0, 1], by name; drawn in the order of `ours`, the largest on top.
    """
    columns: dict[str, Any] = {"hyper-parameter": ours.keys(), "ours": ours.values()}
    columns["report"] = [report[name] for name in ours]
    figure = _figure(3.4, of, columns)
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


@_figure_of
def study_contour(
    dims: np.ndarray,
    units: np.ndarray,
    values: np.ndarray,
    *,
    theirs: Mapping[str, np.ndarray] | None = None,
    of: Sequence[Stored],
) -> Drawing:
    """The loss, interpolated over latent dimension and linear units; dots are trials (Figure 16).

    Args:
        dims, units, values: (N,), of the trials that have a value.
        theirs: the report's trials, as `report.completed` has them.
    """
    columns = _both(
        {"latent_dim": dims, "linear_units": units, "lowest_validation_loss": values},
        theirs and {**theirs, "lowest_validation_loss": theirs["value"]},
    )
    figure = _figure(4.2, of, columns)
    axis = figure.subplots()
    levels = np.geomspace(values.min(), values.max(), 12)
    filled = axis.tricontourf(dims, units, values, levels=levels, cmap="viridis_r", norm=LogNorm())
    # Trials lie on the border, too.
    marks: dict[str, Any] = {"color": "white", "markeredgecolor": "black", "clip_on": False}
    axis.plot(dims, units, "o", markersize=4, **marks)
    best = np.argmin(values)
    axis.plot(dims[best], units[best], "*", markersize=14, label="best trial", linestyle="", **marks)
    if theirs is not None:
        marks = {"color": REPORT, "markeredgecolor": "black", "clip_on": False, "linestyle": ""}
        axis.plot(theirs["latent_dim"], theirs["linear_units"], "o", markersize=4, label="trials, report", **marks)
        best = np.argmin(theirs["value"])
        at = theirs["latent_dim"][best], theirs["linear_units"][best]
        axis.plot(*at, "*", markersize=14, label="best trial, report", **marks)
    bar = figure.colorbar(filled, ax=axis, label="Lowest validation loss, log scale", format="%.4f")
    bar.ax.minorticks_off()
    axis.set(xlabel="Latent dimension", ylabel="Linear units")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


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


@_figure_of
def growth(panels: Sequence[CostPanel], *, of: Sequence[Stored]) -> Drawing:
    """What more costs, all axes in logarithm; a dotted line of slope 1 leaves each first point."""
    points = [
        (panel.what, count, f"{panel.cost}: {name}", value)
        for panel in panels
        for name, values in panel.lines.items()
        for count, value in zip(panel.counts, values, strict=True)
    ]
    columns = dict(zip(("of_what", "count", "cost", "value"), zip(*points, strict=True), strict=True))
    figure = _figure(3.2, of, columns)
    for axis, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
        styles = zip((COLOURS[0], COLOURS[6], COLOURS[3]), "osD", strict=True)
        for (name, values), (colour, marker) in zip(panel.lines.items(), styles, strict=False):
            axis.plot(panel.counts, values, color=colour, marker=marker, markersize=5, label=name)
            proportional = [values[0] * each / panel.counts[0] for each in panel.counts]
            axis.plot(panel.counts, proportional, color=colour, linestyle=":", linewidth=0.9)
        axis.set(xscale="log", yscale="log", xlabel=f"{panel.what}, log scale", ylabel=f"{panel.cost}, log scale")
        axis.set_xticks(panel.counts, [f"{each:,}" for each in panel.counts], minor=False)
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8)  # within, it would cover a line
    return figure


@_figure_of
def pareto_fronts(costs: Mapping[str, np.ndarray], values: np.ndarray, *, of: Sequence[Stored]) -> Drawing:
    """The loss against each cost; a line joins the trials that no other beats in both.

    Args:
        costs: (N,) each, by what it is called on the axis.
        values: (N,), losses.
    """
    figure = _figure(3.2, of, dict(costs) | {"lowest_validation_loss": values})
    axes = figure.subplots(1, len(costs), sharey=True)
    for axis, (label, cost) in zip(axes, costs.items(), strict=True):
        front = pareto_front(cost, values)
        axis.plot(cost, values, "o", color=COLOURS[1], markersize=4, label="trial")
        axis.step(cost[front], values[front], where="post", color=COLOURS[6], linewidth=1.2)
        axis.plot(cost[front], values[front], "o", color=COLOURS[6], markersize=5, label="on the front")
        axis.set(xlabel=label, ylabel="Lowest validation loss" if axis is axes[0] else "")
        _log_losses(axis)
        _cut(axis, cost, values)
    axes[-1].legend()
    return figure


def pareto_front(cost: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Indices, by rising cost, of the points that no other beats in both `cost` and `value`, (N,) each."""
    order = np.lexsort((value, cost))
    best = np.concatenate([[np.inf], np.minimum.accumulate(value[order])[:-1]])
    return order[value[order] < best]


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


@_figure_of
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
    figure = _figure(0.9 + 0.45 * len(rows), of, columns)
    axis = figure.subplots()
    axis.set_xscale("symlog", linthresh=2, linscale=0.6)
    axis.axvline(0, color=REPORT, linewidth=1.5, zorder=1)
    for place, row in enumerate(rows):

        def differ(values: Sequence[float], theirs: float = row.theirs) -> np.ndarray:
            return np.clip(100 * (np.asarray(values) / theirs - 1), -FARTHEST, FARTHEST)

        near, interval = differ(row.margin), differ(row.interval)
        axis.barh(place, near[1] - near[0], 0.42, near[0], color=REPORT, alpha=0.18, linewidth=0)
        axis.plot(interval, [place, place], color="#444444", linewidth=1)
        axis.plot(interval, [place, place], "|", color="#444444", markersize=7)
        axis.plot(differ(row.ours), np.full(len(row.ours), place), "o", color=COLOURS[0], markersize=4, alpha=0.75)
        axis.plot(0, place, "D", color=REPORT, markersize=5, zorder=3)
        edge = axis.get_yaxis_transform()
        axis.text(0, place - 0.3, f"{row.quantity}: {row.theirs:g}", transform=edge, fontsize=8, va="bottom")
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
        Line2D([], [], color="#444444", marker="|", linewidth=1, label="one more, 95 %"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8)
    return figure
