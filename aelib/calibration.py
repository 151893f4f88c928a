"""How far probabilities can be believed, and how well a score tells two kinds of images apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

BINS = 15
"""Of confidence, equally wide, as in Guo et al. (2017)."""


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, in bins of confidence.

    Attributes:
        counts: images in each bin, (BINS,).
        confidence: mean probability of the likeliest class of each bin, (BINS,); 0 of an empty one.
        accuracy: share of images of each bin whose likeliest class is right, (BINS,); 0 of an empty one.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean distance of confidence and accuracy over images, in [0, 1].

        It is not 0 of perfectly calibrated answers: in each bin chance alone moves the accuracy.
        """
        return float((self.counts * np.abs(self.confidence - self.accuracy)).sum() / self.counts.sum())

    @property
    def debiased(self) -> float:
        """Root mean square distance of confidence and accuracy, without what chance adds; in [0, 1].

        The debiased estimator of Kumar et al. (2019), here in bins of one width: from the square of each bin's
        distance the variance of its accuracy is taken away. 0 where nothing, or less, is left.
        """
        some = self.counts > 1
        count, gap, right = self.counts[some], (self.confidence - self.accuracy)[some], self.accuracy[some]
        squares = gap**2 - right * (1 - right) / (count - 1)
        return float(np.sqrt(max((count * squares).sum() / self.counts.sum(), 0)))


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Reliability:
    """Probabilities of C classes, (N, C), and the true ones, (N,), in bins of the probability of the likeliest.

    >>> always = np.tile([0.75, 0.25], (4, 1))
    >>> reliability(always, np.array([0, 0, 0, 1])).ece, reliability(always, np.array([1, 1, 1, 1])).ece
    (0.0, 0.75)
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    # A bin is open below, as torchmetrics has it.
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    means = [
        np.bincount(which, each, minlength=bins) / np.maximum(counts, 1) for each in (confidence, right.astype(float))
    ]
    return Reliability(counts, *means)


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over images of the squared distance of the probabilities, (N, C), from the truth, (N,); in [0, 2].

    >>> brier(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0, 0]))
    0.25
    """
    return float(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(1).mean())


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative logarithm, in nats, of the probability of the true class, of logits, (N, C)."""
    return float(-scipy.special.log_softmax(logits, 1)[np.arange(len(labels)), labels].mean())


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What logits, (N, C), have to be divided by to have the lowest cross-entropy, in [0.01, 100] (Guo et al. 2017)."""
    found = scipy.optimize.minimize_scalar(
        lambda log: cross_entropy(logits / np.exp(log), labels), bounds=(np.log(0.01), np.log(100)), method="bounded"
    )
    return float(np.exp(found.x))


def scaled(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Logits, (N, C), divided by a temperature: each half by that of the other half, so that none sees its own labels.

    Returns:
        The scaled logits, (N, C), and the temperatures of the images of even and of odd number.
    """
    even = np.arange(len(labels)) % 2 == 0
    fitted = [temperature(logits[half], labels[half]) for half in (~even, even)]
    return logits / np.where(even, *fitted)[:, None], fitted


def answers(logits: np.ndarray) -> np.ndarray:
    """Logits, (N, C) → probabilities, (N, C), in float64."""
    return scipy.special.softmax(logits.astype(np.float64), 1)


def refusing(probabilities: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Accuracy on what is left when the shares, (S,) in [0, 1), of the least sure images are refused: (S,).

    >>> refusing(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]), np.array([0.0, 0.5]))
    array([0.5, 1. ])
    """
    right = (probabilities.argmax(1) == labels)[np.argsort(-probabilities.max(1), kind="stable")]
    kept = np.maximum(np.round((1 - shares) * len(labels)).astype(int), 1)
    return np.cumsum(right)[kept - 1] / kept


def auroc(odd: np.ndarray, usual: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve of scores, (N,) and (M,), and its standard error (DeLong et al. 1988).

    The probability that an odd image has a higher score than a usual one; half of it where they are equal.

    >>> auroc(np.array([2.0, 3.0]), np.array([0.0, 1.0]))[0], auroc(np.ones(2), np.ones(3))[0]
    (1.0, 0.5)
    """
    odd, usual = odd.astype(np.float64), usual.astype(np.float64)
    together = scipy.stats.rankdata(np.concatenate([odd, usual]))
    # Of each odd one the share of usual ones below it, and the reverse.
    above = (together[: len(odd)] - scipy.stats.rankdata(odd)) / len(usual)
    below = 1 - (together[len(odd) :] - scipy.stats.rankdata(usual)) / len(odd)
    variance = sum(float(each.var(ddof=1)) / len(each) if len(each) > 1 else 0.0 for each in (above, below))
    return float(above.mean()), float(np.sqrt(variance))
