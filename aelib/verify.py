"""Whether the stored numbers follow from the weights and the data, and the built book from the runs.

Of a run, the metrics, the predictions, the codes and the best epoch's picture are made anew from its weights, and
what the metrics take from the history is compared with it; so is what is kept of evaluations, but of those in which
processors differ (`repeats` in `evaluate.store`). Not made anew, but by `verify_retrained`, are the trainings
themselves, so the other epochs and how long they took, the learning-rate finder's curve and the t-SNE map; runs that
keep no weights are held against their history alone, and a study against its checksums, and a part of what was found of
it since. The book is made anew from the runs, and must come out byte for byte.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, suppress
from html import unescape
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path

import torch

from aelib import book, code_version, cores, evaluate, experiments, json_cache, runs, study
from aelib.book.cache import digest
from aelib.data import own
from aelib.errors import AelibError, known
from aelib.profiles import find_profile
from aelib.runs import Contents, Run

TOLERANCE = 2e-4
"""Relative, of numbers that are not whole; and the share of images whose predicted class may be another. Processors
differ in the last digits of a float32, and an image in ten thousand may lie on the border between two classes."""
HALF = 5e-3
"""Relative, between a loss with the weights of the training and with the same weights kept in float16: those of the
published runs differ by 5e-5 at most, the divergence of a variational one that has hardly begun by ten times that."""
SPREAD = 0.05
"""Relative, of the losses of an autoencoder trained twice, with other bits: what another order of sums, such as another
processor has, ends in is as good as another seed. Five seeds of the report's configuration have a standard deviation of
1.2 % (appendix), and the difference of two trainings one of 1.8 %; this is three times that."""
EASIEST = 0.95
"""The accuracy above which a classifier's spread is that at this one: three standard errors of the difference of two
shares of as many images, which are 1.3 percentage points at an accuracy of 0.9 and 10,000 images."""
TIMED = ("book/about.html", "_sources/book/about.md", "searchindex.js")
"""Files of the book that say, or index, how long its making took."""
VERIFIED = ".verified.json"
"""In a folder of runs: with what a run agreed, by a digest of all that this depends on."""


def verify_runs(folder: Path, *, workers: int = 1, again: bool = False) -> Iterator[tuple[str, str, list[str]]]:
    """Measure each run in `folder`, a profile's, anew.

    One that agreed before, by the same code and with the same files, is not measured again; its checksums are.

    Args:
        workers: processes on this machine, which share its cores.
        again: measure all of them.

    Yields:
        The name of a run; against what it was held; a line for each number that differs, or for the run's damage.

    Raises:
        AelibError: there is no run.
    """
    paths = sorted(path for path in folder.glob("[!.]*") if path.is_dir())
    if not paths:
        raise AelibError(f"{folder} holds no run to verify: name the right folder in AELIB_RESULTS, or `aelib train`")
    keys, kept = _keys(paths), json_cache.read(folder / VERIFIED)
    before = {} if again else {path: kept[key] for path, key in keys.items() if key in kept}
    agreed = {keys[path]: against for path, against in before.items()}
    left = [path for path in paths if path not in before]
    measured = _side_by_side(left, min(workers, len(left)))
    try:
        for path in paths:
            if path in before:
                yield path.name, f"{before[path]} (verified before)", []
                continue
            against, faults, lasting = next(measured)
            if lasting and not faults and path in keys:
                agreed[keys[path]] = against
            yield path.name, against, faults
        next(measured, None)  # lets the processes end by themselves
    finally:
        measured.close()
        if agreed != kept:
            json_cache.write(folder / VERIFIED, agreed)


def _keys(paths: list[Path]) -> dict[Path, str]:
    """Of each run that can be read, a digest of all that decides whether it agrees.

    That is the code, the libraries, all files of the run, its checksums and evaluations among them, and those of the
    runs that it may stand on: of its experiment's source, and of the judges that its metrics ask; and one's own images.
    """
    digests = dict[Path, str]()
    for path in paths:
        with suppress(OSError):
            digests[path] = f"{path.name} {digest(path)}"
    code_and_libraries = (code_version.whole(), torch.__version__, version("numpy"), version("scikit-learn"))
    keys = {}
    for path, own_files in digests.items():
        experiment, asked = experiments.EXPERIMENTS.get(runs.experiment_of(path)), set[str | None]()
        images = ""
        if experiment:
            judges = (each.judges for each in evaluate.METRICS.values() if isinstance(experiment, each.of))
            with suppress(OSError, ValueError, AelibError):
                provenance = runs.about(path)[1]
                differs = provenance.get("differs", {})
                asked = {differs.get("source", {}).get("experiment", experiment.source), *itertools.chain(*judges)}
                if dataset := provenance.get("dataset"):
                    images = own.load(Path(dataset)).sha256
        others = [digests.get(each) for each in paths if runs.experiment_of(each) in asked]
        key = repr((code_and_libraries, own_files, others, images))
        keys[path] = hashlib.sha256(key.encode()).hexdigest()
    return keys


def _side_by_side(paths: list[Path], workers: int) -> Generator[tuple[str, list[str], bool]]:
    """What `_verify` says of each run, in order."""
    if workers < 2:
        yield from map(_verify, paths)
        return
    while paths:
        with suppress(BrokenExecutor), cores.processes(workers) as pool:
            for future in [pool.submit(_verify, path) for path in paths]:
                result, paths = future.result(), paths[1:]
                yield result
        # A process that is killed takes what the others do with it; alone, each run shows whether it was the one.
        for path in paths[:1]:
            yield _alone(path)
        paths = paths[1:]


def _alone(path: Path) -> tuple[str, list[str], bool]:
    try:
        with cores.processes(1) as pool:
            return pool.submit(_verify, path).result()
    except BrokenExecutor:
        return "", ["it cannot be measured: the process that measured it was killed"], False


def _verify(path: Path) -> tuple[str, list[str], bool]:
    """Against what the run at `path` was held; its faults; whether that is so until a file or the code changes."""
    against, faults, why = "its weights", list[str](), ""
    with _kept_apart(faults), _nothing_new():
        if path.name.startswith("study-"):
            against = "its checksums"
            faults += study.faults(study.read(path))
        else:
            run = runs.load(path)
            against = "its weights" if run.weights else "its history"
            faults += [*_faults(run), *evaluate.faults(run)]
        why = experiments.doubt(path)
        if why == code_version.STALE:
            faults.append(why + experiments.mend(path, why))
        elif why:
            against += f"; {why}"
    return against, faults, why in ("", code_version.UNRECORDED)


@contextmanager
def _kept_apart(faults: list[str]) -> Iterator[None]:
    """Adds to `faults` what goes wrong: whatever was done to one run, the others are to be looked at as well."""
    try:
        yield
    except AelibError as error:
        faults.append(str(error))
    except (LookupError, TypeError, ValueError, RuntimeError, OSError) as error:
        faults.append(f"it cannot be measured: {type(error).__name__}: {str(error).splitlines()[0]}")


def _faults(run: Run) -> Iterator[str]:
    summary = experiments.summarise(run.history)
    for name, found in summary.items():
        yield from _compare("metrics.json", name, run.metrics[name], found)
    best = run.history[int(summary["best_epoch"]) - 1]
    halved = run.provenance.get("weights") == "float16" or torch.float16 in {
        each.dtype for each in run.weights.values()
    }
    for name, stored in run.metrics.items():
        if name.startswith("validation_"):
            where = f"{name} of the best epoch"
            yield from _compare("history.csv", where, best[name], stored, HALF if halved else TOLERANCE)
    if not run.weights:
        return
    metrics, arrays = experiments.measure_again(run)
    for name, found in metrics.items():
        yield from _compare("metrics.json", name, run.metrics[name], found)
    for name, array in arrays.items():
        kept = run.arrays[name][int(best["epoch"]) - 1] if name == "pictures" else run.arrays[name]
        allowed, share = 0.0, TOLERANCE
        if name == "pictures":
            allowed = 1.0  # of 256 greys, by rounding
        elif name in ("codes", "logits"):  # the last digits, of any
            step = torch.finfo(array.dtype).eps  # logits are halves
            allowed, share = max(TOLERANCE, step) * float(array.abs().max()), 0.0
        if kept.shape != array.shape:
            yield f"arrays.safetensors: {name} is not of the shape that the weights give"
            continue
        wrong = ~((kept.double() - array.double()).abs() <= allowed)  # so that NaN is wrong
        if wrong.double().mean() > share:
            yield f"arrays.safetensors: {name} is not what the weights give"


def verify_retrained(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Train runs in `folder`, a profile's, anew, each beside the stored one, which stays, and compare.

    Args:
        names: of experiments, or of single runs; by default all runs but summaries.

    Yields:
        The name of a run; what it agrees with, and how far; a line for each number beyond the spread.

    Raises:
        AelibError: there is no such run.
    """
    paths = [path for path in sorted(folder.glob("[!.]*")) if path.is_dir() and not path.name.startswith("study-")]
    for name in names:
        known("run", name, sorted({each for path in paths for each in (path.name, runs.experiment_of(path))}))
    chosen = 0
    for path in paths:
        if names and not {path.name, runs.experiment_of(path)} & {*names}:
            continue
        against, faults = "its training, made again: other bits, within the spread", list[str]()
        with _kept_apart(faults):
            run = runs.load(path)
            if not run.weights and path.name not in names:
                continue
            with tempfile.TemporaryDirectory(prefix="aelib-verify-") as workspace:
                again = experiments.train_again(run, Path(workspace))
            if _same_bits(run, again):
                against = "its training, made again: the same bits"
            else:
                faults += _beyond(run, again)
        chosen += 1
        yield path.name, against, faults
    if not chosen:
        raise AelibError(
            f"{folder} holds no run to train again: name the right folder in AELIB_RESULTS, or a summary by its name"
        )


def _same_bits(run: Run, again: Contents) -> bool:
    """Whether two trainings went the same way and ended alike; in float16 where one was kept so."""
    if run.history != again.history:
        return False
    if not run.weights:
        return runs.digest_of(again.weights) == runs.digest_of_weights(run.path)
    if run.weights.keys() != again.weights.keys():
        return False
    return all(
        torch.equal(kept, made) or (made.dtype == torch.float16 and torch.equal(kept.half(), made))
        for kept, made in ((kept, again.weights[name]) for name, kept in run.weights.items())
    )


def _beyond(run: Run, again: Contents) -> Iterator[str]:
    of = "accuracy" if "test_accuracy" in run.metrics else "loss"
    for part in ("validation", "test"):
        stored, made = run.metrics[f"{part}_{of}"], again.metrics[f"{part}_{of}"]
        allowed = SPREAD * abs(stored)
        if of == "accuracy":
            share = min(stored, EASIEST)
            allowed = 3 * (2 * share * (1 - share) / run.config["data"][part]) ** 0.5
        if not abs(stored - made) <= allowed:
            yield f"metrics.json: {part}_{of} is {stored}, but comes out as {made} when it is trained again"


def _compare(file: str, name: str, stored: float, found: float, tolerance: float = TOLERANCE) -> Iterator[str]:
    allowed = 0 if isinstance(found, int) else tolerance * abs(found)
    if not abs(stored - found) <= allowed:
        yield f"{file}: {name} is {stored}, but comes out as {found}"


def verify_book(root: Path, html: Path, *, profile: str) -> Iterator[tuple[str, str, list[str]]]:
    """Build the book of `root` again, from nothing but the runs, and compare it with `html`.

    Yields:
        The name of a page, or "other files"; against what it was held; a line for the first place where a page
        differs, or for each file.

    Raises:
        AelibError: `html` is of another profile, or a run that a chapter asks for is not there.
    """
    if (built := book.profile_of(html)) != profile:
        raise AelibError(f"the built book is of profile {built}: `aelib verify --profile {built}`, or build it again")
    with tempfile.TemporaryDirectory(prefix="aelib-verify-") as folder:
        if (html.parent / "papers").exists():  # of which it has links, if they are current
            shutil.copytree(html.parent / "papers", Path(folder) / "papers")
        with _nothing_new():
            book.build(root, profile=profile, notice=find_profile(profile).notice, output=Path(folder))
        made = Path(folder) / "html"
        others = []
        for name in sorted(_files(made) | _files(html)):
            both = [(each / name).read_bytes() if (each / name).exists() else None for each in (html, made)]
            same = both[0] == both[1]
            if Path(name).suffix == ".html" and None not in both:
                yield name, "the runs", [] if same else [_difference(html / name, made / name)]
            elif not same:
                others.append(f"{name} is {'missing' if both[0] is None else 'not what comes out'}")
        yield "other files", "the runs", others


@contextmanager
def _nothing_new() -> Iterator[None]:
    """No run is made; whoever had forbidden it before finds it so."""
    before = os.environ.get("AELIB_NOTHING_NEW")
    os.environ["AELIB_NOTHING_NEW"] = "1"
    try:
        yield
    finally:
        del os.environ["AELIB_NOTHING_NEW"]
        if before is not None:
            os.environ["AELIB_NOTHING_NEW"] = before


def _files(html: Path) -> set[str]:
    return {str(path.relative_to(html)) for path in html.rglob("*") if path.is_file()} - set(TIMED)


def _difference(there: Path, made: Path) -> str:
    """The first place where two pages differ, in words."""
    one, other = _words(there), _words(made)
    for place, pair in enumerate(zip_longest(one, other, fillvalue="(the end)")):
        if pair[0] != pair[1]:
            before = " ".join(other[max(0, place - 8) : place])
            return f"after {before!r} it reads {pair[0]!r}, but comes out as {pair[1]!r}"
    return "it differs in what is not text, such as links to the commit: build it again"


def _words(page: Path) -> list[str]:
    return unescape(re.sub(r"<[^>]*>", " ", page.read_text())).split()
