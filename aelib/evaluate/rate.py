"""Metrics of what a code says: how much, how exactly, in how many of its units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from aelib import experiments, metrics
from aelib.evaluate.autoencoders import aggregate_posterior
from aelib.evaluate.drawing import FITTED
from aelib.evaluate.store import Numbers, metric
from aelib.experiments import AutoencoderExperiment, Trained
from aelib.models import VariationalAutoencoder
from aelib.runs import Run

ACTIVE_KL = 0.01
"""A unit says something if its mean divergence from the prior is above this, in nats."""

ACTIVE_VARIANCE = 0.01
"""The same by the variance of its mean over images, as Burda et al. (2016) have it."""

COMPARED = 2_000
"""Codes that the aggregate posterior is held against the prior by, in kernels."""


@metric(version=1, of=AutoencoderExperiment)
def rate(run: Run) -> Numbers:
    """How much of a test image the code keeps, and of a variational autoencoder how much the code says.

    Of all: `error`, (): squared, mean over pixels and images, of the means of the codes.
    Of variational ones also `drawn_error`, the same of codes drawn from their posteriors; `kl`, (latent_dim,): mean
    divergence of each unit, in nats, and `variance`, (latent_dim,), of its mean; `beta`, (), given or learned; how the
    aggregate posterior differs from the prior: `mmd`, of means and draws, and `kl_most` and `kl_least`, estimates of
    the divergence that are too large and too small, in nats, see `metrics.kl_of_mixture`.
    """
    trained = experiments.open_run(run)
    found = {"error": _error(trained, trained.codes)}
    model = trained.model
    if isinstance(model, VariationalAutoencoder):
        means, log_variances = _posteriors(model, trained.images)
        draws = aggregate_posterior(trained)
        units = 0.5 * (means**2 + np.exp(log_variances) - 1 - log_variances)
        prior = np.random.default_rng(0).standard_normal((COMPARED, draws.shape[1]))
        found |= {
            "drawn_error": _error(trained, draws),
            "kl": units.mean(0).astype(np.float32),
            "variance": means.var(0).astype(np.float32),
            "beta": float(model.weight(torch.zeros(1))),
            "mmd": metrics.maximum_mean_discrepancy(draws[:COMPARED].astype(np.float64), prior),
            "kl_most": metrics.kl_of_mixture(draws, means, log_variances, own=True),
            "kl_least": metrics.kl_of_mixture(draws, means, log_variances, own=False),
        }
    return {name: np.asarray(each) for name, each in found.items()}


def _error(trained: Trained, codes: np.ndarray) -> float:
    return float(((trained.decode(codes) - trained.images).astype(np.float64) ** 2).mean())


@torch.no_grad()
def _posteriors(model: VariationalAutoencoder, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and log-variances of the codes of images, (N, 28, 28): two (N, latent_dim), float64."""
    parts = [model.posterior(part) for part in torch.from_numpy(images)[:, None].split(500)]
    means, log_variances = (torch.cat(each).double().numpy() for each in zip(*parts, strict=True))
    return means, log_variances


def said(found: Sequence[Numbers]) -> dict[str, list[float]]:
    """What `rate` found of several seeds of a variational autoencoder, by name, each of all seeds.

    `nats` and `bits` of an image; `units` that are active, and `units_by_variance`; `error` and `drawn_error`, and
    `psnr`, in dB, of the first; `loss` of drawn codes, as in training; and `beta`, `mmd`, `kl_most` and `kl_least`, the
    last 0 where the estimate is negative, which says nothing: no divergence is.
    """
    numbers: dict[str, list[float]] = {}
    for each in found:
        nats, beta = float(each["kl"].sum()), float(each["beta"])
        made = {
            "nats": nats,
            "bits": nats / np.log(2),
            "units": int((each["kl"] > ACTIVE_KL).sum()),
            "units_by_variance": int((each["variance"] > ACTIVE_VARIANCE).sum()),
            "psnr": -10 * np.log10(float(each["error"])),
            "loss": metrics.exchange(float(each["drawn_error"]), nats, beta),
            "kl_least": max(0.0, float(each["kl_least"])),
        }
        kept = ("error", "drawn_error", "beta", "mmd", "kl_most")
        for name, value in (made | {name: float(each[name]) for name in kept}).items():
            numbers.setdefault(name, []).append(value)
    return numbers


@metric(version=1, of=AutoencoderExperiment)
def labels_in_codes(run: Run) -> Numbers:
    """`accuracy`, (): of a linear classifier of codes, fitted to those of training images, on those of test images."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    trained = experiments.open_run(run)
    images, labels = experiments.trained_on(run, FITTED)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000))
    linear.fit(trained.model.encode(images), labels)
    return {"accuracy": np.asarray(linear.score(trained.codes, trained.labels))}


@metric(version=1, of=AutoencoderExperiment, weights=False)
def spectrum(run: Run) -> Numbers:
    """`eigenvalues`, (784,): variances of the principal components of the training images' pixels, falling."""
    images, _ = experiments.trained_on(run)
    flat = images.reshape(len(images), -1).astype(np.float64)
    return {"eigenvalues": np.linalg.eigvalsh(np.cov(flat, rowvar=False))[::-1].astype(np.float32)}
