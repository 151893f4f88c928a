"""What a finished study says about searching: how many trials it takes, and what another pruner would have done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import optuna
import scipy
from optuna.trial import FrozenTrial, TrialState

from aelib import json_cache
from aelib.study.plan import MEDIAN
from aelib.study.result import Search, ranked

KEPT = "evaluations/most_important.json"
"""In the folder of a study, and none of its files: it may be lost at any time."""
VERSION = 1
"""Of what it keeps: to be raised where it would find something else in the same trials."""


def best_of(values: np.ndarray, level: float = 0.1) -> np.ndarray:
    """The lowest of the first n of `values`, (N,), over all their orders: Dodge et al., 2019, without replacement.

    Args:
        level: share of the orders outside of the band.

    Returns:
        (N, 3): for n from 1 to N the lower end of the band, the median, and the upper end. Exact, none is drawn.
    """
    ordered, count = np.sort(values), len(values)
    draws, rank = np.arange(1, count + 1)[:, None], np.arange(1, count + 1)[None]
    among = scipy.stats.hypergeom.sf(0, count, rank, draws)  # that one of n draws is among the `rank` lowest
    quantiles = np.array([level / 2, 0.5, 1 - level / 2])
    return ordered[(among[:, None] >= quantiles[:, None] - 1e-12).argmax(2)]


def importances(trials: Sequence[FrozenTrial], *, trees: int = 64) -> dict[str, float]:
    """Share of the variation of the loss that each hyper-parameter explains in `trials`, by functional ANOVA.

    Where that cannot be told, as where the loss does not vary, none explains any.

    Args:
        trees: of its forest.
    """
    none = dict.fromkeys(trials[0].params, 0.0)
    if len({each.value for each in trials}) < 2:
        return none
    with _quiet():
        judged = optuna.create_study()
        judged.add_trials(trials)
        forest = optuna.importance.FanovaImportanceEvaluator(n_trees=trees, max_depth=64, seed=0)
        try:
            found = optuna.importance.get_param_importances(judged, evaluator=forest)
        except RuntimeError:  # all trials have the same hyper-parameters: no tree has anything to divide them by
            return none
    return {name: float(share) for name, share in found.items()}


def most_important(search: Search, *, times: int, trees: int = 16) -> list[str]:
    """The most important hyper-parameter in each of so many bootstraps of the completed trials of `search`.

    Empty where none explains anything. A minute and a half for a thousand of sixty trials; kept beside the study.
    """
    file = search.path / KEPT
    asked = {"checksum": search.checksum, "times": times, "trees": trees, "version": VERSION}
    if (kept := json_cache.read(file)).get("of") != asked:
        kept = {"of": asked, "found": [*_bootstraps(search, times, trees)]}
        if "AELIB_NOTHING_NEW" not in os.environ:
            json_cache.write(file, kept)
    return kept["found"]


def faults(search: Search, count: int = 20) -> list[str]:
    """A line if the first `count` of the bootstraps that are kept beside `search` are not what its trials give."""
    kept = json_cache.read(search.path / KEPT)
    if not kept:
        return []
    if kept["of"]["checksum"] != search.checksum:
        return [f"{KEPT} is of another study: delete it"]
    again = [*_bootstraps(search, min(count, kept["of"]["times"]), kept["of"]["trees"])]
    return [] if again == kept["found"][: len(again)] else [f"{KEPT} has not what the trials give: delete it"]


def _bootstraps(search: Search, times: int, trees: int) -> Iterator[str]:
    trials, rng = ranked(search.trials), np.random.default_rng(0)
    for _ in range(times):
        draw = [trials[place] for place in rng.integers(len(trials), size=len(trials))]
        shares = importances(draw, trees=trees)
        first = max(shares, key=shares.__getitem__)
        yield first if shares[first] > 0 else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says of each study that it was created."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@dataclass(frozen=True)
class Replay:
    """What a median pruner would have done with the trials of a study.

    Attributes:
        pruned: numbers of the trials that it would have ended.
        saved: epochs that these went on for, in the study.
        unknown: numbers of those that the study's own pruner ended, and this one would not have.
    """

    pruned: list[int]
    saved: int
    unknown: list[int]


def replay(search: Search, startup: int) -> Replay:
    """The trials of `search` again, one after the other, under the report's pruner but with another start-up.

    Args:
        startup: completed trials before the first may be pruned.

    A trial that the study's own pruner ended and this one would not counts as completed, with the epochs that it has.
    """
    with _quiet():
        again = optuna.create_study(pruner=optuna.pruners.MedianPruner(**(MEDIAN | {"n_startup_trials": startup})))
    pruned, saved, unknown = [], 0, []
    for record in search.trials:
        trial, seen = again.ask(), [record.intermediate_values[step] for step in sorted(record.intermediate_values)]
        state = record.state
        for step, value in enumerate(seen):
            trial.report(value, step)
            if trial.should_prune():
                pruned.append(record.number)
                saved += len(seen) - step - 1
                state = TrialState.PRUNED
                break
        else:
            if state == TrialState.PRUNED:
                unknown.append(record.number)
                state = TrialState.COMPLETE  # sooner or later
        complete = state == TrialState.COMPLETE
        again.tell(trial, min(seen) if complete else None, state=state)
    return Replay(pruned, saved, unknown)
