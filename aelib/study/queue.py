"""Which trial a worker takes: one whose worker has died, or a new one; each has one worker at a time."""

from __future__ import annotations

import time
from contextlib import suppress

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from aelib.study import space
from aelib.study.plan import Plan
from aelib.study.storage import say

SILENCE = 600.0
"""Seconds without a new epoch after which a worker on another machine counts as dead; an epoch takes one or two
minutes at worst. A worker that was only slow loses its trial, and nothing is counted twice."""
UNCLAIMED = 10.0
"""Seconds that a worker has to say that a new trial is its own."""
PAUSE = 2.0
"""Seconds between two looks at what other workers do."""


class Lost(Exception):
    """Another worker took this trial for abandoned, and has it now; or another program has ended it."""


def claim(plan: Plan, storage: optuna.storages.BaseStorage) -> tuple[optuna.Study, Trial, FileLock] | None:
    """A trial to work on, which is `plan.here`'s until the lock is released; None when all are finished.

    Trials whose worker has died come first, so that a worker that was killed goes on where it was.
    """
    # Signs of life: who has each running trial, how many epochs it shows, and since when.
    signs: dict[int, tuple[str | None, int, float]] = {}
    while True:
        # Opened anew each time: a study keeps what it has read.
        study = optuna.load_study(
            study_name=plan.path.name, storage=storage, sampler=plan.sampler(), pruner=plan.pruner()
        )
        trials, now = study.get_trials(deepcopy=False), time.monotonic()
        running = [each for each in trials if each.state == TrialState.RUNNING]
        for record in running:
            where, epochs = record.user_attrs.get("where"), len(record.intermediate_values)
            if signs.get(record.number, ())[:2] != (where, epochs):
                signs[record.number] = (where, epochs, now)
            silent = now - signs[record.number][2]
            if where == plan.here or silent > (SILENCE if where else UNCLAIMED):
                trial = Trial(study, record._trial_id)
                if lock := hold(plan, trial, takeover=where != plan.here):
                    say(f"trial {trial.number} goes on: its worker has stopped")
                    return study, trial, lock
        unclaimed = any("where" not in each.user_attrs for each in running)
        ours = counted(trials)
        if len(ours) < plan.trials and not unclaimed:
            trial = study.ask()
            # Two machines may have asked for the last one at once: the later is one too many.
            before = [each for each in study.get_trials(deepcopy=False) if each.number < trial.number]
            if len(counted(before)) >= plan.trials:
                give_up(study, trial, "one too many")
            elif lock := hold(plan, trial, takeover=False):
                return study, trial, lock
        elif all(each.state.is_finished() for each in ours):
            return None
        else:
            time.sleep(PAUSE / 10 if unclaimed else PAUSE)


def counted(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """`trials` without those that are only enqueued, and those that are left out."""
    return [each for each in trials if each.state != TrialState.WAITING and not is_left_out(each)]


def is_left_out(record: FrozenTrial) -> bool:
    """Whether another trial takes the place of this one: it was given up, or ended and never was a worker's."""
    facts = record.user_attrs
    if "surplus" in facts or not record.state.is_finished():
        return "surplus" in facts
    # A copy has all that its original has, so the number of that, too.
    begun = "where" in facts and facts.get("number", record.number) == record.number
    return not begun or ("seconds" not in facts and not space.contains(record))


def hold(plan: Plan, trial: Trial, *, takeover: bool) -> FileLock | None:
    """The lock of `trial`, and its name on it; None if another worker has it, or has finished it."""
    if lock := idle_lock(plan, trial.number):
        with suppress(Lost, UpdateFinishedTrialError):
            trial.set_user_attr("where", plan.here)
            trial.set_user_attr("number", trial.number)
            if takeover:
                time.sleep(PAUSE)  # if another machine takes it over at the same time, the last to say so has it
            still_ours(plan, trial)
            return lock
        lock.release()
    return None


def idle_lock(plan: Plan, number: int) -> FileLock | None:
    """The lock of the trial of that number, if no worker of this machine has it."""
    # Held by the system on behalf of the process: a killed one leaves no lock behind.
    lock = FileLock(plan.workspace / f"trial-{number}.lock")
    with suppress(Timeout):
        lock.acquire(timeout=0)
        return lock
    return None


def stored(trial: Trial) -> FrozenTrial:
    """What the storage knows of `trial` now."""
    return trial.storage.get_trial(trial._trial_id)


def still_ours(plan: Plan, trial: Trial) -> FrozenTrial:
    """What the storage knows of `trial` now, if it is this worker's; or else it is `Lost`."""
    record = stored(trial)
    if record.state != TrialState.RUNNING or record.user_attrs.get("where") != plan.here:
        raise Lost
    return record


def give_up(study: optuna.Study, trial: Trial, why: str) -> None:
    """Finish `trial` as one that is left out."""
    with suppress(UpdateFinishedTrialError):  # by another program
        trial.set_user_attr("surplus", True)
        trial.set_user_attr("reason", why)
    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
