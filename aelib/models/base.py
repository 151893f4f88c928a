"""What training asks of a model, and all that it asks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


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

    def corrupt(self, inputs: Tensor) -> Tensor:
        """What the network sees of `inputs`, (B, …), in training: themselves, unless the model says otherwise."""
        return inputs
