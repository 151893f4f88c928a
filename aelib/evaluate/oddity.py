"""How well an autoencoder tells that an image is odd: of a class that it has never seen, or not as the others are."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import scipy
import torch

from aelib import calibration, corruption, experiments, metrics
from aelib.data import GarmentLoaders, synthetic
from aelib.evaluate.store import Numbers, metric
from aelib.experiments import AutoencoderExperiment
from aelib.models import SymmetricAutoencoder, VariationalAutoencoder
from aelib.runs import Run

USUAL, ODD = 2_000, 1_000
"""Test images that are as those that trained, and odd ones of each kind, at most."""
REFERENCE = 10_000
"""Training images that neighbours are looked for among, at most."""
NEIGHBOUR = 5
"""The neighbour whose distance is the score."""
BLUR = 1.5
"""Of a blurred image, in pixels."""

SCORES = ("error", "bound", "code_mahalanobis", "code_neighbours", "features_mahalanobis", "features_neighbours")
"""Higher is odder: squared error; the loss with its KL term, of a variational one; distances of codes and of features
of the convolutions from those of the training images."""
KINDS = ("class", "synthetic", "flipped", "noisy", "blurred")
"""Of odd images: of the class that was left out; synthetic garments; upside down; with noise of 0.2; and
blurred, which are simpler, and easier to draw, than those that trained."""


def _odd(images: np.ndarray, labels: np.ndarray, without: int | None) -> Iterator[tuple[str, np.ndarray]]:
    """Each kind of odd images, (N, 28, 28), of test images; the first `USUAL` known ones are not among them."""
    known = images if without is None else images[labels != without]
    rest = known[USUAL : USUAL + ODD] if len(known) > USUAL else known[len(known) // 2 :]
    if without is not None:
        yield "class", images[labels == without][:ODD]
    yield "synthetic", synthetic.garments(1, min(ODD, len(rest)), seed=1).test_images[:, 0].numpy() / np.float32(255)
    tensor = torch.from_numpy(rest).unsqueeze(1)
    yield "flipped", corruption.vertical_flip(tensor)[:, 0].numpy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield "noisy", corruption.add_noise(tensor, 0.2)[:, 0].numpy()
    yield "blurred", scipy.ndimage.gaussian_filter(rest, (0, BLUR, BLUR), mode="constant")


@metric(version=1, of=AutoencoderExperiment)
def oddity(run: Run) -> Numbers:
    """Area under the ROC curve of each of `SCORES` for each of `KINDS`, against test images as they are.

    `<score>_<kind>`, (2,): the area, and its standard error. A run that has left out no class has no kind `class`, and
    only a variational one a `bound`. `simple_<score>`, (): rank correlation, over test images, of the score with the
    bytes that zlib takes for the image: where it is high, simple images seem usual whatever they show.
    """
    model, loaders = experiments.prepared(run)
    assert isinstance(model, SymmetricAutoencoder)
    images, labels = experiments.tested_on(run)
    without = loaders.config.without
    known = images if without is None else images[labels != without]
    usual = known[:USUAL] if len(known) > USUAL else known[: len(known) // 2]
    judge = _Judge(model, loaders)
    found: Numbers = {}
    ordinary = judge.scores(usual)
    for kind, odd in _odd(images, labels, without):
        for score, values in judge.scores(odd).items():
            found[f"{score}_{kind}"] = np.array(calibration.auroc(values, ordinary[score]), dtype=np.float32)
    sizes = np.array([len(zlib.compress((image * 255).round().astype(np.uint8).tobytes(), 9)) for image in usual])
    return found | {
        f"simple_{score}": np.asarray(metrics.rank_correlation(values, sizes)) for score, values in ordinary.items()
    }


class _Judge:
    """Scores of images by an autoencoder and the images that it was trained on, without their labels."""

    def __init__(self, model: SymmetricAutoencoder, loaders: GarmentLoaders) -> None:
        from sklearn.neighbors import NearestNeighbors

        self.model = model
        train = loaders.garments.train_images[loaders.train_indices[:REFERENCE]].float() / 255
        self.reference = self._places(train)
        self.neighbours = {
            name: NearestNeighbors(n_neighbors=min(NEIGHBOUR, len(each)), algorithm="brute").fit(each)
            for name, each in self.reference.items()
        }
        self.gaussians = {name: gaussian(each) for name, each in self.reference.items()}

    @torch.no_grad()
    def _places(self, images: torch.Tensor) -> dict[str, np.ndarray]:
        """`code` and `features` of images, (N, 1, 28, 28): (N, D) each."""
        features = torch.cat([self.model.features(part).flatten(1) for part in images.split(500)])
        code = torch.cat([self.model.latent(self.model.hidden(part)) for part in features.split(500)])
        return {"code": code.numpy(), "features": features.numpy()}

    @torch.no_grad()
    def scores(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Of images, (N, 28, 28), each score, (N,), that the model has."""
        tensor = torch.from_numpy(images).unsqueeze(1)
        terms = [self.model.losses(part, torch.zeros(len(part))) for part in tensor.split(500)]
        losses = {name: torch.cat([each[name] for each in terms]).numpy() for name in terms[0]}
        found = {"error": losses.get("reconstruction", losses["loss"])}
        if isinstance(self.model, VariationalAutoencoder):
            found["bound"] = losses["loss"]
        for name, points in self._places(tensor).items():
            found[f"{name}_mahalanobis"] = mahalanobis(points, *self.gaussians[name])
            found[f"{name}_neighbours"] = self.neighbours[name].kneighbors(points)[0][:, -1]
        return found


def gaussian(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, (D,), of points, (N, D), and what whitens them, (D, D): directions over their deviations.

    Directions in which the points hardly differ, by less than a thousandth of the largest deviation, count as if they
    differed by that: features that are constant would make any difference infinite.
    """
    mean = points.mean(0, dtype=np.float64)
    values, vectors = np.linalg.eigh(np.cov(points - mean, rowvar=False).reshape(points.shape[1], -1))
    deviations = np.sqrt(np.maximum(values, 0))
    return mean, vectors / np.maximum(deviations, max(1e-3 * deviations.max(), 1e-12))


def mahalanobis(points: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """Distance of points, (N, D), from a Gaussian's mean, in its deviations: (N,)."""
    return np.linalg.norm((points - mean) @ whitening, axis=1)
