"""What little can be learned from few labels without training a network: linear probes, neighbours."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from aelib import experiments, latent
from aelib.data import GarmentLoaders, Garments, SplitConfig
from aelib.evaluate.store import Numbers, metric
from aelib.experiments import AutoencoderExperiment
from aelib.models import SymmetricAutoencoder, features_of
from aelib.runs import Run

LABELS = (10, 30, 100, 300, 1_000, 3_000, 10_000)
"""Numbers of labelled images, where so many train; all of them come last."""
DRAWS = 5
"""Of each of these numbers; of all images there is one."""

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Weights of the sum of the losses against the penalty (scikit-learn's C) that a probe chooses from."""
NEIGHBOURS = (1, 3, 5, 9)
"""Of which it is chosen how many vote."""


def _subsets(garments: Garments, split: SplitConfig) -> Iterator[tuple[int, int, GarmentLoaders]]:
    """Each number of labels and each draw, with the images that then train and validate."""
    everything = split.train if split.without is None else len(GarmentLoaders(garments, split).train_indices)
    for count in (*(each for each in LABELS if each < everything), everything):
        for draw in range(DRAWS if count < everything else 1):
            yield count, draw, GarmentLoaders(garments, replace(split, labels=count, draw=draw))


def logistic(
    inputs: np.ndarray, labels: np.ndarray, to_choose: tuple[np.ndarray, np.ndarray], tests: np.ndarray, classes: int
) -> np.ndarray:
    """Log-probabilities that a logistic regression gives inputs `tests`, (M, D): (M, C).

    Args:
        inputs, labels: what it is fitted to, (N, D) and (N,).
        to_choose: validation inputs and labels; of `STRENGTHS` that with the lowest cross-entropy on them is taken.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=300, warm_start=True)
    best, found = np.inf, np.zeros((len(tests), classes))

    def answered(given: np.ndarray) -> np.ndarray:
        whole = np.full((len(given), classes), np.log(1e-12))  # of a class that it has never seen
        with np.errstate(divide="ignore"):
            whole[:, model.classes_] = np.maximum(model.predict_log_proba(given), np.log(1e-12))
        return whole

    for strength in STRENGTHS:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a weak penalty on what can be separated has no end
            model.fit(inputs, labels)
        loss = -answered(to_choose[0])[np.arange(len(to_choose[1])), to_choose[1]].mean()
        if loss < best:
            best, found = loss, answered(tests)
    return found


def _judged(answers: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Accuracy, and cross-entropy in nats, of log-probabilities, (M, C)."""
    return float((answers.argmax(1) == labels).mean()), float(-answers[np.arange(len(labels)), labels].mean())


def _probed(kinds: dict[str, tuple[np.ndarray, np.ndarray]], loaders: GarmentLoaders) -> Numbers:
    """Of each kind of inputs, those of all training images and those of the test images: a probe for each subset."""
    garments, split, used = loaders.garments, loaders.config, loaders.train_indices.numpy()
    labels, tests = garments.train_labels.numpy(), garments.test_labels[: split.test].numpy()
    rows: dict[str, list[float]] = {"labels": [], "draw": []}
    for name, (train, test) in kinds.items():
        # By all images that train, which takes no label.
        mean, deviation = train[used].mean(0), np.maximum(train[used].std(0), 1e-6)
        kinds[name] = ((train - mean) / deviation, (test - mean) / deviation)
    for count, draw, loaders in _subsets(garments, split):
        rows["labels"].append(count)
        rows["draw"].append(draw)
        chosen, choosing = loaders.train_indices.numpy(), loaders.validation_indices.numpy()
        for name, (train, test) in kinds.items():
            validation = (train[choosing], labels[choosing])
            answers = logistic(train[chosen], labels[chosen], validation, test, len(garments.classes))
            for of, value in zip(("accuracy", "cross_entropy"), _judged(answers, tests), strict=True):
                rows.setdefault(f"{name}_{of}", []).append(value)
    return {name: np.array(each, dtype=np.float32) for name, each in rows.items()}


@metric(version=1, of=AutoencoderExperiment, repeats=False)
def probes(run: Run) -> Numbers:
    """Logistic regression on what an encoder makes of few labelled images: on its `code`, and on its `features`.

    `labels` and `draw`, (K,), say of how many and which; `<name>_accuracy` and `<name>_cross_entropy`, (K,), are of the
    test images. The inputs are standardised by all training images.
    """
    model, loaders = experiments.prepared(run)
    assert isinstance(model, SymmetricAutoencoder)
    garments, split = loaders.garments, loaders.config
    parts = (garments.train_images, garments.test_images[: split.test])
    features = [features_of(model, part).numpy() for part in parts]
    with torch.no_grad():
        codes = [
            torch.cat([model.latent(model.hidden(each)) for each in torch.from_numpy(part).split(500)]).numpy()
            for part in features
        ]
    return _probed({"code": (codes[0], codes[1]), "features": (features[0], features[1])}, loaders)


@metric(version=1, of=AutoencoderExperiment, repeats=False)
def pixels(run: Run) -> Numbers:
    """The same without the encoder, on the images that the run was trained on.

    `components_…`: logistic regression on as many principal components of all training images as the code has numbers.
    `neighbours_accuracy`: the vote of the nearest labelled images, in squared distance of pixels.
    """
    model, loaders = experiments.prepared(run)
    garments, split = loaders.garments, loaders.config
    train, test = (
        each.flatten(1).numpy().astype(np.float32) / 255
        for each in (garments.train_images, garments.test_images[: split.test])
    )
    used = loaders.train_indices.numpy()
    found = latent.components(train[used], model.config.latent_dim)
    result = _probed({"components": (found.transform(train), found.transform(test))}, loaders)
    labels, tests = garments.train_labels.numpy(), garments.test_labels[: split.test].numpy()
    accuracies = []
    for _, _, subset in _subsets(garments, split):
        chosen, choosing = subset.train_indices.numpy(), subset.validation_indices.numpy()
        votes = voting(train[chosen], labels[chosen], np.concatenate([train[choosing], test]))
        right = {number: each == np.concatenate([labels[choosing], tests]) for number, each in votes.items()}
        best = max(right, key=lambda number: right[number][: len(choosing)].mean())  # of equals the fewest
        accuracies.append(float(right[best][len(choosing) :].mean()))
    return result | {"neighbours_accuracy": np.array(accuracies, dtype=np.float32)}


def voting(points: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> dict[int, np.ndarray]:
    """The class, (M,), of points `asked`, (M, D), by vote of the nearest of `points`, (N, D).

    By each number of `NEIGHBOURS` for which there are points enough; of equal votes those of the nearest count more.
    """
    from sklearn.neighbors import NearestNeighbors

    numbers = [number for number in NEIGHBOURS if number <= len(points)]
    _, nearest = NearestNeighbors(n_neighbors=numbers[-1], algorithm="brute").fit(points).kneighbors(asked)
    found = {}
    for number in numbers:
        votes = np.zeros((len(asked), labels.max() + 1))
        for place in range(number):  # a nearer one counts more by less than a vote
            votes[np.arange(len(asked)), labels[nearest[:, place]]] += 1 + 1e-3 * (number - place)
        found[number] = votes.argmax(1)
    return found
