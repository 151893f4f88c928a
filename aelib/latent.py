"""The latent space: maps of codes in two dimensions, random codes, mixtures to draw them from, class centroids."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.decomposition import PCA  # which takes a second to import, and a look at the runs needs none of it


def components(points: np.ndarray, count: int) -> PCA:
    """The `count` leading principal components of `points`, (N, D), or as many as these have: not more than N or D."""
    return _principal(min(count, *points.shape)).fit(points)


def _principal(count: int) -> PCA:
    from sklearn.decomposition import PCA

    return PCA(n_components=count, svd_solver="covariance_eigh")


def pca(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project `codes`, (N, D), not standardised, on their two directions of largest variance.

    Returns:
        The map, (N, 2), in units of the codes, and the share of the variance that each axis carries, (2,).
    """
    model = _principal(min(2, codes.shape[1]))
    points = model.fit_transform(codes.astype(np.float64))
    missing = 2 - points.shape[1]  # a latent space of one dimension has a flat map
    return np.pad(points, ((0, 0), (0, missing))), np.pad(model.explained_variance_ratio_, (0, missing))


def directions(codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The `count` leading principal components of `codes`, (N, D), not standardised; D of them if D is smaller.

    A latent space of one dimension gets a second direction of length 0, for a flat map.

    Returns:
        The mean code, (D,); the directions, unit vectors (count, D); the standard deviation of the codes along each,
        (count,); the share of the variance that each carries, (count,).
    """
    model = _principal(min(count, codes.shape[1])).fit(codes.astype(np.float64))
    missing = max(0, 2 - len(model.components_))
    deviations = np.pad(np.sqrt(model.explained_variance_), (0, missing))
    shares = np.pad(model.explained_variance_ratio_, (0, missing))
    return model.mean_, np.pad(model.components_, ((0, missing), (0, 0))), deviations, shares


def tsne(codes: np.ndarray, *, perplexity: float) -> np.ndarray:
    """t-SNE map of `codes`, (N, D), not standardised → (N, 2), float32, in no particular unit.

    It starts from the PCA map: a random start would scatter the classes differently with each seed. Of few codes the
    perplexity is at most a third of their number; fewer than four are all at the origin.
    """
    from sklearn.manifold import TSNE

    if len(codes) < 4:
        return np.zeros((len(codes), 2), dtype=np.float32)
    perplexity = min(perplexity, len(codes) / 3)
    points, _ = pca(codes)
    # scikit-learn's own scale; codes that are all the same have none.
    start = (points / max(points[:, 0].std(), 1e-12) * 1e-4).astype(np.float32)
    model = TSNE(n_components=2, perplexity=perplexity, init=start, learning_rate="auto", random_state=0)
    return model.fit_transform(codes.astype(np.float32))


def random_codes(codes: np.ndarray, count: int, *, box: float, seed: int = 0) -> np.ndarray:
    """`count` codes drawn as the report does: (count, D), float32.

    Uniform, in each dimension, between the smallest and the largest value over all `codes`, (N, D), and all
    their dimensions, times `box` (0.6 for the report's AE and VAE, 1.0 for its DAE).

    >>> random_codes(np.array([[-1.0, 0.0], [0.0, 1.0]]), 3, box=0.6).shape
    (3, 2)
    """
    low, high = edges(codes, box)
    return np.random.default_rng(seed).uniform(low, high, (count, codes.shape[1])).astype(np.float32)


def edges(codes: np.ndarray, box: float) -> tuple[float, float]:
    """Between which two numbers `random_codes` draws each number of a code."""
    return float(codes.min()) * box, float(codes.max()) * box


def centroids(codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean code of each class: codes (N, D), labels (N,) in [0, C) → (C, D); of a class without any that of all."""
    classes = range(labels.max() + 1)
    return np.stack([codes[labels == label].mean(0) if label in labels else codes.mean(0) for label in classes])


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians.

    Attributes:
        weights: of its K components, (K,), 1 together.
        means: (K, D).
        factors: of the covariances, (K, D, D): each is its factor times that one's transpose.
    """

    weights: np.ndarray
    means: np.ndarray
    factors: np.ndarray

    def draw(self, count: int, *, seed: int = 0) -> np.ndarray:
        """`count` codes, (count, D), float32."""
        rng = np.random.default_rng(seed)
        which = rng.choice(len(self.weights), count, p=self.weights)
        noise = rng.standard_normal((count, self.means.shape[1]))
        drawn = np.empty_like(noise)
        for component in range(len(self.weights)):
            mine = which == component
            drawn[mine] = self.means[component] + noise[mine] @ self.factors[component].T
        return drawn.astype(np.float32)


def mixture(codes: np.ndarray, components: int) -> Mixture:
    """The mixture of so many Gaussians, each with a covariance of its own, that `codes`, (N, D), are likeliest from.

    One is the Gaussian with their mean and covariance. Of few codes there are fewer, a tenth of them. It is looked for
    by expectation-maximisation from a k-means start, in a hundred steps at most, with each number of a code in units
    of its deviation.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mean, deviation = codes.mean(0), np.maximum(codes.std(0), 1e-6)
    components = max(1, min(components, len(codes) // 10))
    model = GaussianMixture(components, covariance_type="full", tol=1e-2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((codes - mean).astype(np.float64) / deviation)
    factors = np.linalg.cholesky(model.covariances_)
    return Mixture(model.weights_, mean + model.means_ * deviation, factors * deviation[:, None])
