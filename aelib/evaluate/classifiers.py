"""Metrics of classifiers."""

from __future__ import annotations

import numpy as np
import torch

from aelib import experiments
from aelib.evaluate.store import Numbers, metric
from aelib.experiments import ClassifierExperiment, TransferExperiment
from aelib.models import SymmetricAutoencoder, TransferClassifier
from aelib.runs import Run


@metric(version=1, of=ClassifierExperiment, weights=False)
def answers(run: Run) -> Numbers:
    """From the logits: `right` and `cross_entropy`, in nats, of each test image, (M,) each.

    Of a run of an older version, which kept none, they are made anew from its weights. Of one without either, nothing.
    """
    if not run.weights and "logits" not in run.arrays:  # of few labels
        return {}
    labels = torch.from_numpy(experiments.tested_on(run)[1]).long()
    logits = run.arrays["logits"] if "logits" in run.arrays else experiments.outputs(*experiments.prepared(run))
    logits = logits.double()
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return {"right": (logits.argmax(1) == labels).numpy().astype(np.uint8), "cross_entropy": loss.float().numpy()}


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
