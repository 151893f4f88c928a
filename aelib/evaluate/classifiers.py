"""Metrics of classifiers."""

from __future__ import annotations

import numpy as np
import torch

from aelib import calibration, experiments
from aelib.evaluate.store import Numbers, metric
from aelib.experiments import ClassifierExperiment, TransferExperiment
from aelib.models import SymmetricAutoencoder, TransferClassifier
from aelib.runs import Run


def logits_of(run: Run) -> np.ndarray | None:
    """What a classifier answers to the test images, (M, C), float64: kept, or made anew from weights; None without."""
    if "logits" in run.arrays:
        return run.arrays["logits"].double().numpy()
    return experiments.outputs(*experiments.prepared(run)).double().numpy() if run.weights else None


@metric(version=1, of=ClassifierExperiment, weights=False)
def answers(run: Run) -> Numbers:
    """From the logits: `right` and `cross_entropy`, in nats, of each test image, (M,) each.

    Of a run of an older version, which kept none, they are made anew from its weights. Of one without either, nothing.
    """
    found = logits_of(run)
    if found is None:  # of few labels
        return {}
    logits, labels = torch.from_numpy(found), torch.from_numpy(experiments.tested_on(run)[1]).long()
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return {"right": (logits.argmax(1) == labels).numpy().astype(np.uint8), "cross_entropy": loss.float().numpy()}


@metric(version=1, of=ClassifierExperiment, weights=False)
def honesty(run: Run) -> Numbers:
    """Whether the probabilities of a classifier can be believed, on the test images; of a run without logits nothing.

    `before` and `after`, (5,), temperature scaling: cross-entropy in nats, Brier score, calibration error, that without
    its bias, and accuracy. `bins_before` and `bins_after`, (3, 15): of each bin of confidence the count, the mean
    confidence, and the accuracy. `temperatures`, (2,): each fitted on one half of the test images and used on the
    other, since most runs have kept no validation logits.
    """
    logits = logits_of(run)
    return {} if logits is None else judged_logits(logits, experiments.tested_on(run)[1])


def judged_logits(logits: np.ndarray, labels: np.ndarray) -> Numbers:
    """What `honesty` says of logits, (M, C), such as those of an ensemble."""
    labels = labels.astype(int)
    scaled, temperatures = calibration.scaled(logits, labels)
    found: Numbers = {"temperatures": np.array(temperatures)}
    for name, each in (("before", logits), ("after", scaled)):
        probabilities = calibration.answers(each)
        bins = calibration.reliability(probabilities, labels)
        found[name] = np.array(
            [
                calibration.cross_entropy(each, labels),
                calibration.brier(probabilities, labels),
                bins.ece,
                bins.debiased,
                float((each.argmax(1) == labels).mean()),
            ]
        )
        found[f"bins_{name}"] = np.array([bins.counts, bins.confidence, bins.accuracy])
    return found


@metric(version=1, of=ClassifierExperiment)
def validated(run: Run) -> Numbers:
    """`temperature`, (): fitted on all validation images; `after`, (5,): what `honesty` says with it. Needs weights."""
    model, loaders = experiments.prepared(run)
    with torch.no_grad():
        parts = [(model(inputs), labels) for inputs, labels in loaders.val_dataloader()]
    logits, labels = (torch.cat(each).numpy() for each in zip(*parts, strict=True))
    fitted = calibration.temperature(logits.astype(np.float64), labels)
    found = logits_of(run)
    assert found is not None
    theirs = experiments.tested_on(run)[1].astype(int)
    return {"temperature": np.asarray(fitted), "after": judged_logits(found / fitted, theirs)["before"]}


@metric(version=1, of=TransferExperiment)
@torch.no_grad()
def behind_encoder(run: Run) -> Numbers:
    """The head on stored features against the same behind its frozen encoder, image by image of the test set.

    `logit_difference`, (): the largest of any logit; `class_difference`, (): the share of images of another class.
    """
    source = experiments.source_of(run.path, run.config)
    assert source is not None
    (head, loaders), encoder = experiments.prepared(run), experiments.load_model(source)
    assert isinstance(head, TransferClassifier)
    assert isinstance(encoder, SymmetricAutoencoder)
    stored = experiments.outputs(head, loaders)
    images = torch.from_numpy(experiments.tested_on(run)[0]).unsqueeze(1)
    whole = torch.cat([head(encoder.features(part).flatten(1)) for part in images.split(100)])
    return {
        "logit_difference": np.asarray(float((stored - whole).abs().max())),
        "class_difference": np.asarray(float((stored.argmax(1) != whole.argmax(1)).double().mean())),
    }
