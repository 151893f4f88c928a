"""One way of training one model, an epoch at a time: a line on stdin asks for an epoch, a line of JSON answers.

`run.py` starts two of these, one a way, and lets them take turns: timings on a shared machine drift, and what one way
does to its process, such as to the C library's memory, must not help or hurt the other. `growth.py` starts several of
one way at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import v2

from aelib import data, engines, experiments, lightning, training
from aelib.data import GarmentLoaders, Garments, SplitConfig, synthetic
from aelib.errors import AelibError
from aelib.models import DenoisingAutoencoder, Model
from aelib.models.kernels import DroppingLeakyReLU, InstanceNorm, QuickConv2d, QuickConvTranspose2d

SPLIT = SplitConfig() if torch.cuda.is_available() else SplitConfig(train=12_800, validation=2_200, test=2_000)
"""A quarter of the report's epoch; all of it where a GPU makes it short."""


def spawn(way: str, name: str, seed: int, threads: int | None = None, compiled: Path | None = None) -> subprocess.Popen:
    """A process that trains in one way, an epoch each time it is asked to.

    Args:
        compiled: folder for what it compiles; by default where it may find that of other processes.
    """
    arguments = [way, name, seed] if threads is None else [way, name, seed, threads]
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        env=os.environ | ({"TORCHINDUCTOR_CACHE_DIR": str(compiled)} if compiled else {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(process: subprocess.Popen) -> None:
    """Have the other process train for an epoch."""
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def told(process: subprocess.Popen) -> dict[str, float]:
    """Wait until it has, and read how that went: its seconds, its validation loss, its peak of memory in bytes."""
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{process.args} ended with status {process.wait()}")
    return json.loads(line)


def flops(name: str) -> float:
    """Floating-point operations of one training step, an image."""
    experiment = experiments.EXPERIMENTS[name]
    model = experiment.model_class(experiment.model).train()
    inputs = torch.rand(64, *model.input_shape)
    with FlopCounterMode(display=False) as counter:
        model.losses(inputs, torch.zeros(64, dtype=torch.long))["loss"].mean().backward()
    return counter.get_total_flops() / 64


def garments() -> Garments:
    """FashionMNIST, or drawn garments where it cannot be had."""
    try:
        return data.load()
    except AelibError as error:
        print(f"{error}\nMeasuring on synthetic garments instead.", file=sys.stderr)
        return synthetic.garments(15_000, 2_000)


class Plain(Dataset):
    """What torchvision.datasets.FashionMNIST does for an image: NumPy to PIL to a tensor."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images, labels
        self.transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        if self.images.dtype != torch.uint8:  # features
            return self.images[index], int(self.labels[index])
        return self.transform(Image.fromarray(self.images[index, 0].numpy())), int(self.labels[index])


def corruption() -> v2.Transform:
    """The denoising autoencoder's, for one image, made of torchvision's transforms."""
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5),
            v2.RandomVerticalFlip(0.5),
            v2.RandomApply([v2.GaussianNoise(0.0, 0.4)], 0.5),
            v2.RandomErasing(0.5),
        ]
    )


class Corrupted(Dataset):
    """Pairs of a corrupted and a clean image."""

    def __init__(self, clean: Dataset) -> None:
        self.clean, self.corrupt = clean, corruption()

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, index: int):
        image, _ = self.clean[index]
        return self.corrupt(image), image


def as_pytorch_has_it(model: Model) -> None:
    """Put PyTorch's own layers in place of those of ours that only compute the same otherwise; train all parameters."""
    for parent in [*model.modules()]:
        for name, layer in parent.named_children():
            if isinstance(layer, DroppingLeakyReLU):
                setattr(parent, name, nn.Sequential(nn.Dropout(layer.dropout), nn.LeakyReLU()))
            for ours, theirs in (
                (QuickConv2d, nn.Conv2d),
                (QuickConvTranspose2d, nn.ConvTranspose2d),
                (InstanceNorm, nn.InstanceNorm2d),
            ):
                if isinstance(layer, ours):
                    layer.__class__ = theirs
    model.requires_grad_(True)


class Tutorial(pl.LightningModule):
    """A model as Lightning's tutorial would have it."""

    def __init__(self, model: Model, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.model, self.optimizer = model, optimizer
        self.denoising = isinstance(model, DenoisingAutoencoder)

    def training_step(self, batch, batch_idx):
        if self.denoising:
            corrupted, images = batch
            loss = torch.nn.functional.mse_loss(self.model(corrupted), images)
        else:
            loss = self.model.losses(*batch)["loss"].mean()
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("validation_loss", self.model.losses(*batch)["loss"].mean())

    def configure_optimizers(self):
        return self.optimizer


class _Enough(Exception):
    """Nobody asks for another epoch."""


def main(way: str, name: str, seed: int, threads: int | None = None) -> None:
    if threads:
        torch.set_num_threads(threads)
    experiment = experiments.EXPERIMENTS[name]
    experiment = replace(experiment, training=replace(experiment.training, max_epochs=1000, patience=1000))
    if experiment.training.learning_rate is None:
        experiment = experiments.configure(experiment, learning_rate=0.004)
    torch.manual_seed(seed)
    model = experiment.model_class(experiment.model)
    images = garments()
    if experiment.source:  # the head; an untrained encoder's features are as good for this
        wanted = SPLIT.train + SPLIT.validation
        images = replace(
            images,
            train_images=images.train_images[:wanted],
            train_labels=images.train_labels[:wanted],
            test_images=images.test_images[: SPLIT.test],
        )
        images = experiment.prepare(model, images, experiments.EXPERIMENTS[experiment.source].model_class())
    loaders = GarmentLoaders(images, SPLIT, seed=seed)
    began = time.perf_counter()

    def turn(loss: float) -> None:
        """Tell how the epoch went, and wait for the next."""
        nonlocal began
        line = {"seconds": time.perf_counter() - began, "loss": loss, "memory": training.peak_memory()}
        print(json.dumps(line), flush=True)
        if not sys.stdin.readline():
            raise _Enough
        began = time.perf_counter()

    sys.stdin.readline()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if way == "aelib":
            engines.COMPILE_FROM_STEPS = 1  # as in a full run
            training.fit(
                model,
                loaders,
                experiment.training,
                seed=seed,
                folder=Path(folder),
                watch=lambda rows, _: turn(rows[-1]["validation_loss"]),
            )
            return

        class Turns(pl.Callback):
            def on_train_epoch_end(self, trainer, pl_module):
                turn(float(trainer.callback_metrics["validation_loss"]))

        as_pytorch_has_it(model)
        settings = experiment.training
        optimizer = lightning.OPTIMIZERS[settings.optimizer](
            model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        whole = Plain(images.train_images, images.train_labels)
        train = Subset(whole, loaders.train_indices.tolist())
        workers = {"num_workers": os.cpu_count() or 1, "persistent_workers": True} if way == "workers" else {}
        tutorials = (
            DataLoader(
                Corrupted(train) if isinstance(model, DenoisingAutoencoder) else train, 256, shuffle=True, **workers
            ),
            DataLoader(Subset(whole, loaders.validation_indices.tolist()), 500, **workers),
        )
        trainer = pl.Trainer(
            max_epochs=1000,
            accelerator="auto",
            devices=1,
            default_root_dir=folder,
            callbacks=[Turns()],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(Tutorial(model, optimizer), *tutorials)


if __name__ == "__main__":
    with contextlib.suppress(_Enough):
        main(*sys.argv[1:3], *map(int, sys.argv[3:]))
