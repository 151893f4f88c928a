"""The table of stored runs: which there are, in what they differ, which are stale; without opening their weights."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aelib import code_version, doubts, formats, json_cache, runs
from aelib.errors import AelibError, is_number, known, unwritable_explained
from aelib.provenance import ANOTHER
from aelib.runs import Run

DIFFERENCES = ".differences.json"
"""In a folder of runs: in what those of older versions differ from the defaults, which take seconds to import."""


@dataclass(frozen=True)
class Entry:
    """A stored run, or a study.

    Attributes:
        name: of its folder.
        experiment: that it is of; "study" of a study.
        differs: the parameters that are not that experiment's defaults, and what they are.
        seed: of the run.
        metrics: by name; of a study none.
        summary: whether it has kept no weights from the start.
        left_out: whether its weights have been left out since.
        doubt: why it may not be what today's code makes, in words; empty where it is.
        bytes: that it takes up, its evaluations included.
        finished: when, in ISO 8601.
    """

    name: str
    experiment: str
    differs: dict[str, Any]
    seed: int | None
    metrics: dict[str, float]
    summary: bool
    left_out: bool
    doubt: str
    bytes: int
    finished: str


def entries(folder: Path) -> list[Entry]:
    """The runs and studies in `folder`, a profile's, by name; what is damaged is for `aelib verify` to say."""
    about: dict[Path, _About] = {}
    for path in (each.parent for each in sorted(folder.glob("[!.]*/config.json"))):
        try:
            about[path] = _about(path)
        except (OSError, ValueError):
            print(f"aelib: run {path}: its files cannot be read: `aelib verify` says more", file=sys.stderr)
    differences = _differences(folder, about)
    return [
        Entry(
            path.name,
            runs.experiment_of(path),
            differences[path] | ({"dataset": provenance["data"]} if "dataset" in provenance else {}),
            config.get("seed"),
            metrics,
            bool(config.get("summary")),
            runs.has_left_out_weights(path),
            _doubt(path, provenance),
            sum(each.stat().st_size for each in path.rglob("*") if each.is_file()),
            provenance.get("finished", ""),
        )
        for path, (config, provenance, metrics) in about.items()
    ]


def _published(run: Run) -> bool:
    from aelib.profiles import profile_of  # and with it PyTorch

    return profile_of(run.path, run.provenance) == "report" and "dataset" not in run.provenance


def seeds_of(run: Run) -> list[Run]:
    """`run`, and the stored runs beside it that differ from it in nothing but the seed, in the order of their seeds.

    Of two with one seed the one with weights. Of the report's profile alone, and of its five seeds: other runs come and
    go, even while a book is built, whose pages are to be the same each time.
    """
    if not _published(run):
        return [run]
    from aelib.profiles import PROFILES

    about: dict[Path, _About] = {}
    for path in (each.parent for each in run.path.parent.glob(f"{run.config['experiment']}-*/config.json")):
        with contextlib.suppress(OSError, ValueError):  # of what is damaged `aelib verify` says it
            about[path] = _about(path)
    differences = _differences(run.path.parent, about)

    def what(path: Path) -> list[Any]:
        config = about[path][0]
        return [differences[path], *(config.get(name) for name in ("model", "training", "data"))]

    alike = {run.config["seed"]: run.path}
    for path in sorted(
        (each for each in about if about[each][0].get("seed") in PROFILES["report"].seeds),
        key=lambda path: (not _has_weights(path, about[path][0]), path.name),
    ):
        if what(path) == what(run.path):
            alike.setdefault(about[path][0]["seed"], path)
    return [run, *(runs.load(alike[seed]) for seed in sorted(alike) if alike[seed] != run.path)]


_About = tuple[dict[str, Any], dict[str, Any], dict[str, float]]


def _about(path: Path) -> _About:
    """Configuration, provenance and metrics of the run or study at `path`; of a study no metrics.

    Raises:
        OSError, ValueError: a file cannot be read, or is not what it should be.
    """
    config, provenance = runs.about(path)
    file = path / "metrics.json"
    metrics = formats.mapping(file.read_bytes()) if file.exists() else {}
    code = provenance.get("code") or {}
    parts = (code, *(provenance.get(name, {}) for name in ("differs", "engine")))
    if not all(isinstance(each, dict) for each in parts) or not all(map(is_number, metrics.values())):
        raise ValueError(f"{path} holds JSON of another shape")
    if code and "digests" not in code and not code.keys() >= {"digest", "probe"}:
        raise ValueError(f"{path} does not say what code it is of")
    runs.checksum(path)
    return config, provenance, metrics


def _differences(folder: Path, about: dict[Path, _About]) -> dict[Path, dict[str, Any]]:
    """Of each run the parameters that differ; what runs of older versions do not say is found once for each code."""
    found = {path: provenance.get("differs", {}) for path, (_, provenance, _) in about.items()}
    code = code_version.whole()
    older = {
        path: f"{code} {runs.checksum(path)}"
        for path, (config, provenance, _) in about.items()
        if "differs" not in provenance and "experiment" in config
    }
    kept = {key: each for key, each in json_cache.read(folder / DIFFERENCES).items() if key.startswith(code)}
    if missing := {path: key for path, key in older.items() if key not in kept}:
        from aelib import experiments  # and with it PyTorch, which takes seconds to import

        for path, key in missing.items():
            kept[key] = {}
            with contextlib.suppress(LookupError):  # no longer an experiment
                kept[key] = experiments.differences(about[path][0], folder.name)
        json_cache.write(folder / DIFFERENCES, kept)
    return found | {path: kept[key] for path, key in older.items()}


def _doubt(path: Path, provenance: Mapping[str, Any]) -> str:
    """Why it is in doubt; what only a probe can tell is probed once."""
    if (why := doubts.known(path, provenance)) is None:
        from aelib import experiments

        why = experiments.doubt(path)
    return why


def compare(folder: Path, one: str, other: str) -> Iterator[tuple[str, Any, Any]]:
    """In what two runs in `folder` differ: of configuration, metrics and engine, the name and both values.

    Raises:
        AelibError: a run is not there.
    """
    first, second = (_facts(folder / _named(folder, name)) for name in (one, other))
    for name in [*first, *(name for name in second if name not in first)]:
        if first.get(name) != second.get(name):
            yield name, first.get(name), second.get(name)


def _facts(path: Path) -> dict[str, Any]:
    with _damage_named(path):
        config, provenance, metrics = _about(path)
    flat: dict[str, Any] = {}
    for part, values in {"": config, "engine ": provenance.get("engine", {}), "metric ": metrics}.items():
        for name, value in values.items():
            inner = value if isinstance(value, dict) else {None: value}
            flat |= {f"{part}{name}" + (f" {key}" if key else ""): each for key, each in inner.items()}
    return flat


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise runs.damaged(path, "its files cannot be read") from error


def _has_weights(path: Path, config: Mapping[str, Any]) -> bool:
    return not config.get("summary") and "experiment" in config and not runs.has_left_out_weights(path)


def remove(folder: Path, names: Iterable[str], *, published: bool = False, weights_alone: bool = False) -> list[str]:
    """Delete runs in `folder`; returns their names.

    Args:
        weights_alone: leave the runs there, without their weights: what metrics have found of them stays.
        published: also those that are in the project's git.

    Raises:
        AelibError: one is not there, has no weights to delete, is published and that was not said, or is stood on;
            then none is deleted.
    """
    chosen = [*dict.fromkeys(_named(folder, name) for name in names)]
    kept = [name for name in chosen if _tracked(folder / name)]
    if kept and not published:
        raise AelibError(f"{', '.join(kept)}: published, in git; to delete such a run say --published")
    digests = {runs.digest_of_weights(folder / name): name for name in chosen}
    for path in sorted(each.parent for each in folder.glob("[!.]*/config.json")):
        if path.name in chosen:
            continue
        stands_on = set[str]()
        with contextlib.suppress(OSError, ValueError):  # of what is damaged `aelib verify` says it
            stands_on = {each for each in runs.about(path)[0].values() if isinstance(each, str)} & digests.keys()
        if stands_on:
            raise AelibError(f"{path.name} stands on {digests[stands_on.pop()]}: delete both, or neither")
    for name in chosen if weights_alone else ():
        with _damage_named(folder / name):
            config, _ = runs.about(folder / name)
        if not _has_weights(folder / name, config):
            raise AelibError(f"{name} has no weights")
    with unwritable_explained(folder, "let this user write there"):
        if weights_alone:
            for name in chosen:
                runs.leave_out_weights(folder / name)
        else:  # a folder that was moved is gone at once; one that is deleted file by file may stay in part
            hidden = [folder / f".{name}.old" for name in chosen]
            for name, old in zip(chosen, hidden, strict=True):
                shutil.rmtree(old, ignore_errors=True)
                os.replace(folder / name, old)
            for old in hidden:
                shutil.rmtree(old)
    return chosen


def _named(folder: Path, name: str) -> str:
    there = sorted(path.parent.name for path in folder.glob("[!.]*/config.json"))
    if not there:
        raise AelibError(f"{folder} holds no run")
    return known("run", name, there)


def _tracked(path: Path) -> bool:
    """Whether git has this run, or may have it: where git does not say, it counts as published."""
    if not any((folder / ".git").exists() for folder in path.absolute().parents):
        return path.parent == runs.ROOT / "results" / "report"  # as the project was downloaded
    command = ["git", "-C", str(path.parent), "ls-files", "--error-unmatch", str(path.absolute() / "config.json")]
    own = {name: value for name, value in os.environ.items() if name not in ANOTHER}
    try:
        return subprocess.run(command, env=own, capture_output=True).returncode != 1  # which is its "no"
    except OSError:
        return True
