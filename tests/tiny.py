"""Trainings and studies of a fraction of a second, for tests whose subject is neither the network nor the data."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from aelib import code_version, experiments, finder, probe, profiles, training
from aelib.data import SplitConfig, synthetic
from aelib.errors import AelibError
from aelib.models import AutoencoderConfig

NETWORK = AutoencoderConfig(channels=(4, 4, 8), linear_units=16, latent_dim=4)

PROFILE = replace(
    profiles.PROFILES["smoke"],
    garments=lambda: synthetic.garments(80, 40),
    split=SplitConfig(train=64, validation=16, test=40, batch_size=8),
    max_epochs=3,
    trials=4,
)
"""Three epochs of eight batches; four trials of a study."""

FINDER_STEPS = 20

BEGIN = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import tiny
tiny.everything()
"""
"""How a program begins for which all this is so."""


def everything(patch: pytest.MonkeyPatch | None = None) -> None:
    """Make the profile `smoke`, the autoencoders, the head on them and the learning-rate finder small."""
    patch = patch or pytest.MonkeyPatch()
    quick_finder(patch)
    patch.setattr(training, "SAVE_EVERY", 0.0)  # after each of its epochs
    patch.setattr(
        probe, "record", lambda *_: {"digest": code_version.digest(), "probe": {"loss": 1.0}}
    )  # a probe takes two seconds
    patch.setitem(profiles.PROFILES, "smoke", PROFILE)
    for name, experiment in experiments.EXPERIMENTS.items():
        with contextlib.suppress(AelibError):  # of a model that no study is about
            patch.setitem(experiments.EXPERIMENTS, name, experiment.with_choice(NETWORK, experiment.training))


def quick_finder(patch: pytest.MonkeyPatch) -> None:
    """Have the learning-rate finder make fewer steps."""
    patch.setattr(finder.Tuner, "lr_find", partialmethod(finder.Tuner.lr_find, num_training=FINDER_STEPS))


def dies_in(owner: Any, name: str, nth: int) -> None:
    """Have this process killed at the end of the `nth` call of a function."""
    real, numbers = getattr(owner, name), itertools.count(1)

    def deadly(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        if next(numbers) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)
