"""The store of evaluations: what a metric found of a run, kept until the run, the metric or a judge is another."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from aelib import cores, experiments
from aelib.errors import AelibError, known
from aelib.experiments import Experiment
from aelib.profiles import profile_of
from aelib.runs import Run

Numbers = dict[str, np.ndarray]
"""What a metric gives: arrays by name, over images or none; a single number is an array of shape ()."""

Kinds = type[Experiment] | tuple[type[Experiment], ...]

FOLDER = "evaluations"


@dataclass(frozen=True)
class Metric:
    """A function from a run, and the runs of the judges that it asks, to numbers.

    Attributes:
        name: the function's.
        version: to be raised with each change of what it finds, or of the names that it gives.
        of: the kind of experiments that it is about, or several.
        judges: experiments whose runs, of seed 0, it asks; they come after the run, in this order.
        reads: other metrics that it reads.
        weights: whether it needs the run's weights, which a summary has not.
        repeats: whether another processor finds the same, but for last digits.
        find: the function.
    """

    name: str
    version: int
    of: Kinds
    judges: tuple[str, ...]
    reads: tuple[str, ...]
    weights: bool
    repeats: bool
    find: Callable[..., Numbers]


METRICS: dict[str, Metric] = {}


def metric(
    *,
    version: int,
    of: Kinds,
    judges: tuple[str, ...] = (),
    reads: tuple[str, ...] = (),
    weights: bool = True,
    repeats: bool = True,
) -> Callable:
    """Make a function a metric, by its name; see `Metric`."""

    def enter(find: Callable[..., Numbers]) -> Callable[..., Numbers]:
        METRICS[find.__name__] = Metric(find.__name__, version, of, judges, reads, weights, repeats, find)
        return find

    return enter


def metrics_of(run: Run) -> list[str]:
    """Names of the metrics that are about runs such as `run`: those that can be found, or are kept."""
    experiment = experiments.EXPERIMENTS[run.config["experiment"]]
    return [
        each.name
        for each in METRICS.values()
        if isinstance(experiment, each.of) and (run.weights or not each.weights or _place(run, each.name).exists())
    ]


def _place(run: Run, name: str) -> Path:
    return run.path / FOLDER / f"{name}.safetensors"


def evaluate(run: Run, name: str, *, again: bool = False) -> Numbers:
    """What the metric `name` finds of `run`: read where it is there, of this version and these runs, else found.

    It is kept, but not where the run's folder cannot be written, or where nothing new is to be made.

    Args:
        again: find it anew, and do not keep it.

    Raises:
        AelibError: there is no such metric, or a judge's run is damaged or cannot be trained.
    """
    asked = METRICS[known("metric", name, METRICS)]
    if name not in metrics_of(run):
        raise AelibError(f"{name} is no metric of {run.path.name}: it has {', '.join(metrics_of(run))}")
    profile = profile_of(run.path, run.provenance)
    same: dict[str, Any] = {"profile": profile, "dataset": run.provenance.get("dataset")}
    if run.path.parent.name == profile:  # else it was put elsewhere, where its judges are not
        same["folder"] = run.path.parent.parent
    judges: list[Run] = [experiments.obtain(each, **same) for each in asked.judges]
    about = _about(run, asked, judges)
    path = _place(run, name)
    if not again and (kept := _read(path, about)) is not None:
        return kept
    with cores.limited(cores.choose()):
        found = {key: np.asarray(each) for key, each in asked.find(run, *judges).items()}
    if not again and "AELIB_NOTHING_NEW" not in os.environ:
        _write(path, found, about)
    return found


def _about(run: Run, asked: Metric, judges: list[Run]) -> dict[str, str]:
    """What an evaluation is of; with the versions of the metrics that it reads itself."""
    versions = [asked.version, *(METRICS[each].version for each in asked.reads)]
    return {
        "run": run.checksum,
        "version": " ".join(map(str, versions)),
        "judges": " ".join(each.checksum for each in judges),
    }


def faults(run: Run) -> list[str]:
    """What is kept of `run` and is not what its metric finds, a line each; what is of another version is left out."""
    lines = []
    for path in sorted((run.path / FOLDER).glob("[!.]*.safetensors")):
        asked = METRICS.get(path.stem)
        if asked is None or not asked.repeats or (asked.weights and not run.weights):
            continue
        try:
            about, kept = _load(path)
        except UNREADABLE:
            lines.append(f"{FOLDER}/{path.name} is damaged: delete it")
            continue
        mine = {"run": run.checksum, "version": _about(run, asked, [])["version"]}
        if mine.items() <= about.items():
            found = evaluate(run, asked.name, again=True)
            lines += [f"{FOLDER}/{path.name}: {key} is not what the run gives" for key in _different(kept, found)]
    return lines


NEAR, FEW = 1e-3, 1e-3
"""Of the largest value, how far apart two processors' numbers may be; and how many, as a share, farther than that."""


def _different(kept: Numbers, found: Numbers) -> Iterator[str]:
    for name in sorted(kept.keys() | found.keys()):
        one, other = kept.get(name, np.empty(0)), found.get(name, np.empty(0))
        if one.shape != other.shape:
            yield name
        elif one.size:
            apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
            far = ~(apart <= NEAR * max(float(np.abs(other).max()), 1e-12))  # so that NaN is far
            if far.mean() > FEW:
                yield name


UNREADABLE = (safetensors.SafetensorError, OSError)


def _load(path: Path) -> tuple[dict[str, str], Numbers]:
    """What an evaluation is of, and the numbers."""
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _read(path: Path, about: dict[str, str]) -> Numbers | None:
    try:
        kept, found = _load(path)
    except FileNotFoundError:
        return None
    except UNREADABLE:
        print(f"aelib: {path} cannot be read: it is made anew", file=sys.stderr)
        return None
    return found if kept == about else None


def _write(path: Path, found: Numbers, about: dict[str, str]) -> None:
    content = safetensors.numpy.save({name: np.asarray(each, order="C") for name, each in found.items()}, about)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        print(f"aelib: {path} is not kept ({error.strerror}): it is made again each time", file=sys.stderr)
