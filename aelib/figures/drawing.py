"""What the figures share: their style, their colours, and the runs and numbers that each of them gives."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

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


@contextmanager
def styled() -> Iterator[None]:
    """Within it, or within a function that it decorates, `STYLE` holds."""
    with matplotlib.style.context(["default", STYLE]):
        yield


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

        with styled():
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
        with styled():
            super().savefig(*arguments, **options)


def classes_of(of: Sequence[Stored]) -> Sequence[str]:
    """Names of the classes of the images that runs are of."""
    return of[0].provenance.get("classes", CLASSES) if of else CLASSES


MARKERS = "osD^vP*X"
"""Of lines and dots, in the order in which they are told apart, for who does not see the colours."""

REPORT = "#d55e00"
"""What the report has published, wherever it stands beside ours."""

INK, PAPER, GUIDE, SHADE, WARNING = "black", "white", COLOURS[-1], "#ededed", "#b00020"
"""Edges and counts; counts on what is dark; lines that guide the eye; a shaded range; that a profile is no report."""

GREYS = "gray_r"
"""Of images, dark on white as in the report."""


def new_figure(height: float, of: Sequence[Stored], columns: Mapping[str, Iterable[Any]] | None = None) -> Drawing:
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
        figure.suptitle(notice, color=WARNING, fontsize=9, fontweight="bold")
    return figure


def ours_and_theirs(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray] | None) -> dict[str, list[Any]]:
    """The columns of `ours`, with the report's of the same names below them, if there are any, and one of whose."""
    columns = {name: [*ours[name], *(theirs[name] if theirs else ())] for name in ours}
    first = next(iter(ours))
    report = len(columns[first]) - len(ours[first])
    return {"whose": ["ours"] * len(ours[first]) + ["report"] * report, **columns}


def colours(labels: np.ndarray) -> np.ndarray:
    """A colour for each of `labels`, (N,); of many classes some share one."""
    return np.array(COLOURS)[labels % len(COLOURS)]


def add_legend(figure: Drawing, of: Sequence[Stored], **options: Any) -> None:
    """A dot and a name for each class."""
    handles = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=name)
        for colour, name in zip(colours(np.arange(len(classes_of(of)))), classes_of(of), strict=True)
    ]
    figure.legend(handles=handles, handletextpad=0.1, **options)


def log_losses(axis: Axes, named: Sequence[float] = (1, 1.2, 1.5, 2, 3, 5)) -> None:
    """A logarithmic axis for losses, which span about a decade: numbers at `named`, and at ten times these."""
    axis.set_yscale("log")
    if label := axis.get_ylabel():
        axis.set_ylabel(f"{label}, log scale")
    log_numbers(axis.yaxis, named)


def log_numbers(axis: Axis, named: Sequence[float] = (1, 2, 5)) -> None:
    """The numbers of a logarithmic axis: `named`, times each power of ten, and no others."""
    axis.set_major_locator(LogLocator(subs=named))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
