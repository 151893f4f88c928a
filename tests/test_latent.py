"""The latent space, on codes where the answer is known."""

import numpy as np
import pytest

from aelib import latent


@pytest.fixture
def clusters():
    """Ten clusters, (300, 12), far apart, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 10
    return (rng.normal(0, 20, (10, 12))[labels] + rng.normal(size=(300, 12))).astype(np.float32), labels


def test_pca_finds_the_widest_directions():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(2000, 5)) * [1, 30, 1, 10, 1]
    points, shares = latent.pca(codes)
    assert abs(np.corrcoef(points[:, 0], codes[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(points[:, 1], codes[:, 3])[0, 1]) > 0.99
    assert shares == pytest.approx([0.9, 0.1], abs=0.02)


def test_pca_of_a_single_dimension_is_flat():
    points, shares = latent.pca(np.arange(10.0)[:, None])
    assert points.shape == (10, 2)
    assert not points[:, 1].any()
    assert shares == pytest.approx([1, 0])


def test_tsne_keeps_clusters_together(clusters):
    codes, labels = clusters
    points = latent.tsne(codes, perplexity=20)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(1)] == labels).mean() > 0.95
    assert np.array_equal(points, latent.tsne(codes, perplexity=20))


def test_random_codes_fill_the_reports_box(clusters):
    codes, _ = clusters
    drawn = latent.random_codes(codes, 5000, box=0.6)
    assert drawn.shape == (5000, 12)
    assert drawn.min() == pytest.approx(0.6 * codes.min(), rel=0.01)
    assert drawn.max() == pytest.approx(0.6 * codes.max(), rel=0.01)
    assert drawn.min(0).std() < 1, "the same box in each dimension"


def test_centroids_are_class_means(clusters):
    codes, labels = clusters
    means = latent.centroids(codes, labels)
    assert means.shape == (10, 12)
    assert means[3] == pytest.approx(codes[3::10].mean(0), rel=1e-5)


def test_a_mixture_draws_as_its_codes_lie(clusters):
    codes, labels = clusters
    centres = latent.centroids(codes, labels)

    def strays(drawn):
        return np.linalg.norm(drawn[:, None] - centres, axis=2).min(1) > 10

    drawn = latent.mixture(codes, 10).draw(500, seed=1)
    assert drawn.shape == (500, 12)
    assert drawn.dtype == np.float32
    assert strays(drawn).mean() < 0.05
    one = latent.mixture(codes, 1).draw(5000, seed=1)
    assert strays(one).mean() > 0.8, "a single Gaussian fills the space between"
    assert one.mean(0) == pytest.approx(codes.mean(0), abs=1.5)
    assert np.cov(one, rowvar=False) == pytest.approx(np.cov(codes, rowvar=False), abs=40)
    again = latent.mixture(codes, 10)
    assert (again.draw(5, seed=1) == again.draw(5, seed=1)).all()
    assert (again.draw(5, seed=1) != again.draw(5, seed=2)).any()


def test_a_mixture_of_codes_that_do_not_vary_is_one_of_few():
    drawn = latent.mixture(np.ones((15, 3), np.float32), 50).draw(7)
    assert drawn == pytest.approx(np.ones((7, 3)), abs=1e-3)
