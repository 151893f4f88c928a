"""Many runs of one experiment: a grid of parameters and seeds, trained here, by several processes, or by a cluster."""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aelib import cores, experiments, runs
from aelib.errors import AelibError, at_least_one, known
from aelib.hyperparameters import PRECISIONS
from aelib.profiles import find_profile
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
    seeds: Iterable[int] = (0,),
    workers: int = 1,
    executor: Executor | None = None,
    folder: str | Path | None = None,
    **options,
) -> list[Row]:
    """The runs of the experiment `name` for each combination of parameters and seeds, in that order; made if missing.

    A run that is there is read; one that was under way, on this machine, goes on. One that fails stops no other.

    Args:
        workers: processes on this machine, which share its cores.
        executor: what trains instead, by the interface of `concurrent.futures`, such as Dask's for many machines: a run
            comes back as its files, whole or not at all. A `dataset` of one's own has to lie at the same place there.
        folder: where runs are kept; `runs.results_folder()` by default.
        options: as of `experiments.obtain`. A list, of a parameter of the experiment, is of values to try; all else is
            one value. `source.NAME` is a parameter of the run that it stands on. Maps are kept only where `maps` asks
            for them.

    Raises:
        AelibError: a value is wrong, found out before any work; or runs could not be trained, which are named.
    """
    at_least_one("workers", workers)
    seeds = list(seeds)  # of which a generator is asked twice
    check(name, seeds=seeds, **options)
    fixed, asked = _grid(seeds, {"maps": False, "weights": False} | options)
    if fixed.get("dataset"):
        profile = find_profile(fixed.get("profile", "report"), fixed["dataset"])
        fixed["dataset"] = str(profile.dataset)  # absolute: a worker may stand elsewhere
    folder = runs.folder_of(folder)
    found, failed = _obtain(name, asked, fixed, folder, workers, executor)
    if failed and len(asked) == 1:
        raise AelibError(failed[0])
    if failed:
        named = ((*asked[number], why) for number, why in failed.items())
        lines = [f"{f'{parameters}, ' if parameters else ''}seed {seed}: {why}" for parameters, seed, why in named]
        raise AelibError(
            f"{len(failed)} of {len(asked)} runs of {name} are missing, the others are there: {'; '.join(lines)}"
        )
    numbered = [(found[number], *each) for number, each in enumerate(asked)]
    return [Row(parameters, seed, run.metrics, run.path) for run, parameters, seed in numbered]


Asked = list[tuple[dict[str, Any], int]]
"""Parameters and a seed, of each run of a sweep."""


def _obtain(
    name: str, asked: Asked, fixed: dict[str, Any], folder: Path, workers: int, executor: Executor | None
) -> tuple[dict[int, Run], dict[int, str]]:
    """The runs, by their place in `asked`, and why others could not be had."""
    found, failed = dict[int, Run](), dict[int, str]()
    again, here = fixed.get("again", False), executor is None and workers == 1
    jobs = {
        number: _nested({**fixed, **parameters}) | {"seed": seed} for number, (parameters, seed) in enumerate(asked)
    }
    if here and len(jobs) == 1:  # whose errors are no reason to go on
        return {0: experiments.obtain(name, folder=folder, **jobs[0])}, {}
    for number, job in jobs.items():
        if here:
            _done(number, partial(experiments.obtain, name, folder=folder, **job), found, failed)
        elif not again:
            _done(number, partial(experiments.find, name, folder=folder, **_but_extent(job)), found, failed)
    left = {number: job for number, job in jobs.items() if number not in {**found, **failed}}
    if executor:
        needed = _needed(name, left, folder, executor, failed)
        waiting = {
            executor.submit(_train_afar, name, job, needed[number]): number
            for number, job in left.items()
            if number not in failed
        }
        _collect(name, waiting, found, failed, folder, again)
    elif left:
        _by_processes(name, left, found, failed, folder, min(workers, len(left)))
        # A worker that is killed takes what the others do with it; alone, each shows whether it was the one.
        broken = {number: left[number] for number, why in failed.items() if why == DIED}
        for number, job in broken.items() if len(left) > 1 else ():
            del failed[number]
            _by_processes(name, {number: job}, found, failed, folder, 1)
    return found, failed


MOST_SEEDS = 10_000
"""In one range: a digit too many is refused before it fills the memory."""


def seeds_in(text: str | int) -> list[int]:
    """Seeds as a command or a chapter is given them: `3`, `0,2` or `0-4`.

    Raises:
        AelibError: `text` is something else, or none.
    """
    seeds: list[int] = []
    for part in str(text).split(","):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else True)):
            raise AelibError(f"seeds are whole numbers such as 3, 0,2 or 0-4, not {text!r}")
        low, high = int(first), int(last or first)
        if high < low:
            raise AelibError(f"seeds {part} are none: the first comes first")
        if high - low >= MOST_SEEDS:
            raise AelibError(f"seeds {text} are more than {MOST_SEEDS:,}: ask for fewer at a time")
        seeds += range(low, high + 1)
    return seeds


def check(name: str, *, seeds: Sequence[int] = (0,), **options) -> None:
    """Refuse what `sweep` could not do, before any work.

    Raises:
        AelibError: a name is unknown or a value out of range.
    """
    fixed, asked = _grid(seeds, options)
    if not asked:
        raise AelibError(f"no run of {name} is asked for: give a seed, and a value of each parameter")
    for extent in ("summary", "weights"):
        fixed.pop(extent, None)
    known("precision", fixed.get("precision") or PRECISIONS[0], PRECISIONS)
    for parameters, seed in asked:
        experiments.check(name, seed=seed, **_nested({**_but_extent(fixed), **parameters}))


def _grid(seeds: Sequence[int], options: dict[str, Any]) -> tuple[dict[str, Any], Asked]:
    """The options that are the same for all, and of each run the parameters that are tried, and its seed."""
    tried = {key: value for key, value in options.items() if isinstance(value, list)}
    fixed = {key: value for key, value in options.items() if key not in tried}
    combined = [dict(zip(tried, values, strict=True)) for values in itertools.product(*tried.values())]
    return fixed, [(parameters, seed) for parameters in combined for seed in seeds]


def _nested(options: dict[str, Any]) -> dict[str, Any]:
    """`source.beta`, a parameter of the run that one stands on, as a part of `source`."""
    found = {name: value for name, value in options.items() if not name.startswith("source.")}
    inner = {name.partition(".")[2]: value for name, value in options.items() if name not in found}
    if inner:
        source = {} if found.get("source") is None else found["source"]
        whole = {"experiment": source} if isinstance(source, str) else source
        found["source"] = _nested({**whole, **inner}) if isinstance(whole, Mapping) else whole
    return found


def _but_extent(options: dict[str, Any]) -> dict[str, Any]:
    """The options of `experiments.obtain` that say which run, without those on how it is made."""
    return {key: value for key, value in options.items() if key not in ("again", "maps", "precision")}


DIED = "its worker died (a script that asks for workers has to do so below `if __name__ == '__main__':`)"


def _done(number: int, get: Callable[[], Run | None], found: dict[int, Run], failed: dict[int, str]) -> None:
    """Put a run into `found`, or why it could not be had into `failed`; nothing where there is none.

    Whatever that is: an error of the executor, or a fault of an experiment, is to stop no other run.
    """
    try:
        if run := get():
            found[number] = run
    except AelibError as error:
        failed[number] = str(error)
    except BrokenExecutor:
        failed[number] = DIED
    except CancelledError:
        failed[number] = "it was cancelled: is what distributes the work still there?"
    except Exception as error:  # of the executor, or of another version of aelib where it trains, or a fault of ours
        failed[number] = f"{type(error).__name__}: {error}"


def _collect(
    name: str,
    waiting: dict[Future, int],
    found: dict[int, Run],
    failed: dict[int, str],
    folder: Path,
    again: bool = False,
) -> None:
    """What workers have made, as it comes."""
    for future in as_completed(waiting):
        number = waiting[future]
        _done(number, partial(_received, future, folder, again), found, failed)
        said = f": {failed[number]}" if number in failed else ""
        print(f"aelib: of {name} {len(found)} runs are there, {len(failed)} failed{said}", file=sys.stderr)


def _by_processes(
    name: str, jobs: dict[int, dict], found: dict[int, Run], failed: dict[int, str], folder: Path, workers: int
) -> None:
    """Train in so many processes of this machine; they end when this one is interrupted, and go on next time."""
    with cores.processes(workers) as pool:
        waiting = {pool.submit(_train, name, job, folder): number for number, job in jobs.items()}
        _collect(name, waiting, found, failed, folder)


def _train(name: str, options: dict[str, Any], folder: Path) -> Packed:
    """Obtain a run in a folder that whoever asks sees, too; its name alone."""
    path = experiments.obtain(name, folder=folder, **options).path
    return {f"{path.parent.name}/{path.name}": {}}


def _train_afar(name: str, options: dict[str, Any], needed: Packed) -> Packed:
    """Obtain a run on a machine of which nothing else is known; its files."""
    with tempfile.TemporaryDirectory(prefix="aelib-") as temporary:
        _unpack(needed, Path(temporary))
        return _packed(experiments.obtain(name, folder=Path(temporary), **options).path)


def _needed(
    name: str, jobs: dict[int, dict], folder: Path, executor: Executor, failed: dict[int, str]
) -> dict[int, Packed]:
    """What each run stands on, a study or an encoder, made if it is missing; in `failed`, why it could not be.

    And of the run itself what is kept without weights.
    """
    needed: dict[int, Packed] = {number: {} for number in jobs}
    for number, job in jobs.items():
        with suppress(AelibError):
            kept = experiments.find(name, folder=folder, **_but_extent(job) | {"weights": False})
            if kept and not kept.weights:  # then it is to be made beside that, under another name
                needed[number] |= _packed(kept.path)
        if job.get("config") == "study":
            from aelib import study  # and with it Optuna, which takes a second to import

            needed[number] |= _packed(
                study.obtain(study.Plan(job.get("profile", "report"), folder=folder, dataset=job.get("dataset"))).path
            )
    asked: dict[str, list[tuple[int, dict[str, Any], int]]] = {}
    for number, job in jobs.items():
        of, theirs = experiments.source_asked(name, job.get("source"))
        if of:
            asked.setdefault(of, []).append((number, theirs, theirs.pop("seed", job["seed"])))
    for of, each in asked.items():
        fixed = {key: value for key, value in jobs[each[0][0]].items() if key in FOR_THE_SOURCE}
        different = {repr(one[1:]): one[1:] for one in each}
        found, missing = _obtain(of, [*different.values()], fixed, folder, 1, executor)
        for number, *one in each:
            place = [*different].index(repr(tuple(one)))
            if place in missing:
                failed[number] = f"{of}: {missing[place]}"
            else:
                needed[number] |= _packed(found[place].path)
    return needed


FOR_THE_SOURCE = ("profile", "dataset", "config", "precision", "maps")
"""What a run that another one stands on has of that one's options."""


def _packed(path: Path) -> Packed:
    files = {each.name: each.read_bytes() for each in path.iterdir() if each.is_file() and each.name != runs.CHECKSUMS}
    return {f"{path.parent.name}/{path.name}": files}


def _unpack(packed: Packed, folder: Path, *, again: bool = False) -> None:
    """Publish in `folder` what is not there yet, or all of it if `again`."""
    for name, files in packed.items():
        if files:
            runs.receive(files, folder / name, again=again)


def _received(future: Future, folder: Path, again: bool) -> Run:
    """The run that a worker has made, in `folder`."""
    packed = future.result()
    _unpack(packed, folder, again=again)
    (name,) = packed
    return runs.load(folder / name)
