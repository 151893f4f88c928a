"""Garments as images: originals, reconstructions, draws; and the network that makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

from aelib.figures.drawing import (
    COLOURS,
    GREYS,
    GUIDE,
    INK,
    WIDTH,
    Drawing,
    Stored,
    classes_of,
    new_figure,
    styled,
)


def show(axis: Axes, image: np.ndarray, title: str = "") -> None:
    """One image, (28, 28) in [0, 1], dark on white as in the report."""
    axis.imshow(image, cmap=GREYS, vmin=0, vmax=1)
    axis.set_axis_off()
    axis.set_title(title, fontsize=9, pad=3)


@styled()
def image_grid(images: np.ndarray, *, columns: int, titles: Sequence[str] = (), of: Sequence[Stored]) -> Drawing:
    """Images in rows of `columns`, each with its title if there are any (Figures 5, 6 and 20).

    Args:
        images: (N, 28, 28), in [0, 1].
    """
    rows = -(-len(images) // columns)
    title_height = 0.25 if titles else 0.05
    figure = new_figure(rows * (WIDTH / columns + title_height), of)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, image, title in zip(axes, images, [*titles, *[""] * (len(images) - len(titles))], strict=False):
        show(axis, image, title)
    for axis in axes[len(images) :]:
        axis.set_axis_off()
    return figure


@styled()
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


@styled()
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
    figure = new_figure(4.0, ())
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
                    facecolor=COLOURS[1] if image else COLOURS[5], edgecolor=INK, linewidth=0.8,
                )
            )  # fmt: skip
            label = f"{count} × {size}" if size else count
            axis.text(column, row - height / 2 - 0.06, label, ha="center", va="top", fontsize=8)
        for column, name in enumerate(names[:-1]):
            ends = (column + 0.24, row), (column + 0.76, row)
            axis.add_patch(_arrow(*(ends if row else ends[::-1])))
            axis.text(column + 0.5, row + 0.08, name, ha="center", va="bottom", fontsize=6.5)
    middle = 0.875
    axis.add_patch(Rectangle((last - 0.08, middle - 0.2), 0.16, 0.4, facecolor=COLOURS[6], edgecolor=INK))
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
    return FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, color=GUIDE, linewidth=0.9)


@styled()
def rows_of_images(rows: Mapping[str, np.ndarray], *, titles: Sequence[str] = (), of: Sequence[Stored]) -> Drawing:
    """Images in labelled rows, one column an example (Figure 10).

    Args:
        rows: (N, 28, 28) each, in [0, 1], by label.
        titles: one a column, or none.
    """
    columns = len(next(iter(rows.values())))
    size = WIDTH / (columns + 1.2)
    figure = new_figure(len(rows) * size + 0.4 * bool(titles), of)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for number, (label, images) in enumerate(rows.items()):
        for column, image in enumerate(images):
            show(axes[number, column], image, titles[column] if titles and not number else "")
        axes[number, 0].text(-4, 13.5, label, ha="right", va="center", fontsize=9)
    return figure


@styled()
def generated(models: Mapping[str, tuple[np.ndarray, np.ndarray]], *, of: Sequence[Stored]) -> Drawing:
    """For each model its decoded centroids, titled by class, and its decoded random codes (Figure 20).

    Args:
        models: centroids (C, 28, 28) and random codes (20, 28, 28), in [0, 1], by title.
    """
    height = 2.2  # of a model's part, in inches
    figure = new_figure(height * len(models), of)
    # Placed by hand: the solver of a nested layout comes out with other last digits each time.
    figure.set_layout_engine("none")
    for number, (title, (means, drawn)) in enumerate(models.items()):
        low, high = ((height * (len(models) - number) - inches) / figure.get_figheight() for inches in (height, 0.45))
        figure.text(0.5, high + 0.2 / figure.get_figheight(), title, ha="center", va="center", fontsize=10)
        place = {"bottom": low + 0.05 / figure.get_figheight(), "top": high}
        left = figure.add_gridspec(2, 5, left=0.01, right=0.61, hspace=0.2, wspace=0.05, **place)
        for axis, image, name in zip(left.subplots(squeeze=False).flat, means, classes_of(of), strict=False):
            show(axis, image)
            axis.set_title(name, fontsize=6.5, pad=2)
        right = figure.add_gridspec(4, 5, left=0.65, right=0.99, hspace=0.05, wspace=0.05, **place)
        for axis, image in zip(right.subplots(squeeze=False).flat, drawn, strict=True):
            show(axis, image)
    return figure
