"""Metrics of drawn garments: what codes from several distributions become, held against real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import skimage
import torch

from aelib import experiments, latent, metrics
from aelib.evaluate.autoencoders import DRAWN, drawn_codes, features_seen, probabilities, sharpness
from aelib.evaluate.store import Numbers, metric
from aelib.experiments import AutoencoderExperiment, ClassifierExperiment, SecondStageExperiment, Trained
from aelib.models import BaselineCNN, Model, SecondStage, VariationalAutoencoder
from aelib.runs import Run

FITTED = 20_000
"""Training images whose codes a distribution is fitted to, the first ones."""

LOOKED_UP = 1_000
"""Drawn images whose nearest training images are looked for."""

SAMPLERS = {
    "box": "the report's box",
    "prior": "the prior, N(0, I)",
    "gaussian": "a Gaussian of the codes",
    "mixture_10": "a mixture of 10",
    "mixture_50": "a mixture of 50",
    "mixture_200": "a mixture of 200",
    "aggregate_10": "a mixture of 10 of drawn codes",
    "second_stage": "a second stage",
}
"""Where codes are drawn from, by name, in words; which of them there are, depends on the model."""

COMPONENTS = {"gaussian": 1, "mixture_10": 10, "mixture_50": 50, "mixture_200": 200}
"""How many Gaussians those of them have that are fitted to the means of codes."""

SHOWN = "mixture_50"
"""The sampler whose best images are shown."""

Sampler = Callable[[int, int], np.ndarray]
"""How many codes, and a seed → codes, (N, latent_dim), float32."""


def samplers(run: Run) -> tuple[Trained, dict[str, Sampler]]:
    """The autoencoder that `run` is of, or stands on, and the distributions to draw its codes from, by name.

    Mixtures are fitted to the means of the codes; `aggregate_10`, of a variational one, to draws from the posteriors,
    which is how its decoder met them.
    """
    if (source := experiments.source_of(run.path, run.config)) is not None:
        model = experiments.load_model(run)
        assert isinstance(model, SecondStage)
        return experiments.open_run(source), {"second_stage": _by_torch(model.prior)}
    trained = experiments.open_run(run)
    box = experiments.random_box(run)
    found: dict[str, Sampler] = {
        "box": lambda count, seed: latent.random_codes(trained.codes, count, box=box, seed=seed)
    }
    if trained.model.prior(1, torch.Generator()) is not None:
        found["prior"] = _by_torch(trained.model.prior)
    images, _ = experiments.trained_on(run, FITTED)
    codes = trained.model.encode(images)
    found |= {name: _fitted(codes, components) for name, components in COMPONENTS.items()}
    if isinstance(trained.model, VariationalAutoencoder):
        found["aggregate_10"] = _fitted(drawn_codes(trained, images), 10)
    return trained, {name: found[name] for name in SAMPLERS if name in found}


def _by_torch(prior: Callable[[int, torch.Generator], torch.Tensor | None]) -> Sampler:
    def draw(count: int, seed: int) -> np.ndarray:
        codes = prior(count, torch.Generator().manual_seed(seed))
        assert codes is not None
        return codes.numpy()

    return draw


def _fitted(codes: np.ndarray, components: int) -> Sampler:
    mixture = latent.mixture(codes, components)
    return lambda count, seed: mixture.draw(count, seed=seed)


MIXTURES = ("gaussian", "mixture_10", "mixture_50")
"""Of `COMPONENTS`, what `mixtures` keeps: the largest would take four times as much as the next."""


@metric(version=1, of=AutoencoderExperiment, repeats=False)
def mixtures(run: Run) -> Numbers:
    """What a page draws codes from: of each of `MIXTURES`, `weights` (K,), `means` (K, D) and `factors` (K, D, D).

    See `latent.Mixture`; in half precision, but for the weights, and fitted as those of `samplers` are.
    """
    codes = experiments.open_run(run).model.encode(experiments.trained_on(run, FITTED)[0])
    found: Numbers = {}
    for name in MIXTURES:
        mixture = latent.mixture(codes, COMPONENTS[name])
        found |= {
            f"{name}_weights": mixture.weights.astype(np.float32),
            f"{name}_means": mixture.means.astype(np.float16),
            f"{name}_factors": mixture.factors.astype(np.float16),
        }
    return found


def gradients(images: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal and Triggs 2005): images, (N, 28, 28) → (N, 288).

    They know the edges of a garment and nothing else, and no training has made them.
    """
    cells = {"orientations": 8, "pixels_per_cell": (7, 7), "cells_per_block": (2, 2)}
    return np.stack([skimage.feature.hog(image, **cells) for image in images])


def _ratio(images: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Of each of images, (N, 28, 28), how far the nearest of `train`, (M, 784), is, over how far the next: (N,)."""
    _, distances = metrics.nearest(images.reshape(-1, train.shape[1]), train)
    return (distances[:, 0] / np.maximum(distances[:, 1], 1e-6)).astype(np.float16)


class _Judge:
    """What decides whether images, (N, 28, 28), look like the real ones, (M, 28, 28)."""

    def __init__(self, eye: Model, real: np.ndarray, train: np.ndarray) -> None:
        self.eye, self.train = eye, train.reshape(len(train), -1)
        self.seen, self.edges = features_seen(eye, real), gradients(real)

    def __call__(self, name: str, images: np.ndarray) -> Numbers:
        """`frechet` in the CNN's features, `gradients` in those of edges; `precision`, `recall`, `density`, `coverage`.

        And the mean `sharpness`; and `ratio`, of the first ones the distance from the nearest training image over that
        from the next, which is near 0 for a copy.
        """
        seen = features_seen(self.eye, images)
        found = {
            "frechet": metrics.frechet_distance(seen, self.seen),
            "gradients": metrics.frechet_distance(gradients(images), self.edges),
            **metrics.manifolds(self.seen.astype(np.float32), seen.astype(np.float32)),
            "sharpness": sharpness(images).mean(),
            "ratio": _ratio(images[:LOOKED_UP], self.train),
        }
        return {f"{name}_{key}": np.asarray(value) for key, value in found.items()}


@metric(version=1, of=(AutoencoderExperiment, SecondStageExperiment), judges=("cnn_augmented",), repeats=False)
def samples(run: Run, eye: Run) -> Numbers:
    """What `_Judge` says of the `reconstructions` of the test images, and of as many images that each sampler draws."""
    trained, ways = samplers(run)
    judge = _Judge(experiments.load_model(eye), trained.images, experiments.trained_on(trained.run)[0])
    found = judge("reconstructions", trained.decode(trained.codes))
    for name, draw in ways.items():
        codes = draw(min(DRAWN, len(trained.images)), 1)
        found |= judge(name, trained.decode(codes))
    return found


@metric(version=1, of=AutoencoderExperiment)
def copies(run: Run) -> Numbers:
    """`ratio`, (1000,): that of `samples`, of reconstructions of training images: what copies of them would have."""
    trained = experiments.open_run(run)
    images, _ = experiments.trained_on(run)
    again = trained.decode(trained.model.encode(images[:LOOKED_UP]))
    return {"ratio": _ratio(again, images.reshape(len(images), -1))}


def by_sampler(found: Sequence[Numbers]) -> dict[str, dict[str, list[float]]]:
    """What `samples` or `ends` found of several seeds: by sampler, its numbers by name, each of all seeds."""
    scores: dict[str, dict[str, list[float]]] = {}
    for key in found[0]:
        sampler, _, number = key.rpartition("_")
        scores.setdefault(sampler, {})[number] = [float(each[key].astype(np.float64).mean()) for each in found]
    return scores


@metric(version=1, of=ClassifierExperiment)
def ends(run: Run) -> Numbers:
    """What the CNN with transforms says of the ends of its scale, as in `samples`; of other classifiers nothing.

    `train`: other real images; `noise`: uniform pixels; `mean`: the mean image of each class, repeated.
    """
    if run.config["experiment"] != "cnn_augmented":
        return {}
    images, labels = experiments.tested_on(run)
    train, _ = experiments.trained_on(run)
    judge = _Judge(experiments.load_model(run), images, train[len(images) :] if len(train) > len(images) else train)
    means = latent.centroids(images.reshape(len(images), -1), labels).reshape(-1, *images.shape[1:])
    noise = np.random.default_rng(0).random(images.shape, dtype=np.float32)
    shown = {"train": train[: len(images)], "noise": noise, "mean": means[labels]}
    return {key: each for name, made in shown.items() for key, each in judge(name, made.astype(np.float32)).items()}


@metric(version=1, of=(AutoencoderExperiment, SecondStageExperiment), judges=("cnn_augmented",), repeats=False)
def wall(run: Run, eye: Run) -> Numbers:
    """Images, uint8: the first 8 that each sampler draws, by its name; and of a thousand the `best` of each class.

    The best is that of the highest realism (Kynkäänniemi et al. 2019): the one that is nearest to a test image for how
    far that is from its fifth neighbour, of those half that have near ones. `nearest`: the training image that is
    nearest to each.
    """
    trained, ways = samplers(run)
    found = {name: trained.decode(draw(8, 2)) for name, draw in ways.items()}
    shown = SHOWN if SHOWN in ways else next(iter(ways))
    drawn = trained.decode(ways[shown](LOOKED_UP, 3))
    cnn = experiments.load_model(eye)
    assert isinstance(cnn, BaselineCNN)
    classes = probabilities(eye, drawn).argmax(1)
    real = metrics.realism(features_seen(cnn, trained.images), features_seen(cnn, drawn))
    best = [int(np.flatnonzero(classes == each)[real[classes == each].argmax()]) for each in np.unique(classes)]
    train, _ = experiments.trained_on(trained.run)
    which, _ = metrics.nearest(drawn[best].reshape(len(best), -1), train.reshape(len(train), -1))
    found |= {"best": drawn[best], "nearest": train[which]}
    return {name: (255 * images).round().astype(np.uint8) for name, images in found.items()}


def pictured(labels: np.ndarray) -> np.ndarray:
    """The test garments that a page shows, of labels (N,): the first two of each class, (2 * classes,)."""
    return np.concatenate([np.flatnonzero(labels == label)[:2] for label in np.unique(labels)])


@metric(version=1, of=AutoencoderExperiment, repeats=False)
def pictures(run: Run) -> Numbers:
    """What a page shows of a network that it does not run, uint8: `garments`, those of `pictured`, drawn back.

    And of one with a prior `drawn`: garments from it, (12, 28, 28), whose codes are the same ones for each network of
    as many units.
    """
    trained = experiments.open_run(run)
    found = {"garments": trained.codes[pictured(trained.labels)]}
    if (codes := trained.model.prior(12, torch.Generator().manual_seed(4))) is not None:
        found["drawn"] = codes.numpy()
    return {name: (255 * trained.decode(each)).round().astype(np.uint8) for name, each in found.items()}


@metric(version=1, of=AutoencoderExperiment, judges=("cnn_augmented",), repeats=False)
def drawn_validation(run: Run, eye: Run) -> Numbers:
    """`frechet`, (): of images that a mixture of 10 draws, from as many validation images.

    What the weights of a regularised autoencoder are chosen on: the lowest.
    """
    trained, cnn = experiments.open_run(run), experiments.load_model(eye)
    real, _ = experiments.trained_on(run, DRAWN, validation=True)
    codes = latent.mixture(trained.model.encode(experiments.trained_on(run, FITTED)[0]), 10).draw(len(real), seed=1)
    drawn = trained.decode(codes)
    return {"frechet": np.asarray(metrics.frechet_distance(features_seen(cnn, drawn), features_seen(cnn, real)))}
