"""Metrics, on inputs where they must be high and where they must be low."""

import numpy as np
import pytest
from scipy import stats

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
    twins = np.repeat(np.arange(50.0)[:, None], 2, axis=0)  # at one place two classes: neither is its own neighbour
    assert metrics.neighbour_accuracy(twins, np.tile([0, 1], 50), 1) == 0
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


def samples(count=400, size=6, seed=1):
    return np.random.default_rng(seed).normal(size=(count, size))


def test_manifolds_are_those_of_their_authors():
    """Precision, recall, density and coverage, equal to the package `prdc`, whatever the two samples are."""
    prdc = pytest.importorskip("prdc")
    for drawn in (samples(300, seed=2), 0.5 * samples(300, seed=2), samples(300, seed=2) + 2, samples()[:200] + 0.01):
        expected = prdc.compute_prdc(real_features=samples(), fake_features=drawn, nearest_k=5)
        assert metrics.manifolds(samples(), drawn) == pytest.approx(expected)


def test_manifolds_are_high_for_one_distribution_and_low_for_others():
    same = metrics.manifolds(samples(), samples(seed=2))
    assert all(value > 0.8 for value in same.values()), same
    far = metrics.manifolds(samples(), samples(seed=2) + 20)
    assert all(value == 0 for value in far.values()), far
    one = metrics.manifolds(samples(), 0.05 * samples(seed=2))  # all in the middle: good, and all alike
    assert one["precision"] > 0.9
    assert one["recall"] < 0.1
    assert one["coverage"] < 0.1
    assert one["density"] > 1.5


def test_chunks_change_nothing(monkeypatch):
    points, others = samples(300), samples(seed=2)
    whole = np.concatenate(list(metrics.squared_distances(points, others)))
    assert whole == pytest.approx(((points[:, None] - others) ** 2).sum(2))
    before = metrics.manifolds(points, others), metrics.nearest(points, others)
    monkeypatch.setattr(metrics, "AT_ONCE", 7 * 400)
    assert len(list(metrics.squared_distances(points, others))) > 40
    after = metrics.manifolds(points, others), metrics.nearest(points, others)
    assert before[0] == pytest.approx(after[0])
    assert (before[1][0] == after[1][0]).all()


def test_the_nearest_of_a_copy_is_the_original():
    train = samples()
    which, distances = metrics.nearest(train[[7, 3]] + 1e-6, train)
    assert which.tolist() == [7, 3]
    assert (distances[:, 0] < 1e-4).all()
    assert (distances[:, 1] > 0.1).all()


def test_realism_tells_a_real_one_from_a_stray_one():
    values = metrics.realism(samples(), np.stack([np.zeros(6), np.full(6, 9.0)]))
    assert values[0] > 1
    assert values[1] < 0.5


def test_the_frechet_distance_is_that_of_the_matrix_root():
    """The formula of Heusel et al. as it stands, which the FID of torchmetrics computes of features."""
    from scipy.linalg import sqrtm

    first, second = samples() @ RNG.normal(size=(6, 6)), samples(seed=2) @ RNG.normal(size=(6, 6)) + 1
    one, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = sqrtm(one @ other).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(one + other - 2 * root)
    assert metrics.frechet_distance(first, second) == pytest.approx(expected)
    assert metrics.frechet_distance(first, first) == pytest.approx(0, abs=1e-6)


def test_the_discrepancy_of_one_distribution_is_nothing():
    assert abs(metrics.maximum_mean_discrepancy(samples(), samples(seed=2))) < 0.01
    assert metrics.maximum_mean_discrepancy(samples(), samples(seed=2) + 1) > 0.05
    assert metrics.maximum_mean_discrepancy(samples(), 0.3 * samples(seed=2)) > 0.02


def test_the_divergence_of_a_mixture_lies_between_its_estimates():
    """Of N(m, s²) with means from N(0, 1 − s²) the aggregate is the prior; moved by one, half a nat a unit away."""
    means, log_variances = np.sqrt(0.5) * samples(2000, 2), np.full((2000, 2), np.log(0.5))
    for move, expected in ((0, 0), (1, 1)):
        draws = means + move + np.sqrt(0.5) * samples(2000, 2, seed=2)
        least, most = (metrics.kl_of_mixture(draws, means + move, log_variances, own=own) for own in (False, True))
        assert least < most
        assert least - 0.05 < expected < most + 0.05
        assert most - least < 0.1
    narrow = np.full((2000, 2), np.log(1e-8))  # each a world of its own
    rate = 0.5 * (means**2 + 1e-8 - 1 - np.log(1e-8)).sum(1).mean()
    found = metrics.kl_of_mixture(means + 1e-4 * samples(2000, 2, seed=2), means, narrow, own=True)
    assert found == pytest.approx(rate - np.log(2000), abs=0.1), "what is said there of its error"


@pytest.mark.parametrize("beta", [0.2, 1.0, 3.0])
def test_linear_theory_is_the_optimum_of_the_loss(beta):
    """No other linear code has a lower loss; its rate and its errors are those of the formulas, measured."""
    values = np.array([5.0, 2.0, 0.8, 0.3])
    theory = metrics.linear_theory(values, beta)
    assert theory.units == (values > beta / 2).sum()

    def loss(gains, deviations):
        """Of z = gain x + deviation ε and the best linear decoder, a dimension at a time."""
        aggregate = gains**2 * values + deviations**2
        error = values - (gains * values) ** 2 / np.maximum(aggregate, 1e-12)
        divergence = 0.5 * (aggregate - 1 - 2 * np.log(deviations))
        return error.sum() + beta * divergence.sum(), error.sum(), divergence.sum()

    used = values > beta / 2
    deviations = np.where(used, np.sqrt(beta / 2 / values), 1)
    best = loss(np.where(used, np.sqrt(np.maximum(1 - deviations**2, 0) / values), 0), deviations)
    assert theory.rate == pytest.approx(best[2])
    assert 4 * theory.drawn == pytest.approx(best[1])
    assert theory.mean <= theory.drawn
    for _ in range(200):
        assert loss(RNG.normal(size=4), RNG.uniform(0.05, 1.2, 4))[0] >= best[0] - 1e-9
    assert metrics.linear_theory(values, beta, units=1).units == min(1, theory.units)


def test_of_two_rows_the_analysis_of_variance_is_the_paired_test():
    table = np.random.default_rng(0).normal(size=(2, 7))
    assert metrics.rows_differ(table) == pytest.approx(stats.ttest_rel(*table).pvalue)
    alike, apart = (np.random.default_rng(1).normal(size=(5, 5)) + shift * np.arange(5)[:, None] for shift in (0, 3))
    assert metrics.rows_differ(alike) > 0.05
    assert metrics.rows_differ(apart) < 1e-6
    assert metrics.rows_differ(apart + 10 * np.arange(5)) == pytest.approx(metrics.rows_differ(apart)), "of columns"
    assert np.isnan(metrics.rows_differ(np.ones((1, 3))))
