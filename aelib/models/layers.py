"""Convolution arithmetic, and encoder and decoder stacks that mirror each other by construction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from aelib.errors import AelibError

IMAGE_SIZE = 28
"""Height and width of a FashionMNIST image, in pixels."""


class Conv(NamedTuple):
    """Kernel size, stride and padding of one square convolution, in pixels (Table 1)."""

    kernel: int
    stride: int
    padding: int


def conv_size(size: int, conv: Conv) -> int:
    """Output height (= width) of `conv` on an input of height `size`; below 1 where it does not fit."""
    return (size + 2 * conv.padding - conv.kernel) // conv.stride + 1


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
    return nn.Sequential(nn.Linear(inputs, outputs), nn.Dropout(dropout), nn.LeakyReLU())


def _norm_and_activation(channels: int, instance_norm: bool) -> list[nn.Module]:
    # Instance norm sees one image at a time, so that a code does not depend on the rest of its batch.
    return [*([nn.InstanceNorm2d(channels)] if instance_norm else []), nn.LeakyReLU()]


def conv_stack(convs: Sequence[Conv], channels: Sequence[int], *, instance_norm: bool) -> nn.Sequential:
    """The encoder's convolutional part: (B, 1, 28, 28) → (B, channels[-1], h, h)."""
    layers: list[nn.Module] = []
    for conv, before, after in zip(convs, [1, *channels], channels, strict=False):
        layers.append(nn.Conv2d(before, after, *conv))
        layers += _norm_and_activation(after, instance_norm)
    return nn.Sequential(*layers)


def transposed_stack(convs: Sequence[Conv], channels: Sequence[int], *, instance_norm: bool) -> nn.Sequential:
    """The mirror of `conv_stack`, as logits: (B, channels[-1], h, h) → (B, 1, 28, 28).

    Takes the encoder's own `convs` and `channels` and reads them backwards, so that the two cannot differ.
    """
    sizes = stage_sizes(convs, instance_norm=instance_norm)
    layers: list[nn.Module] = []
    stages = list(zip(convs, [1, *channels], channels, sizes, strict=False))
    for conv, after, before, size in reversed(stages):
        layers.append(nn.ConvTranspose2d(before, after, *conv, output_padding=output_padding(size, conv)))
        layers += _norm_and_activation(after, instance_norm)
    # The last stage gives the image: neither normalised nor passed through the activation.
    return nn.Sequential(*layers[: -2 if instance_norm else -1])
