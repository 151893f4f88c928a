"""Losses of the first epochs on this machine, five seeds each, in float32: does a GPU train what a processor trains?

`python benchmarks/losses.py FILE` adds to FILE what is not in it yet, a training at a time.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from aelib import data, engines, experiments, training
from aelib.data import GarmentLoaders
from aelib.experiments.registry import split_of
from aelib.profiles import PROFILES
from aelib.provenance import record_of_this_process

EPOCHS = 5
SEEDS = range(5)
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "convolutional": ("convolutional", {}),
    # The rate of Table 2: what the finder suggests differs from seed to seed, and would hide what is to be seen.
    "denoising": ("denoising", {"learning_rate": 0.0083176}),
    "denoising, per batch": ("denoising", {"learning_rate": 0.0083176, "per_batch": True}),
    "variational": ("variational", {}),
    "transfer": ("transfer", {"learning_rate": 0.0033113}),
    "cnn": ("cnn", {}),
}


def losses(way: str, seed: int, precision: str | None = None) -> list[dict[str, float]]:
    """The history of a training, as `training.History.rows` has it; with `precision` also compiled, however short."""
    name, parameters = WAYS[way]
    # No early stop: each has as many epochs as the others.
    experiment = experiments.configure(experiments.EXPERIMENTS[name], **parameters, max_epochs=EPOCHS, patience=EPOCHS)
    garments = data.load()
    source = experiments.load_model(experiments.obtain(experiment.source)) if experiment.source else None
    torch.manual_seed(seed)
    model = experiment.model_class(experiment.model)
    split = split_of(experiment, PROFILES["report"].split)
    loaders = GarmentLoaders(experiment.prepare(model, garments, source), split, seed=seed)
    engine = engines.choose_engine(10**6 if model.worth_compiling else 0, precision) if precision else None
    with tempfile.TemporaryDirectory() as folder:
        return training.fit(model, loaders, experiment.training, seed=seed, folder=Path(folder), engine=engine).rows


def missing(found: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """What is not in `found` yet; all ways with the first seed come first."""
    for seed in SEEDS:
        yield from ((way, seed) for way in WAYS if str(seed) not in found.get(way, {}))


def main(path: Path) -> None:
    record = json.loads(path.read_text()) if path.exists() else {"losses": {}}
    for way, seed in missing(record["losses"]):
        rows = losses(way, seed, "float32")
        record |= {"provenance": record_of_this_process(), "engine": asdict(engines.choose_engine(1, "float32"))}
        record["losses"].setdefault(way, {})[str(seed)] = rows
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(f"{way}, seed {seed}: {rows[-1]['validation_loss']:.5f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
