"""Train what a trial proposes, and tell the study what came out."""

from __future__ import annotations

import shutil
import time

import optuna
import torch
from optuna.trial import Trial, TrialState

from aelib import code_version, probe, runs
from aelib.data import Garments
from aelib.errors import AelibError
from aelib.models import SymmetricAutoencoder
from aelib.models.base import decisive
from aelib.provenance import record_of_this_process
from aelib.study import result
from aelib.study.plan import Plan
from aelib.study.queue import give_up, still_ours, stored
from aelib.study.space import contains, fits
from aelib.study.storage import say


def train(plan: Plan, study: optuna.Study, trial: Trial, garments: Garments) -> None:
    """Train what `trial` proposes, from its last epoch where it was begun, and tell `study` what came out.

    Raises:
        Lost: another worker has taken the trial, or another program has ended it.
    """
    from aelib import training  # and with it Lightning, which takes seconds: to read a study needs neither

    if wanted := (record := stored(trial)).system_attrs.get("fixed_params"):
        say(f"trial {trial.number} takes what somebody has enqueued: {wanted}")
    try:
        if not fits(record):
            raise ValueError(f"another program's: {record.params}")
        model, settings = plan.sample(trial)
        if not contains(stored(trial)):
            raise ValueError("one is out of its range")
    except (AelibError, LookupError, TypeError, ValueError) as error:
        if not wanted and fits(record):
            others = [each.number for each in study.get_trials(deepcopy=False) if not fits(each)]
            if not others:
                raise
            raise AelibError(
                f"the storage takes none of our parameters beside those of trial {others[0]}, which another program "
                f"has put there ({error}): delete {plan.in_the_making} and start again"
            ) from error
        how = "enqueued" if wanted else "begun"
        why = f"{how} with parameters that are not of the search space ({type(error).__name__}: {error})"
        say(f"trial {trial.number} is left out: {why}")
        give_up(study, trial, why)
        return
    # Named by what is trained: another storage's trial of the same number is another training.
    config = {"model": decisive(model), "training": decisive(settings)}
    folder = plan.workspace / f"trial-{trial.number}-{runs.fingerprint(config)[:8]}"
    folder.mkdir(exist_ok=True)
    seed = plan.seed_of(trial.number)
    began, before, seen = time.perf_counter(), 0.0, list[dict[str, float]]()
    resumed, origin = (folder / "checkpoint").exists(), result.origin(model, settings)
    same = code_version.alike(record.user_attrs.get("code"), origin)
    again = same and record.user_attrs.get("torch", torch.__version__) == torch.__version__
    if (record.intermediate_values or resumed) and not again:
        how = "another version of torch" if same else "code that trains otherwise"
        say(f"trial {trial.number} was begun by {how}: another takes its place")
        give_up(study, trial, f"begun by {how}")
        shutil.rmtree(folder)
        return
    trial.set_user_attr("code", origin)
    trial.set_user_attr("torch", torch.__version__)
    trial.set_user_attr("seed", seed)

    def watch(rows: list[dict[str, float]], seconds: list[float]) -> None:
        nonlocal before, seen
        if resumed and not seen:
            before = sum(seconds)
        seen = rows
        reported = len(still_ours(plan, trial).intermediate_values)
        for step, row in enumerate(rows[reported:], reported):
            trial.report(row["validation_loss"], step)
        if trial.should_prune():
            raise optuna.TrialPruned

    state, value, threads, why, here = TrialState.FAIL, None, None, "", record_of_this_process()
    try:
        network, loaders = probe.begin(
            lambda images: (SymmetricAutoencoder(model), images), garments, plan.effort.split, seed
        )
        trial.set_user_attr("parameters", sum(each.numel() for each in network.parameters()))
        history = training.fit(network, loaders, settings, seed=seed, folder=folder, watch=watch, origin=origin)
        value, state = history.rows[history.best_epoch - 1]["validation_loss"], TrialState.COMPLETE
        threads = history.threads
    except optuna.TrialPruned:
        state = TrialState.PRUNED
    except training.Diverged as error:
        why = str(error)
    except (MemoryError, RuntimeError) as error:
        if not training.out_of_memory(error):
            raise
        why = "out of memory"
    still_ours(plan, trial)  # an outcome of ours, such as a want of memory, is not the other worker's
    seconds = before + time.perf_counter() - began
    for name, fact in {
        "epochs": len(seen),
        "learning_rate": seen[-1]["learning_rate"] if seen else None,
        "seconds": round(seconds, 3),
        "commit": here["commit"],
        "uncommitted_changes": here["uncommitted_changes"],
        "device": (engine := training.choose_engine(0)).device,
        "precision": engine.precision,
        "threads": threads,
        "hardware": here["hardware"] | {"threads": torch.get_num_threads()},
        "reason": why or None,
    }.items():
        trial.set_user_attr(name, fact)
    study.tell(trial, value, state=state, skip_if_finished=True)
    shutil.rmtree(folder)
    outcome = why or f"{min(row['validation_loss'] for row in seen):.5f}"
    say(f"trial {trial.number} {result.STATES[state]}: {outcome} after {len(seen)} epochs, {seconds:.0f} s")
