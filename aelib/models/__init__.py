"""The models of the report."""

from aelib.models.autoencoder import AutoencoderConfig, SymmetricAutoencoder
from aelib.models.base import Model

__all__ = ["AutoencoderConfig", "Model", "SymmetricAutoencoder"]
