"""What the report claims, and what we found: each claim with the rule that decides it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from aelib import experiments, latent, metrics, report, runs, tables, verdicts
from aelib.evaluate import CORRUPTIONS, aggregate_posterior, restorations, tsne_map
from aelib.models import BaselineCNN
from aelib.verdicts import Above, Alike, Always, Below, Reproduces

VERDICTS = CONFIRMED, NOT_CONFIRMED, NOISE = "confirmed", "not confirmed", "within noise"
JUDGED = ("convolutional", "denoising", "variational", "transfer", "cnn", "cnn_augmented")
"""The experiments that the claims are about."""

DRAWN = 1000
"""Random codes that the claims about them are judged on."""


@dataclass(frozen=True)
class Claim:
    """One claim of the report.

    Attributes:
        claim: in a sentence.
        theirs: the report's number, as text; empty where it makes the claim in words alone.
        ours: as text, with the quantity where that is not obvious.
        rule: what decides.
        verdict: "confirmed", "not confirmed" or "within noise".
        figure: label of the figure or table that shows it.
        command: what makes it again.
    """

    claim: str
    theirs: str
    ours: str
    rule: str
    verdict: str
    figure: str
    command: str


@dataclass(frozen=True)
class Statement:
    """A claim of the report with the rules that decide it, written down before the runs that they are applied to.

    Attributes:
        name: of the claim, for programs.
        claim: in a sentence.
        where: the section, figure or table of the report that makes it.
        rules: what is asked of which quantity, in words; all are to hold. "A − B" is a difference of two runs of the
            same seed; "per image" is taken on the same test images for each seed.
        judges: whether the rules are several judges of one question: where they disagree it is undecided.
        seeds: of the runs; three where forty trainings more would say little more.
    """

    name: str
    claim: str
    where: str
    rules: dict[str, verdicts.Rule]
    judges: bool = False
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


STATEMENTS = (
    # Numbers of the report. AE, DAE, VAE: the plain, the denoising (corrupted per batch, as the report's code does) and
    # the variational autoencoder; head: the transfer classifier.
    Statement(
        "ae-loss", "The plain autoencoder's lowest validation loss is 0.01019", "Figure 19",
        {"AE: validation loss of the best epoch": Reproduces(0.01019)},
    ),
    Statement(
        "dae-loss", "The denoising autoencoder's lowest validation loss is 0.01701", "Figure 19",
        {"DAE: validation loss of the best epoch": Reproduces(0.01701)},
    ),
    Statement(
        "vae-loss", "The variational autoencoder's lowest validation loss, with its KL term, is 0.03659", "Figure 19",
        {"VAE: validation loss of the best epoch": Reproduces(0.03659)},
    ),
    Statement(
        "ae-epochs", "The plain autoencoder stops after 57 epochs", "Figure 19",
        {"AE: epochs": Reproduces(57, 0.25, ratio=True, also=(0.1, 0.5))},
    ),
    Statement(
        "dae-epochs", "The denoising autoencoder stops after 73 epochs", "Figure 19",
        {"DAE: epochs": Reproduces(73, 0.25, ratio=True, also=(0.1, 0.5))},
    ),
    Statement(
        "vae-epochs", "The variational autoencoder stops after 35 epochs", "Figure 19",
        {"VAE: epochs": Reproduces(35, 0.25, ratio=True, also=(0.1, 0.5))},
    ),
    Statement(
        "head-accuracy", "The transfer classifier's test accuracy is 0.901", "Section 3.2",
        {"head: test accuracy": Reproduces(0.901, 0.01, absolute=True, also=(0.005, 0.02))},
    ),
    Statement(
        "head-cross-entropy", "The transfer classifier's test loss is 0.278", "Section 3.2",
        {"head: test cross-entropy": Reproduces(0.278)},
    ),
    Statement(
        "head-loss", "The transfer classifier's lowest validation loss is 0.242", "Figure 7",
        {"head: validation loss of the best epoch": Reproduces(0.242)},
    ),
    Statement(
        "head-rate", "The finder suggests 0.0033113 for the transfer classifier", "Section 3.2, Figure 13",
        {"head: learning rate of the finder": Reproduces(0.0033113, 1.0, ratio=True, also=(0.5, 2.0))},
    ),
    Statement(
        "cnn-accuracy", "The CNN's test accuracy is 0.906", "Table 4",
        {"CNN: test accuracy": Reproduces(0.906, 0.01, absolute=True, also=(0.005, 0.02))},
    ),
    Statement(
        "cnn-cross-entropy", "The CNN's test loss is 0.287", "Table 4", {"CNN: test cross-entropy": Reproduces(0.287)}
    ),
    Statement(
        "augmented-accuracy", "With random transforms the CNN's test accuracy is 0.911", "Table 4",
        {"CNN with transforms: test accuracy": Reproduces(0.911, 0.01, absolute=True, also=(0.005, 0.02))},
    ),
    Statement(
        "augmented-cross-entropy", "With random transforms the CNN's test loss is 0.259", "Table 4",
        {"CNN with transforms: test cross-entropy": Reproduces(0.259)},
    ),
    # Classifiers.
    Statement(
        "similar", "The transfer classifier performs similarly to the CNN", "Section 3.2",
        {"head − CNN: right answers per image": Alike(0.01, also=(0.005, 0.02))},
    ),
    Statement(
        "transforms", "Random transforms make the CNN better", "Table 4",
        {
            "CNN with transforms − CNN: right answers per image": Above(),
            "CNN − CNN with transforms: cross-entropy per image": Above(),
        },
    ),
    Statement(
        "smaller", "The transfer classifier is much less complex than the CNN", "Section 3.2",
        {
            "parameters that are trained, head over CNN": Always(0.5, also=(0.2, 0.9)),
            "multiplications for an image, head over CNN": Always(0.5, also=(0.2, 0.9)),
        },
    ),
    Statement(
        "quicker", "The transfer classifier trains in a fraction of the CNN's time, 2 minutes of 27", "Section 3.2",
        {"CNN over head: seconds of training, on one machine": Above(10.0, also=(5.0, 13.5))},
    ),
    Statement(
        "features", "Features that are computed once make the same classifier as the CNN with its frozen encoder",
        "Section 2.2",
        {
            "head on stored features, and behind its encoder: largest difference of a logit": Always(1e-4),
            "the same: share of test images classified differently": Always(0.0),
        },
    ),
    # The denoising autoencoder.
    Statement(
        "dae-similar", "The denoising autoencoder's losses are similar to the plain one's", "Section 3.3",
        {"log(DAE) − log(AE): validation loss of the best epoch": Alike(0.05, also=(0.1, 0.25))},
    ),
    Statement(
        "dae-slower", "The denoising autoencoder converges more slowly than the plain one", "Section 3.3",
        {"DAE − AE: epochs until within 10 % of the lowest validation loss": Above()},
    ),
    Statement(
        "dae-unstable", "The denoising autoencoder converges less stably than the plain one", "Section 3.3",
        {"log(DAE) − log(AE): spread of the changes of the validation loss after epoch 20": Above()},
    ),
    Statement(
        "dae-worse", "The denoising autoencoder reconstructs clean images worse than the plain one", "Section 3.3",
        {"DAE − AE: squared error per image": Above()},
    ),
    Statement(
        "dae-confused", "The denoising autoencoder's random codes are as confused as the plain one's", "Section 3.3",
        {
            "DAE − AE: share of random codes of whose class the CNN is more than 90 % sure": Alike(
                0.1, also=(0.05, 0.2)
            ),
            "log(DAE) − log(AE): Fréchet distance in the CNN's features": Alike(0.25, also=(0.1, 0.5)),
        },
        judges=True,
    ),
    Statement(
        "denoises", "The denoising autoencoder retrieves almost all corrupted images", "Section 3.3",
        {"DAE: share of corrupted images whose structural similarity rises": Above(0.9, also=(0.8, 0.95))},
    ),
    Statement(
        "details", "What the denoising autoencoder retrieves lacks the finer details", "Section 3.3",
        {"log(original) − log(retrieved by DAE): variance of the Laplacian per image": Above()},
    ),
    # The latent spaces, and what is drawn from them.
    Statement(
        "pca", "On the map by PCA the plain autoencoder's classes are not clearly separated", "Section 3.1, Figure 3",
        {
            "AE, map by PCA: accuracy of ten nearest neighbours": Below(0.6, also=(0.5, 0.7)),
            "AE, map by PCA: silhouette": Below(0.25, also=(0.1, 0.5)),
        },
        judges=True,
    ),
    Statement(
        "tsne", "The map by t-SNE separates the classes well, and better than that by PCA", "Section 3.1, Figure 4",
        {
            "AE, map by t-SNE: accuracy of ten nearest neighbours": Above(0.75, also=(0.7, 0.8)),
            "AE, map by t-SNE − map by PCA: silhouette": Above(),
        },
    ),
    Statement(
        "neighbours", "Similar classes are near each other", "Section 3.1, Figures 3 and 4",
        {
            "AE, codes: rank correlation of the classes' distances with how often the CNN confuses them": Below(
                -0.3, also=(-0.5, 0.0)
            ),
            "AE, map by t-SNE: the same": Below(-0.3, also=(-0.5, 0.0)),
        },
    ),
    Statement(
        "distinct", "The variational latent space has more distinct clusters than the plain one",
        "Section 3.4, Figure 11",
        {
            "VAE − AE, map by PCA: accuracy of ten nearest neighbours": Above(),
            "VAE − AE, map by PCA: silhouette": Above(),
            "VAE − AE, whole codes: accuracy of ten nearest neighbours": Above(),
            "VAE − AE, whole codes: silhouette": Above(),
        },
        judges=True,
    ),
    Statement(
        "acceptable", "The plain autoencoder reconstructs images acceptably", "Section 3.1, Figure 6",
        {"30 principal components − AE: squared error per image": Above()},
    ),
    Statement(
        "confused", "Most random codes of the plain autoencoder represent no class well", "Section 3.1, Figure 5",
        {"AE: share of random codes of whose class the CNN is more than 90 % sure": Below(0.5, also=(0.4, 0.6))},
    ),
    Statement(
        "clearer", "The variational autoencoder's random codes are less confused than the plain one's",
        "Section 3.4, Figure 12",
        {
            "VAE − AE: share of random codes of whose class the CNN is more than 90 % sure": Above(),
            "AE − VAE: entropy of the CNN's answer to random codes": Above(),
            "log(AE) − log(VAE): Fréchet distance in the CNN's features": Above(),
        },
        judges=True,
    ),
    Statement(
        "blurred", "The variational autoencoder's images are more blurred than the plain one's",
        "Section 3.4, Figure 12",
        {
            "log(AE) − log(VAE): variance of the Laplacian of images from random codes": Above(),
            "log(AE) − log(VAE): variance of the Laplacian of reconstructions, per image": Above(),
        },
    ),
    Statement(
        "sacrificed", "The variational autoencoder gives up accuracy of reconstruction for a more regular latent space",
        "Section 3.4",
        {
            "VAE − AE: squared error per image": Above(),
            "log(AE) − log(VAE): KL divergence of the codes' Gaussian from the prior": Above(),
        },
    ),
    Statement(
        "beta", "Of β between 1 and 10, 2 is a good choice", "Section 2.4",
        {
            f"log(β = {other}) − log(β = 2): Fréchet distance of draws from the prior in the CNN's features": Above()
            for other in (1, 4, 7, 10)
        },
        seeds=(0, 1, 2),
    ),
    Statement(
        "independent", "Instance normalisation makes a code independent of the other images of its batch",
        "Section 2.1",
        {"AE: a code alone and in a batch of 256, largest difference over the codes' deviation": Always(1e-4)},
    ),
    # The search. Its rules are about one study, and where they take a sample, about what they say.
    Statement(
        "search-value", "The search's lowest validation loss is 0.01069", "Figure 1",
        {"our five best configurations, three new seeds each: lowest validation loss": Reproduces(0.01069)},
        seeds=(0, 1, 2),
    ),
    Statement(
        "search-good", "The search finds a good set of values", "Section 4",
        {
            "median of the 30 random trials − our best configuration, trained with new seeds: log of the loss": Above(),
            "share of the random trials that are as good as its mean": Always(0.05, also=(0.02, 0.1)),
        },
        seeds=(0, 1, 2),
    ),
    Statement(
        "search-degrees", "The search maximises channels and linear units and almost minimises the L2 penalty",
        "Section 3.1",
        {
            "our five best trials: how many have fewer than the most channels": Always(1),
            "the same: 1 − median of the linear units in their range, in [0, 1]": Always(0.25, also=(0.1, 0.4)),
            "the same: median of log(L2 penalty) in its range, in [0, 1]": Always(0.33, also=(0.25, 0.5)),
        },
    ),
    Statement(
        "search-latent", "The latent dimension that it chooses is in the middle of its range", "Section 3.1",
        {"our five best trials: median's distance from the middle, over the range": Always(0.25, also=(0.15, 0.35))},
    ),
    Statement(
        "search-important", "The L2 penalty is the most important hyper-parameter", "Figure 15",
        {"share of 1,000 bootstraps of the completed trials in which another one is": Always(0.05, also=(0.01, 0.2))},
    ),
    Statement(
        "search-short", "Sixty trials are not enough to explore the space exhaustively", "Section 3.1",
        {"share of the 54 choices of kernels, channels, norm, optimiser that are tried": Always(0.75, also=(0.5, 0.9))},
    ),
)  # fmt: skip
"""All of the report's claims, in one family for Holm's correction."""


def _decide(right: bool) -> str:
    return CONFIRMED if right else NOT_CONFIRMED


def claims(profile: str = "report", *, seed: int = 0, folder: Path | None = None) -> list[Claim]:
    """All claims, decided from the runs of `profile`; trains what is missing.

    Raises:
        AelibError: as `experiments.obtain`.
    """
    found = {name: experiments.obtain(name, profile=profile, seed=seed, folder=folder) for name in JUDGED}
    opened = {name: experiments.open_run(found[name]) for name in ("convolutional", "denoising", "variational")}
    ae, dae, vae = opened.values()
    labels = ae.labels
    decided = [
        *_losses(found),
        *_classifiers(found, labels),
        *_maps(ae, vae),
        *_generation(found, ae, vae),
        *_denoising(found, dae),
        *_regularity(found, ae, vae),
    ]
    return [replace(claim, command=claim.command + runs.options(profile, seed)) for claim in decided]


def _train(name: str) -> str:
    return f"aelib train {name} --again"


def _losses(found: dict[str, runs.Run]) -> list[Claim]:
    def close(sentence: str, name: str, theirs: dict[str, float | None], figure: str) -> Claim:
        value, number = found[name].metrics["validation_loss"], theirs["validation_loss"]
        assert number is not None
        return Claim(
            sentence, f"{number:#.4g}", f"{value:#.4g}", "at most 5 % above the report's",
            _decide(value <= 1.05 * number), figure, _train(name),
        )  # fmt: skip

    return [
        close("Lowest validation loss of the plain autoencoder", "convolutional", report.CONVOLUTIONAL, "fig-x-loss"),
        close(
            "Lowest validation loss of the denoising autoencoder", "denoising", report.DENOISING, "fig-x-denoising-loss"
        ),
        close(
            "Lowest validation loss of the variational autoencoder, with its KL term",
            "variational",
            report.VARIATIONAL,
            "fig-x-vae-loss",
        ),
    ]


def _classifiers(found: dict[str, runs.Run], labels: np.ndarray) -> list[Claim]:
    accuracy = {name: found[name].metrics["test_accuracy"] for name in ("transfer", "cnn", "cnn_augmented")}
    right = {name: found[name].arrays["predictions"].numpy() == labels for name in accuracy}

    def close(sentence: str, name: str, theirs: dict[str, float | None], figure: str) -> Claim:
        number = theirs["test_accuracy"]
        assert number is not None
        # Of two independent trainings, each tested on as many images.
        noise = 1.96 * (2 * number * (1 - number) / len(labels)) ** 0.5
        return Claim(
            sentence, f"{number:.3f}", f"{accuracy[name]:.3f}",
            f"within ±{noise:.3f}, the sampling error at 95 % confidence",
            _decide(abs(accuracy[name] - number) <= noise), figure, _train(name),
        )  # fmt: skip

    similar = metrics.mcnemar(right["transfer"], right["cnn"])
    helps = metrics.mcnemar(right["cnn_augmented"], right["cnn"])
    better = accuracy["cnn_augmented"] > accuracy["cnn"]
    slow, quick = (found[name].provenance for name in ("cnn", "transfer"))
    ratio = slow["training_seconds"] / quick["training_seconds"]
    alike = slow["hardware"] == quick["hardware"] and slow["engine"]["device"] == quick["engine"]["device"]
    return [
        close("Test accuracy of the transfer classifier", "transfer", report.TRANSFER, "fig-r08"),
        close("Test accuracy of the CNN of the first homework", "cnn", report.CNN, "tab-r4"),
        close("Test accuracy of the CNN with random transforms", "cnn_augmented", report.CNN_AUGMENTED, "tab-r4"),
        Claim(
            "The transfer classifier is about as accurate as the CNN",
            f"{report.TRANSFER['test_accuracy']:.3f} and {report.CNN['test_accuracy']:.3f}",
            f"{accuracy['transfer']:.3f} and {accuracy['cnn']:.3f}, p = {similar:.2g}",
            "McNemar's exact test, p ≥ 0.05", _decide(similar >= 0.05), "fig-r08", "aelib claims",
        ),
        Claim(
            "Random transforms make the CNN better",
            f"{report.CNN['test_accuracy']:.3f} → {report.CNN_AUGMENTED['test_accuracy']:.3f}",
            f"{accuracy['cnn']:.3f} → {accuracy['cnn_augmented']:.3f}, p = {helps:.2g}",
            "higher, and McNemar's exact test, p < 0.05",
            NOISE if helps >= 0.05 else _decide(better), "tab-r4", "aelib claims",
        ),
        Claim(
            "The transfer classifier trains more than ten times as quickly as the CNN",
            f"{report.TRANSFER_MINUTES} min and {report.CNN_MINUTES} min",
            f"{quick['training_seconds']:.3g} s and {slow['training_seconds']:.3g} s, ratio {ratio:.1f}"
            + ("" if alike else ", but not on the same machine"),
            "ratio above 10, on one machine", _decide(alike and ratio > 10), "tab-x-transfer", _train("transfer cnn"),
        ),
    ]  # fmt: skip


def _maps(ae: experiments.Trained, vae: experiments.Trained) -> list[Claim]:
    flat = {name: latent.pca(each.codes)[0] for name, each in (("ae", ae), ("vae", vae))}
    near = {name: metrics.neighbour_accuracy(points, ae.labels) for name, points in flat.items()}
    islands = tsne_map(ae.run)
    tsne = metrics.neighbour_accuracy(islands, ae.labels)
    apart = metrics.silhouette(flat["ae"], ae.labels), metrics.silhouette(islands, ae.labels)
    return [
        Claim(
            "On the map by PCA the classes of the plain autoencoder are not separated, on that by t-SNE they are", "",
            f"10-nearest-neighbour accuracy {near['ae']:.2f} and {tsne:.2f}; "
            f"silhouette {apart[0]:.2f} and {apart[1]:.2f}",
            "accuracy below 0.6 and above 0.75, and a larger silhouette",
            _decide(near["ae"] < 0.6 and tsne > 0.75 and apart[1] > apart[0]), "fig-r04", "aelib claims",
        ),
        Claim(
            "The variational latent space shows more distinct clusters on the map by PCA than the plain one", "",
            f"10-nearest-neighbour accuracy {near['vae']:.2f} against {near['ae']:.2f}",
            "higher by at least 0.02", _decide(near["vae"] >= near["ae"] + 0.02), "fig-r11", "aelib claims",
        ),
    ]  # fmt: skip


@torch.no_grad()
def cnn_probabilities(found: dict[str, runs.Run], images: np.ndarray) -> np.ndarray:
    """What the CNN thinks that images, (N, 28, 28) in [0, 1], are: (N, 10)."""
    cnn = experiments.load_model(found["cnn"])
    assert isinstance(cnn, BaselineCNN)
    return cnn(torch.from_numpy(images).float().unsqueeze(1)).softmax(1).numpy()


def _generation(found: dict[str, runs.Run], ae: experiments.Trained, vae: experiments.Trained) -> list[Claim]:
    sure, doubt = {}, {}
    for name, trained in (("ae", ae), ("vae", vae)):
        box = experiments.random_box(trained.run)
        drawn = trained.decode(latent.random_codes(trained.codes, DRAWN, box=box, seed=1))
        probabilities = cnn_probabilities(found, drawn)
        sure[name] = float((metrics.confidence(probabilities) > 0.9).mean())
        doubt[name] = float(metrics.entropy(probabilities).mean())
    noise = 1.96 * (2 * 0.25 / DRAWN) ** 0.5
    return [
        Claim(
            "Most random codes of the plain autoencoder look like no garment; those of the variational one look like "
            "one more often", "",
            f"the CNN is more than 90 % sure of a class for {tables.percent(sure['ae'])} and "
            f"{tables.percent(sure['vae'])}; "
            f"mean entropy {doubt['ae']:.2f} and {doubt['vae']:.2f} nats",
            "the CNN is more than 90 % sure for fewer than half of the plain one's, and for at least "
            f"{100 * noise:.1f} percentage points more of the variational one's, with a smaller entropy",
            _decide(sure["ae"] < 0.5 and sure["vae"] > sure["ae"] + noise and doubt["vae"] < doubt["ae"]), "fig-r12",
            "aelib claims",
        )
    ]  # fmt: skip


def _denoising(found: dict[str, runs.Run], dae: experiments.Trained) -> list[Claim]:
    corrupted, restored = restorations(dae, CORRUPTIONS[-1:])[CORRUPTIONS[-1]]
    originals = dae.images[: len(corrupted)]
    changed = (corrupted != originals).any((1, 2))
    before, after = (metrics.ssim(each[changed], originals[changed]) for each in (corrupted, restored))
    psnr = [metrics.psnr(each[changed], originals[changed]).mean() for each in (corrupted, restored)]
    share = float((after > before).mean())
    ae, noisy = found["convolutional"].metrics["test_loss"], found["denoising"].metrics["test_loss"]
    ours = [found[name].metrics["validation_loss"] for name in ("convolutional", "denoising")]
    theirs = [each["validation_loss"] for each in (report.CONVOLUTIONAL, report.DENOISING)]
    return [
        Claim(
            "The losses of the denoising autoencoder are similar to the plain one's",
            " and ".join(f"{each:#.4g}" for each in theirs), " and ".join(f"{each:#.4g}" for each in ours),
            "lowest validation losses at most 5 % apart", _decide(max(ours) <= 1.05 * min(ours)),
            "fig-x-denoising-loss", _train("convolutional denoising"),
        ),
        Claim(
            "The denoising autoencoder retrieves almost all images, less the finer details", "",
            f"closer to the original in {tables.percent(share)} of the corrupted images; SSIM {before.mean():.2f} → "
            f"{after.mean():.2f}, PSNR {psnr[0]:.1f} → {psnr[1]:.1f} dB",
            "structural similarity rises in at least 90 % of the images", _decide(share >= 0.9), "fig-r10",
            "aelib claims",
        ),
        Claim(
            "On clean images its reconstructions are worse than the plain autoencoder's", "",
            f"test loss {noisy:#.4g} against {ae:#.4g}", "a larger test loss", _decide(noisy > ae), "fig-r09",
            _train("denoising"),
        ),
    ]  # fmt: skip


def _regularity(found: dict[str, runs.Run], ae: experiments.Trained, vae: experiments.Trained) -> list[Claim]:
    mse = found["convolutional"].metrics["test_loss"], found["variational"].metrics["test_reconstruction"]
    kl = tuple(metrics.gaussian_kl_to_prior(aggregate_posterior(each)) for each in (ae, vae))
    return [
        Claim(
            "The variational autoencoder gives up accuracy of reconstruction for a regular latent space", "",
            f"test MSE {mse[0]:#.4g} and {mse[1]:#.4g}; "
            f"KL of the codes from the prior {kl[0]:,.0f} and {kl[1]:.2f} nats",
            "a larger MSE and a smaller KL", _decide(mse[1] > mse[0] and kl[1] < kl[0]), "fig-r11", "aelib claims",
        )
    ]  # fmt: skip
