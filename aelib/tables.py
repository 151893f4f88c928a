"""Rows → tables, which the book shows as MyST and Jupyter as HTML; numbers → prose."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from aelib import words
from aelib.hyperparameters import TrainingConfig
from aelib.models import AutoencoderConfig
from aelib.runs import Run

HARD_SPACE = "\N{NO-BREAK SPACE}"


class Table:
    """A numbered table that prose refers to as `name`; the first column is text, the others numbers unless `text`."""

    def __init__(
        self, name: str, caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, text: bool = False
    ) -> None:
        rows = list(rows)
        lines = [header, [":--", *[":--" if text else "--:"] * (len(header) - 1)], *rows]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        self.cells = [header, *rows]
        self.myst = f"```{{table}} {caption}\n:name: {name}\n\n{body}\n```\n"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        shown = words.words(self.myst, words.book())
        text = io.StringIO()
        for row in self.cells:
            plain = [re.sub(r"[*`]", "", words.words(cell, words.book())).replace(HARD_SPACE, " ") for cell in row]
            csv.writer(text, lineterminator="\n").writerow(plain)
        return {
            "text/markdown": self.myst,
            "text/html": words.html(shown),
            "text/plain": shown,
            "text/csv": text.getvalue(),
        }


def number(value: float | None) -> str:
    """Whole numbers with separators, others with four significant digits; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:#.4g}"


def percent(share: float, digits: int = 0) -> str:
    """A share in [0, 1] in per cent, for example `25 %`."""
    return f"{100 * share:.{digits}f} %"


def plus_minus(middle: float, half: float, form: str) -> str:
    """A number and half the width of its interval, `20.3 ± 0.4`; where there is little room it breaks before the ±."""
    return f"{middle:{form}} ±{HARD_SPACE}{half:{form}}"


def interval(values: Sequence[float], form: str) -> str:
    """The mean of `values`, one a seed, and half the width of its 95 % interval (Student's t): `20.3 ± 0.4`."""
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return plus_minus(float(np.mean(values)), half_width(values), form)


def half_width(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval (Student's t) of the mean of two `values` or more."""
    return float(scipy.special.stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / len(values) ** 0.5)


def among(values: Sequence[float], form: str) -> str:
    """The first of `values`, a run's own, and from where to where they lie, with those of other seeds, if there are.

    >>> among([3.1, 2.9], ".1f"), among([3, 3], "d"), among([3], "d")
    ('3.1 (with 2 seeds from 2.9 to 3.1)', '3 (with each of 2 seeds)', '3')
    """
    said, low, high = (f"{each:{form}}" for each in (values[0], min(values), max(values)))
    if len(values) > 1:
        said += (
            f" (with each of {len(values)} seeds)"
            if low == high
            else f" (with {len(values)} seeds from {low} to {high})"
        )
    return said


def compare(
    labels: Mapping[str, str], report: Mapping[str, float | None], ours: Mapping[str, float]
) -> list[tuple[str, str, str, str]]:
    """Rows of label, report's number, ours, relative difference; in the order of `labels`, keyed like the numbers.

    What the report has no number for gets a dash.
    """
    rows = []
    for key, label in labels.items():
        theirs, mine = report.get(key), ours[key]
        difference = "–" if theirs is None else f"{100 * (mine - theirs) / theirs:+.1f} %".replace("-", "−")
        # The report's numbers have the digits that it gives.
        rows.append((label, f"{theirs:,g}" if isinstance(theirs, float) else number(theirs), number(mine), difference))
    return rows


AUTOENCODER = {
    "epochs": "Epochs until it stopped",
    "best_epoch": "Best epoch",
    "first_train_loss": "Training loss after one epoch",
    "first_validation_loss": "Validation loss after one epoch",
    "train_loss": "Training loss in the best epoch",
    "validation_loss": "Lowest validation loss",
    "test_loss": "Test loss",
    "parameters": "Parameters",
    "test_reconstruction": "Test mean squared error",
    "test_kl": "Test KL divergence, nats",
}
CLASSIFIER = {
    "epochs": "Epochs until it stopped",
    "best_epoch": "Best epoch",
    "learning_rate": "Learning rate",
    "validation_loss": "Lowest validation loss",
    "test_loss": "Test cross-entropy",
    "test_accuracy": "Test accuracy",
    "parameters": "Trainable parameters",
}
"""The numbers of a training, as the book calls them."""


def training(
    name: str, caption: str, theirs: Mapping[str, float | None], run: Run, labels: Mapping[str, str] = AUTOENCODER
) -> Table:
    """A run in numbers, beside the report's: those of `labels` that are in `theirs`."""
    first = {f"first_{loss}": run.history[0][loss] for loss in ("train_loss", "validation_loss")}
    shown = {key: label for key, label in labels.items() if key in theirs}
    return Table(name, caption, ["", "Report", "Ours", "Difference"], compare(shown, theirs, run.metrics | first))


def glue(**values: Any) -> None:
    """Have prose say `values`, numbers or words; `{glue:text}`a-b`` says what is given as `a_b`."""
    import myst_nb

    for name, value in values.items():
        # With a format, a number of NumPy would vanish from its sentence.
        plain = value.item() if isinstance(value, np.generic) else value
        myst_nb.glue(name.replace("_", "-"), plain, display=False)


SEARCHED = {
    "linear_units": "Linear units",
    "latent_dim": "Latent space units",
    "instance_norm": "Instance normalisation",
    "optimizer": "Optimiser",
    "weight_decay": "L2 penalty",
    "conv": "Convolutions",
    "channels": "Channels",
}
"""The hyper-parameters that the study searches, as the book calls them."""


def hyper_parameters(model: AutoencoderConfig, training: TrainingConfig) -> list[str]:
    """The values of Table 2, in its order."""
    return [
        ", ".join(f"({conv.kernel}, {conv.stride}, {conv.padding})" for conv in model.conv),
        ", ".join(map(str, model.channels)),
        str(model.linear_units),
        str(model.latent_dim),
        "yes" if model.instance_norm else "no",
        training.optimizer,
        f"{training.weight_decay:.3g}",
        "from the finder" if training.learning_rate is None else f"{training.learning_rate:.7g}",
        f"{model.dropout:g}",
        "leaky ReLU",
    ]
