"""What training asks of a model, and all that it asks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from aelib.data import IMAGE_SIZE

LATER: dict[str, Any] = {"later": True}
"""Metadata of a configuration's field that came later: at its default, a run of before decided the same without it, and
so it is left out of what decides a run."""


class Model(nn.Module, ABC):
    """A network that knows its loss.

    Attributes:
        worth_compiling: whether torch.compile makes a training of some thousand steps quicker.
    """

    worth_compiling: ClassVar[bool] = True

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: `(1, 28, 28)`, an image, unless the model says otherwise."""
        return 1, IMAGE_SIZE, IMAGE_SIZE

    @abstractmethod
    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Per-image terms, each (B,): training minimises the mean of `"loss"` and records the mean of each.

        Args:
            images: (B, 1, 28, 28), in [0, 1]; or what the model takes in their place.
            labels: (B,), in [0, C).
        """

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """What the optimiser trains, in groups as PyTorch has them: all in one, with that L2 penalty, by default.

        A model may say otherwise, for example that of the decoder alone.
        """
        return [{"params": [each for each in self.parameters() if each.requires_grad], "weight_decay": weight_decay}]

    def corrupt(self, inputs: Tensor) -> Tensor:
        """What the network sees of `inputs`, (B, …), in training: themselves, unless the model says otherwise."""
        return inputs
