"""Metrics, on inputs where they must be high and where they must be low."""

import numpy as np
import pytest

from aelib import metrics

RNG = np.random.default_rng(0)
LABELS = np.arange(400) % 10


def test_the_confusion_matrix_has_the_truth_down():
    matrix = metrics.confusion_matrix(np.array([0, 0, 3]), np.array([0, 3, 3]))
    assert (matrix[0, 0], matrix[0, 3], matrix[3, 3], matrix[3, 0]) == (1, 1, 1, 0)
    assert matrix.sum() == 3


def test_neighbours_and_silhouette_tell_clusters_from_disorder():
    centres = RNG.normal(0, 50, (10, 2))
    clusters, disorder = centres[LABELS] + RNG.normal(size=(400, 2)), RNG.normal(size=(400, 2))
    assert metrics.neighbour_accuracy(clusters, LABELS) > 0.95
    assert metrics.neighbour_accuracy(disorder, LABELS) < 0.25
    assert metrics.silhouette(clusters, LABELS) > 0.7
    assert metrics.silhouette(disorder, LABELS) < 0.05


def test_psnr_and_ssim_are_high_for_equal_images_and_fall_with_noise():
    images = RNG.random((5, 28, 28))
    assert metrics.psnr(images, images) == pytest.approx(100)
    assert metrics.ssim(images, images) == pytest.approx(1, abs=1e-4)
    assert metrics.psnr(images + 0.1, images) == pytest.approx(20)
    weak, strong = (np.clip(images + RNG.normal(0, std, images.shape), 0, 1) for std in (0.05, 0.4))
    assert (metrics.psnr(weak, images) > metrics.psnr(strong, images)).all()
    assert (metrics.ssim(weak, images) > metrics.ssim(strong, images)).all()


def test_mcnemar():
    right = np.ones(1000, dtype=bool)
    worse = right.copy()
    worse[:40] = False
    assert metrics.mcnemar(right, right) == 1
    assert metrics.mcnemar(right, worse) < 1e-6
    swapped = right.copy()
    swapped[40:80] = False
    assert metrics.mcnemar(worse, swapped) == pytest.approx(1)


def test_the_divergence_of_a_gaussian_from_the_prior():
    codes = RNG.normal(size=(200_000, 3))
    assert metrics.gaussian_kl_to_prior(codes) == pytest.approx(0, abs=1e-3)
    assert metrics.gaussian_kl_to_prior(codes + np.array([1, 1, 0])) == pytest.approx(1, abs=0.02)
    assert metrics.gaussian_kl_to_prior(3 * codes) == pytest.approx(1.5 * (9 - 1 - np.log(9)), rel=0.02)


def test_certain_and_uncertain_predictions():
    certain, uncertain = np.eye(10), np.full((3, 10), 0.1)
    assert metrics.confidence(certain) == pytest.approx(1)
    assert metrics.confidence(uncertain) == pytest.approx(0.1)
    assert metrics.entropy(certain) == pytest.approx(0)
    assert metrics.entropy(uncertain) == pytest.approx(np.log(10))


def test_a_paired_difference_sees_what_the_spread_hides():
    common = 10 * RNG.normal(size=5)
    mean, low, high = metrics.paired_difference(common + 1 + 0.01 * RNG.normal(size=5), common)
    assert mean == pytest.approx(1, abs=0.02)
    assert 0.9 < low < mean < high < 1.1
    _, low, high = metrics.paired_difference(RNG.normal(size=5), RNG.normal(size=5))
    assert high - low > 1
    # The textbook's five pairs: mean 1, standard error 1/√2, t of 0.975 with four degrees of freedom 2.776.
    mean, low, high = metrics.paired_difference(np.array([3.0, 2, 1, 0, -1]), np.zeros(5))
    assert (mean, low, high) == pytest.approx((1, 1 - 2.776 / 2**0.5, 1 + 2.776 / 2**0.5), abs=1e-3)


def test_rows_of_counts_that_differ_more_than_by_chance():
    """As rarely as it says among alike ones, and surely where they are not."""
    draws = np.random.default_rng(0)
    shares = np.array([0.8, 0.1, 0.05, 0.04, 0.01, 0, 0, 0, 0, 0])
    alike = [
        metrics.homogeneity(draws.multinomial(1000, shares, 10), draws.multinomial(1000, shares, 10))
        for _ in range(100)
    ]
    assert 0.03 < (np.concatenate(alike) < 0.05).mean() < 0.07
    other = np.array([0.7, 0.2, 0.05, 0.04, 0.01, 0, 0, 0, 0, 0])
    assert metrics.homogeneity(draws.multinomial(1000, shares, 1), draws.multinomial(1000, other, 1))[0] < 1e-6
    assert metrics.homogeneity(np.diag([1000] * 10), np.diag([1000] * 10)).tolist() == [1.0] * 10


def test_rank_correlation():
    rising = np.arange(9.0)
    assert metrics.rank_correlation(rising, rising**3) == pytest.approx(1)
    assert metrics.rank_correlation(rising, -np.exp(rising)) == pytest.approx(-1)
    assert metrics.rank_correlation(rising, np.ones(9)) == 0
