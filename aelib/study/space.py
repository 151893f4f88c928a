"""The search space of the report's study (Table 1), and the point of it that the report chose (Table 2)."""

from __future__ import annotations

from typing import ClassVar

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial, FixedTrial, FrozenTrial

from aelib.hyperparameters import TrainingConfig
from aelib.models import AutoencoderConfig
from aelib.models.layers import Conv

REPORTS_CHOICE = {
    "conv": 1,
    "channels": "32-32-64",
    "linear_units": 256,
    "latent_dim": 30,
    "instance_norm": True,
    "optimizer": "adamax",
    "weight_decay": 5.27e-7,
}


class SymmetricAutoencoderHPS:
    """The search space of Table 1; dropout and activation are fixed (Table 2)."""

    conv: ClassVar = {
        1: (Conv(3, 2, 1), Conv(3, 2, 1), Conv(3, 1, 0)),
        2: (Conv(5, 2, 1), Conv(5, 2, 1), Conv(3, 1, 1)),
        3: (Conv(7, 2, 1), Conv(5, 2, 1), Conv(3, 1, 1)),
    }
    channels: ClassVar = {"16-32-32": (16, 32, 32), "16-32-64": (16, 32, 64), "32-32-64": (32, 32, 64)}

    def sample(self, trial: BaseTrial) -> tuple[AutoencoderConfig, TrainingConfig]:
        """A model and its training, as `trial` suggests them."""
        return self.sample_model(trial), self.sample_training(trial)

    def sample_model(self, trial: BaseTrial) -> AutoencoderConfig:
        """A shape, as `trial` suggests it."""
        return AutoencoderConfig(
            conv=self.conv[trial.suggest_categorical("conv", list(self.conv))],
            channels=self.channels[trial.suggest_categorical("channels", list(self.channels))],
            linear_units=trial.suggest_int("linear_units", 128, 256, step=8),
            latent_dim=trial.suggest_int("latent_dim", 10, 40, step=2),
            instance_norm=trial.suggest_categorical("instance_norm", [True, False]),
        )

    def sample_training(self, trial: BaseTrial) -> TrainingConfig:
        """An optimiser and its L2 penalty, as `trial` suggests them; the finder chooses the learning rate."""
        return TrainingConfig(
            optimizer=trial.suggest_categorical("optimizer", ["adam", "sgd", "adamax"]),
            weight_decay=trial.suggest_float("weight_decay", 1e-7, 1e-4, log=True),
            learning_rate=None,
            max_epochs=60,
            patience=10,
            min_delta=1e-3,
        )


def fits(record: FrozenTrial) -> bool:
    """Whether each parameter that a trial has so far is one of the space, and within it."""
    SymmetricAutoencoderHPS().sample(fixed := FixedTrial(REPORTS_CHOICE))
    return record.distributions.items() <= fixed.distributions.items() and all(
        each._contains(each.to_internal_repr(record.params[name])) for name, each in record.distributions.items()
    )


def contains(record: FrozenTrial) -> bool:
    """Whether a trial has the parameters of the space, each of them within it."""
    return record.params.keys() == REPORTS_CHOICE.keys() and fits(record)


def distribution(space: BaseDistribution) -> str:
    """What values `space` holds, in words."""
    if isinstance(space, CategoricalDistribution):
        return ", ".join(str(each).replace("True", "yes").replace("False", "no") for each in space.choices)
    assert isinstance(space, (FloatDistribution, IntDistribution))
    steps = "uniform in the logarithm" if space.log else f"in steps of {space.step}"
    return f"{space.low:g} to {space.high:g}, {steps}"
