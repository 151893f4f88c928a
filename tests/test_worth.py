"""Few labels, and classes left out: which images train, what starts from what, and the comparison's plan."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from aelib import cli, evaluate, experiments, profiles, runs, sweeps, worth
from aelib.data import Batches, GarmentLoaders, SplitConfig, in_turns, synthetic
from aelib.errors import AelibError
from aelib.models import EncoderClassifier


@pytest.fixture(scope="module")
def garments():
    return synthetic.garments(400, 20)


def loaders(garments, **sample):
    return GarmentLoaders(garments, SplitConfig(train=300, validation=100, test=20, batch_size=32, **sample))


def counts(garments, indices):
    return torch.bincount(garments.train_labels[indices], minlength=10).tolist()


def test_labels_are_drawn_by_classes_in_turn(garments):
    few, more = (loaders(garments, labels=number, draw=3) for number in (10, 30))
    assert counts(garments, few.train_indices) == [1] * 10
    assert counts(garments, more.train_indices) == [3] * 10
    assert counts(garments, more.validation_indices) == [3] * 10
    assert {*few.train_indices.tolist()} < {*more.train_indices.tolist()}
    everything = loaders(garments)
    assert {*more.train_indices.tolist()} < {*everything.train_indices.tolist()}
    assert {*more.validation_indices.tolist()} < {*everything.validation_indices.tolist()}
    assert not {*more.train_indices.tolist()} & {*more.validation_indices.tolist()}
    other = loaders(garments, labels=30, draw=4)
    assert {*other.train_indices.tolist()} != {*more.train_indices.tolist()}
    assert torch.equal(loaders(garments, labels=30, draw=3).train_indices, more.train_indices)
    assert loaders(garments, labels=300).train_indices.sort().values.equal(everything.train_indices.sort().values)
    assert len(loaders(garments, labels=300).validation_indices) == 100, "all that there are"


def test_rare_classes_are_drawn_as_long_as_they_last():
    labels = torch.tensor([0] * 90 + [1] * 8 + [2] * 2)
    drawn = in_turns(torch.arange(100), labels, 15, seed=0)
    assert torch.bincount(labels[drawn]).tolist() == [7, 6, 2] or torch.bincount(labels[drawn]).tolist() == [6, 7, 2]


def test_a_class_that_is_left_out_neither_trains_nor_validates(garments):
    left = loaders(garments, without=3)
    everything = loaders(garments)
    for part in ("train_indices", "validation_indices"):
        kept, all_of_them = (counts(garments, getattr(each, part)) for each in (left, everything))
        assert kept == [0 if number == 3 else count for number, count in enumerate(all_of_them)]
    assert counts(garments, loaders(garments, without=3, labels=9).train_indices) == [1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
    assert len(left.test_dataloader().sampler.indices) == 20, "it is tested on"


def test_an_epoch_of_few_images_is_some_rounds_of_them():
    order = Batches(torch.arange(10), 10, seed=1, at_least=20)
    batches = [*order]
    assert len(batches) == len(order) == 20
    assert all(sorted(batch.tolist()) == [*range(10)] for batch in batches)
    assert len({tuple(batch.tolist()) for batch in batches}) == 20, "each in an order of its own"
    odd = Batches(torch.arange(70), 32, seed=1, at_least=5)
    assert [len(batch) for batch in odd] == [32, 32, 32, 32, 32, 32, 18]
    assert len(odd) == 7
    assert Batches(torch.arange(700), 32, seed=1, at_least=5).rounds == 1


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("cnn", {"labels": 0}, "labels must be a whole number of at least 1"),
        ("cnn", {"labels": 10**6}, "labels=1,000,000 are more than"),
        ("convolutional", {"without": -1}, "without must be the number of a class"),
        ("convolutional", {"without": 10}, "without=10 is no class: there are 10"),
        ("scratch", {"frozen": 1}, "frozen must be True or False"),
        ("transfer", {"source": {"seed": -1}}, "seed must be a whole number"),
        ("scratch", {"source": "variational"}, "starts from no other run"),
        ("finetuned", {"source": "cnn"}, "stands on an autoencoder's encoder"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(all_tiny, name, wrong, says):
    with pytest.raises(AelibError, match=says):
        experiments.obtain(name, profile="smoke", **wrong)
    assert not runs.results_folder().exists() or not [*runs.results_folder().glob("*/[!.]*")]


def test_one_image_is_too_few_for_batch_normalisation(all_tiny):
    with pytest.raises(AelibError, match="20 training images in batches of 1 leave a batch of one"):
        experiments.obtain("cnn", profile="smoke", labels=1)


def test_a_run_says_how_many_labels_it_had_and_which_draw(all_tiny, tmp_path):
    first, other = (experiments.obtain("cnn", profile="smoke", labels=20, seed=seed) for seed in (0, 1))
    plain = experiments.obtain("cnn", profile="smoke")
    assert not {"labels", "draw", "without"} & plain.config["data"].keys(), "as runs of before have it"
    assert (first.config["data"]["labels"], first.config["data"].get("draw", 0)) == (20, 0)
    assert other.config["data"]["draw"] == 1
    assert other.provenance["differs"] == {"labels": 20}
    assert experiments.command(other.path) == "aelib train cnn --set labels=20 --again --profile smoke --seed 1"
    assert other.arrays == {}, "no answers: there are hundreds"
    assert evaluate.evaluate(other, "answers")["right"].shape == (40,), "made anew from its weights"
    summary = experiments.obtain("cnn", profile="smoke", labels=20, seed=2, summary=True)
    assert evaluate.evaluate(summary, "answers") == {}
    assert experiments.train_again(other, tmp_path).history == other.history


def test_heads_of_all_seeds_can_stand_on_one_encoder(all_tiny, capsys):
    rows = sweeps.sweep("transfer", profile="smoke", labels=10, seeds=[0, 1], **{"source.seed": 0})
    encoders = [experiments.source_of(row.path, runs.load(row.path).config) for row in rows]
    assert len({each.path for each in encoders}) == 1
    assert [runs.load(row.path).provenance["differs"].get("source") for row in rows] == [None, {"seed": 0}]
    command = experiments.command(rows[1].path)
    assert command.endswith("--set labels=10 --set source.seed=0 --again --profile smoke --seed 1")
    assert cli.main(command.replace(" --again", "").split()[1:]) == 0
    assert "training" in capsys.readouterr().err
    assert cli.main(command.replace(" --again", "").split()[1:]) == 0
    assert "training" not in capsys.readouterr().err, "the same run"
    with ThreadPoolExecutor(1) as executor:  # as on many machines, each with the encoder that it needs
        afar = sweeps.sweep(
            "transfer", profile="smoke", labels=10, seeds=[1, 2], executor=executor, **{"source.seed": 0}
        )
    assert [row.path == rows[1].path for row in afar] == [True, False]
    assert len([*rows[0].path.parent.glob("convolutional-*")]) == 1


def test_a_network_that_is_fine_tuned_begins_as_the_encoder(all_tiny):
    encoder = experiments.obtain("convolutional", profile="smoke", maps=False)
    begun = experiments.EXPERIMENTS["finetuned"].model_class(experiments.EXPERIMENTS["finetuned"].model)
    experiments.EXPERIMENTS["finetuned"].prepare(begun, synthetic.garments(1, 1), encoder.model())
    images = torch.rand(3, 1, 28, 28)
    assert torch.equal(begun.eval().hidden(begun.features(images).flatten(1)), encoder.model().hide(images))

    def convolutions(run):
        return {name: each for name, each in run.weights.items() if name.startswith("features.")}

    still = experiments.obtain("finetuned", profile="smoke", frozen=True)
    moved = experiments.obtain("finetuned", profile="smoke")
    theirs = convolutions(encoder)
    assert theirs
    assert all(torch.equal(each, theirs[name]) for name, each in convolutions(still).items())
    assert not all(torch.equal(each, theirs[name]) for name, each in convolutions(moved).items())
    assert experiments.source_of(moved.path, moved.config).path == encoder.path
    wide = experiments.obtain("finetuned", profile="smoke", source={"linear_units": 24})
    assert wide.config["model"]["linear_units"] == 24


def test_frozen_random_features_are_those_of_the_seed(all_tiny):
    one, other = (experiments.obtain("scratch", profile="smoke", frozen=True, seed=seed) for seed in (0, 1))
    shape = one.model().config
    torch.manual_seed(0)
    begun = EncoderClassifier(shape).features.state_dict()
    kept = {name.removeprefix("features."): each for name, each in one.weights.items() if name.startswith("features.")}
    assert all(torch.equal(each, begun[name].half()) for name, each in kept.items())
    assert any(not torch.equal(each, other.weights[name]) for name, each in one.weights.items())


def test_the_plan_trains_each_method_once(all_tiny, monkeypatch, capsys):
    plan = replace(
        worth.PLANS["smoke"],
        labels=(10, 64),
        draws=(0, 1),
        rates=(1e-5, 0.001),
        rate_labels=20,
        epochs=1,
        without=(3, 8),
    )
    monkeypatch.setitem(worth.PLANS, "smoke", plan)
    for method in worth.METHODS:
        rows = worth.train_few_labels(method, "smoke")
        assert [(row.parameters["labels"], row.seed) for row in rows] == [(10, 0), (10, 1), (64, 0)], method
        assert all(0 <= row.metrics["test_accuracy"] <= 1 for row in rows)
        sizes = [json.loads((row.path / "config.json").read_text())["data"]["batch_size"] for row in rows]
        assert sizes == [8, 8, 8], "no more than there are labels, nor than the profile's"
        assert worth.rate(method, "smoke") == 0.001, "with the other nothing is learned in an epoch"
        assert {row.metrics["learning_rate"] for row in rows} == {0.001}
    assert [row.parameters for row in worth.train_without("variational", "smoke")] == [{"without": 3}, {"without": 8}]
    capsys.readouterr()
    again = [worth.train_few_labels(method, "smoke") for method in worth.METHODS]
    assert capsys.readouterr().err == "", "nothing is trained twice"
    assert len({row.path for rows in again for row in rows}) == 3 * len(worth.METHODS)
    monkeypatch.setitem(worth.PLANS, "smoke", replace(plan, rates=(0.001,)))
    assert worth.train_few_labels("cnn", "smoke") == again[-1], "of one rate there is no choice"
    with pytest.raises(AelibError, match="method"):
        worth.train_few_labels("transfer variation", "smoke")


def test_plans_name_numbers_that_are_there():
    for name, plan in worth.PLANS.items():
        assert max(plan.labels) <= profiles.find_profile(name).split.train
        assert len({*plan.draws}) == len(plan.draws)
        assert worth.RATE_DRAW not in plan.draws
        assert np.all(np.diff(plan.labels) > 0)


def curve(*accuracies, labels=(10, 100, 1000)):
    return worth.Curve("a", [*labels], [[each - 0.01, each + 0.01] for each in accuracies], [])


def test_who_is_ahead_from_how_many_labels_on():
    slow, quick = curve(0.5, 0.7, 0.9), curve(0.6, 0.72, 0.8)
    assert worth.crossing(quick, slow) == (
        "from 1,000 labels on (beyond chance with each of them; behind, beyond chance, with 10 and 100)"
    )
    assert worth.crossing(quick, curve(0.7, 0.8, 0.9)) == (
        "with any number of labels, from 10 on (beyond chance with each of them)"
    )
    assert worth.crossing(slow, quick) == (
        "with 10 and 100 labels alone (beyond chance with each of them; behind, beyond chance, with 1,000)"
    )
    assert worth.crossing(slow, curve(0.4, 0.4, 0.4)) == (
        "with no number of labels, up to 1,000 (behind, beyond chance, with 10, 100 and 1,000)"
    )
    assert worth.crossing(quick, curve(0.7, 0.7, 0.9)) == (
        "with 10 labels, and from 1,000 on (beyond chance with each of them; behind, beyond chance, with 100)"
    )
    assert worth.crossing(slow, curve(0.6, 0.1, labels=(10, 5000))) == (
        "with any number of labels, from 10 on (beyond chance with each of them)"
    )


def test_whether_that_may_be_chance_is_said_draw_by_draw():
    """Draws that are easy for one are easy for the other: their difference has less spread than either."""
    draws = [0.5, 0.6, 0.7]
    one = worth.Curve("a", [10, 30, 1000], [draws, draws, draws], [])
    better, noisy = [0.52, 0.63, 0.72], [0.4, 0.9, 0.8]
    assert worth.crossing(one, worth.Curve("b", [10, 30, 1000], [better, better, better], [])) == (
        "with any number of labels, from 10 on (beyond chance with each of them)"
    )
    assert worth.crossing(one, worth.Curve("b", [10, 30, 1000], [better, noisy, better], [])) == (
        "with any number of labels, from 10 on (beyond chance with 10 and 1,000)"
    )
    assert worth.crossing(one, worth.Curve("b", [10, 30, 1000], [[0.3, 0.7, 0.5], [0.4, 0.7, 0.6], noisy], [])) == (
        "from 1,000 labels on (beyond chance with none of them)"
    )
    assert worth.crossing(one, worth.Curve("b", [10, 30, 1000], [draws, noisy, [0.8]], [])) == (
        "from 30 labels on (beyond chance with none of them; of 1,000 there is one pair)"
    )


def test_intervals_in_words():
    assert worth.with_interval([0.5]) == "50.0"
    assert worth.with_interval([0.4, 0.5, 0.6]) == "50.0 ±\u00a024.8", "t is 4.303, of an error of 5.77"
    assert worth.gain(curve(0.7), curve(0.6), 10) == "−10.0 ±\u00a00.0 points", "draw by draw"


def test_an_ensemble_is_the_mean_of_probabilities():
    one, other = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
    assert np.exp(worth.ensemble([one, other])) == pytest.approx(np.array([[0.7, 0.3]]))
    assert worth.ensemble([one]) == pytest.approx(one)


def test_heads_on_encoders_of_other_seeds(all_tiny, tiny_results, monkeypatch):
    monkeypatch.setenv("AELIB_RESULTS", str(tiny_results))
    monkeypatch.setitem(worth.PLANS, "smoke", replace(worth.PLANS["smoke"], draws=(0, 1)))
    rows = worth.train_on_other_encoders("smoke")
    assert [(row.parameters["source.seed"], row.seed) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len({row.metrics["test_loss"] for row in rows}) == 4
    compared = worth.train_few_labels("transfer convolutional", "smoke")
    assert rows[0].path in [row.path for row in compared], "the encoder of the comparison is among them"


def test_all_of_the_comparison_is_one_table(all_tiny, monkeypatch):
    monkeypatch.setitem(worth.PLANS, "smoke", replace(worth.PLANS["smoke"], labels=(10, 30)))
    found, of = worth.few_labels("smoke")
    assert {*worth.METHODS} < {*found}
    assert {"components", "neighbours", "code variational", "features denoising"} < {*found}
    assert found["neighbours"].cross_entropy == []
    for name, each in found.items():
        assert all(0 <= value <= 1 for values in each.accuracy for value in values), name
        assert len(each.accuracy) == len(each.labels), name
    assert len({run.path for run in of}) == len(of)
    classes, left = worth.odd_classes("variational", "smoke")
    assert [*classes] == [3]
    assert left[0].config["data"]["without"] == 3
