"""The experiments by name, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from aelib.data import SplitConfig
from aelib.errors import AelibError, known
from aelib.experiments.kinds import (
    AutoencoderExperiment,
    ClassifierExperiment,
    EncoderExperiment,
    Experiment,
    SecondStageExperiment,
    TransferExperiment,
)
from aelib.hyperparameters import TrainingConfig
from aelib.models import (
    AutoencoderConfig,
    BaselineCNN,
    BaselineConfig,
    DenoisingAutoencoder,
    DenoisingConfig,
    EncoderClassifier,
    EncoderClassifierConfig,
    RegularisedAutoencoder,
    RegularisedConfig,
    SecondStage,
    SecondStageConfig,
    SymmetricAutoencoder,
    TransferClassifier,
    TransferConfig,
    VariationalAutoencoder,
    VariationalConfig,
)
from aelib.profiles import Profile

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
"""What there is to train, by name: those of the report, `convolutional`, `denoising`, `variational`, `transfer`, `cnn`,
`cnn_augmented`; and beyond it `regularised`, `second_stage`, `finetuned`, `scratch`."""
for _name, _source in (("finetuned", "convolutional"), ("scratch", None)):
    # Beyond the report: the head of `transfer` with convolutions that learn, too, as they were or from the beginning.
    EXPERIMENTS[_name] = EncoderExperiment(
        model_class=EncoderClassifier,
        model=EncoderClassifierConfig(),
        training=TrainingConfig(learning_rate=1e-3, weight_decay=0.0, max_epochs=50, patience=5, min_delta=5e-4),
        source=_source,
    )
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
EXPERIMENTS["regularised"] = AutoencoderExperiment(
    model_class=RegularisedAutoencoder, model=RegularisedConfig(), training=TrainingConfig(weight_decay=1e-6)
)
EXPERIMENTS["second_stage"] = SecondStageExperiment(
    model_class=SecondStage,
    model=SecondStageConfig(),
    training=TrainingConfig(optimizer="adam", learning_rate=1e-3, weight_decay=0.0, max_epochs=100, min_delta=1e-3),
    source="variational",
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


PARTS = ("model", "training", "sample")
"""Of an experiment: the configurations whose fields are its parameters."""


def configure(experiment: Experiment, **parameters) -> Experiment:
    """`experiment` with some fields of its model, its training or its sample of the images replaced.

    Raises:
        AelibError: a parameter is unknown (the nearest known one is named) or out of range.
    """
    parts = {part: {field.name for field in fields(getattr(experiment, part))} for part in PARTS}
    names = sorted(set().union(*parts.values()) - said_by_images(experiment.model))
    for parameter in parameters:
        known("parameter", parameter, names)
    changes = {
        part: replace(getattr(experiment, part), **{name: parameters[name] for name in names & parameters.keys()})
        for part, names in parts.items()
    }
    return replace(experiment, **changes)


def fitted(experiment: Experiment, profile: Profile) -> Experiment:
    """`experiment` with no more epochs than the profile has, and as many classes as its images."""
    training = replace(experiment.training, max_epochs=profile.epochs(experiment.training.max_epochs))
    return replace(experiment, model=_of_classes(experiment.model, profile), training=training)


def _of_classes(model: Any, profile: Profile) -> Any:
    if profile.dataset and any(each.name == "classes" for each in fields(model)):
        return replace(model, classes=len(profile.garments().classes))
    return model


def split_of(experiment: Experiment, split: SplitConfig, seed: int = 0) -> SplitConfig:
    """The profile's `split`, in the shares of `experiment`; where few images train, `seed` draws them.

    Raises:
        AelibError: fewer images are there than are to train.
    """
    if labels := experiment.sample.labels:  # the same for all experiments, in batches of no more
        if labels > split.train:
            raise AelibError(f"labels={labels:,} are more than the {split.train:,} images that are there to train")
        split = replace(split, batch_size=min(labels, split.batch_size), draw=seed)
    split = replace(split, **asdict(experiment.sample))
    if labels:
        return split
    together, validation = split.train + split.validation, split.validation
    if experiment.validation_share is not None:
        validation = max(1, round(together * experiment.validation_share))
    if (together - validation) % split.batch_size == 1:  # a batch of one cannot be normalised
        validation += 1
    return replace(split, train=together - validation, validation=validation)


def said_by_images(model: Any) -> set[str]:
    """The fields of a model's configuration that are for the images to say."""
    return {each.name for each in fields(model) if each.metadata.get("images")}


def as_configured(config: Mapping[str, Any]) -> Experiment:
    """The experiment that a run with `config` is of.

    Raises:
        LookupError, TypeError, AelibError: today's code has no such experiment, or takes no such configuration.
    """
    experiment = EXPERIMENTS[config["experiment"]]
    model = type(experiment.model)(**config["model"])
    return replace(experiment, model=model, training=TrainingConfig(**config["training"]))
