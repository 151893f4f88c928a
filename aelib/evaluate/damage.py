"""Damaged pictures, and what restores them: networks, and the filters that one would reach for first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
import skimage
import torch

from aelib import corruption, experiments, latent, metrics
from aelib.evaluate.store import Numbers, evaluate, metric
from aelib.experiments import AutoencoderExperiment
from aelib.models import SymmetricAutoencoder
from aelib.runs import Run

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

SHARE = 10
"""One in so many test images is damaged, the first of them; a filter's strength is chosen on one in so many as these of
the validation images. 1,000 and 100 of FashionMNIST, as non-local means take a second for a hundred."""


def salt_and_pepper(images: torch.Tensor, share: float) -> torch.Tensor:
    """That share of the pixels, (B, 1, H, W), white or black, as a coin says."""
    drawn = torch.rand_like(images)
    return torch.where(drawn < share, (drawn < share / 2).float(), images)


def blur(images: torch.Tensor, width: float) -> torch.Tensor:
    """A Gaussian blur of images, (B, 1, H, W), with a standard deviation of `width` pixels."""
    return torch.from_numpy(scipy.ndimage.gaussian_filter(images.numpy(), (0, 0, width, width), mode="constant"))


def erase(images: torch.Tensor, share: float) -> torch.Tensor:
    """A black rectangle of that share of each image, (B, 1, H, W)."""
    return corruption.erase(images, (share, share))


KINDS: dict[str, tuple[Callable[[torch.Tensor, float], torch.Tensor], tuple[float, ...]]] = {
    "noise": (corruption.add_noise, (0.1, 0.2, 0.4, 0.7, 1.0)),
    "erased": (erase, (0.02, 0.1, 0.3, 0.6)),
    "salt and pepper": (salt_and_pepper, (0.05, 0.2, 0.5)),
    "blur": (blur, (1.0, 2.0, 3.0)),
}
"""By name, what damages images, and how much: standard deviation, share, share, pixels. The denoiser was trained on
noise of 0.4 and on shares of 0.02 to 0.33; the last two kinds it has never seen."""

DAMAGES = tuple((kind, strength) for kind, (_, strengths) in KINDS.items() for strength in strengths)


def damaged(images: np.ndarray, kind: str, strength: float) -> np.ndarray:
    """Images, (N, 28, 28) in [0, 1], damaged; the same each time, and whatever else is asked for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(DAMAGES.index((kind, strength)))
        return KINDS[kind][0](torch.from_numpy(images).unsqueeze(1), strength)[:, 0].numpy()


def _restored(name: str, images: np.ndarray, **options: Any) -> np.ndarray:
    function = getattr(skimage.restoration, name)
    return np.stack([function(image, **options) for image in images]).astype(np.float32)


FILTERS: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], tuple[float, ...]]] = {
    "median": (lambda images, size: scipy.ndimage.median_filter(images, (1, int(size), int(size))), (1, 3, 5, 7)),
    "Gaussian": (
        lambda images, width: scipy.ndimage.gaussian_filter(images, (0, width, width)),
        (0.0, 0.5, 0.75, 1.0, 1.5),
    ),
    "non-local means": (
        lambda images, h: _restored("denoise_nl_means", images, patch_size=3, patch_distance=6, h=h, fast_mode=True),
        (0.02, 0.1, 0.2, 0.4, 0.8),
    ),
    "total variation": (
        lambda images, weight: _restored("denoise_tv_chambolle", images, weight=weight),
        (0.02, 0.1, 0.2, 0.4, 0.8),
    ),
}
"""Classical filters of images, (N, H, W) in [0, 1], and the strengths that each chooses from: pixels, standard
deviation in pixels, `h` of non-local means in units of pixels' values, weight."""


def _images(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first test images, the first validation images, and all training images, (·, 28, 28) in [0, 1]."""
    originals = _first(experiments.tested_on(run)[0])
    choosing, _ = experiments.trained_on(run, len(_first(originals)), validation=True)
    return originals, choosing, experiments.trained_on(run)[0]


def _first(images: np.ndarray) -> np.ndarray:
    return images[: max(len(images) // SHARE, 2)]


def _quality(restored: np.ndarray, originals: np.ndarray) -> dict[str, np.ndarray]:
    """`psnr` of each image, (N,), in dB; mean and standard error of it and of the structural similarity, (4,)."""
    psnr, ssim = metrics.psnr(restored, originals), metrics.ssim(restored, originals)
    errors = [each.std(ddof=1) / len(each) ** 0.5 for each in (psnr, ssim)]
    return {"psnr": psnr, "means": np.array([psnr.mean(), errors[0], ssim.mean(), errors[1]])}


@metric(version=1, of=AutoencoderExperiment)
def restoring(run: Run) -> Numbers:
    """What an autoencoder makes of the first test images after each of `DAMAGES`, (D,).

    `psnr`, (D, N), in dB; `means`, (D, 4): of PSNR and of structural similarity the mean and its standard error.
    """
    model = experiments.load_model(run)
    assert isinstance(model, SymmetricAutoencoder)
    originals = _first(experiments.tested_on(run)[0])
    found = [_quality(model.reconstruct(damaged(originals, *damage)), originals) for damage in DAMAGES]
    return _gathered(found)


def _gathered(found: list[dict[str, np.ndarray]]) -> Numbers:
    return {
        "psnr": np.stack([each["psnr"] for each in found]).astype(np.float16),
        "means": np.stack([each["means"] for each in found]).astype(np.float32),
    }


@metric(version=1, of=AutoencoderExperiment)
def filters(run: Run) -> Numbers:
    """The same by what needs no network, on the images that the run was trained on.

    Each of `FILTERS` has, for each damage, the strength with the highest mean PSNR on damaged validation images: it
    knows what it is up against, which the network does not. `means_<filter>`, (D, 4), and `strength_<filter>`, (D,);
    also of the principal components of the training images, as many as the code has numbers, and of doing nothing
    (`nothing`). `psnr`, (D, N), is of that one which is best on validation images; `best`, (D,), says which.
    """
    originals, choosing, train = _images(run)
    components = latent.components(train.reshape(len(train), -1), run.config["model"]["latent_dim"])
    ways = {"nothing": (lambda images, _: images, (0.0,)), **FILTERS, "components": (_projection(components), (0.0,))}
    found: dict[str, list[Any]] = {f"{what}_{name}": [] for name in ways for what in ("means", "strength")}
    best: list[dict[str, np.ndarray]] = []
    which = []
    for damage in DAMAGES:
        given, tried = damaged(originals, *damage), damaged(choosing, *damage)
        results = []
        for name, (way, strengths) in ways.items():
            scores = [metrics.psnr(np.clip(way(tried, each), 0, 1), choosing).mean() for each in strengths]
            strength = strengths[int(np.argmax(scores))]
            quality = _quality(np.clip(way(given, strength), 0, 1), originals)
            found[f"means_{name}"].append(quality["means"])
            found[f"strength_{name}"].append(strength)
            results.append((max(scores), quality))
        which.append(int(np.argmax([score for score, _ in results])))
        best.append(results[which[-1]][1])
    return {name: np.array(each, dtype=np.float32) for name, each in found.items()} | {
        "psnr": _gathered(best)["psnr"],
        "best": np.array(which, dtype=np.uint8),
    }


def _projection(components: PCA) -> Callable[[np.ndarray, float], np.ndarray]:
    def project(images: np.ndarray, _: float) -> np.ndarray:
        return components.inverse_transform(components.transform(images.reshape(len(images), -1))).reshape(images.shape)

    return project


WAYS = ("nothing", *FILTERS, "components")
"""What `filters` compares, in the order of its `best`."""


def filtered(run: Run, images: np.ndarray, damage: int) -> np.ndarray:
    """Images, (N, 28, 28), that have the damage of that number, after the classical filter that is best against it."""
    found = evaluate(run, "filters")
    name = WAYS[int(found["best"][damage])]
    if name in FILTERS:
        return np.clip(FILTERS[name][0](images, float(found[f"strength_{name}"][damage])), 0, 1)
    if name == "nothing":
        return images
    train, _ = experiments.trained_on(run)
    components = latent.components(train.reshape(len(train), -1), run.config["model"]["latent_dim"])
    return np.clip(_projection(components)(images, 0.0), 0, 1)
