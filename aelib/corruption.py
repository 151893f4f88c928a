"""Random transforms of a batch of images, drawn anew for every image, without a loop over them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from aelib.errors import AelibError, is_number


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """Flips, Gaussian noise and an erased rectangle, in that order, each with a probability of its own coin.

    Attributes:
        probability: of each of the four transforms, for each image, in [0, 1].
        noise_std: standard deviation of the noise, in [0, 100], in units of the pixel range.
        erased_area: smallest and largest share of the image that a rectangle covers, in (0, 1].
        per_batch: toss one coin and draw one rectangle for the whole batch, as the report's code does.

    Raises:
        AelibError: a value is out of range.
    """

    probability: float = 0.5
    noise_std: float = 0.4
    erased_area: tuple[float, float] = (0.02, 0.33)
    per_batch: bool = False

    def __post_init__(self) -> None:
        _in_range("probability", self.probability, 1.0)
        _in_range("noise_std", self.noise_std, 100.0)
        if not isinstance(self.per_batch, bool):
            raise AelibError(f"per_batch must be True or False, not {self.per_batch!r}")
        smallest, largest = self.erased_area
        if not 0 < smallest <= largest <= 1:
            raise AelibError(f"erased_area must be two rising numbers in (0, 1], not {self.erased_area!r}")

    def __call__(self, images: Tensor) -> Tensor:
        """A corrupted copy of images, (B, 1, 28, 28), in [0, 1]; so is the copy."""
        coins = 1 if self.per_batch else len(images)
        images = _where(images, horizontal_flip(images), self.probability, coins)
        images = _where(images, vertical_flip(images), self.probability, coins)
        images = _where(images, add_noise(images, self.noise_std), self.probability, coins)
        erased = erase(images, self.erased_area, per_batch=self.per_batch)
        return _where(images, erased, self.probability, coins)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The random transforms of the first homework's CNN, as its code has them.

    Noise of standard deviation 0.1, after which the image is brought back to [0, 1] by its smallest and largest value;
    a black rectangle between two corners; flips. In that order.

    Attributes:
        probability: of each of the four transforms, for each image, in [0, 1].

    Raises:
        AelibError: it is out of range.
    """

    probability: float = 0.05

    def __post_init__(self) -> None:
        _in_range("probability", self.probability, 1.0)

    def __call__(self, images: Tensor) -> Tensor:
        """A transformed copy of images, (B, 1, 28, 28), in [0, 1]; so is the copy."""
        for transform in (noise_and_stretch, occlude, vertical_flip, horizontal_flip):
            images = _where(images, transform(images), self.probability, len(images))
        return images


def _in_range(name: str, value: object, highest: float) -> None:
    if not is_number(value) or not 0 <= value <= highest:
        raise AelibError(f"{name} must be a number in [0, {highest:g}], not {value!r}")


def _where(images: Tensor, changed: Tensor, probability: float, coins: int) -> Tensor:
    """Those of `images` that are `changed`, by a coin for each or one for all."""
    return torch.where(torch.rand(coins, 1, 1, 1, device=images.device) < probability, changed, images)


def horizontal_flip(images: Tensor) -> Tensor:
    """Left and right exchanged: (B, 1, H, W) → the same."""
    return images.flip(-1)


def vertical_flip(images: Tensor) -> Tensor:
    """Top and bottom exchanged: (B, 1, H, W) → the same."""
    return images.flip(-2)


def add_noise(images: Tensor, std: float) -> Tensor:
    """Gaussian noise on every pixel; the result, (B, 1, H, W), is clipped to [0, 1]."""
    return (images + std * torch.randn_like(images)).clamp(0, 1)


def noise_and_stretch(images: Tensor, std: float = 0.1) -> Tensor:
    """Gaussian noise on every pixel; each image, (1, H, W), then reaches from 0 to 1."""
    noisy = images + std * torch.randn_like(images)
    low, high = noisy.amin((1, 2, 3), keepdim=True), noisy.amax((1, 2, 3), keepdim=True)
    return (noisy - low) / (high - low).clamp_min(1e-12)


def occlude(images: Tensor, largest: float = 0.4) -> Tensor:
    """Set the rectangle between two random corners of every image, (B, 1, H, W), to 0.

    The corners are uniform over the pixels' edges. Where it would be more than the share `largest` of the image, their
    coordinates are halved, which leaves a quarter of it, towards the upper left.
    """
    height, width = images.shape[-2:]

    def edges(size: int) -> Tensor:  # (B, 2); a number just below 1 may round up to one edge too many
        return (torch.rand(len(images), 2, device=images.device) * (size + 1)).floor().clamp(max=size)

    y, x = edges(height), edges(width)
    large = (y.diff() * x.diff()).abs() > largest * height * width  # (B, 1)
    y, x = (torch.where(large, (each / 2).floor(), each) for each in (y, x))
    rows, columns = (torch.arange(size, device=images.device)[None] for size in (height, width))
    inside = ((rows >= y.amin(1, True)) & (rows < y.amax(1, True)))[:, None, :, None]  # (B, 1, H, 1)
    inside = inside & ((columns >= x.amin(1, True)) & (columns < x.amax(1, True)))[:, None, None, :]
    return images.masked_fill(inside, 0)


def erase(
    images: Tensor,
    area: tuple[float, float],
    ratio: tuple[float, float] = (0.3, 3.3),
    *,
    per_batch: bool = False,
) -> Tensor:
    """Set one random rectangle of every image, (B, 1, H, W), to 0; the same of all if `per_batch`.

    Its share of the image is uniform in `area`; its height over its width is uniform in the logarithm over `ratio`.
    Of ten such rectangles the first that fits is taken, as in torchvision's RandomErasing; if none fits, which
    hardly happens, nothing is erased.
    """
    count, (height, width) = 1 if per_batch else len(images), images.shape[-2:]

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 10, device=images.device)

    pixels = uniform(*area) * height * width
    aspect = uniform(math.log(ratio[0]), math.log(ratio[1])).exp()
    heights, widths = (pixels * aspect).sqrt().round(), (pixels / aspect).sqrt().round()
    fits = (heights < height) & (widths < width)
    first = fits.float().argmax(1, keepdim=True)
    fits, heights, widths = (each.gather(1, first) for each in (fits, heights, widths))  # (B, 1)
    top = (torch.rand(count, 1, device=images.device) * (height - heights + 1)).floor()
    left = (torch.rand(count, 1, device=images.device) * (width - widths + 1)).floor()
    rows, columns = (torch.arange(size, device=images.device)[None] for size in (height, width))
    inside = ((rows >= top) & (rows < top + heights) & fits)[:, None, :, None]  # (B, 1, H, 1)
    inside = inside & ((columns >= left) & (columns < left + widths))[:, None, None, :]
    return images.masked_fill(inside, 0)
