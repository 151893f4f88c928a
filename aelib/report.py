"""The report's own numbers, the only ones that are typed: M. Guadagnini, "Unsupervised Deep Learning", 2022.

None stands where the report gives no number.
"""

from __future__ import annotations

CONVOLUTIONAL: dict[str, float | None] = {
    "epochs": 57,
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
