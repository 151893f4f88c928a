"""Workers: each takes one trial after another; the first to see the end publishes the study."""

from __future__ import annotations

import multiprocessing
import shutil
import sys

import optuna
import torch
from filelock import FileLock
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from aelib import code_version, cores, formats, runs
from aelib.errors import AelibError, at_least_one, unwritable_explained
from aelib.models import SymmetricAutoencoder
from aelib.provenance import record_of_this_process
from aelib.study import queue, result, space, storage, trial
from aelib.study.plan import Plan
from aelib.study.result import STATES, Search, is_foreign, reason, status
from aelib.study.storage import say


def obtain(plan: Plan, *, workers: int = 1) -> Search:
    """The study: read if it is there, run to its end and kept if not.

    Args:
        workers: processes on this machine; they share its cores. With one, the study can be repeated bit for bit.

    Raises:
        AelibError: the study is damaged, its storage cannot be reached, the data cannot be had, or all workers died.
    """
    at_least_one("workers", workers)
    if not runs.is_there(plan.path):
        runs.nothing_new(plan.path)
        with unwritable_explained(plan.path.parent):
            plan.workspace.mkdir(parents=True, exist_ok=True)
            work(plan) if workers == 1 else _share(plan, workers)
            _publish(plan)
    elif plan.storage is not None:
        storage.existing(plan)  # or the line that says why it cannot be used
        again = "to search again, choose another --seed, or another folder in AELIB_RESULTS"
        say(f"the study is finished, in {plan.path}: the storage has nothing to add; {again}")
    search = result.load(plan)
    why = result.doubt(search.path)
    again = f"; again: `{result.command(search.path)}`" if why == code_version.STALE else ""
    code_version.say(f"study {search.path.name}", why, again)
    return search


def work(plan: Plan) -> None:
    """Take one trial after another until all are finished."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    garments = plan.effort.garments()
    try:
        with unwritable_explained(plan.path.parent), storage.unreachable_explained():
            shared = storage.begin(plan)
            while claimed := queue.claim(plan, shared):
                study, ours, lock = claimed
                with lock:
                    try:
                        trial.train(plan, study, ours, garments)
                    except (queue.Lost, UpdateFinishedTrialError):
                        ended = STATES.get(queue.stored(ours).state)
                        how = f"ended by another program ({ended})" if ended else "taken over by another worker"
                        say(f"trial {ours.number} was {how}")
    except FileNotFoundError:
        if not plan.path.exists():
            raise
        # Another command on this machine has finished the study and put it in its place.
    except KeyError as error:
        if plan.path.name in optuna.get_all_study_names(shared):
            raise
        raise AelibError(
            f"another program has deleted the study {plan.path.name} from its storage: start again to begin it anew"
        ) from error


def _share(plan: Plan, workers: int) -> None:
    """Run `workers` processes until the study is finished; one that dies does not stop the others."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_worker, args=(plan, cores.share(workers))) for _ in range(workers)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.terminate()
    died = [str(process.exitcode) for process in processes if process.exitcode]
    if died:
        say(f"{len(died)} of {workers} workers stopped early (exit status {', '.join(died)})")
    if not status(plan).finished:
        raise AelibError("the workers stopped before the study was finished: run the same command again to go on")


def _worker(plan: Plan, threads: int) -> None:
    """What a process of its own does, with its share of the cores."""
    torch.set_num_threads(threads)
    try:
        work(plan)
    except AelibError as error:
        sys.exit(f"aelib: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _publish(plan: Plan) -> None:
    """Write the finished study to its place, as a journal of one line a trial; the first worker to come does it."""
    with FileLock(plan.path.with_name(f".{plan.path.name}.lock")):
        if plan.path.exists():
            return
        now = status(plan)
        if now.best is None:
            raise AelibError(
                f"none of the {len(now.records)} trials was completed; trial {now.records[0].number} failed: "
                f"{reason(now.records[0])}. Mend that, delete {plan.in_the_making}, and start again"
            )
        (journal := plan.workspace / "finished.log").unlink(missing_ok=True)
        study = optuna.create_study(study_name=result.NAME, storage=storage.journal(journal), direction="minimize")
        facts = [each.user_attrs for each in now.records if not is_foreign(each)]
        codes = [each.get("code") for each in facts]
        study.add_trials([_finished(each) for each in now.records])
        for each in now.left_out:
            if "surplus" not in each.user_attrs:  # or it was said when it was given up
                say(f"trial {each.number} is left out: {reason(each)}")
        provenance = (
            record_of_this_process()
            | plan.effort.garments().about
            | {
                "profile": plan.profile,
                "commits": sorted({each["commit"] for each in facts if each["commit"]}),
                "uncommitted_changes": any(each.get("uncommitted_changes") for each in facts),
                "code": {"digests": sorted({each["digest"] for each in codes if each})} if all(codes) else None,
                "engine": {name: facts[0][name] for name in ("device", "precision")},
                "training_seconds": round(sum(each["seconds"] for each in facts), 3),
                "storage": "journal" if plan.storage is None else plan.storage.partition(":")[0],
            }
        )
        files = (formats.to_json(plan.config()), journal.read_bytes(), formats.to_json(provenance))
        runs.publish(dict(zip(result.FILES, files, strict=True)), plan.path)
        shutil.rmtree(plan.workspace)


def _finished(record: FrozenTrial) -> FrozenTrial:
    """A trial, made to fit in the finished study; one that another program has ended counts as failed."""
    for fact in ("where", "number"):  # of no use once it is finished
        record.user_attrs.pop(fact, None)
    if is_foreign(record):
        say(f"trial {record.number} counts as failed: {reason(record)}")
        model, _ = space.SymmetricAutoencoderHPS().sample(FixedTrial(record.params))
        record.user_attrs |= {
            "reason": reason(record),
            "epochs": len(record.intermediate_values),
            "parameters": sum(each.numel() for each in SymmetricAutoencoder(model).parameters()),
            **{"learning_rate": None, "seconds": 0.0, "commit": None},
        }
        record.state, record.values = TrialState.FAIL, None
    return record
