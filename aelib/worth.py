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
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aelib import sweeps
from aelib.errors import known

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
        all_labels: the number with which drawing leaves out nothing, and is only an order.
        most_draws: seeds with that number.
        rates: learning rates of which one is chosen for each method.
        rate_labels: the number of labels that it is chosen at.
        epochs: at most, of a network on few labels.
        without: classes that are left out, one at a time, in the part about what is odd.
        odd_epochs: epochs of the autoencoders that never see that class.
    """

    labels: tuple[int, ...]
    draws: tuple[int, ...]
    all_labels: int
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
        all_labels=51_200,
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
        all_labels=25_600,
        most_draws=(0,),
        rates=(0.001,),
        rate_labels=1_000,
        epochs=10,
        without=(3, 8),
        odd_epochs=10,
    ),
    "smoke": Plan(
        labels=(10, 100),
        draws=(0, 1),
        all_labels=1_280,
        most_draws=(0,),
        rates=(0.001,),
        rate_labels=100,
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
    few = [number for number in plan.labels if number < plan.all_labels]
    rows = _sweep(chosen, profile, labels=few, seeds=plan.draws, **options)
    if plan.all_labels in plan.labels:
        rows += _sweep(chosen, profile, labels=[plan.all_labels], seeds=plan.most_draws, **options)
    return rows


def train_without(experiment: str, profile: str = "report", **options: Any) -> list[sweeps.Row]:
    """The autoencoders `experiment` that have never seen one class, of each class of the plan; made if missing.

    Raises:
        AelibError: as `sweep`.
    """
    plan = PLANS[profile]
    return sweeps.sweep(experiment, without=list(plan.without), max_epochs=plan.odd_epochs, profile=profile, **options)
