"""What the report claims, and what we found: each claim with the rule that decides it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aelib import evaluate, experiments, latent, metrics, report, runs, tables

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


def _decide(right: bool) -> str:
    return CONFIRMED if right else NOT_CONFIRMED


def claims(profile: str = "report", *, seed: int = 0, folder: Path | None = None) -> list[Claim]:
    """All claims, decided from the runs of `profile`; trains what is missing.

    Raises:
        AelibError: as `experiments.obtain`.
    """
    found: dict[str, runs.Run] = {
        name: experiments.obtain(name, profile=profile, seed=seed, folder=folder) for name in JUDGED
    }
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
    return [replace(claim, command=claim.command + runs.command_options(profile, seed)) for claim in decided]


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
    islands = evaluate.tsne_map(ae.run)
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


def _generation(found: dict[str, runs.Run], ae: experiments.Trained, vae: experiments.Trained) -> list[Claim]:
    sure, doubt = {}, {}
    for name, trained in (("ae", ae), ("vae", vae)):
        box = experiments.random_box(trained.run)
        drawn = trained.decode(latent.random_codes(trained.codes, DRAWN, box=box, seed=1))
        probabilities = evaluate.probabilities(found["cnn"], drawn)
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
    corrupted, restored = evaluate.restorations(dae, evaluate.CORRUPTIONS[-1:])[evaluate.CORRUPTIONS[-1]]
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
    kl = tuple(metrics.gaussian_kl_to_prior(evaluate.aggregate_posterior(each)) for each in (ae, vae))
    return [
        Claim(
            "The variational autoencoder gives up accuracy of reconstruction for a regular latent space", "",
            f"test MSE {mse[0]:#.4g} and {mse[1]:#.4g}; "
            f"KL of the codes from the prior {kl[0]:,.0f} and {kl[1]:.2f} nats",
            "a larger MSE and a smaller KL", _decide(mse[1] > mse[0] and kl[1] < kl[0]), "fig-r11", "aelib claims",
        )
    ]  # fmt: skip
