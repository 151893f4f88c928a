"""What the networks are good for: the trainings that chapter 6 compares, and its tables of them.

The rule of the comparison at few labels, written before there were numbers:

- A method gets n labelled images to learn from and as many, at most all that are for validation, to choose with: when
  to stop, how much to regularise, how many neighbours. Both are drawn by classes in turn, the same for all methods; the
  seed of a run is the number of the draw, and of the initial weights. Fewer labels are among more.
- All images of the training split, without labels, are there for whoever can use them: encoders, principal components.
- All networks stop by one rule (`STOPPING`), in batches of at most n, with twenty batches to an epoch at least.
- Each has one learning rate for all n: of `Plan.rates` the one with the lowest validation loss at `Plan.rate_labels`,
  of a draw, `RATE_DRAW`, that is not looked at otherwise (`rate`).
- Encoders are those of seed 0, whatever the draw.

Added afterwards: with `Plan.rate_labels` labels, heads on the plain encoders of other seeds, on the same draws, show
what another encoder changes (`train_on_other_encoders`); and whether a difference is beyond chance (`crossing`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aelib import calibration, evaluate, experiments, runs, sweeps, tables
from aelib.errors import known
from aelib.profiles import find_profile
from aelib.runs import Run

RATE_DRAW = 5
"""Seed of the draw that learning rates were chosen on."""

STOPPING: dict[str, Any] = {"patience": 10, "min_delta": 0.0}
"""When a training with few labels ends: ten epochs without a better validation loss."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of the comparison a profile makes.

    Attributes:
        labels: numbers of labelled images.
        draws: of each of these numbers, by seed.
        most_draws: of all images that train, where drawing leaves out nothing, and is only an order.
        rates: learning rates of which one is chosen for each method.
        rate_labels: the number of labels that it is chosen at.
        epochs: at most, of a network on few labels.
        without: classes that are left out, one at a time, in the part about what is odd.
        odd_epochs: epochs of the autoencoders that never see that class.
    """

    labels: tuple[int, ...]
    draws: tuple[int, ...]
    most_draws: tuple[int, ...]
    rates: tuple[float, ...]
    rate_labels: int
    epochs: int
    without: tuple[int, ...]
    odd_epochs: int


PLANS = {
    "report": Plan(
        labels=(10, 30, 100, 300, 1_000, 3_000, 10_000, 51_200),
        draws=(0, 1, 2, 3, 4),
        most_draws=(0, 1),  # half of the hours of all that is trained for this
        rates=(0.0003, 0.001, 0.003, 0.01),
        rate_labels=1_000,
        epochs=60,
        without=tuple(range(10)),
        odd_epochs=10,  # as many steps as 20 epochs of the profile `quick`
    ),
    "quick": Plan(
        labels=(10, 100, 1_000),
        draws=(0, 1),
        most_draws=(0,),
        rates=(0.001,),
        rate_labels=1_000,
        epochs=10,
        without=(3, 8),
        odd_epochs=10,
    ),
    "smoke": Plan(
        labels=(10, 40),
        draws=(0,),
        most_draws=(0,),
        rates=(0.001,),
        rate_labels=40,
        epochs=2,
        without=(3,),
        odd_epochs=2,
    ),
}
"""By profile."""


@dataclass(frozen=True)
class Method:
    """A network that learns from few labels.

    Attributes:
        title: in words.
        experiment: that it is.
        options: what else it is, as of `experiments.obtain`.
    """

    title: str
    experiment: str
    options: Mapping[str, Any]


ENCODERS = {"convolutional": "plain", "denoising": "denoising", "variational": "variational"}
"""Experiments whose encoders are compared, and what they are called."""


def _head(encoder: str) -> Method:
    return Method(f"head on frozen features, {ENCODERS[encoder]}", "transfer", {"source": encoder, "source.seed": 0})


METHODS = {
    **{f"transfer {name}": _head(name) for name in ENCODERS},
    "finetuned": Method("fine-tuned encoder", "finetuned", {"source.seed": 0}),
    "scratch": Method("same network, random weights", "scratch", {}),
    "random": Method("head on random features", "scratch", {"frozen": True}),
    "cnn": Method("CNN of Homework 1", "cnn", {}),
}
"""Networks that learn from few labels, by name."""


def _sweep(method: Method, profile: str, **options: Any) -> list[sweeps.Row]:
    same = {"profile": profile, "max_epochs": PLANS[profile].epochs, "summary": True, **STOPPING, **method.options}
    return sweeps.sweep(method.experiment, **same | options)


def rate(method: str, profile: str = "report", **options: Any) -> float:
    """The learning rate of one of `METHODS` for all numbers of labels; what it is chosen by is trained if missing."""
    plan = PLANS[profile]
    if len(plan.rates) == 1:
        return plan.rates[0]
    options |= {"labels": plan.rate_labels, "seeds": [RATE_DRAW], "learning_rate": [*plan.rates]}
    rows = _sweep(METHODS[known("method", method, METHODS)], profile, **options)
    return min(rows, key=lambda row: row.metrics["validation_loss"]).parameters["learning_rate"]


def train_few_labels(method: str, profile: str = "report", **options: Any) -> list[sweeps.Row]:
    """The runs of one of `METHODS`, of each number of labels and each draw; made if missing.

    Args:
        options: as of `sweeps.sweep`, such as `workers`.

    Raises:
        AelibError: there is no such method, or as `sweep`.
    """
    chosen, plan = METHODS[known("method", method, METHODS)], PLANS[profile]
    options["learning_rate"] = rate(method, profile, **options)
    most = find_profile(profile).split.train
    few = [number for number in plan.labels if number < most]
    rows = _sweep(chosen, profile, labels=few, seeds=plan.draws, **options)
    if most in plan.labels:
        rows += _sweep(chosen, profile, labels=[most], seeds=plan.most_draws, **options)
    return rows


def train_on_other_encoders(profile: str = "report") -> list[sweeps.Row]:
    """Heads with `Plan.rate_labels` labels of each draw, on the plain encoder of each seed; made if missing."""
    method, plan, seeds = "transfer convolutional", PLANS[profile], find_profile(profile).seeds
    options = {"labels": plan.rate_labels, "seeds": plan.draws, "learning_rate": rate(method, profile)}
    return _sweep(METHODS[method], profile, **options | {"source.seed": [*seeds]})


def train_without(experiment: str, profile: str = "report", **options: Any) -> list[sweeps.Row]:
    """The autoencoders `experiment` that have never seen one class, of each class of the plan; made if missing.

    Raises:
        AelibError: as `sweep`.
    """
    plan = PLANS[profile]
    return sweeps.sweep(experiment, without=list(plan.without), max_epochs=plan.odd_epochs, profile=profile, **options)


@dataclass(frozen=True)
class Curve:
    """What a method reaches with how many labels.

    Attributes:
        title: of the method.
        labels: S numbers of labelled images, rising.
        accuracy: of each number the test accuracy of each draw, S lists.
        cross_entropy: the same in nats; of neighbours, who give no probabilities, empty.
    """

    title: str
    labels: list[int]
    accuracy: list[list[float]]
    cross_entropy: list[list[float]]

    def means(self, what: str = "accuracy") -> np.ndarray:
        """Of each number of labels the mean over the draws, (S,)."""
        return np.array([np.mean(each) for each in getattr(self, what)])


def _of_rows(title: str, rows: Sequence[sweeps.Row]) -> Curve:
    numbers = sorted({row.parameters["labels"] for row in rows})
    by_number = [[row.metrics for row in rows if row.parameters["labels"] == number] for number in numbers]
    accuracy, loss = ([[each[name] for each in few] for few in by_number] for name in ("test_accuracy", "test_loss"))
    return Curve(title, numbers, accuracy, loss)


def _of_evaluation(title: str, found: Mapping[str, np.ndarray], name: str) -> Curve:
    numbers = sorted({int(each) for each in found["labels"]})
    parts = [
        [found[f"{name}_{what}"][found["labels"] == number].tolist() for number in numbers]
        if f"{name}_{what}" in found
        else []
        for what in ("accuracy", "cross_entropy")
    ]
    return Curve(title, numbers, parts[0], parts[1])


def few_labels(profile: str = "report") -> tuple[dict[str, Curve], list[Run]]:
    """What each method reaches, by name, and the runs that this is from; what is missing is trained, or evaluated."""
    found, of = {}, list[Run]()
    for name, title in ENCODERS.items():
        run = experiments.obtain(name, profile=profile)
        of.append(run)
        probes = evaluate.evaluate(run, "probes")
        found[f"code {name}"] = _of_evaluation(f"logistic regression on the code, {title}", probes, "code")
        found[f"features {name}"] = _of_evaluation(f"logistic regression on features, {title}", probes, "features")
    plain = evaluate.evaluate(of[0], "pixels")
    found["components"] = _of_evaluation("logistic regression on principal components", plain, "components")
    found["neighbours"] = _of_evaluation("nearest neighbours, pixels", plain, "neighbours")
    for name, method in METHODS.items():
        rows = train_few_labels(name, profile)
        found[name] = _of_rows(method.title, rows)
        of += [runs.load(row.path) for row in rows]
    return found, of


def crossing(one: Curve, other: Curve) -> str:
    """In words, with how many labels `other` is the more accurate one, in the mean over draws, and beyond chance."""
    first, second = (dict(zip(each.labels, each.means(), strict=True)) for each in (one, other))
    common = [number for number in first if number in second]
    ahead = [number for number in common if second[number] > first[number]]
    behind = [number for number in common if number not in ahead]
    lasting = [number for number in ahead if not behind or number > behind[-1]]
    before = [number for number in ahead if number not in lasting]
    few = f"with {_listed(before)} labels" if before else ""
    if not behind:
        words = f"with any number of labels, from {common[0]:,} on"
    elif not lasting:
        words = f"{few} alone" if few else f"with no number of labels, up to {common[-1]:,}"
    else:
        words = f"{few}, and from {lasting[0]:,} on" if few else f"from {lasting[0]:,} labels on"
    return f"{words} ({_chance(one, other, ahead)})"


def _chance(one: Curve, other: Curve, ahead: Sequence[int]) -> str:
    """In words, with how many labels 0 is outside of the 95 % interval (Student's t) of the draws' differences."""
    differences = {number: _differences(one, other, number) for number in one.labels if number in other.labels}
    single = [number for number, each in differences.items() if len(each) < 2]
    means = {number: (np.mean(each), tables.half_width(each)) for number, each in differences.items() if len(each) > 1}
    won, lost = ([each for each, (mean, half) in means.items() if sign * mean > half] for sign in (1, -1))
    how = "each of them" if won == ahead else _listed(won) or "none of them"
    parts = [f"beyond chance with {how}"] if ahead else []
    parts += [f"behind, beyond chance, with {_listed(lost)}"] if lost else []
    parts += [f"of {_listed(single)} there is one pair"] if single else []
    return "; ".join(parts) or "nowhere beyond chance"


def _listed(numbers: Sequence[int]) -> str:
    words = [f"{each:,}" for each in numbers]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _differences(one: Curve, other: Curve, number: int) -> list[float]:
    """By how much `other` is more accurate with so many labels, of each draw that both have."""
    first, second = (each.accuracy[each.labels.index(number)] for each in (one, other))
    return [after - before for before, after in zip(first, second, strict=False)]


def with_interval(values: Sequence[float], form: str = ".1f", scale: float = 100) -> str:
    """Mean and, of several, half the width of its 95 % confidence interval (Student's t): `78.1 ± 1.9`."""
    return tables.interval([scale * each for each in values], form)


def gain(one: Curve, other: Curve, number: int) -> str:
    """By how many points of accuracy `other` is better than `one` with so many labels: draw by draw, in words."""
    return with_interval(_differences(one, other, number)).replace("-", "−") + " points"


def honesty(title: str, found: Sequence[Mapping[str, np.ndarray]], when: str) -> tuple[str, ...]:
    """A row of a table: what `evaluate`'s metric `honesty` found of several seeds, `before` or `after` scaling."""
    columns = np.array([each[when] for each in found]).T  # cross-entropy and Brier score; the others are shares
    said = [with_interval(each, ".3f", 1) for each in columns[:2]]
    return title, *said, *(with_interval(each, ".2f") for each in columns[2:])


def ensemble(logits: Sequence[np.ndarray]) -> np.ndarray:
    """What several classifiers say together, (M, C): logarithms of the mean of their probabilities."""
    return np.log(np.maximum(np.mean([calibration.answers(each) for each in logits], axis=0), 1e-12))


def odd_classes(experiment: str, profile: str = "report") -> tuple[dict[int, dict[str, np.ndarray]], list[Run]]:
    """What `evaluate`'s metric `oddity` finds of the autoencoder without each class of the plan, and their runs."""
    found = {}
    of = [runs.load(row.path) for row in train_without(experiment, profile)]
    for run in of:
        found[run.config["data"]["without"]] = evaluate.evaluate(run, "oddity")
    return found, of


ELSEWHERE = {"wide residual network": 0.967, "HOG and SVM": 0.926, "boosted trees": 0.898, "people": 0.835}
"""Test accuracies with all 60,000 labels that others have sent to the authors of FashionMNIST, who have not tested
them: rows WRN40-4, HOG+SVM, XgBoost and Human Performance of the table of benchmarks in the data's repository,
https://github.com/zalandoresearch/fashion-mnist."""
