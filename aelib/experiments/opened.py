"""What is in a run: its model, its images, its codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aelib import probe, runs
from aelib.data import GarmentLoaders, Garments, SplitConfig, own
from aelib.errors import AelibError
from aelib.experiments.kinds import AutoencoderExperiment, ClassifierExperiment
from aelib.experiments.measures import encode, measure
from aelib.experiments.origin import begin, command, source_of, untrained
from aelib.experiments.registry import EXPERIMENTS, as_configured
from aelib.models import Model, SymmetricAutoencoder
from aelib.profiles import PROFILES
from aelib.runs import Run


@dataclass(frozen=True)
class Trained:
    """A run with its model, and the test images as that model sees them.

    Attributes:
        run: weights, history and metrics.
        model: with the run's weights, in evaluation mode.
        images: (M, 28, 28), in [0, 1].
        labels: (M,), in [0, C).
        codes: (M, latent_dim).
        classes: C names.
        pictured: number of the image whose reconstruction was kept after every epoch.
    """

    run: Run
    model: SymmetricAutoencoder
    images: np.ndarray
    labels: np.ndarray
    codes: np.ndarray
    classes: tuple[str, ...]
    pictured: int

    @torch.no_grad()
    def decode(self, codes: np.ndarray) -> np.ndarray:
        """codes: (N, latent_dim) → images: (N, 28, 28), in [0, 1]."""
        return self.model.decode(torch.from_numpy(codes).float())[:, 0].numpy()


@dataclass(frozen=True)
class TrainedRun(Run):
    """A run, with what is in it at hand."""

    def model(self) -> Model:
        """`load_model` of it."""
        return load_model(self)

    def open(self) -> Trained:
        """`open_run` of it."""
        return open_run(self)


def load_model(run: Run | str | Path) -> Model:
    """The model of `run`, or of the run in that folder, with its weights, in float32 and in evaluation mode.

    Raises:
        AelibError: they are not kept, or not those of a model of today's code.
    """
    run = run if isinstance(run, Run) else runs.load(run)
    if not run.weights:
        if run.config.get("summary"):
            raise AelibError(f"run {run.path.name} is a summary without weights: obtain it with summary=False")
        raise AelibError(f"run {run.path.name} is kept without its weights: make them again, `{command(run.path)}`")
    model = untrained(run)
    _load_weights(model, run)
    return model.eval()


def _load_weights(model: Model, run: Run) -> None:
    try:
        model.load_state_dict(run.weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        commit = (run.provenance.get("commit") or "that made it")[:8]
        raise AelibError(
            f"run {run.path}: its weights do not fit the {type(model).__name__} of this code ({reason}): "
            f"check out commit {commit}, or train it again: `{command(run.path)}`"
        ) from error


def measure_again(run: Run) -> tuple[dict[str, float], dict[str, Tensor]]:
    """What the metrics of `run` take from its weights, and its arrays, from the weights and the data.

    Of the arrays only those that the weights alone decide, where they are kept: `logits`, (M, C), and `predictions`,
    (M,), or `codes`, (M, latent_dim); and of `pictures` that of the best epoch, (28, 28).

    Raises:
        AelibError: the data are other than those that it was trained on, or the encoder that it stands on is gone.
    """
    experiment = EXPERIMENTS[run.config["experiment"]]
    model, loaders = prepared(run)
    metrics, arrays = measure(model, loaders), dict[str, Tensor]()
    if isinstance(experiment, ClassifierExperiment):
        arrays = {name: each for name, each in experiment.keepsakes(model, loaders).items() if name in run.arrays}
    elif (picture := experiment.picture(images_of(run))) is not None:
        from aelib import training

        arrays["pictures"] = training.render(model, picture)
        if "codes" in run.arrays:
            assert isinstance(model, SymmetricAutoencoder)
            arrays["codes"] = encode(model, loaders)
    return metrics, arrays


def prepared(run: Run) -> tuple[Model, GarmentLoaders]:
    """The model of `run`, with its weights, and the batches that it was trained and tested on.

    Raises:
        AelibError: as `measure_again`.
    """
    model, source = untrained(run), source_of(run.path, run.config)
    inputs = EXPERIMENTS[run.config["experiment"]].prepare(
        model, images_of(run), load_model(source) if source else None
    )
    _load_weights(model, run)
    return model.eval(), GarmentLoaders(inputs, split_kept(run.config))


def begun(run: Run, seed: int) -> tuple[Model, GarmentLoaders]:
    """The model and the batches that the training of `run` would start from with that seed.

    Raises:
        AelibError: as `measure_again`.
    """
    source = source_of(run.path, run.config)
    make = begin(as_configured(run.config), load_model(source) if source else None)
    return probe.begin(make, images_of(run), split_kept(run.config), seed)


def images_of(run: Run) -> Garments:
    """The images that `run` was trained on, as its own record says, wherever it was put since.

    Raises:
        AelibError: they are not there any more.
    """
    sha256, dataset = run.config["data"]["sha256"], run.provenance.get("dataset")
    if dataset and sha256 in own.LOADED:  # from another place, perhaps
        return own.LOADED[sha256]
    if dataset:
        images = own.load(Path(dataset))
        if images.sha256 == sha256:
            return images
    for profile in PROFILES.values():
        if profile.sha256 == sha256:
            return profile.garments()
    there = f"{dataset} holds other images now" if dataset else "here there are others"
    raise AelibError(f"run {run.path}: it was trained on other images than are to be had ({there}): train it again")


def split_kept(config: Mapping[str, Any]) -> SplitConfig:
    """How the images of a run with `config` are split."""
    return SplitConfig(**{name: value for name, value in config["data"].items() if name != "sha256"})


def tested_on(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """The test images that `run` was evaluated on, (M, 28, 28), float32 in [0, 1], and their classes, (M,) in [0, C).

    Raises:
        AelibError: there are other images now than those that it was trained on.
    """
    garments, split = images_of(run), split_kept(run.config)
    images = garments.test_images[: split.test, 0].numpy() / np.float32(255)
    return images, garments.test_labels[: split.test].numpy()


def trained_on(run: Run, most: int | None = None, *, validation: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The images that `run` was trained on, (N, 28, 28), or validated on, as `tested_on` gives those of the test.

    Args:
        most: as many at most, the first ones; all by default.

    Raises:
        AelibError: there are other images now than those that it was trained on.
    """
    garments = images_of(run)
    loaders = GarmentLoaders(garments, split_kept(run.config))
    chosen = (loaders.validation_indices if validation else loaders.train_indices)[:most]
    return garments.train_images[chosen, 0].numpy() / np.float32(255), garments.train_labels[chosen].numpy()


def random_box(run: Run) -> float:
    """Share of the range of the codes of `run` that the report draws its random codes from."""
    experiment = EXPERIMENTS[run.config["experiment"]]
    assert isinstance(experiment, AutoencoderExperiment)
    return experiment.box


def open_run(run: Run | str | Path) -> Trained:
    """The autoencoder of `run`, or of the run in that folder, with its test images, for looking at.

    Raises:
        AelibError: the model of `run` is not an autoencoder.
    """
    run = run if isinstance(run, Run) else runs.load(run)
    model = load_model(run)
    if not isinstance(model, SymmetricAutoencoder):
        raise AelibError(f"run {run.path.name} is of no autoencoder, and has no codes: use load_model")
    images, labels = tested_on(run)
    codes = run.arrays.get("codes")
    if codes is None:  # not kept
        codes = encode(model, prepared(run)[1])
    classes, pictured = images_of(run).classes, images_of(run).pictured
    pictured = pictured if pictured < len(images) else 0
    return Trained(run, model, images, labels, codes.numpy(), classes, pictured)
