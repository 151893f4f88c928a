"""What the networks are good for: the trainings that chapter 6 compares, and its tables of them.

The rule of the comparison at few labels, written before there were numbers:

- A method gets n labelled images to learn from and as many, at most all that are for validation, to choose with: when
  to stop, how much to regularise, how many neighbours. Both are drawn by classes in turn, the same for all methods; the
  seed of a run is the number of the draw, and of the initial weights. Fewer labels are among more.
- All images of the training split, without labels, are there for whoever can use them: encoders, principal components.
- All networks stop by one rule (`STOPPING`), in batches of at most n, with twenty batches to an epoch at least.
- Each has one learning rate for all n (`RATES`): of 0.0003, 0.001, 0.003 and 0.01 the one with the lowest validation
  loss at 1,000 labels, of a draw, `RATE_DRAW`, that is not looked at otherwise.
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
        draws: of each; the first of them alone (`most_draws`) where all images are labelled.
        all_labels: the number from which on drawing chooses nothing.
        most_draws: seeds with that number.
        epochs: at most, of a network on few labels.
        without: classes that are left out, one at a time, in the part about what is odd.
        odd_epochs: epochs of the autoencoders that never see that class.
    """

    labels: tuple[int, ...]
    draws: tuple[int, ...]
    all_labels: int
    most_draws: tuple[int, ...]
    epochs: int
    without: tuple[int, ...]
    odd_epochs: int


PLANS = {
    "report": Plan(
        labels=(10, 30, 100, 300, 1_000, 3_000, 10_000, 51_200),
        draws=(0, 1, 2, 3, 4),
        all_labels=51_200,
        most_draws=(0, 1, 2),
        epochs=60,
        without=tuple(range(10)),
        odd_epochs=10,  # as many steps as 20 epochs of the profile `quick`
    ),
    "quick": Plan(
        labels=(10, 100, 1_000),
        draws=(0, 1),
        all_labels=25_600,
        most_draws=(0,),
        epochs=10,
        without=(3, 8),
        odd_epochs=10,
    ),
    "smoke": Plan(
        labels=(10, 100),
        draws=(0, 1),
        all_labels=1_280,
        most_draws=(0,),
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
        learning_rate: for all numbers of labels.
        options: what else it is, as of `experiments.obtain`.
    """

    title: str
    experiment: str
    learning_rate: float
    options: Mapping[str, Any]


ENCODERS = {"convolutional": "plain", "denoising": "denoising", "variational": "variational"}
"""Experiments whose encoders are compared, and what they are called."""


def _head(encoder: str) -> Method:
    return Method(
        f"head on frozen features, {ENCODERS[encoder]}", "transfer", 0.003, {"source": encoder, "source.seed": 0}
    )


METHODS = {
    **{f"transfer {name}": _head(name) for name in ENCODERS},
    "finetuned": Method("fine-tuned encoder", "finetuned", 0.001, {"source.seed": 0}),
    "scratch": Method("same network, random weights", "scratch", 0.001, {}),
    "random": Method("head on random features", "scratch", 0.001, {"frozen": True}),
    "cnn": Method("CNN of Homework 1", "cnn", 0.001, {}),
}
"""Networks that learn from few labels, by name."""


def train_few_labels(method: str, profile: str = "report", **options: Any) -> list[sweeps.Row]:
    """The runs of one of `METHODS`, of each number of labels and each draw; made if missing.

    Args:
        options: as of `sweeps.sweep`, such as `workers`.

    Raises:
        AelibError: there is no such method, or as `sweep`.
    """
    chosen, plan = METHODS[known("method", method, METHODS)], PLANS[profile]
    same = {
        "profile": profile,
        "learning_rate": chosen.learning_rate,
        "max_epochs": plan.epochs,
        "summary": True,
        **STOPPING,
        **chosen.options,
        **options,
    }
    few = [number for number in plan.labels if number < plan.all_labels]
    rows = sweeps.sweep(chosen.experiment, labels=few, seeds=plan.draws, **same)
    if plan.all_labels in plan.labels:
        rows += sweeps.sweep(chosen.experiment, labels=[plan.all_labels], seeds=plan.most_draws, **same)
    return rows


def train_without(experiment: str, profile: str = "report", **options: Any) -> list[sweeps.Row]:
    """The autoencoders `experiment` that have never seen one class, of each class of the plan; made if missing.

    Raises:
        AelibError: as `sweep`.
    """
    plan = PLANS[profile]
    return sweeps.sweep(experiment, without=list(plan.without), max_epochs=plan.odd_epochs, profile=profile, **options)
