"""Classifiers: one on the features of a trained encoder, and the CNN of the first homework."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aelib.corruption import Augmentation
from aelib.errors import AelibError, at_least_one, is_int, is_number
from aelib.models.autoencoder import AutoencoderConfig, SymmetricAutoencoder
from aelib.models.base import OF_IMAGES, Model
from aelib.models.layers import Conv, QuickConv2d, conv_stack, linear_block, without_bias_gradient


class _Classifier(Model):
    """A network from inputs to the logits of C classes, trained by cross-entropy."""

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """`"loss"`: cross-entropy in nats; `"accuracy"`: 1 where the likeliest class is right; each (B,)."""
        logits = self(self.corrupt(images) if self.training else images).float()
        accuracy = (logits.argmax(1) == labels).float()
        return {"loss": F.cross_entropy(logits, labels, reduction="none"), "accuracy": accuracy}


def _some_classes(classes: object) -> None:
    if not is_int(classes) or classes < 2:
        raise AelibError(f"classes must be a whole number of at least 2, not {classes!r}")


@torch.no_grad()
def features_of(autoencoder: SymmetricAutoencoder, images: Tensor) -> Tensor:
    """What the convolutions of `autoencoder` make of images, (N, 1, 28, 28), uint8: (N, features)."""
    return torch.cat([autoencoder.features(part.float() / 255).flatten(1) for part in images.split(500)])


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """Shape of the classifier that stands on an encoder; fixed by that encoder, but for the dropout.

    Attributes:
        features: length of the encoder's flattened features.
        linear_units: width of the encoder's linear block.
        dropout: of that block, in [0, 1).
        classes: how many, at least 2.
    """

    features: int = 1600
    linear_units: int = 256
    dropout: float = 0.16
    classes: int = field(default=10, metadata=OF_IMAGES)

    def __post_init__(self) -> None:
        _some_classes(self.classes)
        at_least_one("features", self.features)
        at_least_one("linear_units", self.linear_units)
        if not is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise AelibError(f"dropout must be a probability in [0, 1), not {self.dropout!r}")
        object.__setattr__(self, "dropout", float(self.dropout))


class TransferClassifier(_Classifier):
    """Features of the frozen convolutional part → the encoder's linear block → C classes (report, Section 2.2).

    It takes the features, (B, features), not the images: they are computed once, by `features_of`.
    """

    # Two small matrix products: compilation would take longer than it saves.
    worth_compiling = False
    config_class: ClassVar[type] = TransferConfig
    config: TransferConfig

    def __init__(self, config: TransferConfig | None = None) -> None:
        super().__init__(config)
        config = self.config
        self.hidden = linear_block(config.features, config.linear_units, config.dropout)
        self.classes = nn.Linear(config.linear_units, config.classes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """`(features,)`."""
        return (self.config.features,)

    def forward(self, features: Tensor) -> Tensor:
        """features: (B, features) → logits: (B, C)."""
        return self.classes(self.hidden(features))

    def adopt(self, autoencoder: SymmetricAutoencoder) -> None:
        """Start from a copy of the linear block of `autoencoder`, which stays as it is.

        Raises:
            AelibError: that block has another shape.
        """
        theirs = (autoencoder.config.feature_count, autoencoder.config.linear_units)
        ours = (self.config.features, self.config.linear_units)
        if theirs != ours:
            raise AelibError(
                f"the encoder's linear block is {theirs[0]}→{theirs[1]}, the classifier's {ours[0]}→{ours[1]}"
            )
        self.hidden.load_state_dict(autoencoder.hidden.state_dict())


@dataclass(frozen=True, kw_only=True)
class EncoderClassifierConfig(AutoencoderConfig):
    """Shape of an encoder with classes on its linear block; `latent_dim` plays no part.

    Attributes:
        frozen: whether the convolutions stay as they were at the beginning.
        classes: how many, at least 2.
    """

    frozen: bool = False
    classes: int = field(default=10, metadata=OF_IMAGES)

    def __post_init__(self) -> None:
        super().__post_init__()
        _some_classes(self.classes)
        if not isinstance(self.frozen, bool):
            raise AelibError(f"frozen must be True or False, not {self.frozen!r}")


class EncoderClassifier(_Classifier):
    """The convolutions and the linear block of an encoder → C classes: a `TransferClassifier` that takes images.

    So the convolutions can be trained, too, from where an autoencoder left them or from random weights.
    """

    # A training of few images is over before compilation has paid.
    worth_compiling = False
    config_class: ClassVar[type] = EncoderClassifierConfig
    config: EncoderClassifierConfig

    def __init__(self, config: EncoderClassifierConfig | None = None) -> None:
        super().__init__(config)
        config = self.config
        self.features = conv_stack(
            config.conv, config.channels, instance_norm=config.instance_norm, image_channels=config.image_channels
        )
        self.features.requires_grad_(not config.frozen)
        self.hidden = linear_block(config.feature_count, config.linear_units, config.dropout)
        self.classes = nn.Linear(config.linear_units, config.classes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """`(image_channels, image_size, image_size)`."""
        return self.config.image_channels, self.config.image_size, self.config.image_size

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, 1, 28, 28), in [0, 1] → logits: (B, C)."""
        return self.classes(self.hidden(self.features(self.checked(images)).flatten(1)))

    def adopt(self, autoencoder: SymmetricAutoencoder) -> None:
        """Start from a copy of the convolutions and the linear block of `autoencoder`, which stays as it is."""
        self.features.load_state_dict(autoencoder.features.state_dict())
        self.hidden.load_state_dict(autoencoder.hidden.state_dict())


@dataclass(frozen=True, kw_only=True)
class BaselineConfig:
    """The CNN of the first homework (Table 3).

    Attributes:
        probability: of each of its random transforms, for each image, in [0, 1]; 0 for none.
        classes: how many, at least 2.
    """

    probability: float = 0.0
    classes: int = field(default=10, metadata=OF_IMAGES)

    def __post_init__(self) -> None:
        _some_classes(self.classes)
        _ = self.augmentation  # checks the value
        object.__setattr__(self, "probability", float(self.probability))

    @property
    def augmentation(self) -> Augmentation:
        """Noise, an occluding rectangle and flips, each with `probability`."""
        return Augmentation(probability=self.probability)


class BaselineCNN(_Classifier):
    """Three convolutions and three linear layers, batch-normalised (report, Table 3)."""

    config_class: ClassVar[type] = BaselineConfig
    config: BaselineConfig

    def __init__(self, config: BaselineConfig | None = None) -> None:
        super().__init__(config)
        layers: list[nn.Module] = []
        convs = (Conv(7, 2, 2), Conv(3, 2, 2), Conv(3, 1, 1))  # 28 → 13 → 8 → 8 pixels
        for conv, before, after in zip(convs, (1, 96, 64), (96, 64, 32), strict=True):
            layers += [without_bias_gradient(QuickConv2d(before, after, *conv)), nn.BatchNorm2d(after), nn.ReLU()]
        layers.append(nn.Flatten())
        for before, after in ((2048, 1024), (1024, 320)):
            layers += [without_bias_gradient(nn.Linear(before, after)), nn.BatchNorm1d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(320, self.config.classes))

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, 1, 28, 28), in [0, 1] → logits: (B, C)."""
        return self.layers(self.checked(images))

    def corrupt(self, inputs: Tensor) -> Tensor:
        """`inputs`, (B, 1, 28, 28), with the random transforms, if there are any."""
        return self.config.augmentation(inputs) if self.config.probability else inputs
