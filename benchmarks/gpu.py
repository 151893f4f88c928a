"""What a GPU makes of it: its tests, a step in all ways, the tutorial's way against ours, all trainings, the search.

`python benchmarks/gpu.py --json FILE [PART …]` adds to FILE part by part, each with its commit, so that a stop loses
nothing; it begins no part after `--seconds` of them, eight minutes by default.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from way import ask, flops, spawn, told

from aelib import data, engines, experiments, latent, lightning, runs, study, training
from aelib.data import GarmentLoaders
from aelib.profiles import PROFILES
from aelib.provenance import record_of_this_process
from aelib.training import Engine

BATCH = 256
MODELS = ("convolutional", "denoising", "variational", "cnn", "transfer")
WHOLE: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in experiments.EXPERIMENTS}
WHOLE["denoising, per batch"] = ("denoising", {"per_batch": True})
SEEDS = range(5)


def tests() -> dict[str, Any]:
    """The tests that need a GPU."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "gpu",
        "tests/test_gpu.py",
        "--durations=5",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(command, cwd=runs.ROOT, capture_output=True, text=True)
    print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    return {"status": done.returncode, "said": done.stdout.strip().splitlines()[-1]}


def ceilings() -> dict[str, float]:
    """Bytes a second of a large copy, and operations a second of a large product of matrices."""
    source = torch.randn(2**29, device="cuda")
    target = torch.empty_like(source)
    found = {"copy_bytes": 2 * source.nbytes / _on_gpu(lambda: target.copy_(source), 20)}
    for name, dtype, precision in (
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "highest"),
    ):
        torch.set_float32_matmul_precision(precision)
        a, b = torch.randn(2, 8192, 8192, device="cuda").to(dtype).unbind()
        found[name] = 2 * 8192**3 / _on_gpu(lambda a=a, b=b: a @ b, 10)
    torch.set_float32_matmul_precision("highest")
    return found


def _on_gpu(work: Callable[[], object], times: int) -> float:
    """Median seconds of `work`, by the GPU's own clock."""
    seconds = []
    for turn in range(times + 3):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        if turn >= 3:
            seconds.append(start.elapsed_time(end) / 1e3)
    return statistics.median(seconds)


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write, were each a kernel of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [each for each in tree_leaves((args, kwargs, result)) if isinstance(each, torch.Tensor)]
            self.bytes += sum(tensor.nbytes for tensor in tensors)
        return result


def traffic(name: str) -> int:
    """Bytes of one training step of 256 images, with its optimiser."""
    experiment = experiments.EXPERIMENTS[name]
    model = experiment.model_class(experiment.model).train()
    inputs = torch.rand(BATCH, *model.input_shape)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = lightning.OPTIMIZERS[experiment.training.optimizer](parameters, foreach=False)
    with Traffic() as counted:
        model.losses(inputs, torch.zeros(BATCH, dtype=torch.long))["loss"].mean().backward()
        optimizer.step()
    return counted.bytes


@contextmanager
def engine(*, precision: str = "tf32", compiled: bool = False, launch: str = "graph") -> Iterator[None]:
    """Training in this way; a step is launched as a `"graph"`, as single `"kernels"`, or by Lightning's `"loop"`."""
    choose, graph, graphed = engines.choose_engine, lightning._graph, Engine.graphed
    engines.choose_engine = lambda steps, _: Engine("cuda", precision, compiled)
    if launch == "kernels":
        lightning._graph = lambda work: work
    if launch == "loop":
        Engine.graphed = False  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        engines.choose_engine, lightning._graph = choose, graph
        Engine.graphed = graphed  # type: ignore[method-assign]


def epochs(name: str, most: int, **parameters: Any) -> dict[str, Any]:
    """An epoch of the report, validation included: median seconds after a first one, whose excess is the start."""
    experiment = experiments.EXPERIMENTS[name]
    rate = {} if experiment.training.learning_rate else {"learning_rate": 0.004}
    experiment = experiments.configure(experiment, max_epochs=most, patience=most, **rate, **parameters)
    torch.manual_seed(0)
    model = experiment.model_class(experiment.model)
    images = data.load()
    if experiment.source:  # an untrained encoder's features are as good for this
        images = experiment.prepare(model, images, experiments.EXPERIMENTS[experiment.source].model_class())
    loaders = GarmentLoaders(images, PROFILES["report"].split, seed=0)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        history = training.fit(model, loaders, experiment.training, seed=0, folder=Path(folder))
    median = statistics.median(history.seconds[1:])
    return {
        "epoch_seconds": median,
        "start_seconds": history.seconds[0] - median,
        "memory_bytes": torch.cuda.max_memory_allocated(),
        "validation_loss": [row["validation_loss"] for row in history.rows],
    }


STEPS: dict[str, dict[str, Any]] = {
    "Lightning's loop, TF32": {"launch": "loop"},
    "kernel by kernel, TF32": {"launch": "kernels"},
    "graph, float32": {"precision": "float32"},
    "graph, TF32": {},
    "graph, bf16": {"precision": "bf16"},
    "compiled, graph, TF32": {"compiled": True},
    "compiled, graph, bf16": {"compiled": True, "precision": "bf16"},
}


def steps(chosen: list[str] | None = None) -> Iterator[tuple[str, Any]]:
    """An epoch in each way of computing and launching a step; compiled, of two models alone."""
    for name in MODELS:
        for way, options in STEPS.items():
            if chosen and way not in chosen:
                continue
            if options.get("compiled") and name not in ("convolutional", "cnn"):
                continue
            with engine(**options):
                training.torch.compiler.reset()
                found = epochs(name, 5)
            found["step_milliseconds"] = found["epoch_seconds"] / 200 * 1e3
            print(
                f"{name:<16}{way:<28}{found['epoch_seconds']:>8.3f} s, start {found['start_seconds']:>5.2f} s, "
                f"{found['memory_bytes'] / 1e6:>6.0f} MB, loss {found['validation_loss'][-1]:.4f}",
                flush=True,
            )
            yield f"{name}, {way}", found


def profile() -> Iterator[tuple[str, Any]]:
    """Where the time of an epoch goes: the kernels of a step by name, and what an epoch costs beside them."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    for name in ("convolutional", "cnn"):
        with record(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as recorded:
            found = epochs(name, 4)
        kernels = sorted(recorded.key_averages(), key=lambda each: -each.self_device_time_total)
        found["kernels"] = [[each.key[:90], each.count, each.self_device_time_total] for each in kernels[:25]]
        for row in found["kernels"]:
            print(f"{name}: {row[2] / 1e3:>9.2f} ms {row[1]:>7} {row[0]}", flush=True)
        hosts = sorted(recorded.key_averages(), key=lambda each: -each.self_cpu_time_total)
        for each in hosts[:12]:
            print(f"{name}: host {each.self_cpu_time_total / 1e3:>9.2f} ms {each.count:>7} {each.key[:80]}", flush=True)
        yield name, found


def ways() -> Iterator[tuple[str, Any]]:
    """Epochs of the report in the tutorial's way, and in ours, which take turns."""
    processes = {
        (name, way): spawn(way, name, 0)
        for name in MODELS
        for way in ("plain", "aelib", *(["workers"] if name == "convolutional" else []))
    }
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in processes}
    last: dict[tuple[str, str], dict[str, float]] = {}
    for name in MODELS:
        turns = 2 if name == "convolutional" else 1
        mine = {key: process for key, process in processes.items() if key[0] == name}
        for turn in range(turns + 1):
            for key, process in mine.items():
                for _ in range(5 if key[1] == "aelib" and turn else 1):
                    ask(process)
                    last[key] = told(process)
                    seconds[key].append(last[key]["seconds"])
        medians = {key[1]: statistics.median(seconds[key][1:]) for key in mine}
        found = {
            "seconds": {key[1]: seconds[key] for key in mine},
            "epoch_seconds": medians,
            "ratio": medians["plain"] / medians["aelib"],
            "loss": {key[1]: last[key]["loss"] for key in mine},
            "step": {"flops": flops(name) * BATCH, "traffic_bytes": traffic(name)},
        }
        print(f"{name:<16}{medians}, {found['ratio']:.1f} times", flush=True)
        yield name, found
        for process in mine.values():
            with suppress(BrokenPipeError):
                process.communicate()


def trainings(seeds: Sequence[int] = SEEDS[:1]) -> Iterator[tuple[str, Any]]:
    """Everything that the report trains, whole; one process a seed."""
    began = time.perf_counter()
    processes = [_child("train_all", seed) for seed in seeds]
    for seed, process in zip(seeds, processes, strict=True):
        assert process.stdout
        done = []
        for line in process.stdout:
            done.append(json.loads(line))
            yield f"seed {seed}", done
        process.wait()
    wall = time.perf_counter() - began
    print(f"{len(seeds)} at once: all that the report trains in {wall:.1f} s", flush=True)
    yield "seconds", wall


def others() -> Iterator[tuple[str, Any]]:
    """The same with four more seeds, at once."""
    return trainings(SEEDS[1:])


def train_all(seed: int) -> None:
    """A line of JSON for each training; without t-SNE, which no GPU computes."""
    latent.tsne = lambda codes, perplexity: codes[:, :2].copy()
    with tempfile.TemporaryDirectory() as folder:
        for way, (name, parameters) in WHOLE.items():
            began = time.perf_counter()
            run = experiments.obtain(
                name, seed=seed, folder=Path(folder), summary=name != "convolutional", **parameters
            )
            line = {"way": way, "seconds": time.perf_counter() - began, "metrics": run.metrics}
            line |= {name: run.provenance[name] for name in ("training_seconds", "seconds_per_epoch", "engine")}
            line["validation_loss"] = [row["validation_loss"] for row in run.history]
            print(json.dumps(line), flush=True)


def losses() -> Iterator[tuple[str, Any]]:
    """The first epochs, as `losses.py` has them, one process a seed."""
    from losses import WAYS

    processes = {seed: _child("first_epochs", seed) for seed in SEEDS}
    found: dict[str, dict[str, Any]] = {way: {} for way in WAYS}
    for seed, process in processes.items():
        output, _ = process.communicate()
        for line in output.splitlines():
            if line.startswith("{"):
                row = json.loads(line)
                found[row["way"]][str(seed)] = row["rows"]
    yield "losses", found


def first_epochs(seed: int) -> None:
    """A line of JSON for each way."""
    from losses import WAYS, losses

    for way in WAYS:
        print(json.dumps({"way": way, "rows": losses(way, seed)}), flush=True)


def _child(function: str, seed: int) -> subprocess.Popen:
    command = [sys.executable, __file__, "--child", function, str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=runs.ROOT)


def search(limit: float = 280) -> Iterator[tuple[str, Any]]:
    """The report's search by four workers, for so many seconds at most."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "aelib.cli", "study", "--workers", "4"]
        began = time.perf_counter()
        process = subprocess.Popen(command, env=os.environ | {"AELIB_RESULTS": folder}, start_new_session=True)
        with suppress(subprocess.TimeoutExpired):
            process.wait(limit)
        seconds = time.perf_counter() - began
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        records = study.status(study.Plan("report", folder=Path(folder))).records
        done = [each for each in records if each.state.is_finished()]
        yield "seconds", seconds
        yield (
            "trials",
            [
                {"value": each.value, "epochs": len(each.intermediate_values), "seconds": each.user_attrs["seconds"]}
                for each in done
            ],
        )
        yield "epochs", sum(len(each.intermediate_values) for each in records)
        print(f"{len(done)} of {len(records)} trials in {seconds:.0f} s", flush=True)


PARTS: dict[str, Callable[[], Any]] = {
    "tests": tests,
    "ceilings": ceilings,
    "trainings": trainings,
    "losses": losses,
    "search": search,
    "ways": ways,
    "steps": steps,
    "others": others,
    "profile": profile,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--steps", action="append", metavar="WAY", help="of those of the part `steps`; all by default")
    options = parser.parse_args()
    began = time.perf_counter()
    device = torch.cuda.get_device_properties(0)
    card = {"name": device.name, "memory_bytes": device.total_memory, "processors": device.multi_processor_count}
    card |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "cores": os.cpu_count()}
    record: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {"commits": {}}
    record |= {"provenance": record_of_this_process(), "card": card, "engine": asdict(engines.choose_engine(1))}
    print(record["card"], record["provenance"]["versions"], flush=True)
    for name in options.parts or PARTS:
        if time.perf_counter() - began > options.seconds:
            print(f"no time for {name}", flush=True)
            continue
        start = time.perf_counter()
        try:
            found = steps(options.steps) if name == "steps" else PARTS[name]()
            record[name] = found if isinstance(found, dict) else {}
            record["commits"][name] = record["provenance"]["commit"]
            for key, value in [] if isinstance(found, dict) else found:
                record[name][key] = value
                options.json.write_text(json.dumps(record, indent=1) + "\n")
        except (Exception, SystemExit) as error:  # the next part may do better, and time is short
            import traceback

            traceback.print_exc()
            record[name] = record.get(name, {}) | {"error": f"{type(error).__name__}: {error}"}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
        print(f"== {name}: {time.perf_counter() - start:.1f} s", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        {"train_all": train_all, "first_epochs": first_epochs}[sys.argv[2]](int(sys.argv[3]))
    else:
        main()
