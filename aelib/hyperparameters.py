"""How a model is trained: what the report's study searched, and what stops a training."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from aelib.errors import AelibError, at_least_one, is_number

OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD, "adamax": torch.optim.Adamax}
PRECISIONS = ("float32", "tf32", "bf16")
"""Of the steps of a training."""

SGD_MOMENTUM = 0.91
"""The report's; Adam and Adamax keep PyTorch's defaults."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained; the defaults are those of the report's autoencoders (Table 2).

    Attributes:
        optimizer: `"adam"`, `"sgd"` or `"adamax"`.
        learning_rate: above 0, or None to have the learning-rate finder choose it.
        weight_decay: the report's L2 penalty, at least 0.
        max_epochs: at least 1.
        patience: epochs without an improvement of `min_delta` of the validation loss before training stops.
        min_delta: at least 0, in units of the loss.

    Raises:
        AelibError: a value is out of range.
    """

    optimizer: str = "adamax"
    learning_rate: float | None = 0.0083176
    weight_decay: float = 5.27e-7
    max_epochs: int = 200
    patience: int = 10
    min_delta: float = 1e-4

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, str) or self.optimizer not in OPTIMIZERS:
            raise AelibError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {self.optimizer!r}")
        if self.learning_rate is not None and not (is_number(self.learning_rate) and 0 < self.learning_rate <= 1):
            raise AelibError(
                f"learning_rate must be a number in (0, 1], or None to have it found, not {self.learning_rate!r}"
            )
        for name in ("weight_decay", "min_delta"):
            value = getattr(self, name)
            if not (is_number(value) and 0 <= value < float("inf")):
                raise AelibError(f"{name} must be a number of at least 0, not {value!r}")
            # 0 and 0.0 are one configuration.
            object.__setattr__(self, name, float(value))
        if self.learning_rate is not None:
            object.__setattr__(self, "learning_rate", float(self.learning_rate))
        for name in ("max_epochs", "patience"):
            at_least_one(name, getattr(self, name))
