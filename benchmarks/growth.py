"""What more costs: more images, more trials, more workers of a search.

Images: seconds and memory of an epoch, of an evaluation and of the map, as the data set is repeated. Trials: seconds
until a worker has read a study of so many trials, and until it has its next proposal. Workers: epochs an hour of all
together, on the cores of this machine, and the sum of their peaks of memory.

Each size in a process of its own, so that its peak of memory is its own. `--json FILE` writes the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import torch
from optuna.trial import FixedTrial, FrozenTrial, create_trial
from way import SPLIT, ask, garments, spawn, told

from aelib import engines, experiments, latent, study, training
from aelib.data import GarmentLoaders, SplitConfig
from aelib.provenance import commit_checked_out, record_of_this_process
from aelib.study import queue, storage
from aelib.study.plan import Sampler


def images(times: int) -> dict[str, float]:
    """Seconds of the second epoch, of an evaluation and of t-SNE, and bytes, with `times` the images."""
    once = garments()
    repeated = replace(
        once,
        train_images=once.train_images.repeat(times, 1, 1, 1),
        train_labels=once.train_labels.repeat(times),
        test_images=once.test_images.repeat(times, 1, 1, 1),
        test_labels=once.test_labels.repeat(times),
    )
    train, tests = len(repeated.train_images), len(repeated.test_images)
    split = SplitConfig(train=round(train * 51_200 / 60_000), validation=round(train * 8_800 / 60_000), test=tests)
    loaders = GarmentLoaders(repeated, split)
    experiment = experiments.EXPERIMENTS["convolutional"]
    torch.manual_seed(0)
    model = experiment.model_class(experiment.model)
    engines.COMPILE_FROM_STEPS = 1  # as in a full run, whatever the size
    with tempfile.TemporaryDirectory() as folder:
        settings = replace(experiment.training, max_epochs=2)
        history = training.fit(model, loaders, settings, seed=0, folder=Path(folder))
    trained = training.peak_memory()
    began = time.perf_counter()
    codes = experiments.encode(model, loaders).numpy()
    encoded = time.perf_counter() - began
    latent.tsne(codes, perplexity=80)
    return {
        "count": train + tests,
        "epoch": history.seconds[-1],
        "memory": trained,
        "encode": encoded,
        "tsne": time.perf_counter() - began - encoded,
        "memory_with_tsne": training.peak_memory(),
    }


class _Longer(study.Plan):
    """A study that is not over, whatever it has; random in its first thirty trials, as the report's."""

    trials = sys.maxsize

    def sampler(self) -> Sampler:
        return Sampler(self.seed, 30)


def trials(count: int) -> dict[str, float]:
    """Seconds, and bytes on disk, with `count` trials in the journal, each of as many epochs as is common."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    random = np.random.default_rng(0)
    distributions = _distributions()

    def finished() -> FrozenTrial:
        values = 0.011 + 0.02 * random.random(27)
        return create_trial(
            params={name: _draw(random, each) for name, each in distributions.items()},
            distributions=distributions,
            value=float(values.min()),
            intermediate_values={epoch: float(value) for epoch, value in enumerate(values)},
        )

    with tempfile.TemporaryDirectory() as folder:
        plan = _Longer(folder=Path(folder))
        plan.workspace.mkdir(parents=True)
        before = storage.begin(plan)
        kept = optuna.load_study(study_name=plan.path.name, storage=before)
        kept.add_trials([finished() for _ in range(count)])
        began = time.perf_counter()
        begun = storage.begin(plan)  # as a worker that has just begun
        read = time.perf_counter() - began
        proposals = []
        for _ in range(5):
            began = time.perf_counter()
            claim = queue.claim(plan, begun)
            assert claim
            of, trial, lock = claim
            space = study.SymmetricAutoencoderHPS()
            space.sample(trial)
            proposals.append(time.perf_counter() - began)
            of.tell(trial, 0.02)
            lock.release()
        size = (plan.workspace / "journal.log").stat().st_size
    return {"count": count, "read": read, "proposal": statistics.median(proposals), "disk": size}


def _distributions() -> dict[str, optuna.distributions.BaseDistribution]:
    trial, space = FixedTrial(study.REPORTS_CHOICE), study.SymmetricAutoencoderHPS()
    space.sample(trial)
    return trial.distributions


def _draw(random: np.random.Generator, space: optuna.distributions.BaseDistribution) -> object:
    if isinstance(space, optuna.distributions.CategoricalDistribution):
        return space.choices[random.integers(len(space.choices))]
    assert isinstance(space, (optuna.distributions.IntDistribution, optuna.distributions.FloatDistribution))
    if isinstance(space, optuna.distributions.IntDistribution):
        return int(random.integers((space.high - space.low) // space.step + 1)) * space.step + space.low
    return float(np.exp(random.uniform(np.log(space.low), np.log(space.high))))


def workers(count: int) -> dict[str, float]:
    """Epochs of 51,200 images an hour, and bytes, of `count` trainings at once, each with its share of the cores."""
    processes = [spawn("aelib", "convolutional", 0, max(1, (os.cpu_count() or 1) // count)) for _ in range(count)]
    seconds, memory = [], 0.0
    for _ in range(4):
        began = time.perf_counter()
        for process in processes:
            ask(process)
        memory = sum(told(process)["memory"] for process in processes)
        seconds.append(time.perf_counter() - began)
    for process in processes:
        process.communicate()
    epochs = count * SPLIT.train / SplitConfig().train
    return {"count": count, "epochs": 3600 * epochs / statistics.median(seconds[1:]), "memory": memory}


PARTS: dict[str, tuple[Callable[[int], dict[str, float]], tuple[int, ...]]] = {
    "images": (images, (1, 3, 10)),
    "trials": (trials, (60, 600, 6000)),
    "workers": (workers, (1, 2, 4)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--only", nargs=2, metavar=("PART", "SIZE"), help=f"one size of {', '.join(PARTS)}")
    options = parser.parse_args()
    if options.only:
        measure, _ = PARTS[options.only[0]]
        print(json.dumps(measure(int(options.only[1]))))
        return
    found: dict[str, object] = {}
    commit = commit_checked_out()  # that which is measured, whatever is committed since
    for part, (_, sizes) in PARTS.items():
        found[part] = rows = []
        for size in sizes:
            command = [sys.executable, __file__, "--only", part, str(size)]
            rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
            print(part, " ".join(f"{name} {value:,.6g}" for name, value in rows[-1].items()), flush=True)
            if options.json:
                found["provenance"] = record_of_this_process() | commit
                options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
