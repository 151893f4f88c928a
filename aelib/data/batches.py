"""Images in memory, how they are split, and whole batches of them.

The images stay in memory as uint8 (55 MB in all), that of the device that trains; a batch is one indexing operation
and becomes float32 in [0, 1] only then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from aelib.errors import AelibError, at_least_one, is_int

CLASSES = (
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""Of FashionMNIST."""

PICTURED = 34
"""Of FashionMNIST's test images the one, a bag, whose reconstruction is kept after every epoch (Figures 6 and 9)."""

IMAGE_SIZE = 28
"""Height and width of an image, in pixels."""

SPLIT_SEED = 23
"""Seed of the report's train/validation split."""


@dataclass(frozen=True)
class Garments:
    """Labelled 28×28 images in two parts, as FashionMNIST has them; it or another data set.

    Attributes:
        train_images: (N, 1, 28, 28), uint8; 0 is background.
        train_labels: (N,), int64, in [0, C).
        test_images: (M, 1, 28, 28), uint8.
        test_labels: (M,), int64.
        name: such as `"FashionMNIST"` or `"synthetic garments"`.
        sha256: digest that changes with any of the above, in hexadecimal.
        classes: C names.
        pictured: the test image whose reconstruction is kept after every epoch, where there are as many.
        dataset: where it is read from, if it is one's own.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    name: str
    sha256: str
    classes: tuple[str, ...] = CLASSES
    pictured: int = PICTURED
    dataset: str = ""

    @property
    def about(self) -> dict[str, Any]:
        """What a run's provenance tells of them, as JSON values: `data`; of one's own, `dataset` and `classes`, too."""
        own = {"dataset": self.dataset, "classes": list(self.classes)} if self.dataset else {}
        return {"data": self.name, **own}

    @property
    def picture(self) -> Tensor:
        """The pictured image, (1, 1, 28, 28), float32 in [0, 1]."""
        number = self.pictured if self.pictured < len(self.test_images) else 0
        return self.test_images[number : number + 1].float() / 255


LATER: dict[str, Any] = {"later": True}
"""Metadata of a configuration's field that came later: at its default, a run of before decided the same without it, and
so it is left out of what decides a run."""


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Which of the images that are there to train and to validate are used; all of them by default.

    Attributes:
        labels: so many images train, and as many, if there are, validate: the classes take turns, so that each has as
            many as another, give or take one. All if None.
        without: the class that is left out of both, in [0, C). None if None.

    Raises:
        AelibError: a value is out of range.
    """

    labels: int | None = field(default=None, metadata=LATER)
    without: int | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        if self.labels is not None:
            at_least_one("labels", self.labels)
        if self.without is not None and (not is_int(self.without) or self.without < 0):
            raise AelibError(f"without must be the number of a class, from 0, not {self.without!r}")


FEWEST_BATCHES = 20
"""Batches that an epoch has at least where few images train: early stopping counts epochs, and of ten images one step
would be one."""


@dataclass(frozen=True, kw_only=True)
class SplitConfig(SampleConfig):
    """Which images train, validate and test, and in what portions.

    Attributes:
        train: number of training images, at least 1.
        validation: number of validation images, at least 1; disjoint from the training images.
        test: number of test images, the first of the test part.
        seed: seed of the permutation that the two are cut from.
        batch_size: training images in a batch; validation and test use batches of 500.
        draw: seed of the choice of the images that `labels` leaves; with the same one, fewer are among more.
    """

    train: int = 51_200
    validation: int = 8_800
    test: int = 10_000
    seed: int = SPLIT_SEED
    batch_size: int = 256
    draw: int = field(default=0, metadata=LATER)


class _ByIndex(Dataset):
    """Whole batches: a tensor of indices → images (B, 1, 28, 28), float32 in [0, 1], and labels (B,).

    What is not stored as bytes, such as features computed from images, is handed out as it is.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        images = self.images[indices]
        return images.float().div_(255) if images.dtype == torch.uint8 else images, self.labels[indices]


class Batches(Sampler[Tensor]):
    """Index batches; with a seed, shuffled anew each epoch, as a function of seed and epoch alone.

    A run that is resumed at epoch 7 therefore sees the very batches of one that was never interrupted. Of fewer indices
    than make `at_least` batches an epoch is some rounds, each in an order of its own.
    """

    def __init__(self, indices: Tensor, size: int, seed: int | None = None, *, at_least: int = 1) -> None:
        self.indices, self.size, self.seed, self.epoch = indices, size, seed, 0
        self.rounds = max(1, -(-at_least * size // len(indices)))

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.indices) * self.rounds // self.size)

    def __iter__(self) -> Iterator[Tensor]:
        indices = self.indices
        if self.seed is not None:
            generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
            # Drawn on the processor, so that the order is the same on every device.
            orders = [torch.randperm(len(indices), generator=generator) for _ in range(self.rounds)]
            indices = indices[torch.cat(orders).to(indices.device)]
        yield from indices.split(self.size)


def in_turns(indices: Tensor, labels: Tensor, count: int, seed: int) -> Tensor:
    """`count` of `indices`, (N,), into `labels`: the classes take turns, each in an order that `seed` decides.

    >>> labels = torch.tensor([0, 0, 0, 0, 1, 2])
    >>> labels[in_turns(torch.arange(6), labels, 4, seed=0)].sort().values.tolist()
    [0, 0, 1, 2]
    """
    shuffled = indices[torch.randperm(len(indices), generator=torch.Generator().manual_seed(seed))]
    theirs = labels[shuffled].cpu()
    turn = torch.zeros(len(shuffled), dtype=torch.long)
    for each in theirs.unique():
        mine = theirs == each
        turn[mine] = torch.arange(int(mine.sum()))
    return shuffled[turn.argsort(stable=True)[:count]]


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed of its own for each epoch of each run, in [0, 2³²)."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


class GarmentLoaders:
    """Train, validation and test batches of (images, labels).

    Its methods have the names of Lightning's data modules, but it is none: they take seconds to import, and most of
    what is done with images, such as reading runs, needs no Lightning.

    images: (B, 1, 28, 28), float32, in [0, 1]; labels: (B,), int64.

    Args:
        garments: the images, in memory.
        config: the split.
        seed: seed of the order of the training batches.

    Raises:
        AelibError: the split asks for more images than there are.
    """

    def __init__(self, garments: Garments, config: SplitConfig, *, seed: int = 0) -> None:
        available, wanted = len(garments.train_images), config.train + config.validation
        if min(config.train, config.validation, config.test, config.batch_size) < 1:
            raise AelibError(f"train, validation, test and batch_size must each be at least 1: {config}")
        if wanted > available or config.test > len(garments.test_images):
            raise AelibError(
                f"{garments.name} has {available:,} images to train and validate and {len(garments.test_images):,} "
                f"to test, fewer than the {wanted:,} and {config.test:,} asked for"
            )
        self.garments, self.config, self.seed = garments, config, seed
        order = torch.randperm(available, generator=torch.Generator().manual_seed(config.seed))
        self.train_indices, self.validation_indices = map(
            self._used, (order[: config.train], order[config.train : wanted])
        )
        if config.labels and config.labels > len(self.train_indices):  # of fewer to validate, all do
            raise AelibError(
                f"labels={config.labels:,} are more than the {len(self.train_indices):,} images that are there to train"
            )

    def _used(self, indices: Tensor) -> Tensor:
        """Those of `indices` that the configuration wants."""
        config, labels = self.config, self.garments.train_labels
        if config.without is not None:
            if not 0 <= config.without < len(self.garments.classes):
                raise AelibError(
                    f"without={config.without} is no class: there are {len(self.garments.classes)}, from 0"
                )
            indices = indices[(labels[indices] != config.without).cpu()]
        if not len(indices):
            raise AelibError(f"without={config.without} leaves no image: all are of that class")
        return in_turns(indices, labels, config.labels, config.draw) if config.labels else indices

    def on(self, device: str) -> GarmentLoaders:
        """The same batches, cut from images that live on `device`: no step has to wait for a copy."""
        garments = replace(
            self.garments,
            train_images=self.garments.train_images.to(device),
            train_labels=self.garments.train_labels.to(device),
            test_images=self.garments.test_images.to(device),
            test_labels=self.garments.test_labels.to(device),
        )
        return GarmentLoaders(garments, self.config, seed=self.seed)

    def _loader(
        self, images: Tensor, labels: Tensor, indices: Tensor, size: int, seed: int | None = None, at_least: int = 1
    ) -> DataLoader:
        return DataLoader(
            _ByIndex(images, labels),
            batch_size=None,
            sampler=Batches(indices.to(images.device), size, seed, at_least=at_least),
            # Of its own: the default one would draw from the global stream.
            generator=torch.Generator(),
        )

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches of `batch_size`; `FEWEST_BATCHES` at least, of few images."""
        garments, config = self.garments, self.config
        at_least = 1 if config.labels is None else FEWEST_BATCHES
        images, labels = garments.train_images, garments.train_labels
        return self._loader(images, labels, self.train_indices, config.batch_size, self.seed, at_least)

    def val_dataloader(self) -> DataLoader:
        """Batches of 500, always in the same order."""
        return self._loader(self.garments.train_images, self.garments.train_labels, self.validation_indices, 500)

    def test_dataloader(self) -> DataLoader:
        """Batches of 500, in the order of the data set."""
        return self._loader(self.garments.test_images, self.garments.test_labels, torch.arange(self.config.test), 500)
