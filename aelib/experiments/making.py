"""Runs that are asked for: read where they are there, trained and kept where they are not."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aelib import code_version, cores, engines, probe, runs
from aelib.data import Garments
from aelib.errors import AelibError, a_seed, known
from aelib.experiments import opened, origin
from aelib.experiments.kinds import Experiment
from aelib.experiments.measures import halved, measure, summarise
from aelib.experiments.opened import TrainedRun
from aelib.experiments.registry import EXPERIMENTS, as_configured, configure, find_experiment, fitted, split_of
from aelib.models.base import decisive
from aelib.profiles import find_profile
from aelib.provenance import commit_checked_out, record_of_this_process
from aelib.runs import Contents, Run

Source = str | Mapping[str, Any] | None
"""What a run stands on, where that is not its experiment's default: the name of an experiment; or as a mapping its
name, as `experiment`, and parameters of it, and its own `source`, each of which may be left out."""


def obtain(
    name: str,
    *,
    profile: str = "report",
    dataset: str | Path | None = None,
    seed: int = 0,
    config: str = "report",
    source: Source = None,
    folder: str | Path | None = None,
    again: bool = False,
    summary: bool = False,
    weights: bool = True,
    maps: bool = True,
    precision: str | None = None,
    **parameters,
) -> TrainedRun:
    """The run of an experiment: read if it is there, trained and kept if not.

    Where aelib is installed, the runs that the report is about, of seed 0, come with it.

    Args:
        name: a key of `EXPERIMENTS`.
        profile: a key of `PROFILES`.
        dataset: images of one's own, see `aelib.data.own`; by default those of the profile.
        seed: of the initial weights, the order of the batches, and dropout; at least 0.
        config: `"report"`: the hyper-parameters that the report's study chose (Table 2); `"study"`: those that the
            study of this profile chose, which is run if it is not there.
        source: what it starts from, if it is an experiment that does, such as `"variational"` or `{"latent_dim": 16}`;
            of the same seed, unless it says another. It is obtained, too.
        folder: where runs are kept; `runs.results_folder()` by default.
        again: train even if the run is there.
        summary: be content with the history and the metrics, and keep no more if they have to be made: for
            comparisons of many trainings.
        weights: whether they are needed: a run whose weights were left out is trained again then, beside what is
            kept of it.
        maps: if it has to be made, keep the codes of an autoencoder and their map by t-SNE, which takes a minute, too.
        precision: if it has to be made, of its steps, see `engines.Engine`; the quickest here by default.
        parameters: fields of the experiment's model or training configuration, such as `latent_dim=16`, or of
            `SampleConfig`, such as `labels=100`, which the seed draws.

    Raises:
        AelibError: a name is unknown or a value out of range (found out before any work), the run is damaged,
            the data cannot be had, or the training diverged.
    """
    which = {"profile": profile, "dataset": dataset, "seed": seed, "config": config, "source": source, **parameters}
    check(name, **which)

    made = {"precision": precision, "maps": maps}
    options: dict[str, Any] = {"folder": runs.folder_of(folder), "summary": summary, "weights": weights, **which}
    asked = _asked(name, made, again=again, **options)
    assert asked is not None

    def make(workspace: Path) -> Contents:
        print(f"aelib: training {asked.path.name} in the {profile} profile", file=sys.stderr)
        garments = find_profile(profile, dataset).garments()
        try:
            return _make(asked, garments, workspace, maps=maps, precision=precision)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, AelibError) or not engines.out_of_memory(error):
                raise
            raise engines.OutOfMemory(
                f"the memory of this machine is too small for {asked.path.name}: make the network smaller, such as its "
                "latent_dim, linear_units or channels, or close other programs; what is done is kept"
            ) from error

    run = runs.load_or_make(asked.path, make, again=again)
    why = origin.doubt(asked.path)
    code_version.say(f"run {asked.path.name}", why, origin.mend(asked.path, why))
    return TrainedRun(**vars(run))


def find(
    name: str, *, folder: str | Path | None = None, summary: bool = False, weights: bool = True, **which
) -> TrainedRun | None:
    """The run that `obtain` would give, if it is there; None if anything would have to be trained.

    Args:
        folder, summary, weights, which: as of `obtain`, without those on how a run is made.

    Raises:
        AelibError: as `obtain`.
    """
    check(name, **which)

    asked = _asked(name, None, folder=runs.folder_of(folder), summary=summary, weights=weights, **which)
    return TrainedRun(**vars(runs.load(asked.path))) if asked and runs.is_there(asked.path) else None


def ladder(*, profile: str = "report", **which) -> dict[float, TrainedRun]:
    """Variational autoencoders along the β of `profile`, rising, some without weights; `which`: as of `obtain`."""
    betas = find_profile(profile).betas
    return {beta: obtain("variational", beta=beta, profile=profile, **which | {"weights": False}) for beta in betas}


def check(
    name: str,
    *,
    profile: str = "report",
    dataset: str | Path | None = None,
    seed: int = 0,
    config: str = "report",
    source: Source = None,
    **parameters,
) -> None:
    """Refuse what cannot be asked for, before any work.

    Raises:
        AelibError: a name is unknown or a value out of range.
    """
    options = {"profile": profile, "dataset": dataset, "seed": seed, "config": config}
    split = find_profile(profile, dataset).split
    a_seed(seed)
    experiment = find_experiment(name, config)
    of, theirs = source_asked(name, source)
    if of:
        check(of, **options | theirs)
        own = {key: value for key, value in theirs.items() if key not in (*options, "source")}
        experiment = experiment.standing_on(configure(EXPERIMENTS[of], **own))
    split_of(configure(experiment, **parameters), split, seed)


def source_asked(name: str, source: Source) -> tuple[str | None, dict[str, Any]]:
    """The experiment that a run of `name` stands on, and what is asked of that run; None if on none."""
    theirs = {"experiment": source} if isinstance(source, str) else {} if source is None else source
    if not isinstance(theirs, Mapping):
        raise AelibError(
            f"source must be the name of an experiment, or a mapping with parameters of it, not {source!r}"
        )
    not_theirs = ("name", "profile", "dataset", "config", "folder", "summary", "weights", "again", "maps", "precision")
    for option in not_theirs:
        if option in theirs:  # it has those of the run that stands on it
            raise AelibError(f"source takes an experiment and parameters of it, and not {option!r}")
    default = EXPERIMENTS[name].source
    if default is None and theirs:
        raise AelibError(f"{name} starts from no other run: leave out source")
    of = theirs.get("experiment", default)
    return of and known("experiment", of, EXPERIMENTS), {key: theirs[key] for key in theirs if key != "experiment"}


@dataclass(frozen=True)
class Asked:
    """A training.

    Attributes:
        experiment: what of.
        decisive: what decides it, as JSON values.
        path: where its run is to be.
        source: the run that it stands on.
        about: what else its provenance is to tell: the profile, in what it differs from the default.
    """

    experiment: Experiment
    decisive: dict[str, Any]
    path: Path
    source: Run | None
    about: dict[str, Any]


def _asked(
    name: str,
    made: dict[str, Any] | None,
    *,
    folder: Path,
    summary: bool,
    weights: bool,
    again: bool = False,
    source_weights: bool = False,
    profile: str = "report",
    dataset: str | Path | None = None,
    seed: int = 0,
    config: str = "report",
    source: Source = None,
    **parameters,
) -> Asked | None:
    """What is asked for.

    Args:
        made: how the study and the source are made, if they are not there; None if they are not to be made: then what
            is asked for is None, too, where one of them is missing.
        source_weights: whether the source's weights are needed; if not, they are where the run is to be made.
    """
    chosen, experiment = find_profile(profile, dataset), EXPERIMENTS[name]
    if config == "study":
        from aelib import study  # and with it Optuna, which takes a second to import

        plan = study.Plan(profile, folder=folder, dataset=dataset)
        if made is None and not runs.is_there(plan.path):
            return None
        experiment = experiment.with_choice(*study.obtain(plan).winner())
    run, (of, theirs) = None, source_asked(name, source)
    if of:
        same = {"profile": profile, "dataset": dataset, "seed": seed, "config": config, "folder": folder}
        options: dict[str, Any] = {"weights": source_weights, **same, **theirs}
        run = find(of, **options) if made is None else obtain(of, **made | options)
        if run is None:
            return None
        experiment = experiment.standing_on(as_configured(run.config))
    experiment = fitted(configure(experiment, **parameters), chosen)
    config_of = {
        "experiment": name,
        "model": decisive(experiment.model),
        "training": decisive(experiment.training),
        "data": {"sha256": chosen.sha256} | decisive(split_of(experiment, chosen.split, seed)),
        "seed": seed,
        **experiment.settings(),
    }
    if run:
        config_of[experiment.source_key] = runs.digest_of_weights(run.path)

    def place(**variant: bool) -> Path:
        return runs.run_path(folder / profile, name, config_of | variant)

    there, variant = runs.is_there(place()), dict[str, bool]()
    lacking = weights and not summary and there and runs.has_left_out_weights(place())
    if summary and not there:
        variant = {"summary": True}
    elif lacking or (not there and runs.is_there(place(weights=True))):  # the latter where a worker was given it alone
        variant = {"weights": True}
    path, config_of = place(**variant), config_of | variant
    if run and not (run.weights or source_weights) and (again or not runs.is_there(path)):
        which = {"profile": profile, "dataset": dataset, "seed": seed, "config": config, "source": source, **parameters}
        options = {"folder": folder, "summary": summary, "weights": weights, "again": again}
        return _asked(name, made, source_weights=True, **options, **which)
    about = {"profile": profile, "differs": origin.differences(config_of, profile, run)}
    return Asked(experiment, config_of, path, run, about)


def _make(
    asked: Asked,
    garments: Garments,
    workspace: Path,
    *,
    like: dict[str, Any] | None = None,
    maps: bool = True,
    precision: str | None = None,
) -> Contents:
    from aelib import training  # and with it Lightning, which takes seconds: what is there already needs neither

    experiment, config, source = asked.experiment, asked.decisive, asked.source
    seed, commit, record = config["seed"], commit_checked_out(), origin.record(experiment, source)
    begin = origin.begin(experiment, opened.load_model(source) if source else None)
    model, loaders = probe.begin(begin, garments, opened.split_kept(config), seed)
    picture = experiment.picture(garments)
    as_before: dict[str, Any] = {"precision": precision}
    if like:
        as_before["engine"] = engines.same_engine(like["engine"])
        if as_before["engine"] and max((n for _, n in like.get("threads", [])), default=1) <= cores.available():
            as_before["threads"] = like.get("threads")
    history = training.fit(
        model, loaders, experiment.training, seed=seed, folder=workspace, picture=picture, origin=record, **as_before
    )
    with cores.limited(history.threads[-1][1]):  # t-SNE, too, would take all of them
        weights = {name: halved(value) for name, value in model.cpu().state_dict().items()}
        model.load_state_dict(weights)  # what is kept is what is measured
        arrays: dict[str, Tensor] = {}
        if config.get("summary"):
            weights, picture = {}, None
        if not experiment.keeps_much or (maps and not config.get("summary")):
            arrays = experiment.keepsakes(model, loaders)
        if picture is not None:
            arrays["pictures"] = history.pictures
        if history.curve:
            arrays["curve_learning_rates"] = torch.tensor(history.curve.learning_rates, dtype=torch.float64)
            arrays["curve_losses"] = torch.tensor(history.curve.losses, dtype=torch.float64)
        metrics = summarise(history.rows) | measure(model, loaders)
    provenance = record_of_this_process() | {
        **commit,
        "code": record,
        **asked.about,
        **garments.about,
        "weights": "float16",
        "engine": asdict(history.engine),
        "threads": history.threads,
        "training_seconds": round(sum(history.seconds), 3),
        "seconds_per_epoch": round(float(np.median(history.seconds)), 3),
        "peak_memory_bytes": training.peak_memory(),
    }
    return Contents(config, weights, history.rows, metrics, arrays, provenance)


def train_again(run: Run, workspace: Path) -> Contents:
    """What the training of `run` leaves when it is made again, in the folder `workspace`; `run` stays as it is.

    In the same precision and with the same threads from step to step, where this machine can.

    Raises:
        AelibError: as `opened.measure_again`, or the training diverged.
    """
    source = origin.source_of(run.path, run.config)
    asked = Asked(as_configured(run.config), run.config, run.path, source, {})
    return _make(asked, opened.images_of(run), workspace, like=run.provenance)
