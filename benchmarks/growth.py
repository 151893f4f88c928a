"""What more images cost: seconds and memory of an epoch, of an evaluation and of the map, as the data set is repeated.

Each size in a process of its own, so that its peak of memory is its own. `--json FILE` writes the figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from way import garments

from aelib import experiments, latent, training
from aelib.data import GarmentsDataModule, SplitConfig

TIMES = (1, 3, 10)


def measure(times: int) -> dict[str, float]:
    """Seconds of the second epoch, of an evaluation and of t-SNE, and bytes, with `times` the images."""
    images = garments()
    repeated = replace(
        images,
        train_images=images.train_images.repeat(times, 1, 1, 1),
        train_labels=images.train_labels.repeat(times),
        test_images=images.test_images.repeat(times, 1, 1, 1),
        test_labels=images.test_labels.repeat(times),
    )
    count, tests = len(images.train_images) * times, len(images.test_images) * times
    split = SplitConfig(train=round(count * 51_200 / 60_000), validation=round(count * 8_800 / 60_000), test=tests)
    module = GarmentsDataModule(repeated, split)
    experiment = experiments.EXPERIMENTS["convolutional"]
    torch.manual_seed(0)
    model = experiment.model_class(experiment.model)
    training.COMPILE_FROM_STEPS = 1  # as in a full run, whatever the size
    with tempfile.TemporaryDirectory() as folder:
        settings = replace(experiment.training, max_epochs=2)
        history = training.fit(model, module, settings, seed=0, folder=Path(folder))
    trained = training.peak_memory()
    began = time.perf_counter()
    codes, _ = experiments.encode(model, module)
    encoded = time.perf_counter() - began
    latent.tsne(codes, perplexity=80)
    return {
        "times": times,
        "epoch": history.seconds[-1],
        "memory": trained,
        "encode": encoded,
        "tsne": time.perf_counter() - began - encoded,
        "memory_with_tsne": training.peak_memory(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--times", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.times:
        print(json.dumps(measure(options.times)))
        return
    rows = []
    print(f"{'images':>8}{'s an epoch':>12}{'GB':>7}{'s to encode':>13}{'s for t-SNE':>13}{'GB':>7}")
    for times in TIMES:
        command = [sys.executable, __file__, "--times", str(times)]
        rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
        row = rows[-1]
        line = f"{70_000 * times:>8,}{row['epoch']:>12.1f}{row['memory'] / 1e9:>7.2f}{row['encode']:>13.1f}"
        print(line + f"{row['tsne']:>13.1f}{row['memory_with_tsne'] / 1e9:>7.2f}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
