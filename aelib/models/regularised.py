"""The regularised autoencoder (beyond the report): Ghosh et al. (2020), with an L2 penalty on the decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from aelib.errors import AelibError, is_number
from aelib.models.autoencoder import AutoencoderConfig, SymmetricAutoencoder, squared_error


@dataclass(frozen=True, kw_only=True)
class RegularisedConfig(AutoencoderConfig):
    """Shape of the autoencoder, and the weight of the penalty on its codes.

    Attributes:
        beta: multiplies half the squared length of a code, at least 0. Chapter 7 says how it was chosen.
    """

    beta: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_number(self.beta) or not 0 <= self.beta < float("inf"):
            raise AelibError(f"beta must be a number of at least 0, not {self.beta!r}")
        object.__setattr__(self, "beta", float(self.beta))  # 1 and 1.0 are one configuration


class RegularisedAutoencoder(SymmetricAutoencoder):
    """A symmetric autoencoder of short codes and a smooth decoder: a variational one without its noise.

    What holds the decoder back is the training's `weight_decay`, which nothing else has here.
    """

    config_class = RegularisedConfig
    config: RegularisedConfig

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        r"""`"loss"` = `"reconstruction"` + β `"size"` / pixels, each (B,).

        .. math:: \ell = \frac{1}{784} \Big( \lVert x - \hat x \rVert^2 + \frac{\beta}{2} \lVert z \rVert^2 \Big)

        The divergence of the variational loss has the same term, ‖μ‖² / 2, with the same weight.
        """
        codes = self.encode(images)
        reconstruction = squared_error(self.decode(codes), images)
        size = codes.float().square().sum(1) / 2
        loss = reconstruction + self.config.beta * size / images[0].numel()
        return {"loss": loss, "reconstruction": reconstruction, "size": size}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """The L2 penalty is on the weights of the decoder alone, not on its biases."""
        trained = [(name, each) for name, each in self.named_parameters() if each.requires_grad]
        held = [each for name, each in trained if name.startswith("decoder.") and each.ndim > 1]
        free = [each for name, each in trained if not (name.startswith("decoder.") and each.ndim > 1)]
        return [{"params": free, "weight_decay": 0.0}, {"params": held, "weight_decay": weight_decay}]
