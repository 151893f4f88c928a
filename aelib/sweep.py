"""Many runs of one experiment: a grid of parameters and seeds, trained here, by several processes, or by a cluster."""

from __future__ import annotations

import itertools
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from aelib import cores, experiments, runs
from aelib.errors import AelibError, at_least_one
from aelib.runs import Run

Packed = dict[str, dict[str, bytes]]
"""The files of runs and studies, by name, by the path in the folder of results."""


@dataclass(frozen=True)
class Row:
    """One run of a sweep.

    Attributes:
        parameters: those that the sweep varies.
        seed: of the run.
        metrics: of the run.
        path: where it is.
    """

    parameters: dict[str, Any]
    seed: int
    metrics: dict[str, float]
    path: Path


def sweep(
    name: str,
    *,
    seeds: Sequence[int] = (0,),
    workers: int = 1,
    executor: Executor | None = None,
    folder: Path | None = None,
    **options,
) -> list[Row]:
    """The runs of the experiment `name` for each combination of parameters and seeds, in that order; made if missing.

    A run that is there is read; one that was under way, on this machine, goes on. One that fails stops no other.

    Args:
        workers: processes on this machine, which share its cores.
        executor: what trains instead, by the interface of `concurrent.futures`, such as Dask's for many machines: a run
            comes back as its files, whole or not at all.
        folder: where runs are kept; `runs.results_folder()` by default.
        options: as of `experiments.obtain`. A list, of a parameter of the experiment, is of values to try; all else is
            one value. Maps are kept only where `maps` asks for them.

    Raises:
        AelibError: a value is wrong, found out before any work; or runs could not be trained, which are named.
    """
    at_least_one("workers", workers)
    check(name, seeds=seeds, **options)
    fixed, asked = _grid(seeds, {"maps": False} | options)
    again, folder = fixed.get("again", False), folder or runs.results_folder()
    found, failed = dict[int, Run](), dict[int, str]()
    with _trainer(executor, workers) as pool:
        waiting: dict[Future, int] = {}
        for number, (parameters, seed) in enumerate(asked):
            one = {**fixed, **parameters, "seed": seed}
            there = None if again or pool is None else experiments.find(name, folder=folder, **_but_extent(one))
            if there:
                found[number] = there
            elif pool is None:
                found |= _done(number, partial(experiments.obtain, name, folder=folder, **one), failed)
            elif executor:
                needed = _needed(name, folder, executor, one)
                waiting[pool.submit(_train_afar, name, one, needed)] = number
            else:
                waiting[pool.submit(_train, name, one, folder)] = number
        for future in as_completed(waiting):
            number = waiting[future]
            found |= _done(number, partial(_received, future, folder, again), failed)
            print(f"aelib: {len(found)} of {len(asked)} runs of {name} are there", file=sys.stderr)
    if failed:
        lines = [f"{asked[number][0]}, seed {asked[number][1]}: {why}" for number, why in failed.items()]
        raise AelibError(
            f"{len(failed)} of {len(asked)} runs of {name} are missing, the same call tries them again; the others are "
            f"there: {'; '.join(lines)}"
        )
    numbered = [(found[number], *each) for number, each in enumerate(asked)]
    return [Row(parameters, seed, run.metrics, run.path) for run, parameters, seed in numbered]


def check(name: str, *, seeds: Sequence[int] = (0,), **options) -> None:
    """Refuse what `sweep` could not do, before any work.

    Raises:
        AelibError: a name is unknown or a value out of range.
    """
    fixed, asked = _grid(seeds, options)
    fixed.pop("summary", None)
    for parameters, seed in asked:
        experiments.check(name, seed=seed, **_but_extent(fixed), **parameters)


def _grid(seeds: Sequence[int], options: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[dict[str, Any], int]]]:
    """The options that are the same for all, and of each run the parameters that are tried, and its seed."""
    tried = {key: value for key, value in options.items() if isinstance(value, list)}
    fixed = {key: value for key, value in options.items() if key not in tried}
    combined = [dict(zip(tried, values, strict=True)) for values in itertools.product(*tried.values())]
    return fixed, [(parameters, seed) for parameters in combined for seed in seeds]


def _but_extent(options: dict[str, Any]) -> dict[str, Any]:
    """The options of `experiments.obtain` that say which run, without those on how it is made."""
    return {key: value for key, value in options.items() if key not in ("again", "maps", "precision")}


def _done(number: int, get: Callable[[], Run], failed: dict[int, str]) -> dict[int, Run]:
    """The run, by its number; nothing, but a line in `failed`, if it could not be had."""
    try:
        return {number: get()}
    except (AelibError, BrokenExecutor) as error:
        failed[number] = str(error) if isinstance(error, AelibError) else "its worker died"
    return {}


@contextmanager
def _trainer(executor: Executor | None, workers: int) -> Iterator[Executor | None]:
    """`executor`, or one of so many processes here; None for the present process."""
    if executor or workers == 1:
        yield executor
        return
    threads = max(1, cores.available() // workers)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(threads,)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise


def _begin(threads: int) -> None:
    """What a process of its own begins with: its share of the cores; a SIGTERM ends it as Ctrl-C does."""
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _train(name: str, options: dict[str, Any], folder: Path) -> Packed:
    """Obtain a run in a folder that whoever asks sees, too; its name alone."""
    path = experiments.obtain(name, folder=folder, **options).path
    return {f"{path.parent.name}/{path.name}": {}}


def _train_afar(name: str, options: dict[str, Any], needed: Packed) -> Packed:
    """Obtain a run on a machine of which nothing else is known; its files."""
    with tempfile.TemporaryDirectory(prefix="aelib-") as temporary:
        _unpack(needed, Path(temporary))
        return _packed(experiments.obtain(name, folder=Path(temporary), **options).path)


def _needed(name: str, folder: Path, executor: Executor, options: dict[str, Any]) -> Packed:
    """What a run stands on, an encoder or a study; made if it is missing."""
    packed: Packed = {}
    if options.get("config") == "study":
        from aelib import study  # and with it Optuna, which takes a second to import

        packed |= _packed(study.obtain(study.Plan(options.get("profile", "report"), folder=folder)).path)
    if source := experiments.EXPERIMENTS[name].source:
        asked = {key: value for key, value in options.items() if key in ("profile", "config", "precision", "maps")}
        (row,) = sweep(source, seeds=[options["seed"]], executor=executor, folder=folder, **asked)
        packed |= _packed(row.path)
    return packed


def _packed(path: Path) -> Packed:
    files = {each.name: each.read_bytes() for each in path.iterdir() if each.is_file() and each.name != runs.CHECKSUMS}
    return {f"{path.parent.name}/{path.name}": files}


def _unpack(packed: Packed, folder: Path, *, again: bool = False) -> None:
    """Publish in `folder` what is not there yet, or all of it if `again`."""
    for name, files in packed.items():
        if files and (again or not (folder / name).exists()):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            runs.publish(files, folder / name)


def _received(future: Future, folder: Path, again: bool) -> Run:
    """The run that a worker has made, in `folder`."""
    packed = future.result()
    _unpack(packed, folder, again=again)
    (name,) = packed
    return runs.load(folder / name)
