"""The latent space in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from aelib.figures.drawing import GREYS, Drawing, Stored, add_legend, classes_of, colours, new_figure, styled


@styled()
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
    figure = new_figure(4.7, of, {axes[0]: points[:, 0], axes[1]: points[:, 1], "class": names})
    axis = figure.subplots()
    _scatter(axis, points, labels, size=5)
    for index in _spread(points, distance=0.13):
        thumbnail = OffsetImage(images[index], zoom=0.5, cmap=GREYS, norm=Normalize(0, 1))
        frame = {"edgecolor": str(colours(labels[index])), "linewidth": 1.2, "boxstyle": "square,pad=0.1"}
        axis.add_artist(AnnotationBbox(thumbnail, tuple(points[index]), pad=0, bboxprops=frame))
    axis.set(xlabel=axes[0], ylabel=axes[1])
    add_legend(figure, of, loc="outside right center")
    return figure


def _scatter(axis: Axes, points: np.ndarray, labels: np.ndarray, *, size: float) -> None:
    # Drawn in random order, or the last class would cover the others.
    order = np.random.default_rng(0).permutation(len(points))
    x, y = points[order].T
    axis.scatter(x, y, s=size, c=colours(labels[order]), alpha=0.7, linewidths=0, rasterized=True)


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


@styled()
def class_maps(maps: Mapping[str, np.ndarray], labels: np.ndarray, *, of: Sequence[Stored]) -> Drawing:
    """Several maps side by side, with one legend for all (Figures 17 and 18).

    Args:
        maps: (N, 2) each, by title.
        labels: (N,), in [0, C).
    """
    columns = {f"{title}, {axis}": points[:, axis - 1] for title, points in maps.items() for axis in (1, 2)}
    figure = new_figure(3.1, of, columns | {"class": [classes_of(of)[label] for label in labels]})
    for axis, (title, points) in zip(figure.subplots(1, len(maps)), maps.items(), strict=True):
        _scatter(axis, points, labels, size=1.5)
        axis.set_title(title, fontsize=10)
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
    add_legend(figure, of, loc="outside lower center", ncols=5, fontsize=8)
    return figure
