"""The learning-rate finder: a range test by Lightning, and the rate that we read from its curve."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pytorch_lightning.tuner import Tuner

from aelib import lightning
from aelib.data import GarmentLoaders
from aelib.engines import Engine
from aelib.errors import AelibError
from aelib.hyperparameters import TrainingConfig
from aelib.models import Model


class Diverged(AelibError):
    """The losses of a training are no longer numbers."""


@dataclass(frozen=True)
class LearningRateCurve:
    """What the learning-rate finder saw (Figure 13), and what it suggests.

    Attributes:
        learning_rates: one a step, rising exponentially from 1e-8 to 1.
        losses: training loss after each, smoothed with factor 0.98.
        suggestion: the learning rate where the loss falls most steeply.
    """

    learning_rates: list[float]
    losses: list[float]
    suggestion: float


def find_learning_rate(
    model: Model, data: GarmentLoaders, config: TrainingConfig, *, seed: int, folder: Path, engine: Engine
) -> LearningRateCurve:
    """Lightning's learning-rate range test (report, Appendix): 100 steps from 1e-8 to 1, stopped at 4 × the best loss.

    `model` comes back as it was.

    Raises:
        Diverged: the losses were not finite long enough to suggest anything.
    """
    # Uncompiled: the rate is a constant to the compiler, and here it changes with each of a hundred steps.
    module = lightning.Training(model, config, replace(engine, compiled=False), seed)
    trainer = lightning.trainer(folder, engine, max_epochs=-1, callbacks=[])
    # The finder draws its progress bar come what may; it belongs in a terminal only.
    quiet = contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
    with quiet, lightning.running():
        finder = Tuner(trainer).lr_find(module, data.train_dataloader(), data.val_dataloader(), update_attr=False)
    assert finder is not None
    rates, losses = np.array(finder.results["lr"]), np.array(finder.results["loss"])
    return LearningRateCurve(rates.tolist(), losses.tolist(), steepest(rates, losses))


def steepest(rates: np.ndarray, losses: np.ndarray) -> float:
    """The one of `rates`, (N,), rising exponentially, after which `losses`, (N,), fall most steeply.

    Raises:
        Diverged: the losses were not finite long enough.
    """
    # Steepest per step, that is, per decade: Lightning's own suggestion divides by the step in the rate itself
    # and so falls for the noise at its tiny first values.
    kept = slice(10, -1)  # the first 10 and the last 1 say little
    slope = np.gradient(losses[kept]) if len(losses) >= 13 else np.full(1, np.nan)
    if not np.isfinite(slope).any():
        raise Diverged("the learning-rate finder saw no finite loss: give a learning_rate")
    return float(rates[kept][np.nanargmin(slope)])
