"""The experiments of the report, by name."""

from __future__ import annotations

import ast
import builtins
import contextlib
import hashlib
import symtable
import sys
import tempfile
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from aelib import code, cores, latent, probe, runs
from aelib.data import GarmentLoaders, Garments, SplitConfig
from aelib.errors import AelibError, a_seed, known
from aelib.hyperparameters import TrainingConfig
from aelib.models import (
    AutoencoderConfig,
    BaselineCNN,
    BaselineConfig,
    DenoisingAutoencoder,
    DenoisingConfig,
    Model,
    SymmetricAutoencoder,
    TransferClassifier,
    TransferConfig,
    VariationalAutoencoder,
    VariationalConfig,
    features_of,
)
from aelib.profiles import PROFILES, find_profile
from aelib.runs import Contents, Run, plain

PICTURED = 34
"""The test image, a bag, whose reconstruction is kept after every epoch (Figures 6 and 9)."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One training of the report.

    Attributes:
        model_class: built from `model`.
        model: its shape.
        training: how it is trained.
        source: name of the experiment whose model this one starts from, if there is one.
        validation_share: of the images that are not for testing; the profile's own split if None.
    """

    model_class: type[Model]
    model: Any
    training: TrainingConfig = field(default_factory=TrainingConfig)
    source: str | None = None
    validation_share: float | None = None

    looks_long: ClassVar[bool] = False
    """Whether `look` takes long, and much room."""

    def with_choice(self, model: AutoencoderConfig, training: TrainingConfig) -> Experiment:
        """The experiment with the hyper-parameters that a study chose.

        Raises:
            AelibError: the experiment has none of them.
        """
        raise AelibError(
            "config 'study' is about autoencoders and what stands on them: "
            f"take 'report' for {self.model_class.__name__}"
        )

    def settings(self, source: Run | None) -> dict[str, Any]:
        """What else decides the result, as JSON values."""
        return {}

    def prepare(self, model: Model, garments: Garments, source: Model | None) -> Garments:
        """Give `model` its initial weights, if not random ones, and turn `garments` into what it takes."""
        return garments

    def picture(self, garments: Garments) -> Tensor | None:
        """The input, (1, 1, 28, 28), whose output is kept after every epoch, if the output is an image."""
        return None

    def look(self, model: Model, loaders: GarmentLoaders) -> dict[str, Tensor]:
        """What is kept of the trained `model` beside its weights: arrays over the test images, by name."""
        return {}


@dataclass(frozen=True, kw_only=True)
class AutoencoderExperiment(Experiment):
    """The training of an autoencoder, of which a t-SNE map is kept.

    Attributes:
        perplexity: of the t-SNE map of its codes.
        box: share of the range of the codes that random codes are drawn from.
    """

    model: AutoencoderConfig
    perplexity: float = 80
    box: float = 0.6

    looks_long: ClassVar[bool] = True

    def with_choice(self, model: AutoencoderConfig, training: TrainingConfig) -> Experiment:
        """The same shape and training; a learning rate that is left to the finder stays so."""
        shape = {field.name: getattr(model, field.name) for field in fields(AutoencoderConfig)}
        rate = self.training.learning_rate and training.learning_rate
        return replace(self, model=replace(self.model, **shape), training=replace(training, learning_rate=rate))

    def settings(self, source: Run | None) -> dict[str, Any]:
        """The perplexity."""
        return {"perplexity": self.perplexity}

    def picture(self, garments: Garments) -> Tensor:
        """Test image 34."""
        return garments.test_images[PICTURED : PICTURED + 1].float() / 255

    def look(self, model: Model, loaders: GarmentLoaders) -> dict[str, Tensor]:
        """`codes`: (M, latent_dim), float32; `tsne`: their map, (M, 2)."""
        assert isinstance(model, SymmetricAutoencoder)
        codes = encode(model, loaders)
        return {"codes": codes, "tsne": torch.from_numpy(latent.tsne(codes.numpy(), perplexity=self.perplexity))}


@dataclass(frozen=True, kw_only=True)
class ClassifierExperiment(Experiment):
    """The training of a classifier, of which the answers to the test images are kept."""

    @torch.no_grad()
    def look(self, model: Model, loaders: GarmentLoaders) -> dict[str, Tensor]:
        """`logits`: (M, 10), float16; `predictions`: (M,), uint8, the likeliest class."""
        logits = outputs(model, loaders)
        return {"logits": halved(logits), "predictions": logits.argmax(1).to(torch.uint8)}


@dataclass(frozen=True, kw_only=True)
class TransferExperiment(ClassifierExperiment):
    """The training of a classifier on the features of the encoder that `source` has trained."""

    def with_choice(self, model: AutoencoderConfig, training: TrainingConfig) -> Experiment:
        """A head that fits the encoder, trained by the same optimiser."""
        shape = replace(self.model, features=model.features, linear_units=model.linear_units, dropout=model.dropout)
        return replace(self, model=shape, training=replace(self.training, optimizer=training.optimizer))

    def settings(self, source: Run | None) -> dict[str, Any]:
        """A digest of the encoder's weights: another encoder is another experiment."""
        assert source is not None
        return {"encoder": hashlib.sha256((source.path / "weights.safetensors").read_bytes()).hexdigest()}

    def prepare(self, model: Model, garments: Garments, source: Model | None) -> Garments:
        """Adopt the linear block of `source`, an autoencoder; compute the features of all images, once."""
        assert isinstance(model, TransferClassifier)
        assert isinstance(source, SymmetricAutoencoder)
        model.adopt(source)
        return replace(
            garments,
            train_images=features_of(source, garments.train_images),
            test_images=features_of(source, garments.test_images),
        )


EXPERIMENTS: dict[str, Experiment] = {
    "convolutional": AutoencoderExperiment(model_class=SymmetricAutoencoder, model=AutoencoderConfig()),
    "denoising": AutoencoderExperiment(
        model_class=DenoisingAutoencoder,
        model=DenoisingConfig(),
        training=TrainingConfig(learning_rate=None),
        box=1.0,
    ),
    "variational": AutoencoderExperiment(model_class=VariationalAutoencoder, model=VariationalConfig(), perplexity=50),
    "transfer": TransferExperiment(
        model_class=TransferClassifier,
        model=TransferConfig(),
        training=TrainingConfig(learning_rate=None, weight_decay=0.0, max_epochs=50, patience=5, min_delta=5e-4),
        source="convolutional",
    ),
}
for _name, _probability in (("cnn", 0.0), ("cnn_augmented", 0.05)):
    # The split and the values of Table 3.
    EXPERIMENTS[_name] = ClassifierExperiment(
        model_class=BaselineCNN,
        model=BaselineConfig(probability=_probability),
        training=TrainingConfig(
            optimizer="adam", learning_rate=5.66e-4, weight_decay=1.69e-4, max_epochs=100, patience=6
        ),
        validation_share=1 / 6,
    )


def find_experiment(name: str, config: str = "report") -> Experiment:
    """The experiment of that name, with the report's hyper-parameters.

    Raises:
        AelibError: there is none (all are named), or it has no such `config`.
    """
    experiment = EXPERIMENTS[known("experiment", name, EXPERIMENTS)]
    if known("config", config, ("report", "study")) == "study":
        experiment.with_choice(AutoencoderConfig(), TrainingConfig())  # where that is refused, before a search
    return experiment


def obtain(
    name: str,
    *,
    profile: str = "report",
    seed: int = 0,
    config: str = "report",
    folder: Path | None = None,
    again: bool = False,
    summary: bool = False,
    maps: bool = True,
    precision: str | None = None,
    **parameters,
) -> Run:
    """The run of an experiment: read if it is there, trained and kept if not.

    Args:
        name: a key of `EXPERIMENTS`.
        profile: a key of `PROFILES`.
        seed: of the initial weights, the order of the batches, and dropout; at least 0.
        config: `"report"`: the hyper-parameters that the report's study chose (Table 2); `"study"`: those that the
            study of this profile chose, which is run if it is not there.
        folder: where runs are kept; `runs.results_folder()` by default.
        again: train even if the run is there.
        summary: be content with the history and the metrics, and keep no more if they have to be made: for
            comparisons of many trainings.
        maps: if it has to be made, keep the codes of an autoencoder and their map by t-SNE, which takes a minute, too.
        precision: if it has to be made, of its steps, see `training.Engine`; the quickest here by default.
        parameters: fields of the experiment's model or training configuration, such as `latent_dim=16`.

    Raises:
        AelibError: a name is unknown or a value out of range (found out before any work), the run is damaged,
            the data cannot be had, or the training diverged.
    """
    check(name, profile=profile, seed=seed, config=config, **parameters)
    search = None
    if config == "study":
        from aelib import study  # and with it Optuna, which takes a second to import

        search = study.obtain(study.Plan(profile, folder=folder))
    source = None
    if needed := EXPERIMENTS[name].source:
        source = obtain(
            needed, profile=profile, seed=seed, config=config, folder=folder, precision=precision, maps=maps
        )
    asked = _asked(name, profile, seed, search, source, folder, summary, parameters)

    def make(workspace: Path) -> Contents:
        print(f"aelib: training {asked.path.name} in the {profile} profile", file=sys.stderr)
        garments = find_profile(profile).garments()
        return _make(asked, garments, workspace, maps=maps, precision=precision)

    run = runs.obtain(asked.path, make, again=again)
    why = doubt(asked.path)
    code.say(f"run {asked.path.name}", why, mend(asked.path, why))
    return run


def find(
    name: str,
    *,
    profile: str = "report",
    seed: int = 0,
    config: str = "report",
    folder: Path | None = None,
    summary: bool = False,
    **parameters,
) -> Run | None:
    """The run that `obtain` would give, if it is there; None if anything would have to be trained.

    Raises:
        AelibError: as `obtain`.
    """
    check(name, profile=profile, seed=seed, config=config, **parameters)
    search = None
    if config == "study":
        from aelib import study

        plan = study.Plan(profile, folder=folder)
        if not plan.path.exists():
            return None
        search = study.load(plan)
    source = None
    if needed := EXPERIMENTS[name].source:
        source = find(needed, profile=profile, seed=seed, config=config, folder=folder)
        if source is None:
            return None
    path = _asked(name, profile, seed, search, source, folder, summary, parameters).path
    return runs.load(path) if path.exists() else None


def check(name: str, *, profile: str = "report", seed: int = 0, config: str = "report", **parameters) -> None:
    """Refuse what cannot be asked for, before any work.

    Raises:
        AelibError: a name is unknown or a value out of range.
    """
    find_profile(profile)
    configure(find_experiment(name, config), **parameters)
    a_seed(seed)


@dataclass(frozen=True)
class _Asked:
    """A training: what of, what decides it, where its run is to be, and the run that it stands on."""

    experiment: Experiment
    decisive: dict[str, Any]
    path: Path
    source: Run | None


def _asked(
    name: str,
    profile: str,
    seed: int,
    search: Any,
    source: Run | None,
    folder: Path | None,
    summary: bool,
    parameters: dict[str, Any],
) -> _Asked:
    chosen, experiment = find_profile(profile), EXPERIMENTS[name]
    if search:
        experiment = experiment.with_choice(*search.winner())
    experiment = _limited(configure(experiment, **parameters), profile)
    decisive = {
        "experiment": name,
        "model": plain(asdict(experiment.model)),
        "training": plain(asdict(experiment.training)),
        "data": {"sha256": chosen.sha256} | asdict(_split(experiment, chosen.split)),
        "seed": seed,
    } | experiment.settings(source)
    kept = (folder or runs.results_folder()) / profile
    path = runs.run_path(kept, name, decisive)
    if summary and not path.exists():
        decisive |= {"summary": True}
        path = runs.run_path(kept, name, decisive)
    return _Asked(experiment, decisive, path, source)


def differences(config: dict[str, Any], profile: str) -> dict[str, Any]:
    """In what a run with `config` differs from what its experiment is by default in that profile, the seed aside.

    Raises:
        LookupError: there is no such experiment any more.
    """
    default = _limited(EXPERIMENTS[config["experiment"]], profile)
    found: dict[str, Any] = {}
    for part in ("model", "training"):
        usual = plain(asdict(getattr(default, part)))
        found |= {name: value for name, value in config[part].items() if value != usual.get(name)}
    return found


def mend(path: Path, why: str) -> str:
    """What to do about `why`, a doubt about the run or study at `path`, to append to it."""
    return f"; again: `{command(path)}`" if why == code.STALE else ""


def doubt(path: Path) -> str:
    """Why the run or the study at `path` may not be what today's code makes, in words; empty where it is.

    Cheap where the code is the same or was not recorded; otherwise the training is probed, in about a second.
    """
    config, provenance = runs.about(path)
    kept = provenance.get("code")
    if not kept:
        return code.UNRECORDED
    if "digests" in kept:
        from aelib import study

        return study.doubt(path)
    if kept["digest"] == code.digest():
        return ""
    try:
        experiment = as_configured(config)
    except (AelibError, LookupError, TypeError):  # the code no longer takes this configuration
        return code.STALE
    try:
        return "" if code.alike(kept, _record(experiment, source_of(path, config))) else code.STALE
    except RuntimeError:  # nor does it train so any more
        return code.STALE
    except (AelibError, OSError) as error:
        return f"it could not be probed: {error}"


def command(path: Path) -> str:
    """What makes the run or the study at `path` again."""
    config, _ = runs.about(path)
    profile, name = path.parent.name, config.get("experiment")
    if name is None:
        from aelib import study

        return study.command(path)
    asked = {} if config.get("summary") or name not in EXPERIMENTS else _choices(name, profile, path.parent.parent)
    for choice, experiment in asked.items():
        if plain({part: asdict(getattr(experiment, part)) for part in ("model", "training")}).items() <= config.items():
            return f"aelib train {name}{choice} --again{runs.options(profile, config['seed'])}"
    if not config.get("summary") and name in EXPERIMENTS and "data" in config:
        given = runs.settings(differences(config, profile))
        return f"aelib train {name}{given} --again{runs.options(profile, config['seed'])}"
    return f"rm -r {path}, and ask for it again"


def _choices(name: str, profile: str, folder: Path) -> dict[str, Experiment]:
    """What `aelib train` makes of an experiment, by the option that it takes."""
    from aelib import study

    experiment, plan = EXPERIMENTS[name], study.Plan(profile, folder=folder)
    found = {"": experiment}
    with contextlib.suppress(AelibError):  # where there is no study, or none for this experiment
        found[" --config study"] = experiment.with_choice(*study.load(plan).winner())
    return {choice: _limited(each, profile) for choice, each in found.items()}


def _limited(experiment: Experiment, profile: str) -> Experiment:
    """`experiment` with no more epochs than the profile has."""
    limit = PROFILES[profile].epochs(experiment.training.max_epochs)
    return replace(experiment, training=replace(experiment.training, max_epochs=limit))


def as_configured(config: dict[str, Any]) -> Experiment:
    """The experiment that a run with `config` is of.

    Raises:
        LookupError, TypeError, AelibError: today's code has no such experiment, or takes no such configuration.
    """
    experiment = EXPERIMENTS[config["experiment"]]
    model = type(experiment.model)(**config["model"])
    return replace(experiment, model=model, training=TrainingConfig(**config["training"]))


def only_known_parameters() -> None:
    """Refuse, in the cell of a chapter that uses its parameters, one that this cell does not use.

    Papermill would only warn, and Python say nothing at all, and the chapter be executed as if nothing had been asked.

    Raises:
        AelibError: a parameter is unknown (the nearest known one is named).
    """
    from IPython import get_ipython  # type: ignore[attr-defined]

    def assigned(cell: str) -> list[str]:
        nodes = [node for node in ast.parse(cell).body if isinstance(node, (ast.Assign, ast.AnnAssign))]
        targets = [target for node in nodes for target in getattr(node, "targets", [getattr(node, "target", None)])]
        return [target.id for target in targets if isinstance(target, ast.Name)]

    # What was executed so far, this cell included; of each kind the last counts, for cells may be executed again.
    *before, here = get_ipython().user_ns["In"]
    used = {node.id for node in ast.walk(ast.parse(here)) if isinstance(node, ast.Name)}
    for first in reversed(range(len(before))):
        names = assigned(before[first])
        if "profile" in names and not before[first].startswith(PAPERMILL):
            injected = [cell for cell in before[first + 1 :] if cell.startswith(PAPERMILL)][-1:]
            names += [name for cell in injected for name in assigned(cell) if not name.startswith("PAPERMILL_")]
            for name in names:
                # What the first cell lacks was taken out of it, or misspelt there.
                known(
                    "parameter", name, [*dict.fromkeys(each for each in names if each in used), *_missing(here, names)]
                )
            return


PAPERMILL = "# Parameters"
"""How the cell begins that papermill adds; what it calls `PAPERMILL_…` is by its --inject-paths."""


def _missing(cell: str, given: list[str]) -> list[str]:
    """Names that `cell` needs and that neither it nor Python has, without those that are `given`."""
    table = symtable.symtable(cell, "<cell>", "exec")
    needed = {each.get_name() for each in table.get_symbols() if not each.is_assigned() and not each.is_imported()}
    return sorted(needed - {*dir(builtins), *given})


def configure(experiment: Experiment, **parameters) -> Experiment:
    """`experiment` with some fields of its model or training configuration replaced.

    Raises:
        AelibError: a parameter is unknown (the nearest known one is named) or out of range.
    """
    parts = {part: {field.name for field in fields(getattr(experiment, part))} for part in ("model", "training")}
    names = sorted(set().union(*parts.values()))
    for parameter in parameters:
        known("parameter", parameter, names)
    changes = {
        part: replace(getattr(experiment, part), **{name: parameters[name] for name in names & parameters.keys()})
        for part, names in parts.items()
    }
    return replace(experiment, **changes)


def _split(experiment: Experiment, split: SplitConfig) -> SplitConfig:
    if experiment.validation_share is None:
        return split
    together = split.train + split.validation
    validation = round(together * experiment.validation_share)
    return replace(split, train=together - validation, validation=validation)


def _make(
    asked: _Asked,
    garments: Garments,
    workspace: Path,
    *,
    like: dict[str, Any] | None = None,
    maps: bool = True,
    precision: str | None = None,
) -> Contents:
    from aelib import training  # and with it Lightning, which takes seconds: what is there already needs neither

    experiment, config, source = asked.experiment, asked.decisive, asked.source
    split = SplitConfig(**{name: value for name, value in config["data"].items() if name != "sha256"})
    seed, commit, origin = config["seed"], runs.commit(), _record(experiment, source)
    model, loaders = probe.begin(_begin(experiment, load_model(source) if source else None), garments, split, seed)
    picture = experiment.picture(garments)
    as_before: dict[str, Any] = {"precision": precision}
    if like:
        as_before["engine"] = training.same_engine(like["engine"])
        if as_before["engine"] and max((n for _, n in like.get("threads", [])), default=1) <= cores.available():
            as_before["threads"] = like.get("threads")
    history = training.fit(
        model, loaders, experiment.training, seed=seed, folder=workspace, picture=picture, origin=origin, **as_before
    )
    with cores.limited(history.threads[-1][1]):  # t-SNE, too, would take all of them
        weights = {name: halved(value) for name, value in model.cpu().state_dict().items()}
        model.load_state_dict(weights)  # what is kept is what is measured
        arrays: dict[str, Tensor] = {}
        if config.get("summary"):
            weights, picture = {}, None
        if not experiment.looks_long or (maps and not config.get("summary")):
            arrays = experiment.look(model, loaders)
        if picture is not None:
            arrays["pictures"] = history.pictures
        if history.curve:
            arrays["curve_learning_rates"] = torch.tensor(history.curve.learning_rates, dtype=torch.float64)
            arrays["curve_losses"] = torch.tensor(history.curve.losses, dtype=torch.float64)
        metrics = summarise(history.rows) | measure(model, loaders)
    provenance = runs.provenance() | {
        **commit,
        "code": origin,
        "differs": differences(config, asked.path.parent.name),
        "data": garments.name,
        "weights": "float16",
        "engine": asdict(history.engine),
        "threads": history.threads,
        "training_seconds": round(sum(history.seconds), 1),
        "seconds_per_epoch": round(float(np.median(history.seconds)), 2),
        "peak_memory_bytes": training.peak_memory(),
    }
    return Contents(config, weights, history.rows, metrics, arrays, provenance)


def halved(value: Tensor) -> Tensor:
    """`value` in float16, where that holds it; whole numbers, and what is beyond its range, stay as they are."""
    if value.dtype != torch.float32 or (value.numel() and value.abs().max() > torch.finfo(torch.float16).max):
        return value
    return value.half()


def _begin(experiment: Experiment, source: Model | None) -> probe.Begin:
    """What `experiment` starts from; `source` is the model that it stands on, if there is one."""

    def make(garments: Garments) -> tuple[Model, Garments]:
        model = experiment.model_class(experiment.model)
        return model, experiment.prepare(model, garments, source)

    return make


def _record(experiment: Experiment, source: Run | None) -> dict[str, Any]:
    """What a run of `experiment` keeps of the code; the probe stands on an untrained model of the shape of `source`."""

    def make(garments: Garments) -> tuple[Model, Garments]:
        return _begin(experiment, _untrained(source).eval() if source else None)(garments)

    shape = source and source.config["model"]
    return probe.record(f"{experiment.model_class} {experiment.model} {shape}", make, experiment.training)


def summarise(history: list[dict[str, float]]) -> dict[str, float]:
    """What the metrics of a run take from its history: how long it was, and what the best epoch reached."""
    best = min(history, key=lambda row: row["validation_loss"] if np.isfinite(row["validation_loss"]) else np.inf)
    metrics = {"epochs": len(history), "best_epoch": best["epoch"], "learning_rate": best["learning_rate"]}
    return metrics | {name: value for name, value in best.items() if name.startswith("train_")}


def measure(model: Model, loaders: GarmentLoaders) -> dict[str, float]:
    """What the metrics of a run take from its weights: their number, and the losses on validation and test images."""
    metrics: dict[str, float] = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    for part, batches in (("validation", loaders.val_dataloader()), ("test", loaders.test_dataloader())):
        metrics |= {f"{part}_{name}": value for name, value in evaluate(model, batches).items()}
    return metrics


@torch.no_grad()
def evaluate(model: Model, batches: Any) -> dict[str, float]:
    """Mean of each loss term of `model` over all images of `batches`, in float32, without dropout."""
    model.eval()
    terms = [model.losses(images, labels) for images, labels in batches]
    return {name: float(torch.cat([each[name] for each in terms]).double().mean()) for name in terms[0]}


@torch.no_grad()
def encode(model: SymmetricAutoencoder, loaders: GarmentLoaders) -> Tensor:
    """Codes of the test images: (M, latent_dim), float32."""
    model.eval()
    return torch.cat([model.encode(images) for images, _ in loaders.test_dataloader()])


@dataclass(frozen=True)
class Trained:
    """A run with its model, and the test images as that model sees them.

    Attributes:
        run: weights, history and metrics.
        model: with the run's weights, in evaluation mode.
        images: (M, 28, 28), in [0, 1].
        labels: (M,), in [0, 10).
        codes: (M, latent_dim).
    """

    run: Run
    model: SymmetricAutoencoder
    images: np.ndarray
    labels: np.ndarray
    codes: np.ndarray

    @torch.no_grad()
    def decode(self, codes: np.ndarray) -> np.ndarray:
        """codes: (N, latent_dim) → images: (N, 28, 28), in [0, 1]."""
        return self.model.decode(torch.from_numpy(codes).float())[:, 0].numpy()


def load_model(run: Run) -> Model:
    """The model of `run`, with its weights, in float32 and in evaluation mode.

    Raises:
        AelibError: `run` is a summary, which has none, or they are not those of a model of today's code.
    """
    if not run.weights:
        raise AelibError(f"run {run.path.name} is a summary without weights: obtain it with summary=False")
    model = _untrained(run)
    _load_weights(model, run)
    return model.eval()


def _load_weights(model: Model, run: Run) -> None:
    try:
        model.load_state_dict(run.weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        commit = (run.provenance.get("commit") or "that made it")[:8]
        raise AelibError(
            f"run {run.path}: its weights do not fit the {type(model).__name__} of this code ({reason}): "
            f"check out commit {commit}, or train it again: `{command(run.path)}`"
        ) from error


def _untrained(run: Run) -> Model:
    experiment = as_configured(run.config)
    return experiment.model_class(experiment.model)


def measure_again(run: Run) -> tuple[dict[str, float], dict[str, Tensor]]:
    """What the metrics of `run` take from its weights, and its arrays, from the weights and the data.

    Of the arrays only those that the weights alone decide, where they are kept: `logits`, (M, 10), and `predictions`,
    (M,), or `codes`, (M, latent_dim); and of `pictures` that of the best epoch, (28, 28).

    Raises:
        AelibError: the data are other than those that it was trained on, or the encoder that it stands on is gone.
    """
    experiment, (garments, _) = EXPERIMENTS[run.config["experiment"]], _data(run)
    model, loaders = prepared(run)
    metrics = measure(model, loaders)
    arrays: dict[str, Tensor] = {}
    if isinstance(experiment, ClassifierExperiment):
        arrays = {name: each for name, each in experiment.look(model, loaders).items() if name in run.arrays}
    elif (picture := experiment.picture(garments)) is not None:
        from aelib import training

        arrays["pictures"] = training.render(model, picture)
        if "codes" in run.arrays:
            assert isinstance(model, SymmetricAutoencoder)
            arrays["codes"] = encode(model, loaders)
    return metrics, arrays


@torch.no_grad()
def outputs(model: Model, loaders: GarmentLoaders) -> Tensor:
    """What `model` makes of the test images, (M, …)."""
    model.eval()
    return torch.cat([model(inputs) for inputs, _ in loaders.test_dataloader()])


def prepared(run: Run) -> tuple[Model, GarmentLoaders]:
    """The model of `run`, with its weights, and the batches that it was trained and tested on.

    Raises:
        AelibError: as `measure_again`.
    """
    (garments, split), model, source = _data(run), _untrained(run), source_of(run.path, run.config)
    inputs = EXPERIMENTS[run.config["experiment"]].prepare(model, garments, load_model(source) if source else None)
    _load_weights(model, run)
    return model.eval(), GarmentLoaders(inputs, split)


def train_again(run: Run, workspace: Path) -> Contents:
    """What the training of `run` leaves when it is made again, in the folder `workspace`; `run` stays as it is.

    In the same precision and with the same threads from step to step, where this machine can.

    Raises:
        AelibError: as `measure_again`, or the training diverged.
    """
    asked = _Asked(as_configured(run.config), run.config, run.path, source_of(run.path, run.config))
    return _make(asked, _data(run)[0], workspace, like=run.provenance)


def _data(run: Run) -> tuple[Garments, SplitConfig]:
    """The images that `run` was trained on, and how they were split."""
    garments, decisive = find_profile(run.path.parent.name).garments(), dict(run.config["data"])
    if garments.sha256 != decisive.pop("sha256"):
        raise AelibError(f"run {run.path}: it was trained on other images than {garments.name}: train it again")
    return garments, SplitConfig(**decisive)


def source_of(path: Path, config: dict[str, Any]) -> Run | None:
    """The run whose encoder that at `path` stands on, if it does; found by the digest of its weights."""
    if "encoder" not in config:
        return None
    name = EXPERIMENTS[config["experiment"]].source
    for other in sorted(path.parent.glob(f"{name}-*")):
        if hashlib.sha256((other / "weights.safetensors").read_bytes()).hexdigest() == config["encoder"]:
            return runs.load(other)
    raise AelibError(
        f"run {path}: the encoder that it stands on is not beside it: restore that from git, or delete this run, "
        "which another may have replaced"
    )


class _Stopped(Exception):
    """A training was stopped on purpose."""


def repeats() -> dict[str, bool]:
    """Whether a small training, on drawn garments, ends with the same bits when it is made again on this machine.

    Returns:
        By way of making it again, in words.
    """
    from aelib import training

    profile = PROFILES["smoke"]
    garments, threads = profile.garments(), [[0, cores.choose()]]

    def train(folder: Path, most: int = 3) -> dict[str, Tensor]:
        def watch(rows: list[dict[str, float]], _: list[float]) -> None:
            if len(rows) == most:
                raise _Stopped

        torch.manual_seed(0)
        model = SymmetricAutoencoder()
        loaders = GarmentLoaders(garments, profile.split)
        training.fit(model, loaders, TrainingConfig(max_epochs=2), seed=0, folder=folder, watch=watch, threads=threads)
        return model.cpu().state_dict()

    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary, name) for name in ("first", "again", "stopped")]
        for folder in folders:
            folder.mkdir()
        with contextlib.suppress(_Stopped):
            train(folders[2], most=1)
        first, *others = (train(folder) for folder in folders)
    same = [all(torch.equal(first[name], each[name]) for name in first) for each in others]
    return dict(zip(("from the start", "stopped after an epoch, and resumed"), same, strict=True))


def tested_on(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """The test images that `run` was evaluated on, (M, 28, 28), float32 in [0, 1], and their classes, (M,) in [0, 10).

    Raises:
        AelibError: there are other images now than those that it was trained on.
    """
    garments, split = _data(run)
    images = garments.test_images[: split.test, 0].numpy() / np.float32(255)
    return images, garments.test_labels[: split.test].numpy()


def test_labels(run: Run) -> np.ndarray:
    """Classes, (M,) in [0, 10), of the test images that `run` was evaluated on."""
    return tested_on(run)[1]


def random_box(run: Run) -> float:
    """Share of the range of the codes of `run` that the report draws its random codes from."""
    experiment = EXPERIMENTS[run.config["experiment"]]
    assert isinstance(experiment, AutoencoderExperiment)
    return experiment.box


def open_run(run: Run) -> Trained:
    """The autoencoder of `run` with its test images, for looking at.

    Raises:
        AelibError: the model of `run` is not an autoencoder.
    """
    model = load_model(run)
    if not isinstance(model, SymmetricAutoencoder):
        raise AelibError(f"run {run.path.name} is a classifier, which has no codes: use load_model")
    images, labels = tested_on(run)
    codes = run.arrays.get("codes")
    if codes is None:  # not kept
        codes = encode(model, prepared(run)[1])
    return Trained(run=run, model=model, images=images, labels=labels, codes=codes.numpy())
