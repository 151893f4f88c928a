"""What runs of several seeds say to each rule of the report's claims: a number per seed, or per seed and image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from torch.utils.flop_counter import FlopCounterMode

from aelib import engines, experiments, metrics, study
from aelib.errors import AelibError
from aelib.evaluate import evaluate
from aelib.profiles import find_profile
from aelib.provenance import precision_of
from aelib.runs import Run
from aelib.statements import OTHER_BETAS

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "AE": ("convolutional", {}),
    "DAE": ("denoising", {"per_batch": True}),
    "VAE": ("variational", {}),
    "head": ("transfer", {}),
    "CNN": ("cnn", {}),
    "CNN with transforms": ("cnn_augmented", {}),
}
"""The runs that the claims speak of: an experiment with its parameters. The report corrupts per batch."""

UNSTEADY = 20
"""Epochs after which the changes of a loss from one to the next are looked at."""


@dataclass(frozen=True)
class Seeds:
    """The runs that claims are decided on: trained, where they are missing.

    Attributes:
        seeds: of the runs, in the order of the numbers.
        profile: of the runs.
        folder: where they are kept.
    """

    seeds: Sequence[int]
    profile: str = "report"
    folder: Path | None = None
    _runs: dict[tuple[Any, ...], list[Run]] = field(default_factory=dict)

    def runs(self, kind: str, **changed: Any) -> list[Run]:
        """A run for each seed of one of `KINDS`, with parameters `changed`.

        Those of the CNNs but the first are summaries, with their answers.
        """
        key = (kind, *changed.items())
        if key not in self._runs:
            name, parameters = KINDS[kind]
            self._runs[key] = [
                experiments.obtain(
                    name,
                    seed=seed,
                    profile=self.profile,
                    folder=self.folder,
                    summary=name.startswith("cnn") and seed > 0,
                    weights=False,
                    maps=seed == 0 and not changed,
                    **parameters | changed,
                )
                for seed in self.seeds
            ]
        return self._runs[key]

    def metric(self, kind: str, name: str) -> np.ndarray:
        """A metric of the runs, (n,)."""
        return np.array([run.metrics[name] for run in self.runs(kind)])

    def found(self, kind: str, metric: str, name: str, **changed: Any) -> np.ndarray:
        """What an evaluation found, (n,) or (n, N)."""
        return np.stack([evaluate(run, metric)[name] for run in self.runs(kind, **changed)]).astype(np.float64)

    def history(self, kind: str, of: Callable[[np.ndarray], float]) -> np.ndarray:
        """Something of the validation losses of each run, (n,)."""
        return np.array([of(np.array([row["validation_loss"] for row in run.history])) for run in self.runs(kind)])

    @cached_property
    def confusions(self) -> list[np.ndarray]:
        """How often the CNN of each seed takes a garment of one class for one of another, and the reverse: (10, 10)."""
        matrices = []
        for run in self.runs("CNN"):
            labels = experiments.tested_on(run)[1]
            matrix = metrics.confusion_matrix(labels, run.arrays["predictions"].numpy())
            matrices.append(matrix + matrix.T)
        return matrices

    @cached_property
    def search(self) -> study.Search:
        """The study of the profile."""
        return study.obtain(study.Plan(self.profile, folder=self.folder))

    def again(self, params: Mapping[str, Any]) -> list[Run]:
        """A training for each seed as a trial of the study with `params` is: see `study.Search.again`.

        In the study's precision, where this machine has it.
        """
        key = ("again", *params.items())
        if key not in self._runs:
            engine, parameters = engines.same_engine(self.search.provenance["engine"]), self.search.again(params)
            options: dict[str, Any] = {
                "profile": self.profile,
                "folder": self.folder,
                "summary": True,
                "weights": False,
            }
            if engine:
                options["precision"] = engine.precision
            self._runs[key] = [
                experiments.obtain("convolutional", seed=seed, **options, **parameters) for seed in self.seeds
            ]
        return self._runs[key]

    def reached(self, runs: Sequence[Run]) -> np.ndarray:
        """The loss with which a trial of the study would have ended, had it gone as each of `runs` did, (n,)."""
        return np.array([self.search.value_of(row["validation_loss"] for row in run.history) for run in runs])

    @cached_property
    def best(self) -> list[FrozenTrial]:
        """The best trials of the study, the best first."""
        return study.ranked(self.search.trials)[: find_profile(self.profile).best]

    def random(self) -> np.ndarray:
        """The lowest validation loss of each trial of the study that was drawn at random, failed ones aside.

        By the trials' seeds: trials that were left out took numbers, which are given anew to those that are published.
        """
        plan = study.Plan(self.profile, folder=self.folder)
        drawn = {plan.seed_of(number) for number in range(plan.sampler().startup)}
        random = np.array([trial.user_attrs.get("seed") in drawn for trial in self.search.trials])
        return self.search.values[random & np.isfinite(self.search.values)]


def until_near(losses: np.ndarray) -> float:
    """The epoch, from 1, at which a loss is first within 10 % of its lowest value."""
    return float(np.argmax(losses <= 1.1 * losses.min()) + 1)


def unsteadiness(losses: np.ndarray) -> float:
    """Logarithm of the spread of the changes from epoch to epoch, after `UNSTEADY` epochs, or half of fewer."""
    changes = np.diff(losses[min(UNSTEADY, len(losses) // 2) :])
    return float(np.log(max(changes.std(), 1e-12))) if len(changes) else float("nan")


def multiplications(run: Run, method: str = "forward") -> float:
    """Of one answer of the model of `run`, its layers' products with what they are given, additions counted as well.

    Args:
        method: of the model, that is asked.
    """
    experiment = experiments.as_configured(run.config)
    model = experiment.model_class(experiment.model).eval()
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        getattr(model, method)(torch.zeros(1, *model.input_shape))
    return float(counted.get_total_flops())


def _sure(seeds: Seeds, kind: str) -> np.ndarray:
    return seeds.found(kind, "drawings", "sure").mean(1)


def _nearness(seeds: Seeds, place: str) -> np.ndarray:
    """Rank correlation of the classes' distances in a place with how often the CNN confuses them."""
    upper, found = np.triu_indices(10, 1), []
    for distances, confusions in zip(seeds.found("AE", "classes", f"{place}_distances"), seeds.confusions, strict=True):
        found.append(metrics.rank_correlation(distances[upper], confusions[upper]))
    return np.array(found)


def _log_difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.log(one) - np.log(other)


def _right(seeds: Seeds, kind: str) -> np.ndarray:
    return seeds.found(kind, "answers", "right")


def _ratio(seeds: Seeds, of: Callable[[Run], float]) -> np.ndarray:
    """Of the head over the CNN."""
    pairs = [*zip(seeds.runs("head"), seeds.runs("CNN"), strict=True)]
    for head, cnn in pairs if of is _seconds else ():
        if _machine(head) != _machine(cnn):
            raise AelibError(f"{head.path.name} and {cnn.path.name} are of two machines, whose times do not compare")
    return np.array([of(head) / of(cnn) for head, cnn in pairs])


def _machine(run: Run) -> tuple[Any, ...]:
    engine = run.provenance["engine"]
    return run.provenance["hardware"], engine["device"], precision_of(engine)


def _seconds(run: Run) -> float:
    return run.provenance["training_seconds"]


def _error(seeds: Seeds, kind: str) -> np.ndarray:
    return seeds.found(kind, "reconstructions", "error")


def _classes(seeds: Seeds, kind: str, name: str) -> np.ndarray:
    return seeds.found(kind, "classes", name)


def _from_prior(seeds: Seeds, **changed: float) -> np.ndarray:
    return seeds.found("VAE", "samples", "prior_frechet", **changed)


def _once(*values: Any) -> list[np.ndarray]:
    """Of one study, no sample: for each of several rules a number."""
    return [np.array([float(value)]) for value in values]


def _search_value(seeds: Seeds) -> list[np.ndarray]:
    return [np.mean([seeds.reached(seeds.again(trial.params)) for trial in seeds.best], axis=0)]


def _search_good(seeds: Seeds) -> list[np.ndarray]:
    reached, random = seeds.reached(seeds.again(seeds.best[0].params)), seeds.random()
    return [_log_difference(np.median(random), reached), *_once((random <= reached.mean()).mean())]


def _place(seeds: Seeds, name: str) -> float:
    """Where the median of a hyper-parameter of the best trials is in its range, from 0 to 1."""
    space, values = seeds.search.distributions[name], np.array([trial.params[name] for trial in seeds.best])
    assert isinstance(space, FloatDistribution | IntDistribution)
    low, high = space.low, space.high
    if space.log:
        values, low, high = np.log(values), np.log(low), np.log(high)
    return float((np.median(values) - low) / (high - low))


def _choices(seeds: Seeds, name: str) -> Sequence[Any]:
    space = seeds.search.distributions[name]
    assert isinstance(space, CategoricalDistribution)
    return space.choices


def _search_degrees(seeds: Seeds) -> list[np.ndarray]:
    most = max(_choices(seeds, "channels"), key=lambda name: sum(map(int, name.split("-"))))
    fewer = sum(trial.params["channels"] != most for trial in seeds.best)
    return _once(fewer, 1 - _place(seeds, "linear_units"), _place(seeds, "weight_decay"))


def _search_important(seeds: Seeds) -> list[np.ndarray]:
    first = np.array(study.most_important(seeds.search, times=find_profile(seeds.profile).bootstraps))
    return _once((first != "weight_decay").mean())


def _search_short(seeds: Seeds) -> list[np.ndarray]:
    named = ("conv", "channels", "instance_norm", "optimizer")
    tried = {tuple(trial.params[name] for name in named) for trial in seeds.search.trials}
    return _once(len(tried) / math.prod(len(_choices(seeds, name)) for name in named))


EVIDENCE: dict[str, Callable[[Seeds], list[np.ndarray]]] = {
    "ae-loss": lambda s: [s.metric("AE", "validation_loss")],
    "dae-loss": lambda s: [s.metric("DAE", "validation_loss")],
    "vae-loss": lambda s: [s.metric("VAE", "validation_loss")],
    "ae-epochs": lambda s: [s.metric("AE", "epochs")],
    "dae-epochs": lambda s: [s.metric("DAE", "epochs")],
    "vae-epochs": lambda s: [s.metric("VAE", "epochs")],
    "head-accuracy": lambda s: [s.metric("head", "test_accuracy")],
    "head-cross-entropy": lambda s: [s.metric("head", "test_loss")],
    "head-loss": lambda s: [s.metric("head", "validation_loss")],
    "head-rate": lambda s: [s.metric("head", "learning_rate")],
    "cnn-accuracy": lambda s: [s.metric("CNN", "test_accuracy")],
    "cnn-cross-entropy": lambda s: [s.metric("CNN", "test_loss")],
    "augmented-accuracy": lambda s: [s.metric("CNN with transforms", "test_accuracy")],
    "augmented-cross-entropy": lambda s: [s.metric("CNN with transforms", "test_loss")],
    "similar": lambda s: [_right(s, "head") - _right(s, "CNN")],
    "transforms": lambda s: [
        _right(s, "CNN with transforms") - _right(s, "CNN"),
        s.found("CNN", "answers", "cross_entropy") - s.found("CNN with transforms", "answers", "cross_entropy"),
    ],
    "smaller": lambda s: [_ratio(s, lambda run: run.metrics["parameters"]), _ratio(s, multiplications)],
    "quicker": lambda s: [1 / _ratio(s, _seconds)],
    "features": lambda s: [s.found("head", "behind_encoder", f"{name}_difference") for name in ("logit", "class")],
    "dae-similar": lambda s: [_log_difference(s.metric("DAE", "validation_loss"), s.metric("AE", "validation_loss"))],
    "dae-slower": lambda s: [s.history("DAE", until_near) - s.history("AE", until_near)],
    "dae-unstable": lambda s: [s.history("DAE", unsteadiness) - s.history("AE", unsteadiness)],
    "dae-worse": lambda s: [_error(s, "DAE") - _error(s, "AE")],
    "dae-confused": lambda s: [
        _sure(s, "DAE") - _sure(s, "AE"),
        _log_difference(s.found("DAE", "drawings", "frechet"), s.found("AE", "drawings", "frechet")),
    ],
    "denoises": lambda s: [(s.found("DAE", "restored", "after") > s.found("DAE", "restored", "before")).mean(1)],
    "details": lambda s: [s.found("DAE", "restored", "sharpness") - s.found("DAE", "restored", "sharpness_after")],
    "pca": lambda s: [_classes(s, "AE", "pca_neighbours"), _classes(s, "AE", "pca_silhouette")],
    "tsne": lambda s: [
        _classes(s, "AE", "tsne_neighbours"),
        _classes(s, "AE", "tsne_silhouette") - _classes(s, "AE", "pca_silhouette"),
    ],
    "neighbours": lambda s: [_nearness(s, "codes"), _nearness(s, "tsne")],
    "distinct": lambda s: [
        _classes(s, "VAE", name) - _classes(s, "AE", name)
        for name in ("pca_neighbours", "pca_silhouette", "codes_neighbours", "codes_silhouette")
    ],
    "acceptable": lambda s: [s.found("AE", "components", "error") - _error(s, "AE")],
    "confused": lambda s: [_sure(s, "AE")],
    "clearer": lambda s: [
        _sure(s, "VAE") - _sure(s, "AE"),
        s.found("AE", "drawings", "entropy") - s.found("VAE", "drawings", "entropy"),
        _log_difference(s.found("AE", "drawings", "frechet"), s.found("VAE", "drawings", "frechet")),
    ],
    "blurred": lambda s: [
        s.found("AE", "drawings", "sharpness") - s.found("VAE", "drawings", "sharpness"),
        s.found("AE", "reconstructions", "sharpness_after") - s.found("VAE", "reconstructions", "sharpness_after"),
    ],
    "sacrificed": lambda s: [
        _error(s, "VAE") - _error(s, "AE"),
        _log_difference(s.found("AE", "regularity", "kl"), s.found("VAE", "regularity", "kl")),
    ],
    "beta": lambda s: [_log_difference(_from_prior(s, beta=beta), _from_prior(s)) for beta in OTHER_BETAS],
    "independent": lambda s: [s.found("AE", "independence", "difference")],
    "search-value": _search_value,
    "search-good": _search_good,
    "search-degrees": _search_degrees,
    "search-latent": lambda s: _once(abs(_place(s, "latent_dim") - 0.5)),
    "search-important": _search_important,
    "search-short": _search_short,
}
"""By the name of a statement: for each of its rules, in their order, (n,) or (n, N); (1,) of what is no sample."""
