"""The models of the report, and those that go beyond it."""

from aelib.models.autoencoder import AutoencoderConfig, SymmetricAutoencoder
from aelib.models.base import Model
from aelib.models.classifier import (
    BaselineCNN,
    BaselineConfig,
    EncoderClassifier,
    EncoderClassifierConfig,
    TransferClassifier,
    TransferConfig,
    features_of,
)
from aelib.models.denoising import DenoisingAutoencoder, DenoisingConfig
from aelib.models.regularised import RegularisedAutoencoder, RegularisedConfig
from aelib.models.second_stage import SecondStage, SecondStageConfig
from aelib.models.variational import VariationalAutoencoder, VariationalConfig

__all__ = [
    "AutoencoderConfig",
    "BaselineCNN",
    "BaselineConfig",
    "DenoisingAutoencoder",
    "DenoisingConfig",
    "EncoderClassifier",
    "EncoderClassifierConfig",
    "Model",
    "RegularisedAutoencoder",
    "RegularisedConfig",
    "SecondStage",
    "SecondStageConfig",
    "SymmetricAutoencoder",
    "TransferClassifier",
    "TransferConfig",
    "VariationalAutoencoder",
    "VariationalConfig",
    "features_of",
]
