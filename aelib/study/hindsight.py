"""What a finished study says about searching: how many trials it takes, and what another pruner would have done."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import optuna
import scipy
from optuna.trial import TrialState

from aelib.study.plan import MEDIAN
from aelib.study.result import Search


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
    quiet = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
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
    optuna.logging.set_verbosity(quiet)
    return Replay(pruned, saved, unknown)
