"""The hyper-parameter study (report, Section 2.1 and Table 1): sixty trials that can be killed, repeated and shared.

Optuna keeps the trials, in a journal file or in any database that it knows; a worker takes one trial after another.
What a worker proposes depends on the study's seed, the trial's number and the other trials alone, and a trial whose
worker has died is taken up by another, from its last epoch where its checkpoint is at hand.

`results/<profile>/study-<first 8 of the fingerprint>/` holds a finished study: `config.json`, all that decides it;
`journal.log`, Optuna's journal; `provenance.json`; and their checksums.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import platform
import shutil
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import optuna
import torch
from filelock import FileLock, Timeout
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.pruners import MedianPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import BaseTrial, FixedTrial, FrozenTrial, Trial, TrialState
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from aelib import code, cores, probe, runs
from aelib.data import Garments
from aelib.errors import AelibError, a_seed, at_least_one
from aelib.hyperparameters import TrainingConfig
from aelib.models import AutoencoderConfig, SymmetricAutoencoder
from aelib.models.layers import Conv
from aelib.profiles import Profile, find_profile

FILES = ("config.json", "journal.log", "provenance.json")
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

SILENCE = 600.0
"""Seconds without a new epoch after which a worker on another machine counts as dead; an epoch takes one or two
minutes at worst. A worker that was only slow loses its trial, and nothing is counted twice."""
UNCLAIMED = 10.0
"""Seconds that a worker has to say that a new trial is its own."""

TPE: dict[str, Any] = {
    "n_ei_candidates": 24,
    "multivariate": False,
    "group": False,
    # Of use to several workers; one worker has no other running trial to keep away from.
    "constant_liar": True,
}
"""Options of the sampler, as they were in 2022."""
MEDIAN: dict[str, int] = {"n_startup_trials": 10, "n_warmup_steps": 20, "interval_steps": 10, "n_min_trials": 1}
"""Options of the report's pruner; a trial's steps are its epochs, counted from 0."""

REPORTS_CHOICE = {
    "conv": 1,
    "channels": "32-32-64",
    "linear_units": 256,
    "latent_dim": 30,
    "instance_norm": True,
    "optimizer": "adamax",
    "weight_decay": 5.27e-7,
}
"""Table 2 as a point of the search space."""


class SymmetricAutoencoderHPS:
    """The search space of Table 1; dropout and activation are fixed (Table 2)."""

    conv: ClassVar = {
        1: (Conv(3, 2, 1), Conv(3, 2, 1), Conv(3, 1, 0)),
        2: (Conv(5, 2, 1), Conv(5, 2, 1), Conv(3, 1, 1)),
        3: (Conv(7, 2, 1), Conv(5, 2, 1), Conv(3, 1, 1)),
    }
    channels: ClassVar = {"16-32-32": (16, 32, 32), "16-32-64": (16, 32, 64), "32-32-64": (32, 32, 64)}

    def sample_model(self, trial: BaseTrial) -> AutoencoderConfig:
        """A shape, as `trial` suggests it."""
        return AutoencoderConfig(
            conv=self.conv[trial.suggest_categorical("conv", list(self.conv))],
            channels=self.channels[trial.suggest_categorical("channels", list(self.channels))],
            linear_units=trial.suggest_int("linear_units", 128, 256, step=8),
            latent_dim=trial.suggest_int("latent_dim", 10, 40, step=2),
            instance_norm=trial.suggest_categorical("instance_norm", [True, False]),
        )

    def sample_training(self, trial: BaseTrial) -> TrainingConfig:
        """An optimiser and its L2 penalty, as `trial` suggests them; the finder chooses the learning rate."""
        return TrainingConfig(
            optimizer=trial.suggest_categorical("optimizer", ["adam", "sgd", "adamax"]),
            weight_decay=trial.suggest_float("weight_decay", 1e-7, 1e-4, log=True),
            learning_rate=None,
            max_epochs=60,
            patience=10,
            min_delta=1e-3,
        )


def distribution(space: BaseDistribution) -> str:
    """What values `space` holds, in words."""
    if isinstance(space, CategoricalDistribution):
        return ", ".join(str(each).replace("True", "yes").replace("False", "no") for each in space.choices)
    assert isinstance(space, (FloatDistribution, IntDistribution))
    steps = "uniform in the logarithm" if space.log else f"in steps of {space.step}"
    return f"{space.low:g} to {space.high:g}, {steps}"


class _Sampler(BaseSampler):
    """TPE without a memory: what it proposes depends on the seed, the trial's number and the other trials.

    One worker that was killed and started again therefore proposes what it would have proposed. Of the first trials, by
    number, the finished ones do not matter, however many others have finished when one is taken up again.
    """

    def __init__(self, seed: int, startup: int) -> None:
        self.seed, self.startup = seed, startup

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}  # as in 2022: each parameter by itself

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        # Optuna is giving up its other options as arguments; their values are still those of 2022.
        key = [self.seed, trial.number, zlib.crc32(param_name.encode())]
        tpe = TPESampler(
            n_startup_trials=self.startup if trial.number >= self.startup else sys.maxsize,
            seed=int(np.random.SeedSequence(key).generate_state(1)[0]),
            **TPE,
        )
        return tpe.sample_independent(study, trial, param_name, param_distribution)


@dataclass(frozen=True)
class Plan:
    """Which study, and where it is kept.

    Attributes:
        profile: a key of `PROFILES`.
        seed: of the proposals and of each training; at least 0.
        storage: URL of a database that Optuna knows, or None for a journal file in the results.
        folder: where runs are kept.

    Raises:
        AelibError: the profile is unknown, or the seed out of range.
    """

    profile: str = "report"
    seed: int = 0
    storage: str | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        find_profile(self.profile)
        a_seed(self.seed)

    @property
    def trials(self) -> int:
        """How many."""
        return find_profile(self.profile).trials

    def pruner(self) -> MedianPruner:
        """The report's."""
        return MedianPruner(**MEDIAN)

    def sampler(self) -> _Sampler:
        """The report's TPE: random in the first half of the trials."""
        return _Sampler(self.seed, self.trials // 2)

    def config(self) -> dict[str, Any]:
        """All that decides the study, as JSON values."""
        profile, space, trial = find_profile(self.profile), SymmetricAutoencoderHPS(), FixedTrial(REPORTS_CHOICE)
        model, settings = space.sample_model(trial), _limited(space.sample_training(trial), profile)
        return {
            "space": {name: json.loads(distribution_to_json(each)) for name, each in trial.distributions.items()},
            "conv": runs.plain({str(number): convs for number, convs in space.conv.items()}),
            "fixed": {
                "dropout": model.dropout,
                "max_epochs": settings.max_epochs,
                "patience": settings.patience,
                "min_delta": settings.min_delta,
            },
            "sampler": f"TPE, {'all parameters together' if TPE['multivariate'] else 'each parameter by itself'}, "
            f"{TPE['n_ei_candidates']} candidates",
            "pruner": f"median, {MEDIAN['n_startup_trials']} trials to start, from epoch {MEDIAN['n_warmup_steps']}, "
            f"every {MEDIAN['interval_steps']} epochs",
            "trials": self.trials,
            "data": {"sha256": profile.sha256} | asdict(profile.split),
            "seed": self.seed,
        }

    @cached_property
    def path(self) -> Path:
        """Where the finished study is."""
        return runs.run_path((self.folder or runs.results_folder()) / self.profile, "study", self.config())

    @property
    def workspace(self) -> Path:
        """Where it is in the making."""
        return self.path.with_name(f".{self.path.name}.partial")

    @cached_property
    def here(self) -> str:
        """A digest of this machine and folder, for other workers to read."""
        return hashlib.sha256(f"{platform.node()}:{self.workspace.resolve()}".encode()).hexdigest()[:16]


def _limited(settings: TrainingConfig, profile: Profile) -> TrainingConfig:
    return replace(settings, max_epochs=profile.epochs(settings.max_epochs))


@dataclass(frozen=True)
class Search:
    """A finished study, read back and verified from `path`; `checksum` stands for all its files.

    Attributes:
        trials: Optuna's, by number.
        config: all that decides the study, as JSON values.
        provenance: how, where and when it was made, as JSON values.
    """

    trials: list[FrozenTrial]
    config: dict[str, Any]
    provenance: dict[str, Any]
    path: Path
    checksum: str

    @property
    def best(self) -> FrozenTrial:
        """The trial that reached the lowest validation loss."""
        return _best(self.trials)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The space, by parameter."""
        return self.best.distributions

    @property
    def values(self) -> np.ndarray:
        """Lowest validation loss of each trial, (N,); NaN where it failed."""
        lowest = [min(each.intermediate_values.values(), default=np.nan) for each in self.trials]
        failed = [each.state == TrialState.FAIL for each in self.trials]
        return np.where(failed, np.nan, lowest)

    @property
    def pruned(self) -> np.ndarray:
        """Whether each trial, (N,), was pruned."""
        return np.array([each.state == TrialState.PRUNED for each in self.trials])

    def winner(self) -> tuple[AutoencoderConfig, TrainingConfig]:
        """The best trial's shape and training, with the learning rate it found and the schedule of Table 2."""
        space, trial = SymmetricAutoencoderHPS(), FixedTrial(self.best.params)
        settings, schedule = space.sample_training(trial), TrainingConfig()
        settings = replace(
            settings,
            learning_rate=self.best.user_attrs["learning_rate"],
            max_epochs=schedule.max_epochs,
            patience=schedule.patience,
            min_delta=schedule.min_delta,
        )
        return space.sample_model(trial), settings

    def value_of(self, losses: Iterable[float]) -> float:
        """What a trial would have reported, had it seen these validation losses, one an epoch, and not been pruned."""
        fixed, best, waited = self.config["fixed"], np.inf, 0
        seen = []
        for loss in islice(losses, fixed["max_epochs"]):
            seen.append(loss)
            best, waited = (loss, 0) if loss < best - fixed["min_delta"] else (best, waited + 1)
            if waited == fixed["patience"]:
                break
        return min(seen)


STUDY = "SymmetricAutoencoder"
"""The name of a finished study in its journal."""


def obtain(plan: Plan, *, workers: int = 1) -> Search:
    """The study: read if it is there, run to its end and kept if not.

    Args:
        workers: processes on this machine; they share its cores. With one, the study can be repeated bit for bit.

    Raises:
        AelibError: the study is damaged, its storage cannot be reached, the data cannot be had, or all workers died.
    """
    at_least_one("workers", workers)
    if plan.path.exists() and plan.storage is not None:
        _existing(plan.storage)  # or the line that says why it cannot be used
        _say(
            f"the study is finished, in {plan.path}: the storage has nothing to add; to search again, "
            "choose another --seed, or another folder in AELIB_RESULTS"
        )
    if not plan.path.exists():
        runs.nothing_new(plan.path)
        with runs.unwritable_explained(plan.path.parent):
            plan.workspace.mkdir(parents=True, exist_ok=True)
            if workers == 1:
                work(plan)
            else:
                _share(plan, workers)
            _publish(plan)
    search = load(plan)
    why = doubt(search.path)
    code.say(f"study {search.path.name}", why, f"; again: `{command(search.path)}`" if why == code.STALE else "")
    return search


def command(path: Path) -> str:
    """What makes the finished study at `path` again."""
    return f"rm -r {path}; aelib study{runs.options(path.parent.name, runs.about(path)[0]['seed'])}"


def load(plan: Plan) -> Search:
    """Read the finished study and verify every file of it.

    Raises:
        AelibError: there is none, or it is damaged.
    """
    path = plan.path
    if not path.exists():
        raise AelibError(f"there is no finished study in {path}: run `aelib study --profile {plan.profile}`")
    content, checksum = runs.read(path, FILES)
    config, provenance = json.loads(content["config.json"]), json.loads(content["provenance.json"])
    return Search(_finished(path).get_trials(deepcopy=False), config, provenance, path, checksum)


def _finished(path: Path) -> optuna.Study:
    return optuna.load_study(study_name=STUDY, storage=_journal(path / "journal.log"))


def work(plan: Plan) -> None:
    """Take one trial after another until all are finished."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    garments = find_profile(plan.profile).garments()
    try:
        with runs.unwritable_explained(plan.path.parent), _unreachable_explained():
            storage = _open(plan)
            while claim := _claim(plan, storage):
                study, trial, lock = claim
                with lock:
                    try:
                        _run(plan, study, trial, garments)
                    except (_Lost, UpdateFinishedTrialError):
                        ended = STATES.get(_record(trial).state)
                        how = f"ended by another program ({ended})" if ended else "taken over by another worker"
                        _say(f"trial {trial.number} was {how}")
    except FileNotFoundError:
        if not plan.path.exists():
            raise
        # Another command on this machine has finished the study and put it in its place.
    except KeyError as error:
        if plan.path.name in optuna.get_all_study_names(storage):
            raise
        raise AelibError(
            f"another program has deleted the study {plan.path.name} from its storage: start again to begin it anew"
        ) from error


class _Lost(Exception):
    """Another worker took this trial for abandoned, and has it now."""


def _run(plan: Plan, study: optuna.Study, trial: Trial, garments: Garments) -> None:
    """Train what `trial` proposes, and tell the study what came out."""
    from aelib import training  # and with it Lightning, which takes seconds: to read a study needs neither

    if wanted := _record(trial).system_attrs.get("fixed_params"):
        _say(f"trial {trial.number} takes what somebody has enqueued: {wanted}")
    space = SymmetricAutoencoderHPS()
    try:
        model = space.sample_model(trial)
        settings = _limited(space.sample_training(trial), find_profile(plan.profile))
    except (AelibError, LookupError, TypeError, ValueError) as error:
        if not wanted:
            raise
        why = f"enqueued with parameters that are not of the search space ({type(error).__name__}: {error})"
        trial.set_user_attr("reason", why)
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        _say(f"trial {trial.number} failed: {why}")
        return
    # Named by what is trained: another storage's trial of the same number is another training.
    config = runs.plain({"model": asdict(model), "training": asdict(settings)})
    folder = plan.workspace / f"trial-{trial.number}-{runs.fingerprint(config)[:8]}"
    folder.mkdir(exist_ok=True)
    began, before, reported = time.perf_counter(), 0.0, len(_record(trial).intermediate_values)
    resumed = (folder / "checkpoint").exists()
    origin = _origin(model, settings)
    facts = _record(trial).user_attrs
    same = code.alike(facts.get("code"), origin)
    if (reported or resumed) and not (same and facts.get("torch", torch.__version__) == torch.__version__):
        how = "another version of torch" if same else "code that trains otherwise"
        _say(f"trial {trial.number} was begun by {how}: another takes its place")
        _give_up(study, trial)
        shutil.rmtree(folder)
        return
    trial.set_user_attr("code", origin)
    trial.set_user_attr("torch", torch.__version__)
    seen: list[dict[str, float]] = []

    def watch(rows: list[dict[str, float]], seconds: list[float]) -> None:
        nonlocal before, reported, resumed, seen
        if resumed:
            before, resumed = sum(seconds), False
        seen = rows
        if not _is_ours(plan, trial):
            raise _Lost
        for step in range(reported, len(rows)):
            trial.report(rows[step]["validation_loss"], step)
        reported = len(rows)
        if trial.should_prune():
            raise optuna.TrialPruned

    value, state, reason, here, threads = None, TrialState.FAIL, None, runs.provenance(), None
    try:
        split = find_profile(plan.profile).split
        network, loaders = probe.begin(lambda images: (SymmetricAutoencoder(model), images), garments, split, plan.seed)
        trial.set_user_attr("parameters", sum(parameter.numel() for parameter in network.parameters()))
        history = training.fit(network, loaders, settings, seed=plan.seed, folder=folder, watch=watch, origin=origin)
        value, state = history.rows[history.best_epoch - 1]["validation_loss"], TrialState.COMPLETE
        threads = history.threads
    except optuna.TrialPruned:
        state = TrialState.PRUNED
    except training.Diverged as error:
        reason = str(error)
    except (MemoryError, RuntimeError) as error:
        if not training.out_of_memory(error):
            raise
        reason = "out of memory"
    seconds = before + time.perf_counter() - began
    facts = {
        "epochs": len(seen),
        "learning_rate": seen[-1]["learning_rate"] if seen else None,
        "seconds": round(seconds, 1),
        "commit": here["commit"],
        "uncommitted_changes": here["uncommitted_changes"],
        "device": training.choose_engine(0).device,
        "threads": threads,
        "hardware": here["hardware"] | {"threads": torch.get_num_threads()},
        "reason": reason,
    }
    if not _is_ours(plan, trial):
        raise _Lost  # an outcome of ours, such as a want of memory, is not the other worker's
    for name, fact in facts.items():
        trial.set_user_attr(name, fact)
    study.tell(trial, value, state=state, skip_if_finished=True)
    shutil.rmtree(folder)
    outcome = reason or f"{min(row['validation_loss'] for row in seen):.5f}"
    _say(f"trial {trial.number} {STATES[state]}: {outcome} after {len(seen)} epochs, {seconds:.0f} s")


def _origin(model: AutoencoderConfig, settings: TrainingConfig) -> dict[str, Any]:
    """What a trial keeps of the code (`aelib.code`)."""
    return probe.record(f"a trial's {model}", lambda images: (SymmetricAutoencoder(model), images), settings)


def doubt(path: Path) -> str:
    """Why the finished study at `path` may not be what today's code makes, in words; empty where it is.

    Looks at the best trial of each optimiser: to probe all of them would take a minute.
    """
    _, provenance = runs.about(path)
    if not provenance.get("code"):
        return code.UNRECORDED
    if provenance["code"]["digests"] == [code.digest()]:
        return ""
    space, best = SymmetricAutoencoderHPS(), dict[str, FrozenTrial]()
    trials = [each for each in _finished(path).get_trials(deepcopy=False) if not _is_foreign(each)]
    for trial in sorted(trials, key=lambda each: each.value or np.inf):
        best.setdefault(trial.params["optimizer"], trial)
    for trial in best.values():
        fixed = FixedTrial(trial.params)
        if not code.alike(trial.user_attrs["code"], _origin(space.sample_model(fixed), space.sample_training(fixed))):
            return code.STALE
    return ""


def _give_up(study: optuna.Study, trial: Trial) -> None:
    """Finish `trial` as one that does not count."""
    with suppress(UpdateFinishedTrialError):  # by another program
        trial.set_user_attr("surplus", True)
    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


STATES = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def _say(line: str) -> None:
    print(f"aelib: {line}", file=sys.stderr, flush=True)


def _record(trial: Trial) -> FrozenTrial:
    """What the storage knows of `trial` now."""
    return trial.storage.get_trial(trial._trial_id)


def _is_ours(plan: Plan, trial: Trial) -> bool:
    """Whether `trial` is still this worker's: no other one has it, and no other program has ended it."""
    record = _record(trial)
    return record.state == TrialState.RUNNING and record.user_attrs.get("where") == plan.here


def _is_foreign(record: FrozenTrial) -> bool:
    """Whether another program has ended this trial: it has no training to show."""
    return record.state in FINISHED and "seconds" not in record.user_attrs


def _reason(record: FrozenTrial) -> str:
    """Why this trial failed, or counts as one that has."""
    return record.user_attrs.get("reason") or f"{STATES[record.state]} by another program, without a training"


def _claim(plan: Plan, storage: BaseStorage) -> tuple[optuna.Study, Trial, FileLock] | None:
    """A trial to work on, which is `plan.here`'s until the lock is released; None when all are finished.

    Trials whose worker has died come first, so that a worker that was killed goes on where it was.
    """
    signs: dict[int, tuple[Any, float]] = {}  # of life: what each running trial showed last, and since when
    while True:
        # Opened anew each time: a study keeps what it has read.
        study = optuna.load_study(
            study_name=plan.path.name, storage=storage, sampler=plan.sampler(), pruner=plan.pruner()
        )
        trials = study.get_trials(deepcopy=False)
        unclaimed = False
        for record in trials:
            if record.state != TrialState.RUNNING:
                continue
            where = record.user_attrs.get("where")
            sign = (where, len(record.intermediate_values))
            if signs.get(record.number, (None, 0.0))[0] != sign:
                signs[record.number] = (sign, time.monotonic())
            silent = time.monotonic() - signs[record.number][1]
            if where == plan.here or silent > (SILENCE if where else UNCLAIMED):
                trial = Trial(study, record._trial_id)
                if lock := _hold(plan, trial, takeover=where != plan.here):
                    _say(f"trial {trial.number} goes on: its worker has stopped")
                    return study, trial, lock
            unclaimed = unclaimed or where is None
        counted = _counted(trials)
        if len(counted) < plan.trials and not unclaimed:
            trial = study.ask()
            # Two machines may have asked for the last one at once: the later is one too many.
            before = [each for each in study.get_trials(deepcopy=False) if each.number < trial.number]
            if len(_counted(before)) >= plan.trials:
                _give_up(study, trial)
            elif lock := _hold(plan, trial, takeover=False):
                return study, trial, lock
            continue
        if all(record.state in FINISHED for record in counted):
            return None
        time.sleep(0.2 if unclaimed else 2)


def _counted(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """`trials` without those that were one too many, begun by code that trains otherwise, or are only enqueued."""
    return [each for each in trials if "surplus" not in each.user_attrs and each.state != TrialState.WAITING]


def _hold(plan: Plan, trial: Trial, *, takeover: bool) -> FileLock | None:
    """The lock of `trial`, and its name on it; None if another worker has it, or has finished it."""
    lock = _lock(plan, trial.number)
    if lock is None:
        return None
    if _record(trial).state == TrialState.RUNNING:
        with suppress(UpdateFinishedTrialError):  # by another program
            trial.set_user_attr("where", plan.here)
        if takeover:
            time.sleep(2)  # if another machine takes it over at the same time, the last to say so has it
        if _is_ours(plan, trial):
            return lock
    lock.release()
    return None


def _lock(plan: Plan, number: int) -> FileLock | None:
    """The lock of the trial of that number, if no worker of this machine has it."""
    # Held by the system on behalf of the process: a killed one leaves no lock behind.
    lock = FileLock(plan.workspace / f"trial-{number}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def _share(plan: Plan, workers: int) -> None:
    """Run `workers` processes until the study is finished; one that dies does not stop the others."""
    threads = max(1, cores.available() // workers)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_worker, args=(plan, threads)) for _ in range(workers)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.terminate()
    died = [process.exitcode for process in processes if process.exitcode]
    if died:
        _say(f"{len(died)} of {workers} workers stopped early (exit status {', '.join(map(str, died))})")
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


@dataclass(frozen=True)
class Status:
    """How a study stands.

    Attributes:
        asked: how many trials it is to have.
        records: the trials so far, Optuna's.
        idle: numbers of the trials that wait for a worker of this machine to go on.
    """

    asked: int
    records: list[FrozenTrial]
    idle: list[int]

    def count(self, state: TrialState) -> int:
        """How many trials are in `state`."""
        return sum(record.state == state for record in self.records)

    @property
    def finished(self) -> bool:
        """Whether all the trials asked for are."""
        return sum(self.count(state) for state in FINISHED) >= self.asked

    @property
    def best(self) -> FrozenTrial | None:
        """The trial that reached the lowest validation loss, if one is complete."""
        return _best(self.records) if any(_is_result(each) for each in self.records) else None

    @property
    def seconds_left(self) -> float | None:
        """An estimate: what is left takes as long, on average, as what is done; None before anything is."""
        done = [record for record in self.records if record.state in FINISHED]
        spent = [record.user_attrs["seconds"] for record in done if not _is_foreign(record)]
        if not spent:
            return None
        workers = max(1, self.count(TrialState.RUNNING) - len(self.idle))
        return float(np.mean(spent)) * (self.asked - len(done)) / workers


def status(plan: Plan) -> Status:
    """How the study stands, now, in the storage that is asked for; in results, a finished one comes first."""
    nothing = Status(plan.trials, [], [])
    storage: BaseStorage | None
    if plan.storage is not None:
        storage = _existing(plan.storage)
    elif plan.path.exists():
        return Status(plan.trials, load(plan).trials, [])
    else:
        storage = _storage(plan) if (plan.workspace / "journal.log").exists() else None
    if storage is None:
        return nothing
    try:
        with _unreachable_explained():
            study = optuna.load_study(study_name=plan.path.name, storage=storage)
            records = _counted(study.get_trials())
    except KeyError:  # nobody has begun
        return nothing
    return Status(plan.trials, records, [each.number for each in records if _is_idle(plan, each)])


def describe(status: Status) -> list[str]:
    """`status` in a few lines."""
    count = {state: status.count(state) for state in (*FINISHED, TrialState.RUNNING)}
    done = ", ".join(f"{count[state]} {STATES[state]}" for state in FINISHED)
    left = status.asked - sum(count.values())
    lines = [f"{status.asked} trials: {done}, {count[TrialState.RUNNING]} running, {max(0, left)} to come"]
    for record in status.records:
        if record.state == TrialState.RUNNING:
            losses = list(record.intermediate_values.values())
            best = f", {min(losses):.5f} so far" if losses else ""
            stopped = " (its worker has stopped)" if record.number in status.idle else ""
            lines.append(f"  trial {record.number}: epoch {len(losses)}{best}{stopped}")
        elif record.state == TrialState.FAIL or _is_foreign(record):
            how = "counts as failed" if _is_foreign(record) else "failed"
            lines.append(f"  trial {record.number} {how}: {_reason(record)}")
    if status.best:
        best = ", ".join(f"{name} {value}" for name, value in status.best.params.items())
        lines.append(f"best: {status.best.value:.5f}, trial {status.best.number} ({best})")
    if status.seconds_left and not status.finished:
        lines.append(f"about {status.seconds_left / 60:.0f} min left")
    return lines


def _is_idle(plan: Plan, record: FrozenTrial) -> bool:
    if record.state != TrialState.RUNNING or record.user_attrs.get("where") != plan.here:
        return False
    lock = _lock(plan, record.number)
    if lock:
        lock.release()
    return lock is not None


def _is_result(record: FrozenTrial) -> bool:
    return record.state == TrialState.COMPLETE and not _is_foreign(record)


def _best(trials: list[FrozenTrial]) -> FrozenTrial:
    return min((each for each in trials if _is_result(each)), key=lambda each: each.value or 0.0)


class _JournalLock(JournalFileOpenLock):
    """The system's lock, which a killed process does not leave behind; it also mends what such a process leaves.

    A line that was not written to its end, by a killed writer or onto a full disk, never happened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path, self.lock = path, FileLock(path.with_name(path.name + ".lock"))

    def acquire(self) -> bool:
        self.lock.acquire()
        with self.path.open("rb+") as file:
            if size := file.seek(0, os.SEEK_END):
                file.seek(size - 1)
                if file.read() != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self.lock.release()


def _journal(path: Path) -> JournalStorage:
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_JournalLock(path)))
    except (ValueError, KeyError, AssertionError) as error:  # the last one: what a newer Optuna has written
        raise runs.damaged(path.parent, f"{path.name} is not a journal of Optuna's") from error


def _storage(plan: Plan) -> BaseStorage:
    if plan.storage is not None:
        return _database(plan.storage)
    plan.workspace.mkdir(parents=True, exist_ok=True)
    return _journal(plan.workspace / "journal.log")


def _open(plan: Plan) -> BaseStorage:
    """The storage of `plan`, with the study in it."""
    storage = _storage(plan)
    optuna.create_study(study_name=plan.path.name, storage=storage, direction="minimize", load_if_exists=True)
    return storage


@contextmanager
def _unreachable_explained() -> Iterator[None]:
    """Turns what a database says when it goes away into one line.

    Raises:
        AelibError: it has.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = error.__cause__ or error
        raise AelibError(
            f"the storage cannot be reached any more: {str(cause).splitlines()[0]}; trials that are done are kept, "
            "and others go on from their last epoch when it is there again"
        ) from error


def _existing(url: str) -> RDBStorage | None:
    """The database of that address; None, which is said, where it is a file that is not there: none is made.

    Raises:
        AelibError: it cannot be reached, or used.
    """
    with suppress(ArgumentError):
        address = make_url(url)
        if address.get_backend_name() == "sqlite" and address.database and not Path(address.database).exists():
            _say(f"there is no file {address.database}: nobody has begun, or the address is another one")
            return None
    return _database(url)


def _database(url: str) -> RDBStorage:
    for last in (False, False, True):
        try:
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        except (ImportError, ArgumentError, RuntimeError) as error:  # the last one: of another version of Optuna
            raise AelibError(f"the storage cannot be used: {str(error).splitlines()[0]}") from error
        except SQLAlchemyError as error:
            # Two workers that start at once may both try to make the tables: the second finds them.
            if last:
                raise AelibError(f"the storage cannot be reached: {str(error).splitlines()[0]}") from error
            time.sleep(1)
    raise AssertionError


def _is_kept(record: FrozenTrial) -> bool:
    """Whether a trial has a place in the finished study, and made to fit there.

    One that another program has ended counts as failed; where it has no parameters of the space, it is left out.
    """
    record.user_attrs.pop("where", None)  # of no use once it is finished
    if not _is_foreign(record):
        return True
    space, fixed = SymmetricAutoencoderHPS(), FixedTrial(REPORTS_CHOICE)
    space.sample_model(fixed), space.sample_training(fixed)
    inside = record.distributions == fixed.distributions and all(
        each._contains(each.to_internal_repr(record.params[name])) for name, each in fixed.distributions.items()
    )
    _say(f"trial {record.number} {'counts as failed' if inside else 'is left out'}: {_reason(record)}")
    if inside:
        network = SymmetricAutoencoder(space.sample_model(FixedTrial(record.params)))
        parameters = sum(each.numel() for each in network.parameters())
        about = {"reason": _reason(record), "epochs": len(record.intermediate_values), "parameters": parameters}
        record.user_attrs |= about | {"learning_rate": None, "seconds": 0.0, "commit": None}
        record.state, record.values = TrialState.FAIL, None
    return inside


def _publish(plan: Plan) -> None:
    """Write the finished study to its place, as a journal of one line a trial; the first worker to come does it."""
    with FileLock(plan.path.with_name(f".{plan.path.name}.lock")):
        if plan.path.exists():
            return
        now = status(plan)
        records = now.records
        if now.best is None:
            raise AelibError(
                f"none of the {len(records)} trials was completed; trial {records[0].number} failed: "
                f"{_reason(records[0])}. Mend that, delete "
                f"{plan.workspace if plan.storage is None else 'the study in its database'}, and start again"
            )
        journal = plan.workspace / "finished.log"
        journal.unlink(missing_ok=True)
        study = optuna.create_study(study_name=STUDY, storage=_journal(journal), direction="minimize")
        facts = [each.user_attrs for each in records if not _is_foreign(each)]
        records = [each for each in records if _is_kept(each)]
        study.add_trials(records)
        codes = [each.get("code") for each in facts]
        provenance = runs.provenance() | {
            "commits": sorted({each["commit"] for each in facts if each["commit"]}),
            "uncommitted_changes": any(each.get("uncommitted_changes") for each in facts),
            "code": {"digests": sorted({each["digest"] for each in codes if each})} if all(codes) else None,
            "engine": {"device": facts[0]["device"]},
            "training_seconds": round(sum(each["seconds"] for each in facts), 1),
            "storage": "journal" if plan.storage is None else plan.storage.partition(":")[0],
        }
        files = {
            "config.json": runs.to_json(plan.config()),
            "journal.log": journal.read_bytes(),
            "provenance.json": runs.to_json(provenance),
        }
        runs.publish(files, plan.path)
        shutil.rmtree(plan.workspace)
