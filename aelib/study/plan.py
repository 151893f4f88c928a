"""Which study: what decides it, how it proposes and prunes, and where it is kept."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.samplers import TPESampler
from optuna.trial import BaseTrial, FixedTrial, FrozenTrial

from aelib import runs
from aelib.errors import a_seed
from aelib.hyperparameters import TrainingConfig
from aelib.models import AutoencoderConfig
from aelib.models.base import decisive, plain
from aelib.profiles import Profile, find_profile
from aelib.study.space import REPORTS_CHOICE, SymmetricAutoencoderHPS

TPE: dict[str, Any] = {"n_ei_candidates": 24, "multivariate": False, "group": False, "constant_liar": True}
"""Options of the sampler, as they were in 2022, but for the last one, which keeps several workers apart."""
MEDIAN: dict[str, int] = {"n_startup_trials": 10, "n_warmup_steps": 20, "interval_steps": 10, "n_min_trials": 1}
"""Options of the report's pruner; a trial's steps are its epochs, counted from 0."""


class _OfOurs(TPESampler):
    """TPE that learns nothing from trials that other programs have added with parameters of another space."""

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: optuna.Study
    ) -> dict[str, np.ndarray]:
        alike = [each for each in trials if search_space.items() <= each.distributions.items()]
        return super()._get_internal_repr(alike, search_space, study)


class Sampler(TPESampler):
    """TPE without a memory: what it proposes depends on the seed, the trial's number and the other trials.

    A worker that was killed and started again proposes what it would have proposed. The first trials, by number, are
    random, however many others have finished when one is taken up again.
    """

    def __init__(self, seed: int, startup: int) -> None:
        super().__init__(**TPE)
        self.seed, self.startup = seed, startup

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value of one parameter, see `BaseSampler`."""
        key = [self.seed, trial.number, zlib.crc32(param_name.encode())]
        tpe = _OfOurs(
            n_startup_trials=self.startup if trial.number >= self.startup else sys.maxsize,
            seed=int(np.random.SeedSequence(key).generate_state(1)[0]),
            **TPE,
        )
        return tpe.sample_independent(study, trial, param_name, param_distribution)


@dataclass(frozen=True)
class Plan:
    """Which study, and where it is kept; refuses a profile that is unknown, and a seed out of range.

    Attributes:
        profile: a key of `PROFILES`.
        seed: of the proposals, and with a trial's number of its training; at least 0.
        storage: URL of a database that Optuna knows, or None for a journal file in the results.
        folder: where runs are kept.
        dataset: images of one's own, see `aelib.data.own`; by default those of the profile.
    """

    profile: str = "report"
    seed: int = 0
    storage: str | None = None
    folder: str | Path | None = None
    dataset: str | Path | None = None

    def __post_init__(self) -> None:
        find_profile(self.profile, self.dataset)
        a_seed(self.seed)

    @property
    def effort(self) -> Profile:
        """How much of the report's is made."""
        return find_profile(self.profile, self.dataset)

    @property
    def trials(self) -> int:
        """How many."""
        return self.effort.trials

    def pruner(self) -> optuna.pruners.MedianPruner:
        """The report's."""
        return optuna.pruners.MedianPruner(**MEDIAN)

    def sampler(self) -> Sampler:
        """The report's TPE: random in the first half of the trials."""
        return Sampler(self.seed, self.trials // 2)

    def seed_of(self, number: int) -> int:
        """Of the training of the trial of that number.

        Each has its own: with one for all, a lucky draw of the learning-rate finder would belong to a shape, and the
        sampler would go after it.
        """
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])

    def sample(self, trial: BaseTrial) -> tuple[AutoencoderConfig, TrainingConfig]:
        """A model and its training, as `trial` suggests them, with no more epochs than the profile has."""
        model, training = SymmetricAutoencoderHPS().sample(trial)
        return model, replace(training, max_epochs=self.effort.epochs(training.max_epochs))

    def config(self) -> dict[str, Any]:
        """All that decides the study, as JSON values."""
        model, training = self.sample(trial := FixedTrial(REPORTS_CHOICE))
        return {
            "space": {name: json.loads(distribution_to_json(each)) for name, each in trial.distributions.items()},
            "conv": plain({str(number): convs for number, convs in SymmetricAutoencoderHPS.conv.items()}),
            "fixed": {"dropout": model.dropout}
            | {name: getattr(training, name) for name in ("max_epochs", "patience", "min_delta")},
            "sampler": f"TPE, each parameter by itself, {TPE['n_ei_candidates']} candidates",
            "pruner": f"median, {MEDIAN['n_startup_trials']} trials to start, from epoch {MEDIAN['n_warmup_steps']}, "
            f"every {MEDIAN['interval_steps']} epochs",
            "trials": self.trials,
            "data": {"sha256": self.effort.sha256} | decisive(self.effort.split),
            "seed": self.seed,
            "trial_seeds": "of the study's seed and the trial's number",
        }

    @cached_property
    def path(self) -> Path:
        """Where the finished study is."""
        return runs.run_path(runs.folder_of(self.folder) / self.profile, "study", self.config())

    @property
    def workspace(self) -> Path:
        """Where it is in the making."""
        return self.path.with_name(f".{self.path.name}.partial")

    @property
    def in_the_making(self) -> str:
        """What is to be deleted for the study to begin anew, in words."""
        return str(self.workspace) if self.storage is None else f"the study {self.path.name} in its database"

    @cached_property
    def here(self) -> str:
        """A digest of this machine and folder, for other workers to read."""
        return hashlib.sha256(f"{platform.node()}:{self.workspace.resolve()}".encode()).hexdigest()[:16]
