"""The layers in the forms that processors, GPUs and compilers are quickest at; what they compute is PyTorch's."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conv(NamedTuple):
    """Kernel size, stride and padding of one square convolution, in pixels (Table 1)."""

    kernel: int
    stride: int
    padding: int


def conv_size(size: int, conv: Conv) -> int:
    """Output height (= width) of `conv` on an input of height `size`; below 1 where it does not fit."""
    return (size + 2 * conv.padding - conv.kernel) // conv.stride + 1


def _by_products(x: Tensor) -> bool:
    """Whether a convolution of `x` from one channel, or to one, is computed as a product of matrices.

    In float32 oneDNN has no quick kernels for it: the products save a tenth of a training step.
    Not tried uncompiled, where every step of gathering what is multiplied would go through memory.
    """
    return torch.compiler.is_compiling() and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def _by_taps(weight: Tensor) -> Tensor:
    """(channels, 1, k, k) → (k k, channels), by rows: its gradient is then the product that libraries are quick at."""
    return weight.flatten(1).t().contiguous()


def _patches(images: Tensor, conv: Conv) -> Tensor:
    """(B, H, W) → (B, h, h, kernel²): what each output pixel of `conv` sees.

    By strides: `unfold` would have the compiler compute a pixel again for each patch that it is in.
    """
    padded = F.pad(images, (conv.padding,) * 4).contiguous()
    batch, side, _ = padded.shape
    h = conv_size(images.shape[-1], conv)
    strides = (side * side, conv.stride * side, conv.stride, side, 1)
    return padded.as_strided((batch, h, h, conv.kernel, conv.kernel), strides).flatten(3)


def _arithmetic(layer: nn.Conv2d | nn.ConvTranspose2d) -> Conv:
    assert isinstance(layer.padding[0], int)
    return Conv(layer.kernel_size[0], layer.stride[0], layer.padding[0])


class QuickConv2d(nn.Conv2d):
    """A square convolution as PyTorch has it, computed in the way that processors are quickest at."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, in_channels, H, W) → (B, out_channels, h, h)."""
        conv = _arithmetic(self)
        if self.in_channels == 1 and _by_products(x):
            out = _patches(x[:, 0], conv) @ _by_taps(self.weight)  # (B, h, h, out_channels)
            assert self.bias is not None
            return (out + self.bias).permute(0, 3, 1, 2)
        ours = max(0, conv.padding - conv.kernel // 2)
        if not ours or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        # In bf16, oneDNN has no quick gradient of the weights where more than half of the kernel is padded.
        return F.conv2d(F.pad(x, (ours,) * 4), self.weight, self.bias, conv.stride, conv.padding - ours)


class _ToOneChannel(torch.autograd.Function):
    """A transposed convolution to one channel, without bias, as a product; its gradients from the patches of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, conv: Conv, output_padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.conv = conv
        kernel, stride, padding = conv
        batch, channels, height, _ = x.shape
        # Each input pixel adds a kernel of taps to the output. In tiles of stride × stride pixels that is `reach`
        # tiles a side: their sums over shifted copies need no scattering, whose order would be left to chance.
        reach = -(-kernel // stride)
        weight = F.pad(weight, (0, reach * stride - kernel) * 2)
        taps = x.permute(0, 2, 3, 1).reshape(-1, channels) @ weight.flatten(1)  # (B h h, (reach stride)²)
        taps = taps.view(batch, height, height, reach, stride, reach, stride)
        out = torch.zeros((), dtype=x.dtype, device=x.device)
        for i, row in enumerate(taps.unbind(3)):
            for j, tile in enumerate(row.unbind(4)):  # (B, h, h, stride, stride)
                out = out + F.pad(tile, (0, 0, 0, 0, j, reach - 1 - j, i, reach - 1 - i))
        side = (height + reach - 1) * stride
        out = out.transpose(2, 3).reshape(batch, 1, side, side)
        wanted = (height - 1) * stride - 2 * padding + kernel + output_padding
        return F.pad(out, (-padding, wanted + padding - side) * 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        patches = _patches(grads[0][:, 0], ctx.conv)  # (B, h, h, k k)
        of_x = (patches @ weight.flatten(1).t()).permute(0, 3, 1, 2)
        of_weight = patches.flatten(0, 2).t() @ x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])  # (k k, channels)
        return of_x, of_weight.t().reshape(weight.shape), None, None


class QuickConvTranspose2d(nn.ConvTranspose2d):
    """A square transposed convolution as PyTorch has it, computed in the way that processors are quickest at."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """x: (B, in_channels, h, h) → (B, out_channels, H, H)."""
        if self.out_channels > 1 or not _by_products(x):
            return super().forward(x, output_size)
        assert self.bias is not None
        return _ToOneChannel.apply(x, self.weight, _arithmetic(self), self.output_padding[0]) + self.bias


class _DropAndActivate(torch.autograd.Function):
    """Dropout, then LeakyReLU, with a gradient that needs nothing but their output.

    Left to itself the compiler would keep the masks of both, and it writes and reads booleans one by one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dropout: float, slope: float) -> Tensor:
        kept = (torch.rand(x.shape, device=x.device) + (1 - dropout)).floor()  # 0 or 1
        out = F.leaky_relu(x * kept.to(x.dtype) / (1 - dropout), slope)
        ctx.save_for_backward(out)
        ctx.dropout, ctx.slope = dropout, slope
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (out,) = ctx.saved_tensors
        # 1 where it is above 0, the slope where it is below, 0 where it was dropped; not by comparisons, of which the
        # compiler would keep the outcome, two booleans, in place of what they compare.
        sign = out.sign().float()
        slope = sign * ((1 - ctx.slope) / 2 + (1 + ctx.slope) / 2 * sign)
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
        if x.is_cuda:  # never compiled there, and these are two kernels in place of five
            return super().forward(F.dropout(x, self.dropout))
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


def _by_rows(x: Tensor, eps: float) -> Tensor:
    """Instance norm of (B, C, H, W) as a layer norm over the pixels of each channel of each image."""
    return F.layer_norm(x.flatten(2), (x[0, 0].numel(),), eps=eps).view_as(x)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm as PyTorch has it, computed in the way that each device is quickest at."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) → the same shape."""
        if torch.compiler.is_compiling():
            return _Normalise.apply(x, self.eps)  # in the layout of the convolutions, forward and backward
        # On a GPU, PyTorch takes it for a batch norm of B C channels, a third of a training step.
        return _by_rows(x, self.eps) if x.is_cuda else super().forward(x)
