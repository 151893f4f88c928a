"""What is found of few labels, of damaged pictures and of odd ones: where it must be high, and where low."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import make_blobs
from sklearn.neighbors import KNeighborsClassifier

from aelib import calibration, evaluate, experiments, metrics
from aelib.data import synthetic
from aelib.evaluate import damage, few_labels, oddity


@pytest.fixture(scope="module")
def images():
    """40 garments, (40, 28, 28), in [0, 1]."""
    return synthetic.garments(1, 40).test_images[:, 0].numpy() / np.float32(255)


@pytest.fixture(scope="module")
def blobs():
    points, labels = make_blobs(900, 6, centers=4, cluster_std=2.5, random_state=0)
    return (points[:300], labels[:300]), (points[300:600], labels[300:600]), (points[600:], labels[600:])


def test_a_probe_finds_what_is_there_and_nothing_else(blobs):
    (points, labels), validation, (tests, truth) = blobs
    answers = few_labels.logistic(points, labels, validation, tests, classes=5)
    assert answers.shape == (300, 5)
    accuracy, loss = few_labels._judged(answers, truth)
    assert accuracy > 0.85
    assert loss < 0.5
    assert answers[:, 4].max() < -20, "of a class that it has never seen"
    drawn = np.random.default_rng(0).permutation(labels)
    wrong = few_labels.logistic(points, drawn, (validation[0], np.roll(validation[1], 7)), tests, classes=4)
    assert few_labels._judged(wrong, truth)[0] < 0.45
    assert few_labels._judged(wrong, truth)[1] == pytest.approx(np.log(4), abs=0.1), "it has chosen to be unsure"


def test_neighbours_vote_as_those_of_scikit_learn(blobs):
    (points, labels), _, (tests, truth) = blobs
    votes = few_labels.voting(points, labels, tests)
    assert [*votes] == [*few_labels.NEIGHBOURS]
    for number, ours in votes.items():
        theirs = KNeighborsClassifier(number).fit(points, labels).predict(tests)
        assert (ours == theirs).mean() > 0.97, "but for votes that are equal"
        assert (ours == truth).mean() > 0.8
    assert (votes[1] == KNeighborsClassifier(1).fit(points, labels).predict(tests)).all()
    assert [*few_labels.voting(points[:4], labels[:4], tests)] == [1, 3]


def test_probes_know_the_numbers_of_labels_and_the_draws(all_tiny, tiny_results):
    run = experiments.obtain("convolutional", profile="smoke", folder=tiny_results)
    found, plain = (evaluate.evaluate(run, name) for name in ("probes", "pixels"))
    for each in (found, plain):
        assert each["labels"].tolist() == [10] * 5 + [30] * 5 + [64]
        assert each["draw"].tolist() == [0, 1, 2, 3, 4] * 2 + [0]
    assert {"components_accuracy", "components_cross_entropy", "neighbours_accuracy"} <= plain.keys()
    assert plain["neighbours_accuracy"][-1] > 0.6
    assert plain["components_accuracy"][5:10].mean() > plain["components_accuracy"][:5].mean()


def test_damage_is_as_strong_as_it_says_and_repeats_itself(images):
    many = np.zeros((200, 28, 28), np.float32) + np.float32(0.5)
    for kind, strength in evaluate.DAMAGES:
        made = evaluate.damaged(many, kind, strength)
        assert made.dtype == np.float32
        assert made.min() >= 0
        assert made.max() <= 1
        assert np.array_equal(made, evaluate.damaged(many, kind, strength))
        if kind == "erased":
            assert (made == 0).mean() == pytest.approx(strength, rel=0.12)
        if kind == "salt and pepper":
            assert (made == 0).mean() == pytest.approx(strength / 2, rel=0.1)
            assert (made == 1).mean() == pytest.approx(strength / 2, rel=0.1)
        if kind == "noise" and strength < 0.2:
            assert made.std() == pytest.approx(strength, rel=0.02)
    worse = [metrics.psnr(evaluate.damaged(images, *each), images).mean() for each in evaluate.DAMAGES]
    for kind in damage.KINDS:
        of_kind = [value for value, (name, _) in zip(worse, evaluate.DAMAGES, strict=True) if name == kind]
        assert (np.diff(of_kind) < 0).all(), kind


def test_the_ratio_is_that_of_scikit_image(images):
    noisy = evaluate.damaged(images, "noise", 0.2)
    theirs = [peak_signal_noise_ratio(one, two, data_range=1) for one, two in zip(images, noisy, strict=True)]
    assert metrics.psnr(noisy, images) == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("name", damage.FILTERS)
def test_a_filter_that_may_do_nothing_changes_nothing_and_a_stronger_one_removes_noise(images, name):
    way, strengths = damage.FILTERS[name]
    assert way(images, strengths[0]) == pytest.approx(images, abs=0.15)
    noisy = evaluate.damaged(images, "noise", 0.2)
    before = metrics.psnr(noisy, images).mean()
    assert max(metrics.psnr(way(noisy, each), images).mean() for each in strengths) > before + 1


def test_the_filter_against_salt_and_pepper_is_the_median(all_tiny, tiny_results):
    run = experiments.obtain("convolutional", profile="smoke", folder=tiny_results)
    found = evaluate.evaluate(run, "filters")
    place = evaluate.DAMAGES.index(("salt and pepper", 0.05))
    assert evaluate.WAYS[found["best"][place]] == "median"
    assert found["strength_median"][place] >= 3
    assert found["means_median"][place, 0] > found["means_nothing"][place, 0] + 3
    originals = experiments.tested_on(run)[0][: found["psnr"].shape[1]]
    given = evaluate.damaged(originals, *evaluate.DAMAGES[place])
    again = metrics.psnr(evaluate.filtered(run, given, place), originals)
    assert again == pytest.approx(found["psnr"][place], rel=2e-3), "the picture is what was measured"
    restored = evaluate.evaluate(run, "restoring")
    assert restored["psnr"].shape == found["psnr"].shape
    model = experiments.load_model(run)
    assert metrics.psnr(model.reconstruct(given), originals) == pytest.approx(restored["psnr"][place], rel=2e-3)
    nothing = metrics.psnr(given, originals).mean()
    assert found["means_nothing"][place, 0] == pytest.approx(nothing, rel=1e-4)


def test_distances_are_those_of_scikit_learn():
    points = np.random.default_rng(0).normal(size=(500, 4)) @ np.random.default_rng(1).normal(size=(4, 4)) + 3
    theirs = np.sqrt(EmpiricalCovariance().fit(points).mahalanobis(points))
    assert oddity.mahalanobis(points, *oddity.gaussian(points)) == pytest.approx(theirs, rel=5e-3)
    still = np.hstack([points, np.ones((500, 1))])
    assert np.isfinite(oddity.mahalanobis(still + 0.1, *oddity.gaussian(still))).all(), "one feature never changes"


def test_what_is_odd_is_told_from_what_is_not(all_tiny, tiny_results):
    options = {"profile": "smoke", "folder": tiny_results, "maps": False}
    whole, left = (experiments.obtain("variational", **options, **each) for each in ({}, {"without": 8}))
    found, other = (evaluate.evaluate(run, "oddity") for run in (left, whole))
    names = {f"{score}_{kind}" for score in evaluate.SCORES for kind in evaluate.KINDS}
    assert names <= found.keys()
    assert not {name for name in other if name.endswith("_class")}
    assert all(0 <= found[name][0] <= 1 for name in names)
    assert found["features_mahalanobis_noisy"][0] > 0.9
    assert found["error_blurred"][0] < 0.5, "what is simpler seems more usual"
    assert abs(found["code_neighbours_synthetic"][0] - 0.5) < 0.3, "here they are what trained"
    plain = evaluate.evaluate(experiments.obtain("convolutional", **options), "oddity")
    assert not {name for name in plain if name.startswith("bound")}


def test_answers_that_are_drawn_as_they_say_are_honest(all_tiny, tiny_results, tmp_path):
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(20_000, 10))
    shares = calibration.answers(logits).cumsum(1)
    labels = np.minimum((generator.random((20_000, 1)) > shares).sum(1), 9)
    honest, sure = (evaluate.judged_logits(factor * logits, labels) for factor in (1, 3))
    assert honest["before"][2] < 0.02 < 0.1 < sure["before"][2]
    assert honest["temperatures"] == pytest.approx([1, 1], abs=0.05)
    assert sure["temperatures"] == pytest.approx([3, 3], abs=0.15)
    assert sure["after"] == pytest.approx(honest["after"], abs=2e-3)
    assert sure["after"][4] == sure["before"][4], "accuracy stays"
    run = experiments.obtain("cnn", profile="smoke", folder=tiny_results)
    found = evaluate.evaluate(run, "honesty")
    right = evaluate.evaluate(run, "answers")
    assert found["before"][4] == pytest.approx(right["right"].mean())
    assert found["before"][0] == pytest.approx(right["cross_entropy"].mean(), rel=1e-5)
    assert "validated" not in evaluate.metrics_of(replace(run, weights={}, path=tmp_path)), "it takes weights"
    checked = evaluate.evaluate(run, "validated")
    assert checked["after"][4] == found["before"][4]
    assert torch.equal(torch.from_numpy(evaluate.logits_of(run)).argmax(1).byte(), run.arrays["predictions"])
