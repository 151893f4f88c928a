"""The denoising autoencoder (report, Section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from aelib.corruption import Corruption
from aelib.models.autoencoder import AutoencoderConfig, SymmetricAutoencoder


@dataclass(frozen=True, kw_only=True)
class DenoisingConfig(AutoencoderConfig):
    """Shape of the autoencoder, and the strength of the corruption.

    Attributes:
        probability: of each of the four transforms, for each image, in [0, 1].
        noise_std: standard deviation of the noise, at least 0, in units of the pixel range.
        per_batch: corrupt all images of a batch in the same way, as the report's code does.
    """

    probability: float = 0.5
    noise_std: float = 0.4
    per_batch: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.corruption  # checks the values
        for name in ("probability", "noise_std"):  # 1 and 1.0 are one configuration
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def corruption(self) -> Corruption:
        """Flips, noise and erasing, each with `probability`."""
        return Corruption(probability=self.probability, noise_std=self.noise_std, per_batch=self.per_batch)


class DenoisingAutoencoder(SymmetricAutoencoder):
    """A symmetric autoencoder that sees corrupted images in training and has to give back the clean ones."""

    config_class = DenoisingConfig
    config: DenoisingConfig

    def corrupt(self, images: Tensor) -> Tensor:
        """A corrupted copy of images, (B, 1, 28, 28), in [0, 1]."""
        return self.config.corruption(images)
