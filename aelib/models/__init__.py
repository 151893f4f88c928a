"""The models of the report."""

from aelib.models.autoencoder import AutoencoderConfig, SymmetricAutoencoder

__all__ = ["AutoencoderConfig", "SymmetricAutoencoder"]
