"""Probabilities that can and cannot be believed; scores that tell apart and that do not."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics.functional.classification import multiclass_calibration_error

from aelib import calibration


@pytest.fixture(scope="module")
def honest():
    """Logits, (50,000, 5), and labels that are drawn from their probabilities."""
    generator = np.random.default_rng(0)
    logits = 2 * generator.standard_normal((50_000, 5))
    shares = calibration.answers(logits).cumsum(1)
    return logits, np.minimum((generator.random((50_000, 1)) > shares).sum(1), 4)


def test_the_calibration_error_is_that_of_torchmetrics(honest):
    logits, labels = honest[0][:2000], honest[1][:2000]
    for factor in (0.3, 1, 4):
        probabilities = calibration.answers(factor * logits)
        ours = calibration.reliability(probabilities, labels)
        theirs = multiclass_calibration_error(
            torch.from_numpy(probabilities), torch.from_numpy(labels), 5, n_bins=15, norm="l1"
        )
        assert ours.ece == pytest.approx(float(theirs), abs=1e-5)
        assert ours.counts.sum() == 2000


def test_honest_answers_err_by_chance_alone_and_the_debiased_error_knows(honest):
    logits, labels = honest
    few = [calibration.reliability(calibration.answers(part), of) for part, of in parts(logits, labels, 50)]
    assert np.mean([each.ece for each in few]) > 0.02, "of 1,000 images, as if something were wrong"
    assert np.mean([each.debiased**2 for each in few]) < 0.03**2
    sure = [calibration.reliability(calibration.answers(3 * part), of) for part, of in parts(logits, labels, 50)]
    assert min(each.debiased for each in sure) > 0.1
    whole = calibration.reliability(calibration.answers(3 * logits), labels)
    assert np.mean([each.debiased for each in sure]) == pytest.approx(whole.debiased, rel=0.03), "of any number"
    assert whole.debiased >= whole.ece, "a root of squares is no less than a mean"


def parts(logits, labels, count):
    return zip(np.split(logits, count), np.split(labels, count), strict=True)


def test_a_temperature_undoes_what_made_answers_too_sure(honest):
    logits, labels = honest
    assert calibration.temperature(logits, labels) == pytest.approx(1, abs=0.02)
    assert calibration.temperature(5 * logits, labels) == pytest.approx(5, abs=0.1)
    scaled, fitted = calibration.scaled(5 * logits, labels)
    assert fitted == pytest.approx([5, 5], abs=0.15)
    assert (scaled.argmax(1) == logits.argmax(1)).all()
    assert calibration.cross_entropy(scaled, labels) < 0.7 * calibration.cross_entropy(5 * logits, labels)


def test_each_half_has_the_temperature_of_the_other(honest):
    logits, labels = honest[0][:1000].copy(), honest[1][:1000]
    logits[::2] *= 4
    _, (even, odd) = calibration.scaled(logits, labels)
    assert even == pytest.approx(1, abs=0.2)
    assert odd == pytest.approx(4, abs=0.8)


def test_cross_entropy_and_brier_are_those_of_others(honest):
    logits, labels = honest
    theirs = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    assert calibration.cross_entropy(logits, labels) == pytest.approx(float(theirs))
    perfect = np.eye(5)[labels]
    assert calibration.brier(perfect, labels) == 0
    assert calibration.brier(perfect, (labels + 1) % 5) == 2


def test_refusing_helps_who_knows_what_it_does_not_know(honest):
    logits, labels = honest
    shares = np.linspace(0, 0.9, 10)
    known = calibration.refusing(calibration.answers(logits), labels, shares)
    assert known[0] == (logits.argmax(1) == labels).mean()
    assert (np.diff(known) > 0).all()
    unknowing = np.full((1000, 2), 0.5) + np.random.default_rng(0).normal(0, 0.01, (1000, 1)) * [[1, -1]]
    flat = calibration.refusing(unknowing, np.random.default_rng(1).integers(0, 2, 1000), shares)
    assert np.abs(flat - 0.5).max() < 0.15


def test_the_area_under_the_curve_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    odd, usual = generator.normal(1, 1, 300).round(1), generator.normal(0, 1, 500).round(1)
    area, error = calibration.auroc(odd, usual)
    truth = np.r_[np.ones(300), np.zeros(500)]
    assert area == pytest.approx(roc_auc_score(truth, np.r_[odd, usual]))
    again = [calibration.auroc(generator.choice(odd, 300), generator.choice(usual, 500))[0] for _ in range(400)]
    assert error == pytest.approx(np.std(again), rel=0.15)
    low, high = area - 1.96 * error, area + 1.96 * error
    assert 0.5 < low < area < high < 1
    assert calibration.auroc(usual, usual)[0] == 0.5
    assert calibration.auroc(usual, odd)[0] == pytest.approx(1 - area)
