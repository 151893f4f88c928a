"""Metrics over all stored runs, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aelib import index, runs
from aelib.errors import AelibError, known
from aelib.evaluate.store import METRICS, Numbers, evaluate, metrics_of
from aelib.experiments import EXPERIMENTS
from aelib.profiles import find_profile
from aelib.runs import Run


@dataclass(frozen=True)
class Evaluation:
    """What one metric found of one run.

    Attributes:
        run: name of its folder.
        differs: the parameters that are not its experiment's defaults, and what they are.
        seed: of the run.
        metric: its name.
        numbers: by name; of an array, such as of all test images, the mean.
        fault: why there are none, in words; else empty.
    """

    run: str
    differs: dict[str, Any]
    seed: int | None
    metric: str
    numbers: dict[str, float]
    fault: str = ""


def of_seeds(run: Run, name: str) -> list[Numbers]:
    """What the metric `name` finds of `run`, and of the stored runs that differ in the seed alone; at least of one."""
    return [
        evaluate(run, name),
        *(evaluate(each, name) for each in index.seeds_of(run)[1:] if name in metrics_of(each)),
    ]


def table(*names: str, profile: str = "report", folder: str | Path | None = None) -> Iterator[Evaluation]:
    """What metrics find of each stored run that they are about; what is missing is found, and kept.

    Args:
        names: of metrics; all of them by default.
        profile: of the runs.
        folder: where runs are kept; `runs.results_folder()` by default.

    Raises:
        AelibError: there is no such metric or profile.
    """
    find_profile(profile)
    chosen = [known("metric", name, METRICS) for name in names or METRICS]
    kept = runs.folder_of(folder) / profile
    for entry in index.entries(kept):
        if entry.experiment not in EXPERIMENTS:
            continue
        about = (entry.name, entry.differs, entry.seed)
        try:
            run = runs.load(kept / entry.name)
        except AelibError as error:
            yield Evaluation(*about, ", ".join(chosen), {}, str(error))
            continue
        for name in [name for name in metrics_of(run) if name in chosen]:
            try:
                found = evaluate(run, name)
            except AelibError as error:
                yield Evaluation(*about, name, {}, str(error))
            except Exception as error:  # of a metric that does not know such a run: no reason to stop all others
                yield Evaluation(*about, name, {}, f"{type(error).__name__}: {error}")
            else:
                yield Evaluation(*about, name, {key: float(each.mean()) for key, each in found.items()})
