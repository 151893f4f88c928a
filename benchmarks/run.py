"""`make bench`: what training, data, search, t-SNE and the book cost, ours beside the way of the libraries' tutorials.

Each row is a ratio of medians from one run in which the two ways took turns; t-SNE and the book are measured once.
`--quick` measures less, for a look at each push; `--json FILE` writes the figures; `--against FILE` fails where a
ratio has fallen since, on the same hardware.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import yaml
from sklearn.manifold import TSNE
from torch.utils.data import DataLoader, Subset
from way import SPLIT, Plain, ask, corruption, flops, garments, spawn, told

from aelib import book, experiments, latent, runs
from aelib.corruption import Corruption
from aelib.data import GarmentLoaders, SplitConfig
from aelib.provenance import commit_checked_out, record_of_this_process
from aelib.training import choose_engine

MODELS = ("convolutional", "denoising", "variational", "cnn", "transfer")
FALL = 0.25
"""A ratio that has fallen by a larger share than this is flagged."""


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        what: is measured.
        unit: of the two speeds.
        plain, aelib: median speeds of the two ways.
        ceiling: share that ours reaches of the machine's quickest products of large matrices, if it can be said.
        losses: validation loss of each way after the same epochs, one a seed, if it is a training.
        memory: largest resident memory of each way, in bytes, if it is a training.
        start: seconds that each way's first epoch takes longer than its others: compilation, for ours.
        whole: ratio of the seconds of a whole training, its start and as many epochs as the report profile's run took.
    """

    what: str
    unit: str
    plain: float
    aelib: float
    ceiling: float | None = None
    losses: tuple[list[float], list[float]] | None = None
    memory: tuple[int, int] | None = None
    start: tuple[float, float] | None = None
    whole: float | None = None

    @property
    def ratio(self) -> float:
        return self.aelib / self.plain

    def __str__(self) -> str:
        share = "" if self.ceiling is None else f"{self.ceiling:.0%}"
        line = f"{self.what:<34}{self.plain:>12,.0f}{self.aelib:>12,.0f} {self.unit:<10}{self.ratio:>6.2f}{share:>9}"
        if self.losses:
            line += "".join(f"{statistics.mean(each):>10.5f} ± {spread(each):.5f}" for each in self.losses)
            line += f"{self.whole:>11.2f}"
        return line


def spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else float("nan")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed instead of three; neither t-SNE nor book")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--against", type=Path, help="figures of an earlier run: fail where a ratio has fallen")
    options = parser.parse_args()
    if torch.cuda.is_available():
        raise SystemExit("This measures a processor: hide the GPU with CUDA_VISIBLE_DEVICES= first.")
    os.environ["AELIB_NOTHING_NEW"] = "1"  # the runs whose epochs are counted are there, or named
    turns, seeds = 3, 1 if options.quick else 3
    commit = commit_checked_out()  # that which is measured, whatever is committed since
    engine = choose_engine(10**6)
    ceilings = {"float32": matrix_product(torch.float32)}
    if engine.precision == "bf16":  # without instructions for it one product takes a minute
        ceilings["bfloat16"] = matrix_product(torch.bfloat16)
    print(f"{engine}, {torch.get_num_threads()} threads; matrix products reach", end=" ")
    print(", ".join(f"{speed:.0f} GFLOP/s in {name}" for name, speed in ceilings.items()))
    print(
        f"{'':<34}{'plain':>12}{'aelib':>12} {'unit':<10}{'ratio':>6}{'ceiling':>9}"
        f"{'loss, plain':>14}{'loss, aelib':>20}{'whole':>17}"
    )
    rows = []
    measures: list[Callable[[], list[Row]]] = [
        *(lambda name=name: [training(name, turns, seeds, max(ceilings.values()))] for name in MODELS),
        lambda: [batches(turns), corruptions(turns), evaluation(turns)],
        lambda: [search(turns)],
        lambda: shared(1 if options.quick else turns),
        *([] if options.quick else [lambda: [tsne()], books]),
    ]
    for measure in measures:
        for row in measure():
            rows.append(row)
            print(row, flush=True)
        if options.json:  # after each, so that what was measured is not lost
            about = {
                "provenance": record_of_this_process() | commit,
                "engine": asdict(engine),
                "ceilings": ceilings,
                "rows": [asdict(row) for row in rows],
            }
            options.json.write_text(json.dumps(about, indent=2) + "\n")
    if not options.against:
        return 0
    recorded = json.loads(options.against.read_text())
    return compare(rows, recorded, hardware=record_of_this_process()["hardware"], engine=asdict(engine))


def compare(rows: list[Row], recorded: dict, *, hardware: dict, engine: dict) -> int:
    """Print what has fallen since the record; 1 if anything has, and the record is of the same hardware, else 0."""
    before = {row["what"]: row["aelib"] / row["plain"] for row in recorded["rows"]}
    fallen = [row for row in rows if row.ratio < (1 - FALL) * before.get(row.what, 0)]
    for row in fallen:
        print(f"FALLEN: {row.what}: {row.ratio:.2f}, was {before[row.what]:.2f}")
    if (recorded["provenance"]["hardware"], recorded["engine"]) == (hardware, engine):
        return 1 if fallen else 0
    print("The record is of other hardware: what has fallen may be its doing, and a fall may be hidden by it.")
    return 0


def matrix_product(dtype: torch.dtype) -> float:
    """What a large product of matrices reaches here, in GFLOP/s: the ceiling of anything made of them."""
    size = 2048
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    seconds = [_seconds(lambda: a @ b) for _ in range(50)]
    return 2 * size**3 / min(seconds) / 1e9


def training(name: str, turns: int, seeds: int, ceiling: float) -> Row:
    """Whole epochs, validation and checkpoint included, after a first one that is counted as the start.

    With the first seed nothing has been compiled before; the others find what it has left.
    """
    run, experiment = experiments.obtain(name), experiments.EXPERIMENTS[name]
    speeds: dict[str, list[float]] = {"plain": [], "aelib": []}
    losses: dict[str, list[float]] = {"plain": [], "aelib": []}
    memory, start = {"plain": 0, "aelib": 0}, {"plain": 0.0, "aelib": 0.0}
    with tempfile.TemporaryDirectory() as compiled:
        for seed in range(seeds):
            ways = {way: spawn(way, name, seed, compiled=Path(compiled)) for way in speeds}
            for turn in range(turns + 1):
                for way, process in ways.items():
                    ask(process)
                    answer = told(process)
                    if turn:
                        speeds[way].append(SPLIT.train / answer["seconds"])
                    elif not seed:
                        start[way] = answer["seconds"]
                    memory[way] = max(memory[way], int(answer["memory"]))
                    if turn == turns:
                        losses[way].append(answer["loss"])
            for process in ways.values():
                process.communicate()
    medians = {way: statistics.median(each) for way, each in speeds.items()}
    start = {way: start[way] - SPLIT.train / medians[way] for way in speeds}
    images = run.metrics["epochs"] * run.config["data"]["train"]
    seconds = {way: start[way] + images / medians[way] for way in speeds}
    return Row(
        f"training, {name}",
        "images/s",
        medians["plain"],
        medians["aelib"],
        ceiling=medians["aelib"] * flops(name) / (ceiling * 1e9) if not experiment.source else None,
        losses=(losses["plain"], losses["aelib"]),
        memory=(memory["plain"], memory["aelib"]),
        start=(start["plain"], start["aelib"]),
        whole=seconds["plain"] / seconds["aelib"],
    )


def batches(turns: int) -> Row:
    """Nothing but the batches of an epoch."""
    images = garments()
    loaders = GarmentLoaders(images, SPLIT)
    plain = DataLoader(
        Subset(Plain(images.train_images, images.train_labels), loaders.train_indices.tolist()), 256, shuffle=True
    )
    loader = loaders.train_dataloader()
    ways = {"plain": lambda: [None for _ in plain], "aelib": lambda: [None for _ in loader]}
    return Row("batches alone", "images/s", **_medians(ways, turns, SPLIT.train))


def corruptions(turns: int) -> Row:
    """The denoising autoencoder's four transforms, image by image and all of a batch at once."""
    images = garments().train_images[:2560].float() / 255
    transform, at_once = corruption(), Corruption()
    ways = {
        "plain": lambda: torch.stack([transform(image) for image in images]),
        "aelib": lambda: [at_once(batch) for batch in images.split(256)],
    }
    return Row("corruption", "images/s", **_medians(ways, turns, len(images)))


def evaluation(turns: int) -> Row:
    """Reconstruction losses of test images, in float32."""
    images = garments()
    model = experiments.EXPERIMENTS["convolutional"].model_class().eval()
    loaders = GarmentLoaders(images, SPLIT)
    plain = DataLoader(Subset(Plain(images.test_images, images.test_labels), range(SPLIT.test)), 500)

    @torch.no_grad()
    def evaluate(loader: DataLoader) -> None:
        experiments.evaluate(model, loader)

    ways = {"plain": lambda: evaluate(plain), "aelib": lambda: evaluate(loaders.test_dataloader())}
    return Row("evaluation", "images/s", **_medians(ways, turns, SPLIT.test))


def search(turns: int) -> Row:
    """Epochs of trials, validation included: two workers with half the cores each, against one with all of them."""
    cores = os.cpu_count() or 1
    ways = {
        "plain": [spawn("aelib", "convolutional", 0, cores)],
        "aelib": [spawn("aelib", "convolutional", 0, max(1, cores // 2)) for _ in range(2)],
    }
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(turns + 1):
        for way, workers in ways.items():
            began = time.perf_counter()
            for worker in workers:
                ask(worker)
            for worker in workers:
                told(worker)
            if turn:
                images = len(workers) * SPLIT.train
                speeds[way].append(3600 * images / SplitConfig().train / (time.perf_counter() - began))
    for workers in ways.values():
        for worker in workers:
            worker.communicate()
    return Row(
        "search, 2 workers against 1", "epochs/h", **{way: statistics.median(each) for way, each in speeds.items()}
    )


def shared(turns: int) -> list[Row]:
    """Trainings that share the cores: two at once, against one after the other; one beside busy loops, against alone.

    Each in a process of its own, which chooses its threads; a first epoch of each is not counted.
    """
    speeds: dict[str, list[float]] = {way: [] for way in ("alone", "at once", "beside", "joined")}
    with tempfile.TemporaryDirectory() as compiled:

        def train(count: int) -> float:
            """Images a second of so many trainings together."""
            processes = [spawn("aelib", "convolutional", 0, compiled=Path(compiled)) for _ in range(count)]
            together = [_epoch(processes) for _ in range(2)][-1]
            for process in processes:
                process.communicate()
            return count * SPLIT.train / together

        for _ in range(turns):
            speeds["alone"].append(train(1))
            speeds["at once"].append(train(2))
            with busy(2):
                speeds["beside"].append(train(1))
            process = spawn("aelib", "convolutional", 0, compiled=Path(compiled))
            _epoch([process])
            with busy(2):
                _epoch([process])  # in which it gives threads up
                speeds["joined"].append(SPLIT.train / _epoch([process]))
            process.communicate()
    alone, at_once, beside, joined = (statistics.median(each) for each in speeds.values())
    return [
        Row("two trainings, one after the other; at once", "images/s", alone, at_once),
        Row("alone; beside two busy loops", "images/s", alone, beside),
        Row("alone; two busy loops come", "images/s", alone, joined),
    ]


def _epoch(processes: list[subprocess.Popen]) -> float:
    """Seconds in which each of them trains for an epoch."""
    began = time.perf_counter()
    for process in processes:
        ask(process)
    for process in processes:
        told(process)
    return time.perf_counter() - began


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Beside so many processes that do nothing, as fast as they can."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def tsne() -> Row:
    """Maps of the test codes of the report's autoencoder, once each: scikit-learn with its defaults, and ours."""
    codes = experiments.open_run(experiments.obtain("convolutional")).codes
    ways = {
        "plain": lambda: TSNE(perplexity=80, random_state=0).fit_transform(codes),
        "aelib": lambda: latent.tsne(codes, perplexity=80),
    }
    return Row("t-SNE", "codes/s", **{way: len(codes) / _seconds(call) for way, call in ways.items()})


def books() -> list[Row]:
    """The book, built again after one sentence has changed, and after nothing has; jupyter-book executes it all."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        root, output = Path(folder, "root"), Path(folder, "ours")
        root.mkdir()
        for name in ("_toc.yml", "_config.yml", "requirements.txt"):
            shutil.copy(runs.ROOT / name, root)
        for name in ("book", "benchmarks"):
            shutil.copytree(runs.ROOT / name, root / name)

        def build() -> None:
            book.build(root, profile="report", notice="", output=output)

        executed = _seconds(build)
        stage, page = output / "stage", root / "book/intro.md"
        config = yaml.safe_load((stage / "_config.yml").read_text())
        config["execute"] = {"execute_notebooks": "force", "timeout": 600}
        plain = Path(folder, "plain")
        shutil.copytree(stage, plain)
        (plain / "_config.yml").write_text(yaml.safe_dump(config))
        command = [Path(sys.executable).with_name("jupyter-book"), "build", plain]
        theirs = _seconds(lambda: subprocess.run(command, check=True, capture_output=True))
        page.write_text(page.read_text() + "\nOne sentence more.\n")
        prose, nothing = _seconds(build), _seconds(build)
    cases = {"all chapters executed": executed, "a sentence changed": prose, "nothing changed": nothing}
    return [Row(f"book, {case}", "builds/h", 3600 / theirs, 3600 / seconds) for case, seconds in cases.items()]


def _medians(ways: dict[str, Callable[[], object]], turns: int, images: int) -> dict[str, float]:
    """Images a second of each way, which take turns; a first turn is not counted."""
    seconds = [{way: _seconds(call) for way, call in ways.items()} for _ in range(turns + 1)][1:]
    return {way: images / statistics.median(each[way] for each in seconds) for way in ways}


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
