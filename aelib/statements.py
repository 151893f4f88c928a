"""The report's claims with the rules that decide them, written down before the runs that they are applied to."""

from __future__ import annotations

from dataclasses import dataclass

from aelib import verdicts
from aelib.verdicts import Above, Alike, Always, Below, Reproduces


@dataclass(frozen=True)
class Statement:
    """A claim of the report with the rules that decide it.

    Attributes:
        name: of the claim, for programs.
        claim: in a sentence.
        where: the section, figure or table of the report that makes it.
        shown: label of our figure or table that shows most of it.
        rules: what is asked of which quantity, in words; all are to hold. "A − B" is a difference of two runs of the
            same seed; "per image" is taken on the same test images for each seed.
        judges: whether the rules are several judges of one question: where they disagree it is undecided.
        seeds: of the runs, if not all of the profile; of what one search did, that of the search.
    """

    name: str
    claim: str
    where: str
    shown: str
    rules: dict[str, verdicts.Rule]
    judges: bool = False
    seeds: tuple[int, ...] | None = None


OTHER_BETAS = (1, 4, 7, 10)
"""What the report's β = 2 is held against."""

SEARCH = (0,)
"""The seed of the search that claims are about."""

STATEMENTS = (
    # Numbers of the report. AE, DAE, VAE: the plain, the denoising (corrupted per batch, as the report's code does) and
    # the variational autoencoder; head: the transfer classifier.
    Statement(
        "ae-loss", "The plain autoencoder's lowest validation loss is 0.01019", "Figure 19", "fig-x-loss",
        {"AE: validation loss of the best epoch": Reproduces(0.01019)},
    ),
    Statement(
        "dae-loss", "The denoising autoencoder's lowest validation loss is 0.01701",
        "Figure 19", "fig-r19",
        {"DAE: validation loss of the best epoch": Reproduces(0.01701)},
    ),
    Statement(
        "vae-loss", "The variational autoencoder's lowest validation loss, with its KL term, is 0.03659",
        "Figure 19", "fig-x-vae-loss",
        {"VAE: validation loss of the best epoch": Reproduces(0.03659)},
    ),
    Statement(
        "ae-epochs", "The plain autoencoder stops after 57 epochs", "Figure 19", "fig-r19",
        {"AE: epochs": Reproduces(57, 0.25, ratio=True, also=(0.1, 0.5))},
    ),
    Statement(
        "dae-epochs", "The denoising autoencoder stops after 73 epochs", "Figure 19", "fig-r19",
        {"DAE: epochs": Reproduces(73, 0.25, ratio=True, also=(0.1, 0.5))},
    ),
    Statement(
        "vae-epochs", "The variational autoencoder stops after 35 epochs", "Figure 19", "fig-r19",
        {"VAE: epochs": Reproduces(35, 0.25, ratio=True, also=(0.1, 0.5))},
    ),
    Statement(
        "head-accuracy", "The transfer classifier's test accuracy is 0.901", "Section 3.2", "fig-r08",
        {"head: test accuracy": Reproduces(0.901, 0.01, absolute=True, also=(0.005, 0.02))},
    ),
    Statement(
        "head-cross-entropy", "The transfer classifier's test loss is 0.278", "Section 3.2", "tab-x-transfer-numbers",
        {"head: test cross-entropy": Reproduces(0.278)},
    ),
    Statement(
        "head-loss", "The transfer classifier's lowest validation loss is 0.242", "Figure 7", "fig-r07",
        {"head: validation loss of the best epoch": Reproduces(0.242)},
    ),
    Statement(
        "head-rate", "The finder suggests 0.0033113 for the transfer classifier", "Section 3.2, Figure 13", "fig-r13",
        {"head: learning rate of the finder": Reproduces(0.0033113, 1.0, ratio=True, also=(0.5, 2.0))},
    ),
    Statement(
        "cnn-accuracy", "The CNN's test accuracy is 0.906", "Table 4", "tab-r4",
        {"CNN: test accuracy": Reproduces(0.906, 0.01, absolute=True, also=(0.005, 0.02))},
    ),
    Statement(
        "cnn-cross-entropy", "The CNN's test loss is 0.287",
        "Table 4", "tab-r4", {"CNN: test cross-entropy": Reproduces(0.287)}
    ),
    Statement(
        "augmented-accuracy", "With random transforms the CNN's test accuracy is 0.911", "Table 4", "tab-r4",
        {"CNN with transforms: test accuracy": Reproduces(0.911, 0.01, absolute=True, also=(0.005, 0.02))},
    ),
    Statement(
        "augmented-cross-entropy", "With random transforms the CNN's test loss is 0.259", "Table 4", "tab-r4",
        {"CNN with transforms: test cross-entropy": Reproduces(0.259)},
    ),
    # Classifiers.
    Statement(
        "similar", "The transfer classifier performs similarly to the CNN", "Section 3.2", "tab-x-transfer",
        {"head − CNN: right answers per image": Alike(0.01, also=(0.005, 0.02))},
    ),
    Statement(
        "transforms", "Random transforms make the CNN better", "Table 4", "tab-r4",
        {
            "CNN with transforms − CNN: right answers per image": Above(),
            "CNN − CNN with transforms: cross-entropy per image": Above(),
        },
    ),
    Statement(
        "smaller", "The transfer classifier is much less complex than the CNN", "Section 3.2", "tab-x-transfer",
        {
            "parameters that are trained, head over CNN": Always(0.5, also=(0.2, 0.9)),
            "multiplications for an answer, head on stored features over CNN": Always(0.5, also=(0.2, 0.9)),
        },
    ),
    Statement(
        "quicker", "The transfer classifier trains in a fraction of the CNN's time, 2 minutes of 27",
        "Section 3.2", "tab-x-transfer",
        {"CNN over head: seconds of training, on one machine": Above(10.0, also=(5.0, 13.5))},
    ),
    Statement(
        "features", "Features that are computed once make the same classifier as a CNN with the frozen encoder",
        "Section 2.2", "tab-x-rules",
        {
            "head on stored features, and behind its encoder: largest difference of a logit": Always(1e-4),
            "the same: share of test images classified differently": Always(0.0),
        },
    ),
    # The denoising autoencoder.
    Statement(
        "dae-similar", "The denoising autoencoder's losses are similar to the plain one's", "Section 3.3", "fig-r19",
        {"log(DAE) − log(AE): validation loss of the best epoch": Alike(0.05, also=(0.1, 0.25))},
    ),
    Statement(
        "dae-slower", "The denoising autoencoder converges more slowly than the plain one", "Section 3.3", "fig-r19",
        {"DAE − AE: epochs until within 10 % of the lowest validation loss": Above()},
    ),
    Statement(
        "dae-unstable", "The denoising autoencoder converges less stably than the plain one", "Section 3.3", "fig-r19",
        {"log(DAE) − log(AE): spread of the changes of the validation loss after epoch 20": Above()},
    ),
    Statement(
        "dae-worse", "The denoising autoencoder reconstructs clean images worse than the plain one",
        "Section 3.3", "fig-r09",
        {"DAE − AE: squared error per image": Above()},
    ),
    Statement(
        "dae-confused", "The denoising autoencoder's random codes are as confused as the plain one's",
        "Section 3.3", "fig-x-denoising-random",
        {
            "DAE − AE: share of random codes of whose class the CNN is more than 90 % sure": Alike(
                0.1, also=(0.05, 0.2)
            ),
            "log(DAE) − log(AE): Fréchet distance in the features of the CNN with transforms": Alike(
                0.25, also=(0.1, 0.5)
            ),
        },
        judges=True,
    ),
    Statement(
        "denoises", "The denoising autoencoder retrieves almost all corrupted images", "Section 3.3", "fig-r10",
        {"DAE: share of corrupted images whose structural similarity rises": Above(0.9, also=(0.8, 0.95))},
    ),
    Statement(
        "details", "What the denoising autoencoder retrieves lacks the finer details", "Section 3.3", "fig-r10",
        {"log(original) − log(retrieved by DAE): variance of the Laplacian per image": Above()},
    ),
    # The latent spaces, and what is drawn from them.
    Statement(
        "pca", "On the map by PCA the plain autoencoder's classes are not clearly separated",
        "Section 3.1, Figure 3", "fig-r03",
        {
            "AE, map by PCA: accuracy of ten nearest neighbours": Below(0.6, also=(0.5, 0.7)),
            "AE, map by PCA: silhouette": Below(0.25, also=(0.1, 0.5)),
        },
        judges=True,
    ),
    Statement(
        "tsne", "The map by t-SNE separates the classes well, and better than that by PCA",
        "Section 3.1, Figure 4", "fig-r04",
        {
            "AE, map by t-SNE: accuracy of ten nearest neighbours": Above(0.75, also=(0.7, 0.8)),
            "AE, map by t-SNE − map by PCA: silhouette": Above(),
        },
    ),
    Statement(
        "neighbours", "Similar classes are near each other", "Section 3.1, Figures 3 and 4", "fig-r04",
        {
            "AE, codes: rank correlation of the classes' distances with how often the CNN confuses them": Below(
                -0.3, also=(-0.5, 0.0)
            ),
            "AE, map by t-SNE: the same": Below(-0.3, also=(-0.5, 0.0)),
        },
    ),
    Statement(
        "distinct", "The variational latent space has more distinct clusters than the plain one",
        "Section 3.4, Figure 11", "fig-r11",
        {
            "VAE − AE, map by PCA: accuracy of ten nearest neighbours": Above(),
            "VAE − AE, map by PCA: silhouette": Above(),
            "VAE − AE, whole codes: accuracy of ten nearest neighbours": Above(),
            "VAE − AE, whole codes: silhouette": Above(),
        },
        judges=True,
    ),
    Statement(
        "acceptable", "The plain autoencoder reconstructs images acceptably", "Section 3.1, Figure 6", "fig-r06",
        {"30 principal components − AE: squared error per image": Above()},
    ),
    Statement(
        "confused", "Most random codes of the plain autoencoder represent no class well",
        "Section 3.1, Figure 5", "fig-r05",
        {"AE: share of random codes of whose class the CNN is more than 90 % sure": Below(0.5, also=(0.4, 0.6))},
    ),
    Statement(
        "clearer", "The variational autoencoder's random codes are less confused than the plain one's",
        "Section 3.4, Figure 12", "fig-r12",
        {
            "VAE − AE: share of random codes of whose class the CNN is more than 90 % sure": Above(),
            "AE − VAE: entropy of the CNN's answer to random codes": Above(),
            "log(AE) − log(VAE): Fréchet distance in the features of the CNN with transforms": Above(),
        },
        judges=True,
    ),
    Statement(
        "blurred", "The variational autoencoder's images are more blurred than the plain one's",
        "Section 3.4, Figure 12", "fig-r12",
        {
            "log(AE) − log(VAE): variance of the Laplacian of images from random codes": Above(),
            "log(AE) − log(VAE): variance of the Laplacian of reconstructions, per image": Above(),
        },
    ),
    Statement(
        "sacrificed", "The variational autoencoder gives up accuracy of reconstruction for a more regular latent space",
        "Section 3.4", "fig-r11",
        {
            "VAE − AE: squared error per image": Above(),
            "log(AE) − log(VAE): KL divergence of the codes' Gaussian from the prior": Above(),
        },
    ),
    Statement(
        "beta", "Of β between 1 and 10, 2 is a good choice", "Section 2.4", "fig-x-along",
        {
            f"log(β = {other}) − log(β = 2): Fréchet distance of draws from the prior, "
            "in the features of the CNN with transforms": Above()
            for other in OTHER_BETAS
        },
        seeds=(0, 1, 2),
    ),
    Statement(
        "independent", "Instance normalisation makes a code independent of the other images of its batch",
        "Section 2.1", "tab-x-rules",
        {"AE: a code alone and in a batch of 256, largest difference over the codes' deviation": Always(1e-4)},
    ),
    # The search. Its rules are about one study, and where they take a sample, about what they say. With new seeds a
    # trial is trained as it was: with the finder's rate of that seed, stopped as early, never pruned. Random trials
    # count with their lowest loss, pruned ones, too; a thousand bootstraps are of all completed trials, by functional
    # ANOVA of 16 trees.
    Statement(
        "search-value", "The search's lowest validation loss is 0.01069", "Figure 1", "fig-r01",
        {"our five best trials, three new seeds each, mean of the five: lowest validation loss": Reproduces(0.01069)},
        seeds=(0, 1, 2),
    ),
    Statement(
        "search-good", "The search finds a good set of values", "Section 4", "fig-r01",
        {
            "median of the 30 random trials − our best one, with new seeds: log of the lowest validation loss": Above(),
            "share of the random trials that are as good as its mean": Always(0.05, also=(0.02, 0.1)),
        },
        seeds=(0, 1, 2),
    ),
    Statement(
        "search-degrees", "The search maximises channels and linear units and almost minimises the L2 penalty",
        "Section 3.1", "tab-r2",
        {
            "our five best trials: how many have fewer than the most channels": Always(1),
            "the same: 1 − median of the linear units in their range, in [0, 1]": Always(0.25, also=(0.1, 0.4)),
            "the same: median of log(L2 penalty) in its range, in [0, 1]": Always(0.33, also=(0.25, 0.5)),
        },
        seeds=SEARCH,
    ),
    Statement(
        "search-latent", "The latent dimension that it chooses is in the middle of its range", "Section 3.1", "fig-r02",
        {"our five best trials: median's distance from the middle, over the range": Always(0.25, also=(0.15, 0.35))},
        seeds=SEARCH,
    ),
    Statement(
        "search-important", "The L2 penalty is the most important hyper-parameter", "Figure 15", "fig-r15",
        {"share of the bootstraps of the completed trials in which another one is": Always(0.05, also=(0.01, 0.2))},
        seeds=SEARCH,
    ),
    Statement(
        "search-short", "Sixty trials are not enough to explore the space exhaustively", "Section 3.1", "fig-r01",
        {"share of the 54 choices of kernels, channels, norm, optimiser that are tried": Always(0.75, also=(0.5, 0.9))},
        seeds=SEARCH,
    ),
)  # fmt: skip
"""All of the report's claims, in one family for Holm's correction."""
