"""Convolution arithmetic, and encoder and decoder stacks that mirror each other by construction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor, nn

from aelib.data import IMAGE_SIZE
from aelib.errors import AelibError
from aelib.models.kernels import Conv, DroppingLeakyReLU, InstanceNorm, QuickConv2d, QuickConvTranspose2d, conv_size


def output_padding(size: int, conv: Conv) -> int:
    """What the transposed `conv` must add on one side to return to height `size`; in [0, stride).

    A strided convolution rounds down, so several input sizes share one output size; the transposed
    convolution returns to the smallest of them, and the output padding makes up the difference.
    """
    smallest = (conv_size(size, conv) - 1) * conv.stride - 2 * conv.padding + conv.kernel
    return size - smallest


def stage_sizes(convs: Sequence[Conv], *, instance_norm: bool, size: int = IMAGE_SIZE) -> list[int]:
    """Heights before, between and after `convs`, for example `[28, 14, 7, 5]`.

    Raises:
        AelibError: a layer does not fit its input, or leaves a single pixel, which instance norm would
            turn into zero.
    """
    sizes = [size]
    for number, conv in enumerate(convs, start=1):
        if min(conv.kernel, conv.stride) < 1 or conv.padding < 0:
            raise AelibError(
                f"convolution {number} is {tuple(conv)}: kernel and stride must be at least 1, padding at least 0"
            )
        if conv.padding >= conv.kernel:
            raise AelibError(
                f"convolution {number} is {tuple(conv)}: padding must be smaller than the kernel, "
                "or its outermost outputs would see nothing but zeros"
            )
        before, after = sizes[-1], conv_size(sizes[-1], conv)
        if after < 1:
            raise AelibError(
                f"convolution {number} (kernel {conv.kernel}, padding {conv.padding}) does not fit its "
                f"{before}×{before} input: take a smaller kernel or stride, or more padding"
            )
        if after == 1 and instance_norm:
            raise AelibError(
                f"convolution {number} leaves 1×1 images, which instance norm would turn into zeros: "
                "take a smaller stride, more padding, or instance_norm=False"
            )
        sizes.append(after)
    return sizes


def linear_block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """Linear → Dropout → LeakyReLU: (B, inputs) → (B, outputs)."""
    return nn.Sequential(nn.Linear(inputs, outputs), DroppingLeakyReLU(dropout))


Layer = TypeVar("Layer", bound=nn.Module)


def without_bias_gradient(layer: Layer) -> Layer:
    """`layer`, which a norm follows: that takes away its mean and so its bias, whose gradient is 0, but for rounding.

    Computing it is slow all the same, and an optimiser that divides by its size would make steps of the rounding.
    """
    assert isinstance(layer.bias, Tensor)
    layer.bias.requires_grad_(False)
    return layer


def _normed(conv: nn.Conv2d | nn.ConvTranspose2d, instance_norm: bool) -> list[nn.Module]:
    """`conv` → instance norm, where asked → LeakyReLU."""
    if not instance_norm:
        return [conv, nn.LeakyReLU()]
    without_bias_gradient(conv)
    # Instance norm sees one image at a time, so that a code does not depend on the rest of its batch.
    # The activation not in place: compiled, the norm's gradient would silently take the changed values.
    return [conv, InstanceNorm(conv.out_channels), nn.LeakyReLU()]


def conv_stack(
    convs: Sequence[Conv], channels: Sequence[int], *, instance_norm: bool, image_channels: int = 1
) -> nn.Sequential:
    """The encoder's convolutional part: (B, image_channels, H, H) → (B, channels[-1], h, h)."""
    layers: list[nn.Module] = []
    for conv, before, after in zip(convs, [image_channels, *channels], channels, strict=False):
        layers += _normed(QuickConv2d(before, after, *conv), instance_norm)
    return nn.Sequential(*layers)


def transposed_stack(
    convs: Sequence[Conv],
    channels: Sequence[int],
    *,
    instance_norm: bool,
    image_size: int = IMAGE_SIZE,
    image_channels: int = 1,
) -> nn.Sequential:
    """The mirror of `conv_stack`, as logits: (B, channels[-1], h, h) → (B, image_channels, H, H).

    Takes the encoder's own `convs` and `channels` and reads them backwards, so that the two cannot differ.
    """
    sizes = stage_sizes(convs, instance_norm=instance_norm, size=image_size)
    layers: list[nn.Module] = []
    stages = zip(convs, [image_channels, *channels], channels, sizes, strict=False)
    for number, (conv, after, before, size) in reversed(list(enumerate(stages))):
        mirror = QuickConvTranspose2d(before, after, *conv, output_padding=output_padding(size, conv))
        # The last stage gives the image: neither normalised nor passed through the activation.
        layers += _normed(mirror, instance_norm) if number else [mirror]
    return nn.Sequential(*layers)
