"""The symmetric convolutional autoencoder (report, Section 2.1 and Table 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aelib.data import IMAGE_SIZE
from aelib.errors import AelibError, a_seed, at_least_one, is_int, is_number
from aelib.models.base import OF_IMAGES, Given, Model, arrays_too
from aelib.models.layers import Conv, conv_stack, linear_block, stage_sizes, transposed_stack


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Shape of a symmetric autoencoder; the defaults are the values of Table 2.

    Attributes:
        conv: (kernel, stride, padding) of each convolution, in pixels.
        channels: output channels of each convolution, at least 1.
        linear_units: width of the linear block between convolutions and codes, at least 1.
        latent_dim: number of latent units, at least 1.
        instance_norm: whether each convolution is followed by instance normalisation.
        dropout: probability of a linear unit to be dropped, in [0, 1).
        image_size: height and width of an image, in pixels.
        image_channels: 1, grey, or 3, colours.

    >>> AutoencoderConfig().sizes
    [28, 14, 7, 5]
    >>> AutoencoderConfig(image_size=32, image_channels=3, latent_dim=16).feature_count
    2304

    Raises:
        AelibError: a value is out of range, or the convolutions do not fit the images.
    """

    conv: tuple[Conv, ...] = (Conv(3, 2, 1), Conv(3, 2, 1), Conv(3, 1, 0))
    channels: tuple[int, ...] = (32, 32, 64)
    linear_units: int = 256
    latent_dim: int = 30
    instance_norm: bool = True
    dropout: float = 0.16
    image_size: int = field(default=IMAGE_SIZE, metadata=OF_IMAGES)
    image_channels: int = field(default=1, metadata=OF_IMAGES)

    def __post_init__(self) -> None:
        object.__setattr__(self, "conv", tuple(Conv(*_triple(conv)) for conv in _sequence("conv", self.conv)))
        object.__setattr__(self, "channels", tuple(_sequence("channels", self.channels)))
        for channel in self.channels:
            at_least_one("each of channels", channel)
        if not self.conv or len(self.conv) != len(self.channels):
            raise AelibError(
                f"conv has {len(self.conv)} layers and channels has {len(self.channels)}: give both one entry a layer"
            )
        at_least_one("image_size", self.image_size)
        if not is_int(self.image_channels) or self.image_channels not in (1, 3):
            raise AelibError(f"image_channels must be 1, grey, or 3, colours, not {self.image_channels!r}")
        at_least_one("linear_units", self.linear_units)
        at_least_one("latent_dim", self.latent_dim)
        if not isinstance(self.instance_norm, bool):
            raise AelibError(f"instance_norm must be True or False, not {self.instance_norm!r}")
        if not is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise AelibError(f"dropout must be a probability in [0, 1), not {self.dropout!r}")
        object.__setattr__(self, "dropout", float(self.dropout))  # 0 and 0.0 are one configuration
        _ = self.sizes

    @property
    def sizes(self) -> list[int]:
        """Image heights through the encoder, for example `[28, 14, 7, 5]`."""
        return stage_sizes(self.conv, instance_norm=self.instance_norm, size=self.image_size)

    @property
    def feature_count(self) -> int:
        """Length of the flattened output of the convolutional part, for example 1600."""
        return self.channels[-1] * self.sizes[-1] ** 2


class SymmetricAutoencoder(Model):
    """An encoder and the decoder that mirrors it, trained to give back what it was given.

    Args:
        config: the shape; Table 2 by default.

    >>> import numpy as np
    >>> model = SymmetricAutoencoder()
    >>> model.encode(np.zeros((5, 28, 28))).shape
    (5, 30)

    Raises:
        AelibError: the configuration is of another model.
    """

    config_class: ClassVar[type] = AutoencoderConfig
    config: AutoencoderConfig

    def __init__(self, config: AutoencoderConfig | None = None) -> None:
        super().__init__(config)
        config = self.config
        side = config.sizes[-1]
        self.features = conv_stack(
            config.conv, config.channels, instance_norm=config.instance_norm, image_channels=config.image_channels
        )
        self.hidden = linear_block(config.feature_count, config.linear_units, config.dropout)
        self.latent = nn.Linear(config.linear_units, config.latent_dim)
        self.decoder = nn.Sequential(
            linear_block(config.latent_dim, config.linear_units, config.dropout),
            linear_block(config.linear_units, config.feature_count, config.dropout),
            nn.Unflatten(1, (config.channels[-1], side, side)),
            transposed_stack(
                config.conv,
                config.channels,
                instance_norm=config.instance_norm,
                image_size=config.image_size,
                image_channels=config.image_channels,
            ),
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """`(image_channels, image_size, image_size)`."""
        return self.config.image_channels, self.config.image_size, self.config.image_size

    @arrays_too
    def encode(self, images: Tensor) -> Tensor:
        """images: (B, 1, 28, 28), in [0, 1] → codes: (B, latent_dim); of an array, an array.

        Raises:
            AelibError: the images are of another size, or their pixels of another range.
        """
        return self.latent(self.hide(images))

    def hide(self, images: Tensor) -> Tensor:
        """images: (B, 1, 28, 28), in [0, 1] → what the codes are computed from: (B, linear_units)."""
        features = self.features(self.checked(images))  # (B, channels[-1], h, h)
        return self.hidden(features.flatten(1))

    @arrays_too
    def decode(self, codes: Tensor) -> Tensor:
        """codes: (B, latent_dim) → images: (B, 1, 28, 28), in [0, 1]; of an array, an array."""
        # The sigmoid in float32: near white, bfloat16 has steps of 1/256.
        return torch.sigmoid(self.decoder(codes).float())

    def draw(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Codes of images, (B, 1, 28, 28), as the decoder meets them in training: (B, latent_dim)."""
        return self.encode(images)

    def prior(self, count: int, generator: torch.Generator) -> Tensor | None:
        """`count` codes from the distribution that the model takes codes to have, (count, latent_dim), if it does."""
        return None

    def reconstruct(self, images: Given) -> Given:
        """What comes back of images, (B, 1, 28, 28) or an array without channel, in [0, 1]: the same shape."""
        return self.decode(self.encode(images)).reshape(images.shape)

    @torch.no_grad()
    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """`count` images, (count, 1, 28, 28) in [0, 1], of codes from the model's own distribution.

        Of a variational one that is N(0, I).

        Raises:
            AelibError: it has none; or `count` or the seed is no whole number in range.
        """
        at_least_one("count", count)
        a_seed(seed)
        codes = self.prior(count, torch.Generator().manual_seed(seed))
        if codes is None:
            raise AelibError(
                f"{type(self).__name__} takes codes to have no distribution: decode codes of your own, such as "
                "those of aelib.latent.random_codes"
            )
        return torch.from_numpy(self.decode(codes.numpy()))

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions, (B, 1, 28, 28), of images, (B, 1, 28, 28); both in [0, 1]."""
        return self.decode(self.encode(images))

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """`"loss"`: squared error of the reconstruction, mean over the pixels of each image, (B,).

        The images, (B, 1, 28, 28) in [0, 1], are also the target; the labels are not used.
        """
        inputs = self.corrupt(images) if self.training else images
        return {"loss": squared_error(self(inputs), images)}


def squared_error(reconstructions: Tensor, images: Tensor) -> Tensor:
    r"""Squared error of each image, mean over its pixels: two (B, 1, 28, 28) → (B,).

    .. math:: \frac{1}{784} \sum_j (\hat x_j - x_j)^2
    """
    return F.mse_loss(reconstructions, images, reduction="none").flatten(1).mean(1)


def _sequence(name: str, value: object) -> Sequence:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise AelibError(f"{name} must be a list with one entry a layer, not {value!r}")
    return value


def _triple(conv: object) -> Sequence[int]:
    if not isinstance(conv, Sequence) or len(conv) != 3 or not all(is_int(number) for number in conv):
        raise AelibError(f"each of conv must be three whole numbers (kernel, stride, padding), not {conv!r}")
    return conv
