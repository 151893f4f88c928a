"""What training asks of a model, and all that it asks."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Model(nn.Module, ABC):
    """A network that knows its loss."""

    @abstractmethod
    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Per-image terms, each (B,): training minimises the mean of `"loss"` and records the mean of each.

        Args:
            images: (B, 1, 28, 28), in [0, 1].
            labels: (B,), in [0, 10).
        """
