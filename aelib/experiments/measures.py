"""What a trained model gives: numbers, codes, answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aelib import epochs
from aelib.data import GarmentLoaders
from aelib.models import Model, SymmetricAutoencoder


def summarise(history: list[dict[str, float]]) -> dict[str, float]:
    """What the metrics of a run take from its history: how long it was, and what the best epoch reached."""
    best = epochs.best(history)
    metrics = {"epochs": len(history), "best_epoch": best["epoch"], "learning_rate": best["learning_rate"]}
    return metrics | {name: value for name, value in best.items() if name.startswith("train_")}


def measure(model: Model, loaders: GarmentLoaders) -> dict[str, float]:
    """What the metrics of a run take from its weights: their number, and the losses on validation and test images."""
    metrics: dict[str, float] = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    for part, batches in (("validation", loaders.val_dataloader()), ("test", loaders.test_dataloader())):
        metrics |= {f"{part}_{name}": value for name, value in evaluate(model, batches).items()}
    return metrics


@torch.no_grad()
def evaluate(model: Model, batches: Any) -> dict[str, float]:
    """Mean of each loss term of `model` over all images of `batches`, in float32, without dropout."""
    model.eval()
    terms = [model.losses(images, labels) for images, labels in batches]
    return {name: float(torch.cat([each[name] for each in terms]).double().mean()) for name in terms[0]}


@torch.no_grad()
def encode(model: Model, loaders: GarmentLoaders) -> Tensor:
    """Codes of the test images by an autoencoder: (M, latent_dim), float32."""
    assert isinstance(model, SymmetricAutoencoder)
    model.eval()
    return torch.cat([model.encode(images) for images, _ in loaders.test_dataloader()])


@torch.no_grad()
def outputs(model: Model, loaders: GarmentLoaders) -> Tensor:
    """What `model` makes of the test images, (M, …)."""
    model.eval()
    return torch.cat([model(inputs) for inputs, _ in loaders.test_dataloader()])


def halved(value: Tensor) -> Tensor:
    """`value` in float16, where that holds it; whole numbers, and what is beyond its range, stay as they are."""
    if value.dtype != torch.float32 or (value.numel() and value.abs().max() > torch.finfo(torch.float16).max):
        return value
    return value.half()
