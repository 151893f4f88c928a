"""The course of a training, one row an epoch: which epoch was the best, and when it stops."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

Rows = Sequence[Mapping[str, float]]
"""One row an epoch: `epoch`, from 1; `validation_loss`, and what else was measured."""


def best(rows: Rows) -> Mapping[str, float]:
    """The row of the lowest validation loss, of several the first; losses that are no numbers are never the lowest."""

    def loss(row: Mapping[str, float]) -> float:
        value = row["validation_loss"]
        return value if math.isfinite(value) else math.inf

    return min(rows, key=loss)


def length(losses: Iterable[float], *, patience: int, min_delta: float, most: int) -> int | None:
    """After how many epochs early stopping ends a training with these validation losses; None if it goes on.

    It ends after `most` epochs; or after `patience` of them in a row none of which was lower, by more than `min_delta`,
    than the lowest that counted before; or with a loss that is no number.
    """
    lowest, waited = math.inf, 0
    for epochs, loss in enumerate(losses, start=1):
        lowest, waited = (loss, 0) if loss < lowest - min_delta else (lowest, waited + 1)
        if waited >= patience or epochs >= most or not math.isfinite(loss):
            return epochs
    return None
