"""What a training begins with, and a probe of it: a few steps whose losses tell one code from another.

Part of the decisive code itself: what the probe does must not change without need, since every run keeps what it found.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aelib import code_version, cores, engines
from aelib.data import GarmentLoaders, Garments, SplitConfig
from aelib.hyperparameters import TrainingConfig
from aelib.models import Model

Begin = Callable[[Garments], tuple[Model, Garments]]
"""Builds a model with its initial weights, and turns garments into what it takes."""

RATES = {"sgd": 0.2}
GENTLE = 1e-4
"""Learning rate of a probe, by optimiser, and of those that divide by the size of the gradient: so small that what
processors differ in stays small (`code_version.TOLERANCE`), and so large that the loss falls by some per cent."""

SEED = 300
"""With this one no value comes so close to 0, the kink of a LeakyReLU, that rounding would decide on its side."""

STEPS = (0, 20, 40, 60)
"""Of the learning-rate finder, whose losses are looked at; later its rates are too large for them to be repeated."""

_FOUND: dict[str, dict[str, float]] = {}


def begin(make: Begin, garments: Garments, split: SplitConfig, seed: int) -> tuple[Model, GarmentLoaders]:
    """The model and the batches that a training with `seed` starts from."""
    torch.manual_seed(seed)
    model, inputs = make(garments)
    return model, GarmentLoaders(inputs, split, seed=seed)


def record(what: str, make: Begin, config: TrainingConfig) -> dict[str, Any]:
    """What a run keeps of the code that makes it, see `aelib.code_version`.

    Args:
        what: names all that `make` depends on; the same in the same process is probed once.
    """
    config = replace(config, max_epochs=4, patience=2, min_delta=1.0)
    key = repr((code_version.digest(), what, config))
    if key not in _FOUND:
        _FOUND[key] = _probe(make, config)
    return {"digest": code_version.digest(), "probe": _FOUND[key]}


def _probe(make: Begin, config: TrainingConfig) -> dict[str, float]:
    """Losses of a training as any other, of 32 images for three epochs; where it takes a finder, also that's.

    In float32, uncompiled, on one thread of the processor.
    """
    from aelib import finder, training  # and with it Lightning, which takes seconds: most runs are read without a probe

    engine = engines.Engine("cpu", "float32", compiled=False)
    found: dict[str, float] = {}

    def fit(config: TrainingConfig, split: SplitConfig) -> tuple[Model, GarmentLoaders, training.History]:
        model, loaders = begin(make, images(), split, SEED)
        with tempfile.TemporaryDirectory(prefix="aelib-probe-") as folder:
            history = training.fit(model, loaders, config, seed=0, folder=Path(folder), engine=engine, threads=[[0, 1]])
            return model, loaders, history

    try:
        with (
            cores.limited(1),
            torch.random.fork_rng(devices=[]),
            contextlib.redirect_stderr(io.StringIO()),  # no progress bars
        ):
            # It stops early, after two epochs that are not better by 1, and goes back to the best.
            gentle = replace(config, learning_rate=RATES.get(config.optimizer, GENTLE))
            model, loaders, history = fit(gentle, SplitConfig(train=32, validation=16, test=1, batch_size=16))
            for row in history.rows:
                found |= {f"{name} {row['epoch']}": row[name] for name in ("train_loss", "validation_loss")}
            with torch.no_grad():
                batch = next(iter(loaders.val_dataloader()))
                found["kept_loss"] = float(model.losses(*batch)["loss"].mean())
                # Transforms that are rare are not to be seen in so few images.
                many = batch[0].repeat(100, *[1] * (batch[0].ndim - 1))
                torch.manual_seed(SEED)
                if (seen := model.corrupt(many)) is not many:
                    places = torch.linspace(1, 2, seen[0].numel(), dtype=torch.double).view_as(seen[0])
                    found["corrupted"] = float((seen * places).square().mean())
            if config.learning_rate is None:
                split = SplitConfig(train=16, validation=2, test=1, batch_size=4)
                history = fit(replace(config, max_epochs=1), split)[2]
                assert history.curve is not None
                found["found_rate"] = history.rows[0]["learning_rate"]
                losses = history.curve.losses  # fewer where they rise early
                found |= {f"finder_loss {step}": losses[step] for step in STEPS if step < len(losses)}
                # And of a curve that tempts it to look at its first steps, or its last, or at rates themselves.
                falls = np.full(100, 0.01) + np.where(np.isin(np.arange(100), (9, 99)), 0.5, 0)
                falls[60:64] += 0.2
                found["made_rate"] = finder.steepest(np.geomspace(1e-8, 1, 100), 10 - falls.cumsum())
    except finder.Diverged:
        found["diverged"] = 1.0
    return found


def images() -> Garments:
    """48 images, half pattern, half noise, by whole numbers alone: the same everywhere, and without data."""
    n, y, x = torch.meshgrid(torch.arange(48), torch.arange(28), torch.arange(28), indexing="ij")
    pattern = ((x // (1 + n % 5)) * (y // (1 + n % 7)) * 11 + n * 29) % 256
    place = n * 784 + y * 28 + x + 1
    noise = place * place * 2654435761 % 4294967291 * 40503 % 4294967291 % 256
    pixels = ((pattern + noise) // 2).to(torch.uint8)[:, None]  # (48, 1, 28, 28)
    return Garments(pixels, torch.arange(48) % 10, pixels[:1], torch.zeros(1, dtype=torch.long), "a probe's", "")
