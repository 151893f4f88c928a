"""Kinds of experiments: what each trains, what it stands on, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from aelib import latent
from aelib.data import GarmentLoaders, Garments, SampleConfig
from aelib.errors import AelibError
from aelib.experiments.measures import encode, halved, outputs
from aelib.hyperparameters import TrainingConfig
from aelib.models import (
    AutoencoderConfig,
    EncoderClassifier,
    EncoderClassifierConfig,
    Model,
    SecondStage,
    SymmetricAutoencoder,
    TransferClassifier,
    features_of,
)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One training of the report.

    Attributes:
        model_class: built from `model`.
        model: its shape.
        training: how it is trained.
        source: name of the experiment whose model this one starts from, if there is one.
        validation_share: of the images that are not for testing; the profile's own split if None.
        sample: which of the images it uses.
    """

    model_class: type[Model]
    model: Any
    training: TrainingConfig = field(default_factory=TrainingConfig)
    source: str | None = None
    validation_share: float | None = None
    sample: SampleConfig = field(default_factory=SampleConfig)

    source_key: ClassVar[str] = "source"
    """What a run's configuration calls the digest of its source's weights."""
    keeps_much: ClassVar[bool] = False
    """Whether `keepsakes` takes long, and much room."""

    def with_choice(self, model: AutoencoderConfig, training: TrainingConfig) -> Experiment:
        """The experiment with the hyper-parameters that a study chose.

        Raises:
            AelibError: the experiment has none of them.
        """
        raise AelibError(
            "config 'study' is about autoencoders and what stands on them: "
            f"take 'report' for {self.model_class.__name__}"
        )

    def standing_on(self, source: Experiment) -> Experiment:
        """The experiment in the shape that fits the model of `source`."""
        return self

    def settings(self) -> dict[str, Any]:
        """What else decides the result, as JSON values."""
        return {}

    def prepare(self, model: Model, garments: Garments, source: Model | None) -> Garments:
        """Give `model` its initial weights, if not random ones, and turn `garments` into what it takes."""
        return garments

    def picture(self, garments: Garments) -> Tensor | None:
        """The input, (1, 1, 28, 28), whose output is kept after every epoch, if the output is an image."""
        return None

    def keepsakes(self, model: Model, loaders: GarmentLoaders) -> dict[str, Tensor]:
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

    keeps_much: ClassVar[bool] = True

    def with_choice(self, model: AutoencoderConfig, training: TrainingConfig) -> Experiment:
        """The same shape and training; a learning rate that is left to the finder stays so."""
        rate = self.training.learning_rate and training.learning_rate
        return replace(self, model=shaped(self.model, model), training=replace(training, learning_rate=rate))

    def settings(self) -> dict[str, Any]:
        """The perplexity."""
        return {"perplexity": self.perplexity}

    def picture(self, garments: Garments) -> Tensor:
        """The data set's pictured image."""
        return garments.picture

    def keepsakes(self, model: Model, loaders: GarmentLoaders) -> dict[str, Tensor]:
        """`codes`: (M, latent_dim), float32; `tsne`: their map, (M, 2)."""
        codes = encode(model, loaders)
        return {"codes": codes, "tsne": torch.from_numpy(latent.tsne(codes.numpy(), perplexity=self.perplexity))}


@dataclass(frozen=True, kw_only=True)
class ClassifierExperiment(Experiment):
    """The training of a classifier, of which the answers to the test images are kept."""

    def keepsakes(self, model: Model, loaders: GarmentLoaders) -> dict[str, Tensor]:
        """`logits`: (M, C), float16; `predictions`: (M,), uint8, the likeliest class.

        Nothing where `labels` says how many images train: there are hundreds of such runs, of which metrics are asked.
        """
        if loaders.config.labels:
            return {}
        logits = outputs(model, loaders)
        return {"logits": halved(logits), "predictions": logits.argmax(1).to(torch.uint8)}


@dataclass(frozen=True, kw_only=True)
class TransferExperiment(ClassifierExperiment):
    """The training of a classifier on the features of the encoder that `source` has trained."""

    source_key: ClassVar[str] = "encoder"

    def with_choice(self, model: AutoencoderConfig, training: TrainingConfig) -> Experiment:
        """A head that is trained by the same optimiser."""
        return replace(self, training=replace(self.training, optimizer=training.optimizer))

    def standing_on(self, source: Experiment) -> Experiment:
        """A head that fits the encoder of `source`."""
        encoder = _encoder_of(source)
        shape = {"features": encoder.feature_count, "linear_units": encoder.linear_units, "dropout": encoder.dropout}
        return replace(self, model=replace(self.model, **shape))

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


@dataclass(frozen=True, kw_only=True)
class SecondStageExperiment(Experiment):
    """The training of a second stage on the codes of the autoencoder that `source` has trained."""

    def standing_on(self, source: Experiment) -> Experiment:
        """A second stage for as many numbers as the codes of `source` have."""
        if not isinstance(source, AutoencoderExperiment):
            raise AelibError(f"a second stage stands on an autoencoder, which {source.model_class.__name__} is not")
        return replace(self, model=replace(self.model, latent_dim=source.model.latent_dim))

    @torch.no_grad()
    def prepare(self, model: Model, garments: Garments, source: Model | None) -> Garments:
        """Draw a code of each image, once, as the decoder of `source` met them in training."""
        assert isinstance(model, SecondStage)
        assert isinstance(source, SymmetricAutoencoder)
        generator = torch.Generator().manual_seed(0)
        train, test = (
            torch.cat([source.draw(part.float() / 255, generator) for part in images.split(500)])
            for images in (garments.train_images, garments.test_images)
        )
        model.standardise(train)
        return replace(garments, train_images=train, test_images=test)


@dataclass(frozen=True, kw_only=True)
class EncoderExperiment(ClassifierExperiment):
    """The training of a classifier together with its encoder, which begins as that of `source`, if there is one."""

    model: EncoderClassifierConfig

    source_key: ClassVar[str] = "encoder"

    def with_choice(self, model: AutoencoderConfig, training: TrainingConfig) -> Experiment:
        """An encoder of the chosen shape, trained by the same optimiser."""
        return replace(
            self, model=shaped(self.model, model), training=replace(self.training, optimizer=training.optimizer)
        )

    def standing_on(self, source: Experiment) -> Experiment:
        """The shape of the encoder of `source`."""
        return replace(self, model=shaped(self.model, _encoder_of(source)))

    def prepare(self, model: Model, garments: Garments, source: Model | None) -> Garments:
        """Adopt the convolutions and the linear block of `source`."""
        if source is not None:
            assert isinstance(model, EncoderClassifier)
            assert isinstance(source, SymmetricAutoencoder)
            model.adopt(source)
        return garments


def _encoder_of(source: Experiment) -> AutoencoderConfig:
    """The shape of the autoencoder that `source` trains."""
    if not isinstance(source, AutoencoderExperiment):
        raise AelibError(f"a classifier stands on an autoencoder's encoder, which {source.model_class.__name__} lacks")
    return source.model


def shaped(model: AutoencoderConfig, like: AutoencoderConfig) -> Any:
    """`model` with all that is a shape in `like`."""
    return replace(model, **{each.name: getattr(like, each.name) for each in fields(AutoencoderConfig)})
