"""Whether a training that is made again on this machine ends with the same bits."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from aelib import cores
from aelib.data import GarmentLoaders
from aelib.hyperparameters import TrainingConfig
from aelib.models import SymmetricAutoencoder
from aelib.profiles import PROFILES


class _Stopped(Exception):
    """A training was stopped on purpose."""


def repeats() -> dict[str, bool]:
    """Whether a small training, on drawn garments, ends with the same bits when it is made again on this machine.

    Returns:
        By way of making it again, in words.
    """
    from aelib import training

    profile = PROFILES["smoke"]
    garments, threads = profile.garments(), [[0, cores.choose()]]

    def train(folder: Path, most: int = 3) -> dict[str, Tensor]:
        def watch(rows: list[dict[str, float]], _: list[float]) -> None:
            if len(rows) == most:
                raise _Stopped

        torch.manual_seed(0)
        model = SymmetricAutoencoder()
        loaders = GarmentLoaders(garments, profile.split)
        training.fit(model, loaders, TrainingConfig(max_epochs=2), seed=0, folder=folder, watch=watch, threads=threads)
        return model.cpu().state_dict()

    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary, name) for name in ("first", "again", "stopped")]
        for folder in folders:
            folder.mkdir()
        with contextlib.suppress(_Stopped):
            train(folders[2], most=1)
        first, *others = (train(folder) for folder in folders)
    same = [all(torch.equal(first[name], each[name]) for name in first) for each in others]
    return dict(zip(("from the start", "stopped after an epoch, and resumed"), same, strict=True))
