"""Images per second of training, side by side: aelib's way against the library tutorials' way.

The plain way is torchvision's data set with ToTensor, a DataLoader, and a float32 step; both train the autoencoder of
Table 2 with Adamax in the same process. They take turns, since timings on a shared machine drift, and the medians
are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import ToTensor

from aelib import data, synthetic
from aelib.data import GarmentsDataModule, SplitConfig
from aelib.models import SymmetricAutoencoder
from aelib.training import COMPILE_FROM_STEPS, COMPILER_OPTIONS, choose_engine, peak_memory


class Plain(torch.utils.data.Dataset):
    """What torchvision.datasets.FashionMNIST does for an image: NumPy to PIL to a tensor."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels, self.transform = images, labels, ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index, 0].numpy())), int(self.labels[index])


def steps(losses, batches, model, bf16: bool):
    """Train on one batch at a time; yields the seconds of each step, its batch included."""
    optimizer = torch.optim.Adamax(model.parameters(), lr=0.0083176, weight_decay=5.27e-7)
    start = time.perf_counter()
    for images, labels in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = losses(images, labels)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield time.perf_counter() - start
        start = time.perf_counter()


def forever(loader):
    """The batches of `loader`, epoch after epoch."""
    while True:
        yield from loader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="turns of 25 steps that each way takes")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    if torch.cuda.is_available():
        raise SystemExit("This measures training on the CPU: hide the GPU with CUDA_VISIBLE_DEVICES= first.")
    try:
        garments, split = data.load(), SplitConfig()
    except data.AelibError as error:
        print(f"{error}\nMeasuring on synthetic garments instead.", file=sys.stderr)
        garments, split = synthetic.garments(12_800, 500), SplitConfig(train=10_240, validation=2_560, test=500)
    engine = choose_engine(COMPILE_FROM_STEPS)
    module = GarmentsDataModule(garments, split)
    indices = module.train_indices
    plain_set = Plain(garments.train_images[indices], garments.train_labels[indices])
    in_memory = TensorDataset(garments.train_images[indices].float() / 255, garments.train_labels[indices])

    torch.manual_seed(0)
    models = {name: SymmetricAutoencoder() for name in ("plain", "tensors in memory", "aelib")}
    options = {"dynamic": False, "options": COMPILER_OPTIONS}
    compiled = torch.compile(models["aelib"].losses, **options) if engine.compiled else models["aelib"].losses
    ways = {
        "plain": steps(
            models["plain"].losses, forever(DataLoader(plain_set, 256, shuffle=True)), models["plain"], False
        ),
        "tensors in memory": steps(
            models["tensors in memory"].losses,
            forever(DataLoader(in_memory, 256, shuffle=True)),
            models["tensors in memory"],
            False,
        ),
        "aelib": steps(compiled, forever(module.train_dataloader()), models["aelib"], engine.bf16),
    }
    warm_up = {name: sum(next(way) for _ in range(5)) for name, way in ways.items()}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            speeds[name].append(25 * 256 / sum(next(way) for _ in range(25)))
    medians = {name: statistics.median(each) for name, each in speeds.items()}
    print(f"{garments.name}, {engine}, {torch.get_num_threads()} threads")
    print(f"{'way':<20}{'images/s':>10}{'ratio':>8}{'first 5 steps, s':>18}")
    for name, median in medians.items():
        print(f"{name:<20}{median:>10,.0f}{median / medians['plain']:>8.2f}{warm_up[name]:>18.1f}")
    print(f"peak memory of all three together: {peak_memory() / 1e6:,.0f} MB")
    if options.json:
        options.json.write_text(json.dumps({"images_per_second": medians, "warm_up_seconds": warm_up}, indent=2))


if __name__ == "__main__":
    main()
