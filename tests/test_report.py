"""The report's curves agree with its tables and its text: a check on what was read and on what was typed."""

import numpy as np
import pytest

from aelib import report, tables


@pytest.mark.parametrize(
    ("model", "numbers"),
    [
        ("autoencoder", report.CONVOLUTIONAL),
        ("denoising", report.DENOISING),
        ("variational", report.VARIATIONAL),
        ("transfer", report.TRANSFER),
    ],
)
def test_curves_are_those_of_the_tables(model, numbers):
    found = report.losses(model)
    assert len(found["train_loss"]) == len(found["validation_loss"]) == numbers["epochs"]
    digits = 5e-4 if model == "transfer" else 6e-6
    assert found["validation_loss"].min() == pytest.approx(numbers["validation_loss"], abs=digits)
    if numbers.get("first_train_loss"):
        assert found["train_loss"][0] == pytest.approx(numbers["first_train_loss"], abs=6e-4)
        assert found["validation_loss"][0] == pytest.approx(numbers["first_validation_loss"], abs=6e-4)
    if numbers.get("best_epoch"):
        assert found["validation_loss"].argmin() + 1 == numbers["best_epoch"]


@pytest.mark.parametrize(
    ("model", "diagonal", "numbers"),
    [
        ("transfer", (846, 975, 816, 932, 818, 969, 751, 975, 979, 952), report.TRANSFER),
        ("cnn", (877, 985, 876, 932, 797, 989, 704, 970, 980, 946), report.CNN),
    ],
)
def test_confusions_add_up(model, diagonal, numbers):
    matrix = report.confusion(model)
    assert matrix.shape == (10, 10)
    assert (matrix.sum(1) == 1000).all()
    assert tuple(np.diag(matrix)) == diagonal
    assert np.trace(matrix) / 10_000 == pytest.approx(numbers["test_accuracy"], abs=5e-4)


def test_the_finder_suggests_what_the_text_says():
    rates, losses = report.finder()
    assert len(rates) == len(losses) == 100
    assert (np.diff(np.log(rates)) > 0).all()
    assert rates == pytest.approx(10 ** (-8 + 0.08 * np.array([0, *range(2, 101)])), rel=1e-3)
    assert np.abs(rates / report.TRANSFER["learning_rate"] - 1).min() < 1e-3


def test_the_study_is_that_of_the_text():
    trials = report.trials()
    assert len(trials) == 60
    assert [int(each["trial"]) for each in trials] == list(range(60))
    values = np.array([float(each["value"]) if each["state"] == "complete" else np.inf for each in trials])
    assert np.isinf(values).sum() == report.STUDY["pruned"]
    assert (values.argmin(), values.min()) == (
        report.STUDY["best_trial"],
        pytest.approx(report.STUDY["best"], abs=5e-6),
    )
    assert values[:30].min() == pytest.approx(report.STUDY["best_random"], abs=5e-6)
    assert sum(each["optimizer"] == "adam" and each["state"] == "complete" for each in trials) == 7, "Section 3.1"


def test_how_far_a_history_is_apart():
    theirs = report.losses("autoencoder")["validation_loss"]

    def times(factor, *more):
        return [{"validation_loss": factor * each} for each in (*theirs, *more)]

    assert report.compared("autoencoder", [times(1)]) == "0.0 % from ours"
    assert report.compared("autoencoder", [times(1 / 1.1, 5.0, 5.0)]) == "10.0 % from ours", "over shared epochs"
    assert report.compared("autoencoder", [times(1), times(1.25), times(2)[:1]]) == (
        "20.0 % from the median of our 3 trainings, one of which is typically 38.5 % from that of the others"
    )


def test_classes_that_are_answered_otherwise_are_named():
    matrix = report.confusion("cnn").copy()
    assert report.unlike("cnn", [matrix]) == "none"
    other = matrix.copy()
    other[6, 6], other[6, 0] = other[6, 6] - 300, other[6, 0] + 300
    assert report.unlike("cnn", [other]) == "Shirt"
    said = "Shirt. On average over our 3 trainings 0.3 classes differ so from the report's, and between two of ours 0.7"
    assert report.unlike("cnn", [other, matrix, matrix]) == said


def test_importances_are_of_what_the_study_searches():
    found = report.importances()
    assert found.keys() == tables.SEARCHED.keys()
    assert max(found, key=found.get) == "weight_decay"
    assert sum(found.values()) == pytest.approx(1, abs=1e-4)
