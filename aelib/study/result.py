"""What a study has found: how it stands while it is in the making, and the finished one on disk.

`results/<profile>/study-<first 8 of the fingerprint>/` holds a finished study: `config.json`, all that decides it;
`journal.log`, Optuna's journal; `provenance.json`; and their checksums; in `evaluations/` what was found of it since.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from aelib import code_version, doubts, epochs, metrics, probe, runs
from aelib.errors import AelibError
from aelib.hyperparameters import TrainingConfig
from aelib.models import AutoencoderConfig, SymmetricAutoencoder
from aelib.profiles import command_options, profile_of
from aelib.study.plan import Plan
from aelib.study.queue import counted, idle_lock, is_left_out
from aelib.study.space import SymmetricAutoencoderHPS
from aelib.study.storage import existing, journal, unreachable_explained

FILES = ("config.json", "journal.log", "provenance.json")
NAME = "SymmetricAutoencoder"
"""Of a finished study in its journal."""
STATES = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def is_foreign(record: FrozenTrial) -> bool:
    """Whether another program has ended this trial: it has no training to show."""
    return record.state.is_finished() and "seconds" not in record.user_attrs


def reason(record: FrozenTrial) -> str:
    """Why this trial failed, or counts as one that has."""
    return record.user_attrs.get("reason") or f"{STATES[record.state]} by another program, without a training"


def ranked(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The completed ones, by the validation loss that they reached, the lowest first."""
    complete = (each for each in trials if each.state == TrialState.COMPLETE and not is_foreign(each))
    return sorted(complete, key=lambda each: each.value or 0.0)


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
        return ranked(self.trials)[0]  # without one it would not have been published

    @property
    def distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """The space, by parameter."""
        return self.best.distributions

    @property
    def values(self) -> np.ndarray:
        """Lowest validation loss of each trial, (N,); NaN where it failed."""
        losses = [{} if each.state == TrialState.FAIL else each.intermediate_values for each in self.trials]
        return np.array([min(each.values(), default=np.nan) for each in losses])

    @property
    def pruned(self) -> np.ndarray:
        """Whether each trial, (N,), was pruned."""
        return np.array([each.state == TrialState.PRUNED for each in self.trials])

    @property
    def completed(self) -> np.ndarray:
        """Whether each trial, (N,), was completed."""
        return np.isfinite(self.values) & ~self.pruned

    @property
    def usual(self) -> np.ndarray:
        """Whether each trial, (N,), was completed and has a usual loss (`metrics.usual`) among those that were."""
        return self.completed & metrics.usual(np.where(self.completed, self.values, np.nan))

    def winner(self) -> tuple[AutoencoderConfig, TrainingConfig]:
        """The best trial's shape and training, with the learning rate it found and the schedule of Table 2."""
        model, chosen = SymmetricAutoencoderHPS().sample(FixedTrial(self.best.params))
        rate = self.best.user_attrs["learning_rate"]
        return model, TrainingConfig(optimizer=chosen.optimizer, weight_decay=chosen.weight_decay, learning_rate=rate)

    def again(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of a training like a trial's with `params`: with the finder, and stopped as early, but not pruned.

        For `experiments.obtain("convolutional", ...)`.
        """
        model, training = SymmetricAutoencoderHPS().sample(FixedTrial({**params}))
        shape = {name: each for name, each in vars(model).items() if name in params}
        return shape | asdict(training) | {"max_epochs": self.config["fixed"]["max_epochs"]}

    def value_of(self, losses: Iterable[float]) -> float:
        """What a trial would have reported, had it seen these validation losses, one an epoch, and not been pruned."""
        fixed, seen = self.config["fixed"], [*losses]
        end = epochs.length(seen, patience=fixed["patience"], min_delta=fixed["min_delta"], most=fixed["max_epochs"])
        return min(seen[:end])


def load(plan: Plan) -> Search:
    """Read the finished study of `plan` and verify every file of it.

    Raises:
        AelibError: there is none, or it is damaged.
    """
    if not runs.is_there(plan.path):
        raise AelibError(f"there is no finished study in {plan.path}: run `aelib study --profile {plan.profile}`")
    return read(plan.path)


def read(path: Path) -> Search:
    """The finished study at `path`, a folder, every file of it verified.

    Raises:
        AelibError: it is damaged.
    """
    content, checksum = runs.read(path, FILES)
    config, provenance = json.loads(content["config.json"]), json.loads(content["provenance.json"])
    return Search(_trials(path), config, provenance, path, checksum)


def _trials(path: Path) -> list[FrozenTrial]:
    return optuna.load_study(study_name=NAME, storage=journal(path / "journal.log")).get_trials(deepcopy=False)


def origin(model: AutoencoderConfig, training: TrainingConfig) -> dict[str, Any]:
    """What a trial keeps of the code (`aelib.code_version`)."""
    return probe.record(f"a trial's {model}", lambda images: (SymmetricAutoencoder(model), images), training)


def doubt(path: Path) -> str:
    """Why the finished study at `path` may not be what today's code makes, in words; empty where it is.

    Looks at the best trial of each optimiser: to probe all of them would take a minute.
    """
    if (why := doubts.known(path, runs.about(path)[1])) is not None:
        return why
    best = dict[str, FrozenTrial]()
    for trial in sorted(_trials(path), key=lambda each: each.value or np.inf):
        if not is_foreign(trial):
            best.setdefault(trial.params["optimizer"], trial)
    for trial in best.values():
        if not code_version.alike(
            trial.user_attrs["code"], origin(*SymmetricAutoencoderHPS().sample(FixedTrial(trial.params)))
        ):
            return doubts.remember(path, code_version.STALE)
    return doubts.remember(path, "")


def command(path: Path) -> str:
    """What makes the finished study at `path` again."""
    config, provenance = runs.about(path)
    return f"rm -r {path}; aelib study{command_options(profile_of(path, provenance), config['seed'], provenance)}"


@dataclass(frozen=True)
class Status:
    """How a study stands.

    Attributes:
        asked: how many trials it is to have.
        records: the trials so far, Optuna's.
        idle: numbers of the trials that wait for a worker of this machine to go on.
        left_out: those whose places others take.
    """

    asked: int
    records: list[FrozenTrial]
    idle: list[int]
    left_out: list[FrozenTrial]

    def count(self, state: TrialState) -> int:
        """How many trials are in `state`."""
        return sum(each.state == state for each in self.records)

    @property
    def finished(self) -> bool:
        """Whether all the trials asked for are."""
        return len(self.records) - self.count(TrialState.RUNNING) >= self.asked

    @property
    def best(self) -> FrozenTrial | None:
        """The trial that reached the lowest validation loss, if one is complete."""
        return next(iter(ranked(self.records)), None)


def status(plan: Plan) -> Status:
    """How the study stands, now, in the storage that is asked for; in results, a finished one comes first."""
    if plan.storage is None and runs.is_there(plan.path):
        return Status(plan.trials, load(plan).trials, [], [])
    trials, idle = list[FrozenTrial](), list[int]()
    if (storage := existing(plan)) is not None:
        with unreachable_explained(), suppress(KeyError):  # nobody has begun
            trials = optuna.load_study(study_name=plan.path.name, storage=storage).get_trials()
    records = counted(trials)
    for each in records:
        mine = each.state == TrialState.RUNNING and each.user_attrs.get("where") == plan.here
        if mine and (lock := idle_lock(plan, each.number)):
            lock.release()
            idle.append(each.number)
    return Status(plan.trials, records, idle, [each for each in trials if is_left_out(each)])


def describe(status: Status) -> list[str]:
    """`status` in a few lines."""
    done = ", ".join(f"{status.count(state)} {word}" for state, word in STATES.items())
    running, left = status.count(TrialState.RUNNING), max(0, status.asked - len(status.records))
    lines = [f"{status.asked} trials: {done}, {running} running, {left} to come"]
    for trial in status.records:
        if trial.state == TrialState.RUNNING:
            losses = trial.intermediate_values.values()
            best = f", {min(losses):.5f} so far" if losses else ""
            stopped = " (its worker has stopped)" if trial.number in status.idle else ""
            lines.append(f"  trial {trial.number}: epoch {len(losses)}{best}{stopped}")
        elif trial.state == TrialState.FAIL or is_foreign(trial):
            how = "counts as failed" if is_foreign(trial) else "failed"
            lines.append(f"  trial {trial.number} {how}: {reason(trial)}")
    lines += [f"  trial {each.number} is left out: {reason(each)}" for each in status.left_out]
    if status.best:
        params = ", ".join(f"{name} {value}" for name, value in status.best.params.items())
        lines.append(f"best: {status.best.value:.5f}, trial {status.best.number} ({params})")
    spent = [each.user_attrs["seconds"] for each in status.records if "seconds" in each.user_attrs]
    if spent and not status.finished:  # what is left takes as long, on average, as what is done
        minutes = np.mean(spent) / 60 * (running + left) / max(1, running - len(status.idle))
        lines.append(f"about {minutes:.0f} min left")
    return lines
