"""Metrics of autoencoders: what they give back, how their codes lie, what random codes become, what they restore."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy
import torch

from aelib import corruption, engines, experiments, latent, metrics
from aelib.evaluate.store import Numbers, evaluate, metric
from aelib.experiments import AutoencoderExperiment
from aelib.models import BaselineCNN, DenoisingAutoencoder, Model
from aelib.profiles import PROFILES, profile_of
from aelib.runs import Run

DRAWN = 10_000
"""Random codes that are looked at: as many as test images, so that Fréchet distances compare."""


@metric(version=1, of=AutoencoderExperiment)
def reconstructions(run: Run) -> Numbers:
    """Of each test image, (M,): `error`, squared, mean over pixels; `sharpness` of it and `sharpness_after`, log."""
    trained = experiments.open_run(run)
    made = trained.decode(trained.codes)
    return {
        "error": ((made - trained.images) ** 2).mean((1, 2)),
        "sharpness": sharpness(trained.images),
        "sharpness_after": sharpness(made),
    }


def sharpness(images: np.ndarray) -> np.ndarray:
    """Logarithm of the variance of the Laplacian; of images that are nothing but one grey it is that of a millionth."""
    return np.log(np.maximum(metrics.laplacian_variance(images), 1e-6)).astype(np.float32)


@metric(version=1, of=AutoencoderExperiment)
def components(run: Run) -> Numbers:
    """`error`: squared, of each test image, (M,), given back from as many principal components as the code has numbers.

    They are those of the images that the run was trained on, no more than these are.
    """
    trained, loaders = experiments.open_run(run), experiments.prepared(run)[1]
    seen = np.concatenate([images.flatten(1).numpy() for images, _ in loaders.train_dataloader()])
    model = latent.components(seen.astype(np.float64), trained.codes.shape[1])
    flat = trained.images.reshape(len(trained.images), -1)
    made = model.inverse_transform(model.transform(flat.astype(np.float64)))
    return {"error": ((made - flat) ** 2).mean(1).astype(np.float32)}


@metric(version=1, of=AutoencoderExperiment, weights=False, repeats=False)
def found_rates(run: Run) -> Numbers:
    """`rates`: what the learning-rate finder suggests to the training of `run` with as many seeds as its profile asks.

    In the order of the seeds, from 0; NaN where it saw no finite loss. Of a run of another seed than 0, or with a
    learning rate that was given, nothing.
    """
    config = experiments.as_configured(run.config).training
    if run.config["seed"] or config.learning_rate is not None:
        return {}
    from aelib import finder  # and with it Lightning, which takes seconds: to read what is kept does not need it

    engine, rates = engines.same_engine(run.provenance["engine"]) or engines.choose_engine(0), []
    with tempfile.TemporaryDirectory(prefix="aelib-finder-") as folder, engines.arithmetic(engine):
        for seed in range(PROFILES[profile_of(run.path, run.provenance)].suggestions):
            model, loaders = experiments.begun(run, seed)
            data = loaders.on(engine.device)
            try:
                curve = finder.find_learning_rate(model, data, config, seed=seed, folder=Path(folder), engine=engine)
                rates.append(curve.suggestion)
            except finder.Diverged:
                rates.append(np.nan)
    return {"rates": np.array(rates)}


@metric(version=1, of=AutoencoderExperiment, repeats=False)
def maps(run: Run) -> Numbers:
    """`tsne`: the map of the codes, (M, 2), with the report's perplexity."""
    codes = experiments.open_run(run).codes
    return {"tsne": latent.tsne(codes, perplexity=run.config["perplexity"])}


def tsne_map(run: Run) -> np.ndarray:
    """The map of the codes of `run` by t-SNE, (M, 2): that which it keeps, or else `maps` makes."""
    return run.arrays["tsne"].numpy() if "tsne" in run.arrays else evaluate(run, "maps")["tsne"]


@metric(version=1, of=AutoencoderExperiment, reads=("maps",))
def classes(run: Run) -> Numbers:
    """How the classes lie: on the maps `pca` and `tsne`, and in whole `codes`.

    For each of the three, `<name>_neighbours` and `<name>_silhouette`, (), as in `aelib.metrics`; and
    `<name>_distances`, (C, C), between the means of the classes.
    """
    trained = experiments.open_run(run)
    places = {"pca": latent.pca(trained.codes)[0], "tsne": tsne_map(run), "codes": trained.codes}
    found = {}
    for name, points in places.items():
        centres = latent.centroids(points, trained.labels)
        found[f"{name}_silhouette"] = np.asarray(metrics.silhouette(points, trained.labels))
        found[f"{name}_neighbours"] = np.asarray(metrics.neighbour_accuracy(points, trained.labels))
        found[f"{name}_distances"] = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    return found


@metric(version=3, of=AutoencoderExperiment, judges=("cnn", "cnn_augmented"))
def drawings(run: Run, cnn: Run, features: Run) -> Numbers:
    """What random codes, drawn as the report does, become, in the eyes of the CNN.

    Whether it is `sure`, (N,), more than 90 %, of the class that it takes each for. Over all of them, since random
    codes of two models are no pairs: the mean `entropy` of its probabilities, in nats, the mean `sharpness`, as in
    `reconstructions`, and `frechet`, their distance from the test images in the 320 features of the CNN with
    transforms; () each. Of one that has a prior also `prior_frechet`, of codes drawn from that.
    """
    trained, eye = experiments.open_run(run), experiments.load_model(features)
    count = min(DRAWN, len(trained.images))
    drawn = trained.decode(latent.random_codes(trained.codes, count, box=experiments.random_box(run), seed=1))
    answered = probabilities(cnn, drawn)
    real = features_seen(eye, trained.images)
    found = {
        "sure": answered.max(1) > 0.9,
        "entropy": scipy.stats.entropy(answered, axis=1).mean(dtype=np.float64),
        "sharpness": sharpness(drawn).mean(dtype=np.float64),
        "frechet": np.asarray(metrics.frechet_distance(features_seen(eye, drawn), real)),
    }
    if (codes := trained.model.prior(count, torch.Generator().manual_seed(1))) is not None:
        found["prior_frechet"] = np.asarray(
            metrics.frechet_distance(features_seen(eye, trained.decode(codes.numpy())), real)
        )
    return found


@torch.no_grad()
def probabilities(cnn: Run, images: np.ndarray) -> np.ndarray:
    """What the CNN of a run thinks that images, (N, 28, 28) in [0, 1], are: (N, C)."""
    judge = experiments.load_model(cnn)
    return torch.cat([judge(part).softmax(1) for part in _parts(images)]).numpy()


@torch.no_grad()
def features_seen(cnn: Model, images: np.ndarray) -> np.ndarray:
    """What the CNN's last layer sees: (N, 320)."""
    assert isinstance(cnn, BaselineCNN)
    return torch.cat([cnn.layers[:-1](part) for part in _parts(images)]).double().numpy()


def _parts(images: np.ndarray) -> tuple[torch.Tensor, ...]:
    return torch.from_numpy(images).float().unsqueeze(1).split(500)


CORRUPTIONS = ("horizontal flip", "vertical flip", "noise", "erasing", "all four at random")


def restorations(
    dae: experiments.Trained, names: tuple[str, ...] = CORRUPTIONS, count: int = 2000
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The first `count` test images, corrupted in the ways `names`, and what the denoiser makes of them.

    Returns:
        By name of the corruption: corrupted and restored images, (count, 28, 28) each, in [0, 1]; the same, whichever
        others are asked for.
    """
    images = torch.from_numpy(dae.images[:count]).unsqueeze(1)
    # Per image, whichever way it was trained: the images are a sample.
    strength: corruption.Corruption = replace(dae.model.config.corruption, per_batch=False)  # type: ignore[attr-defined]
    ways: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
        corruption.horizontal_flip,
        corruption.vertical_flip,
        lambda x: corruption.add_noise(x, strength.noise_std),
        lambda x: corruption.erase(x, strength.erased_area),
        strength,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        corrupted = {name: way(images)[:, 0].numpy() for name, way in zip(CORRUPTIONS, ways, strict=True)}
    return {name: (corrupted[name], dae.model.reconstruct(corrupted[name])) for name in CORRUPTIONS if name in names}


def _changed(corrupted: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """Which images, (N,), a corruption has changed; all, where it changes none, as noise without a deviation."""
    changed = (corrupted != originals).any((1, 2))
    return changed if changed.any() else ~changed


@metric(version=1, of=AutoencoderExperiment)
def restored(run: Run) -> Numbers:
    """What a denoising one makes of the first 2,000 test images, corrupted by all four transforms at random.

    Of each that is changed: structural similarity with the original `before` and `after`, and the `sharpness` of the
    original and `sharpness_after`. Of other autoencoders nothing.
    """
    trained = experiments.open_run(run)
    if not isinstance(trained.model, DenoisingAutoencoder):
        return {}
    corrupted, made = restorations(trained, ("all four at random",))["all four at random"]
    originals = trained.images[: len(corrupted)]
    changed = _changed(corrupted, originals)
    return {
        "before": metrics.ssim(corrupted[changed], originals[changed]),
        "after": metrics.ssim(made[changed], originals[changed]),
        "sharpness": sharpness(originals[changed]),
        "sharpness_after": sharpness(made[changed]),
    }


@metric(version=1, of=AutoencoderExperiment)
def mended(run: Run) -> Numbers:
    """What a denoising one makes of the first 2,000 test images in each of `CORRUPTIONS`, where that changes them.

    Means of `psnr` and of `ssim`, (5, 2): of the corrupted and of the restored images. `closer`, (5,): the share that
    comes closer to the original, by structural similarity. Of other autoencoders nothing.
    """
    trained = experiments.open_run(run)
    if not isinstance(trained.model, DenoisingAutoencoder):
        return {}
    found: dict[str, list[np.ndarray]] = {"psnr": [], "ssim": [], "closer": []}
    for both in restorations(trained).values():
        originals = trained.images[: len(both[0])]
        changed = _changed(both[0], originals)
        psnr, ssim = (
            np.stack([of(each[changed], originals[changed]) for each in both]) for of in (metrics.psnr, metrics.ssim)
        )
        found["psnr"].append(psnr.mean(1))
        found["ssim"].append(ssim.mean(1))
        found["closer"].append((ssim[1] > ssim[0]).mean())
    return {name: np.array(each) for name, each in found.items()}


@metric(version=1, of=AutoencoderExperiment)
def regularity(run: Run) -> Numbers:
    """`kl`, (): divergence from the prior of the Gaussian with the mean and covariance of all test images' codes."""
    trained = experiments.open_run(run)
    return {"kl": np.asarray(metrics.gaussian_kl_to_prior(aggregate_posterior(trained)))}


def aggregate_posterior(trained: experiments.Trained) -> np.ndarray:
    """Codes of the test images, as in `drawn_codes`, (M, latent_dim)."""
    return drawn_codes(trained, trained.images)


@torch.no_grad()
def drawn_codes(trained: experiments.Trained, images: np.ndarray) -> np.ndarray:
    """Codes of `images`, (N, 28, 28), as the decoder meets them in training: of a variational one draws, else codes."""
    generator = torch.Generator().manual_seed(0)
    return torch.cat([trained.model.draw(part, generator) for part in _parts(images)]).numpy()


@metric(version=1, of=AutoencoderExperiment, repeats=False)
@torch.no_grad()
def independence(run: Run) -> Numbers:
    """`difference`, (): the largest between codes of 256 test images alone and in one batch, over their deviation.

    It is made of rounding errors, in which processors differ.
    """
    trained = experiments.open_run(run)
    images = torch.from_numpy(trained.images[:256]).unsqueeze(1)
    together = trained.model.encode(images)
    alone = torch.cat([trained.model.encode(each) for each in images.split(1)])
    return {"difference": np.asarray(float((together - alone).abs().max() / together.std()))}
