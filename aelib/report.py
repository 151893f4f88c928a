"""The report's own numbers, the only ones that are typed: M. Guadagnini, "Unsupervised Deep Learning", 2022.

None stands where the report gives no number.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from aelib import metrics, verdicts
from aelib.data import CLASSES

CURVES = Path(__file__).parent / "curves"
"""The numbers behind the report's figures; README.md beside them says where they are from, and how exact."""


@cache
def _table(name: str) -> list[dict[str, str]]:
    with (CURVES / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def losses(model: str) -> dict[str, np.ndarray]:
    """`train_loss` and `validation_loss`, (epochs,), of the report's Figures 7 and 19.

    Args:
        model: "autoencoder", "denoising", "variational", or "transfer", the head.
    """
    rows = _table("fig07_transfer") if model == "transfer" else _table("fig19_losses")
    names = ("train_loss", "validation_loss")
    return {name: np.array([float(row[name]) for row in rows if row.get("model", model) == model]) for name in names}


def compared(model: str, histories: Sequence[Sequence[Mapping[str, float]]]) -> str:
    """How far the report's validation losses are from ours, as `distance` says it.

    Args:
        model: as of `losses`.
        histories: of our trainings, one row an epoch each.
    """
    ours = [np.array([row["validation_loss"] for row in history]) for history in histories]
    return distance(losses(model)["validation_loss"], ours)


def distance(theirs: np.ndarray, ours: Sequence[np.ndarray]) -> str:
    """How far a curve of the report's is from ours, in words; and ours from each other, if they are several.

    A distance is the median over the places that both have of |one / other − 1|; from several that to their median,
    and of several the median again.

    Args:
        theirs, ours: losses, (N,), epoch by epoch or step by step.
    """
    apart = f"{100 * _apart(theirs, ours):.1f} %"
    if len(ours) == 1:
        return f"{apart} from ours"
    own = [_apart(each, [*ours[:number], *ours[number + 1 :]]) for number, each in enumerate(ours)]
    others = "the other" if len(ours) == 2 else "that of the others"
    among = f"one of which is typically {100 * np.median(own):.1f} % from {others}"
    return f"{apart} from the median of our {len(ours)} trainings, {among}"


def _apart(one: np.ndarray, others: Sequence[np.ndarray]) -> float:
    shared = min(map(len, [one, *others]))
    middle = np.median([each[:shared] for each in others], axis=0)
    return float(np.median(np.abs(one[:shared] / middle - 1)))


def finder() -> tuple[np.ndarray, np.ndarray]:
    """Learning rates and smoothed losses, (N,) each, of the report's Figure 13."""
    rows = _table("fig13_finder")
    return np.array([float(row["learning_rate"]) for row in rows]), np.array([float(row["loss"]) for row in rows])


def importances() -> dict[str, float]:
    """Of each hyper-parameter of the study, in Figure 15, the largest first; its method is not named."""
    named = {
        "L2_penalty": "weight_decay",
        "channels_config_id": "channels",
        "latent_space_dim": "latent_dim",
        "linear_units_0": "linear_units",
        "conv_config_id": "conv",
    }
    return {
        named.get(row["parameter"], row["parameter"]): float(row["importance"]) for row in _table("fig15_importances")
    }


def confusion(model: str) -> np.ndarray:
    """Counts, (10, 10), true class down, of the report's Figures 8 ("transfer") and 14 ("cnn")."""
    rows = _table({"transfer": "fig08_confusion", "cnn": "fig14_confusion"}[model])
    return np.array([[int(count) for name, count in row.items() if name != "true"] for row in rows])


def unlike(model: str, matrices: Sequence[np.ndarray]) -> str:
    """Which classes the first of our trainings answers otherwise than the report's, in words.

    By a χ² test of each class with Holm's correction at 5 %; and, if our trainings are several, how many classes two of
    them answer otherwise.

    Args:
        model: as of `confusion`.
        matrices: our counts, (10, 10) each, true class down.
    """
    theirs = [_unlike(each, confusion(model)) for each in matrices]
    said = ", ".join(theirs[0]) or "none"
    if len(matrices) == 1:
        return said
    apart = np.mean([len(each) for each in theirs])
    among = np.mean([len(_unlike(one, other)) for one, other in itertools.combinations(matrices, 2)])
    return (
        f"{said}. On average over our {len(matrices)} trainings {apart:.1f} classes differ so from the report's, and "
        f"between two of ours {among:.1f}"
    )


def _unlike(one: np.ndarray, other: np.ndarray) -> list[str]:
    ps = verdicts.holm(metrics.homogeneity(one, other).tolist())
    return [name for name, p in zip(CLASSES, ps, strict=True) if p <= verdicts.LEVEL]


def trials() -> list[dict[str, str]]:
    """The sixty trials of the report's study, in order: `state`, `value`, `latent_dim`, `linear_units`, `optimizer`."""
    return _table("study")


def completed() -> dict[str, np.ndarray]:
    """The trials that the report's study completed: `value`, `latent_dim`, `linear_units`, `optimizer`; (N,) each."""
    rows = [each for each in trials() if each["state"] == "complete"]
    kinds = {"value": float, "latent_dim": int, "linear_units": int, "optimizer": str}
    return {name: np.array([kind(each[name]) for each in rows]) for name, kind in kinds.items()}


def objectives() -> np.ndarray:
    """The lowest validation losses of the trials that the report's study completed, NaN for the others, (60,)."""
    return np.array([float(each["value"]) if each["state"] == "complete" else np.nan for each in trials()])


CONVOLUTIONAL: dict[str, float | None] = {
    "epochs": 57,
    "best_epoch": None,
    "validation_loss": 0.01019,
    "train_loss": 0.0121,
    "first_train_loss": 0.061,
    "first_validation_loss": 0.040,
    "test_loss": None,
    "parameters": 892_767,
}
"""Section 3.1 and Figure 19: mean squared errors, and the epoch at which training stopped."""

RECONSTRUCTION_EPOCHS = (1, 3, 6, 10, 25, 50, 57)
"""The epochs of Figure 6; the last is the end of the training."""

TABLE_2: dict[str, str] = {
    "Convolutions (kernel, stride, padding)": "(3, 2, 1), (3, 2, 1), (3, 1, 0)",
    "Channels": "32, 32, 64",
    "Linear units": "256",
    "Latent space units": "30",
    "Instance normalisation": "yes",
    "Optimiser": "adamax",
    "L2 penalty": "5.27e-07",
    "Learning rate": "0.0083176",
    "Dropout probability": "0.16",
    "Activation": "leaky ReLU",
}
"""The values that the report's study chose; dropout and activation were fixed beforehand."""

DENOISING: dict[str, float | None] = {
    "epochs": 73,
    "best_epoch": 63,
    "validation_loss": 0.01701,
    "train_loss": 0.0212,
    "first_train_loss": 0.074,
    "first_validation_loss": 0.057,
    "test_loss": None,
    "learning_rate": None,
}
"""Section 3.3 and Figure 19; the report corrupts a whole batch in the same way."""

DENOISING_EPOCHS = (1, 4, 7, 15, 30, 60, 73)
"""The epochs of Figure 9."""

VARIATIONAL: dict[str, float | None] = {
    "epochs": 35,
    "best_epoch": None,
    "validation_loss": 0.03659,
    "train_loss": 0.0413,
    "first_train_loss": 0.086,
    "first_validation_loss": 0.065,
    "test_loss": None,
    "parameters": 900_477,
}
"""Section 3.4 and Figure 19; the losses include the KL term."""

TRANSFER: dict[str, float | None] = {
    "epochs": 14,
    "best_epoch": 9,
    "learning_rate": 0.0033113,
    "validation_loss": 0.242,
    "test_loss": 0.278,
    "test_accuracy": 0.901,
    "parameters": 412_426,
}
"""Section 3.2 and Figure 7."""

CNN: dict[str, float | None] = {
    "epochs": 12,
    "validation_loss": 0.262,
    "test_loss": 0.287,
    "test_accuracy": 0.906,
    "parameters": 2_511_082,
}
CNN_AUGMENTED: dict[str, float | None] = {
    "epochs": 13,
    "validation_loss": 0.240,
    "test_loss": 0.259,
    "test_accuracy": 0.911,
    "parameters": 2_511_082,
}
"""The CNN of the first homework, without and with random transforms (Table 4)."""

TABLE_3: dict[str, str] = {
    "Convolutions": "3",
    "Kernel sizes": "7, 3, 3",
    "Strides": "2, 2, 1",
    "Paddings": "2, 2, 1",
    "Channels": "96, 64, 32",
    "Learning rate": "0.000566",
    "L2 penalty": "0.000169",
    "Linear units, first layer": "1024",
    "Linear units, second layer": "320",
    "Batch normalisation": "yes",
    "Optimiser": "Adam",
    "Batch size": "256",
}

TRANSFER_MINUTES, CNN_MINUTES = 2, 27
"""Training times of the transfer classifier and of the CNN, on the report's machine."""

STUDY = {
    "best": 0.01069,
    "best_trial": 47,
    "best_random": 0.01175,
    "pruned": 3,
}
"""Figure 1: lowest validation losses of the best of 60 trials and of the best of the 30 random ones."""
