"""Convolution arithmetic, and encoder and decoder stacks that mirror each other by construction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

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


class _DropAndActivate(torch.autograd.Function):
    """Dropout, then LeakyReLU, with a gradient that needs nothing but their output.

    Left to itself the compiler would keep the masks of both, and it writes and reads booleans one by one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dropout: float, slope: float) -> Tensor:
        kept = (torch.rand(x.shape, device=x.device) + (1 - dropout)).floor()  # 0 or 1
        out = nn.functional.leaky_relu(x * kept.to(x.dtype) / (1 - dropout), slope)
        ctx.save_for_backward(out)
        ctx.dropout, ctx.slope = dropout, slope
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (out,) = ctx.saved_tensors
        slope = torch.where(out > 0, 1.0, torch.where(out < 0, ctx.slope, 0.0))  # 0: dropped
        return (grads[0].float() * slope / (1 - ctx.dropout)).to(out.dtype), None, None


class DroppingLeakyReLU(nn.LeakyReLU):
    """Dropout → LeakyReLU."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """x, of any shape → the same shape; nothing is dropped in evaluation."""
        if not self.training or not self.dropout:
            return super().forward(x)
        return _DropAndActivate.apply(x, self.dropout, self.negative_slope)


class _Normalise(torch.autograd.Function):
    """Instance norm in float32 over the last two dimensions of (B, C, H, W)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        centred = x.float() - x.float().mean((2, 3), keepdim=True)
        scale = torch.rsqrt(centred.square().mean((2, 3), keepdim=True) + eps)
        out = (centred * scale).to(x.dtype)
        ctx.save_for_backward(out, scale)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        out, scale = ctx.saved_tensors
        grad, y = grads[0].float(), out.float()
        along = y * (grad * y).mean((2, 3), keepdim=True)
        return ((grad - grad.mean((2, 3), keepdim=True) - along) * scale).to(out.dtype), None


class _InstanceNorm(nn.InstanceNorm2d):
    """Instance norm that torch.compile keeps in the layout of the convolutions, forward and backward."""

    def forward(self, x: Tensor) -> Tensor:
        return _Normalise.apply(x, self.eps) if torch.compiler.is_compiling() else super().forward(x)


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
    return [conv, _InstanceNorm(conv.out_channels), nn.LeakyReLU()]


def conv_stack(convs: Sequence[Conv], channels: Sequence[int], *, instance_norm: bool) -> nn.Sequential:
    """The encoder's convolutional part: (B, 1, 28, 28) → (B, channels[-1], h, h)."""
    layers: list[nn.Module] = []
    for conv, before, after in zip(convs, [1, *channels], channels, strict=False):
        layers += _normed(nn.Conv2d(before, after, *conv), instance_norm)
    return nn.Sequential(*layers)


def transposed_stack(convs: Sequence[Conv], channels: Sequence[int], *, instance_norm: bool) -> nn.Sequential:
    """The mirror of `conv_stack`, as logits: (B, channels[-1], h, h) → (B, 1, 28, 28).

    Takes the encoder's own `convs` and `channels` and reads them backwards, so that the two cannot differ.
    """
    sizes = stage_sizes(convs, instance_norm=instance_norm)
    layers: list[nn.Module] = []
    stages = zip(convs, [1, *channels], channels, sizes, strict=False)
    for number, (conv, after, before, size) in reversed(list(enumerate(stages))):
        mirror = nn.ConvTranspose2d(before, after, *conv, output_padding=output_padding(size, conv))
        # The last stage gives the image: neither normalised nor passed through the activation.
        layers += _normed(mirror, instance_norm) if number else [mirror]
    return nn.Sequential(*layers)
