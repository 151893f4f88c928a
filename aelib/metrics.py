"""Arrays → numbers: what turns a claim made in words into something that can be decided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy
import torch

from aelib.errors import AelibError


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Counts, (C, C): the true class down, the predicted class across; two (N,) in [0, C).

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]))
    array([[1, 1],
           [0, 1]])
    """
    classes = max(labels.max(), predictions.max()) + 1
    matrix = np.zeros((classes, classes), dtype=int)
    np.add.at(matrix, (labels, predictions), 1)
    return matrix


def neighbour_accuracy(points: np.ndarray, labels: np.ndarray, neighbours: int = 10) -> float:
    """Share of points, (N, D), whose class is that of most of their nearest neighbours, themselves left out; in [0, 1].

    Of ten classes in disorder about a tenth are named; of ten separate clusters, all.
    """
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=min(neighbours, len(points) - 1)).fit(points)
    nearest = found.kneighbors(return_distance=False)  # of each of them, itself left out
    return float((scipy.stats.mode(labels[nearest], axis=1).mode == labels).mean())


def silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette of the classes, in [−1, 1]: near 1 for tight clusters far apart, near 0 for mixed ones.

    Raises:
        AelibError: there are fewer than two classes.
    """
    from sklearn.metrics import silhouette_score

    if len(np.unique(labels)) < 2:
        raise AelibError("a silhouette compares classes with each other: the images must be of two at least")
    return float(silhouette_score(points, labels))


def psnr(images: np.ndarray, originals: np.ndarray) -> np.ndarray:
    r"""Peak signal-to-noise ratio of each image in decibels, for pixels in [0, 1]: two (N, 28, 28) → (N,).

    .. math:: -10 \log_{10} \frac{1}{784} \sum_j (x_j - y_j)^2

    At most 100 dB, which stands for images that are equal.

    >>> psnr(np.zeros((2, 28, 28)), np.full((2, 28, 28), 0.1))
    array([20., 20.])
    """
    error = ((images - originals) ** 2).mean((1, 2))
    return -10 * np.log10(np.maximum(error, 1e-10))


def ssim(images: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """Structural similarity of each image, at most 1, for pixels in [0, 1]: two (N, 28, 28) → (N,).

    Wang et al. (2004), with the usual Gaussian window of 11 pixels.
    """
    # It imports all of torchvision, which takes seconds.
    from torchmetrics.functional.image import structural_similarity_index_measure

    first, second = (torch.from_numpy(each).float().unsqueeze(1) for each in (images, originals))
    values = structural_similarity_index_measure(first, second, data_range=1.0, reduction="none")
    assert isinstance(values, torch.Tensor)
    return values.numpy()


def homogeneity(matrix: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of each class, the probability that two classifiers that answer alike differ so much: (C, C), (C, C) → (C,).

    A χ² test of two rows of counts: of the answers that both together give ten times at least, the rarer ones taken
    together; 1 where both give one answer alone. It takes the rows as independent samples; answers to the same
    images differ less than such, so the true probabilities are smaller.
    """
    found = []
    for ours, theirs in zip(matrix, other, strict=True):
        common = (ours + theirs) >= 10
        table = np.array([[*row[common], row[~common].sum()] for row in (ours, theirs)])
        table = table[:, table.sum(0) > 0]
        found.append(float(scipy.stats.chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0)
    return np.array(found)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Probability of a difference as large as this if two classifiers were equally good; exact, two-sided.

    McNemar's test looks only at the images that one of them got right and the other did not.

    >>> round(mcnemar(np.array([True] * 10 + [False]), np.array([False] * 10 + [True])), 4)
    0.0117

    Args:
        first, second: (N,), bool: which images each got right.
    """
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(scipy.stats.binomtest(only_first, only_first + only_second).pvalue)


def gaussian_kl_to_prior(codes: np.ndarray) -> float:
    """KL divergence from N(0, I) of the Gaussian with the mean and covariance of `codes`, (N, D); nats, at least 0.

    A code drawn from the prior looks like one of `codes` only if this is small.
    """
    mean, covariance = codes.mean(0), np.cov(codes, rowvar=False).reshape(codes.shape[1], codes.shape[1])
    _, log_determinant = np.linalg.slogdet(covariance)
    return float(0.5 * (np.trace(covariance) + mean @ mean - codes.shape[1] - log_determinant))


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    r"""Fréchet distance of two samples' Gaussians, at least 0: features (N, D) and (M, D), in squared units of these.

    .. math:: \lVert \mu_1 - \mu_2 \rVert^2 + \operatorname{tr} \left( \Sigma_1 + \Sigma_2
        - 2 (\Sigma_1 \Sigma_2)^{1/2} \right)

    Of Inception's features it is the FID (Heusel et al. 2017); of any others, only values of the same ones compare.
    """
    means = [each.mean(0) for each in (features, others)]
    covariances = [np.cov(each, rowvar=False).reshape(each.shape[1], -1) for each in (features, others)]
    # The trace of the root of a product: of eigenvalues that are real and not negative, but for rounding.
    eigenvalues = np.linalg.eigvals(covariances[0] @ covariances[1]).real
    root = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    distance = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * root
    return float(max(distance, 0))


def laplacian_variance(images: np.ndarray) -> np.ndarray:
    """How sharp images are: the variance of the Laplacian of each, (N, H, W) → (N,), at least 0; small where blurred.

    Pech-Pacheco et al. (2000), with the kernel of four neighbours, where all of them are inside.
    """
    centre, vertical = images[:, 1:-1, 1:-1], images[:, :-2, 1:-1] + images[:, 2:, 1:-1]
    horizontal = images[:, 1:-1, :-2] + images[:, 1:-1, 2:]
    return (vertical + horizontal - 4 * centre).astype(np.float64).var((1, 2))


def usual(losses: np.ndarray) -> np.ndarray:
    """Whether each of `losses`, (N,), is at most twice their median: one that is not would decide every scale."""
    return losses <= 2 * np.nanmedian(losses)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's: 1 where two (N,) rise together, −1 where one falls; 0 where one of them does not change."""
    if len(np.unique(first)) < 2 or len(np.unique(second)) < 2:
        return 0.0
    return float(scipy.stats.spearmanr(first, second).statistic)


def paired_difference(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Mean of `first` − `second`, two (N,) made on the same seeds, and its 95 % confidence interval (Student's t)."""
    interval = scipy.stats.ttest_rel(first, second).confidence_interval(0.95)
    return float(np.mean(first - second)), float(interval.low), float(interval.high)


def neighbourhoods(real: np.ndarray, neighbours: int = 5) -> np.ndarray:
    """Distance of each of `real`, (N, D), from its neighbour of that number, itself left out: (N,)."""
    from sklearn.neighbors import NearestNeighbors

    count = min(neighbours + 1, len(real))
    return NearestNeighbors(n_neighbors=count, algorithm="brute").fit(real).kneighbors(real)[0][:, -1]


def manifolds(real: np.ndarray, drawn: np.ndarray, neighbours: int = 5) -> dict[str, float]:
    """How two samples, (N, D) and (M, D), cover each other; a ball around each point reaches its fifth neighbour.

    Returns:
        `precision`: the share of `drawn` in the ball of a real one; `recall`: of `real` in the ball of a drawn one
        (Kynkäänniemi et al. 2019); `density`: in how many real balls a drawn one is, over the five that a real one is
        expected to be in, so that it may be above 1; `coverage`: the share of real balls that have a drawn one inside
        (Naeem et al. 2020). The last two are not thrown off by one outlier with its large ball.
    """
    balls, theirs = neighbourhoods(real, neighbours), neighbourhoods(drawn, neighbours)
    inside, recalled, covered, start = np.zeros(len(drawn)), 0, 0, 0
    for part in squared_distances(real, drawn):
        distances = np.sqrt(part)
        within = distances < balls[start : start + len(part), None]
        inside += within.sum(0)
        covered += within.any(1).sum()
        recalled += (distances < theirs).any(1).sum()
        start += len(part)
    return {
        "precision": float((inside > 0).mean()),
        "recall": float(recalled / len(real)),
        "density": float(inside.mean() / neighbours),
        "coverage": float(covered / len(real)),
    }


def nearest(points: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each of `points`, (N, D), the nearest of `others`, (M, D): which, (N,); the two least distances, (N, 2)."""
    from sklearn.neighbors import NearestNeighbors

    distances, which = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(others).kneighbors(points)
    return which[:, 0], distances


AT_ONCE = 10_000_000
"""Distances that are in memory together."""


def squared_distances(points: np.ndarray, others: np.ndarray) -> Iterator[np.ndarray]:
    """Squared distances of `points`, (N, D), from `others`, (M, D), some rows at a time: (…, M)."""
    centre = others.mean(0)  # near the origin rounding costs least
    points, others = points - centre, others - centre
    lengths = (others**2).sum(1)
    for part in np.array_split(points, -(-len(points) * len(others) // AT_ONCE)):
        yield np.maximum((part**2).sum(1)[:, None] + lengths - 2 * part @ others.T, 0)


def maximum_mean_discrepancy(first: np.ndarray, second: np.ndarray) -> float:
    r"""Squared MMD of two samples, (N, D) and (M, D), without bias: about 0 where both are of one distribution.

    .. math:: \operatorname{E} k(x, x') + \operatorname{E} k(y, y') - 2 \operatorname{E} k(x, y), \qquad
        k(x, y) = \frac{2 D}{2 D + \lVert x - y \rVert^2}

    The kernel is that of Tolstikhin et al. (2018): 2 D is the expected squared distance of two draws from N(0, I).
    """
    scale = 2 * first.shape[1]

    def mean(one: np.ndarray, other: np.ndarray) -> float:
        total = sum(float((scale / (scale + part)).sum()) for part in squared_distances(one, other))
        same = len(one) if one is other else 0  # each with itself
        return (total - same) / (len(one) * len(other) - same)

    return mean(first, first) + mean(second, second) - 2 * mean(first, second)


def kl_of_mixture(draws: np.ndarray, means: np.ndarray, log_variances: np.ndarray, *, own: bool) -> float:
    r"""Estimate of the divergence of an aggregate posterior from N(0, I), in nats.

    The posterior of a draw is the mixture of N Gaussians that it and the others are from, (N, D) each. With its `own`
    among them it is too likely, more so the farther apart they are: the estimate is at least the mean divergence of
    the single ones less log N, and too large where that is so. Without, it is too unlikely: the estimate is too small.
    """
    precisions = np.exp(-log_variances)
    constant = (log_variances + means**2 * precisions).sum(1)
    total, start = 0.0, 0
    for part in np.array_split(draws, -(-len(draws) * len(means) // AT_ONCE)):
        logs = -0.5 * (part**2 @ precisions.T - 2 * part @ (means * precisions).T + constant)
        count = len(means)
        if not own:
            logs[np.arange(len(part)), start + np.arange(len(part))] = -np.inf
            count -= 1
        total += float((scipy.special.logsumexp(logs, axis=1) - np.log(count) + 0.5 * (part**2).sum(1)).sum())
        start += len(part)
    return total / len(draws)


def exchange(distortion: float, rate: float, beta: float) -> float:
    r"""What a code costs: the loss of a variational autoencoder, of an error a pixel and a rate in nats.

    .. math:: \ell = D + \frac{\beta}{784} R
    """
    return distortion + beta * rate / 784


def rows_differ(table: np.ndarray) -> float:
    """The p-value of "the rows of `table`, (A, B), have one mean": analysis of variance, both ways, without repeats.

    >>> round(rows_differ(np.array([[1.0, 2.0, 3.1], [1.1, 2.0, 3.0]])), 2)
    1.0
    """
    rows, columns = (each - table.mean() for each in (table.mean(1, keepdims=True), table.mean(0, keepdims=True)))
    rest = ((table - table.mean() - rows - columns) ** 2).sum()
    freedom = table.shape[0] - 1, (table.shape[0] - 1) * (table.shape[1] - 1)
    if not all(freedom) or rest == 0:
        return float("nan")
    between = table.shape[1] * (rows**2).sum()
    return float(scipy.stats.f.sf(between / freedom[0] / (rest / freedom[1]), *freedom))


@dataclass(frozen=True)
class LinearTheory:
    """What a linear variational autoencoder comes to.

    Attributes:
        units: how many of its units carry anything.
        rate: mean divergence of a code, in nats.
        drawn: squared error of a pixel, of codes drawn from their posteriors.
        mean: the same, of the means of these.
    """

    units: int
    rate: float
    drawn: float
    mean: float


def linear_theory(eigenvalues: np.ndarray, beta: float, units: int | None = None) -> LinearTheory:
    r"""The optimum of a linear variational autoencoder: probabilistic PCA (Tipping and Bishop 1999, Lucas et al. 2019).

    The loss of an image, Σ(x − x̂)² + β KL, is 2σ² times a Gaussian decoder's negative log-likelihood bound, of
    variance σ² = β / 2. Its optimum has a unit for each principal component whose variance λ is above σ², and
    knows each to within σ²:

    .. math:: R = \sum_{\lambda_i > \sigma^2} \frac12 \log \frac{\lambda_i}{\sigma^2}, \qquad
        784\, D = \sum_i \min(\lambda_i, \sigma^2)

    which is the least rate at which a Gaussian with these variances can be sent with that error (Cover and Thomas,
    2006, Chapter 10). The mean of a posterior is closer: σ⁴/λ instead of σ².

    >>> linear_theory(np.array([4.0, 1.0, 0.5]), beta=2.0).units
    1

    Args:
        eigenvalues: variances of all principal components, (P,), of pixels: P of them.
        units: how many it has, if that may be too few.
    """
    values, variance = np.sort(eigenvalues)[::-1].astype(np.float64), beta / 2
    used = (values > variance) & (np.arange(len(values)) < (len(values) if units is None else units))
    rest = values[~used].sum()
    return LinearTheory(
        units=int(used.sum()),
        rate=float(0.5 * np.log(values[used] / variance).sum()),
        drawn=float((used.sum() * variance + rest) / len(values)),
        mean=float(((variance**2 / values[used]).sum() + rest) / len(values)),
    )


def realism(real: np.ndarray, drawn: np.ndarray, neighbours: int = 5) -> np.ndarray:
    """How real each of `drawn` is, (M, D) → (M,): above 1 in the ball of a real one, (N, D), see `manifolds`.

    Kynkäänniemi et al. (2019), who leave out the larger half of the balls.
    """
    balls = neighbourhoods(real, neighbours)
    small = balls <= np.median(balls)
    return np.concatenate(
        [(balls[small] / np.sqrt(np.maximum(part, 1e-12))).max(1) for part in squared_distances(drawn, real[small])]
    )
