"""What training asks of a model, and all that it asks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from aelib.errors import AelibError


class Model(nn.Module, ABC):
    """A network that knows its loss.

    Attributes:
        worth_compiling: whether torch.compile makes a training of some thousand steps quicker.
    """

    worth_compiling: ClassVar[bool] = True

    @abstractmethod
    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Per-image terms, each (B,): training minimises the mean of `"loss"` and records the mean of each.

        Args:
            images: (B, 1, 28, 28), in [0, 1]; or what the model takes in their place.
            labels: (B,), in [0, 10).
        """


def is_int(value: object) -> bool:
    """Whether `value` is a whole number; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether `value` is a real number; True and False are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def at_least_one(name: str, value: object) -> None:
    """Refuse `value`, the field `name` of a configuration, if it is not a whole number of at least 1."""
    if not (isinstance(value, int) and is_int(value) and value >= 1):
        raise AelibError(f"{name} must be a whole number of at least 1, not {value!r}")
