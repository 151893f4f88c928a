"""Networks, codes and garments as scripts, for the page `book/explore.md`, whose own scripts run the networks.

A script, unlike other data, can also be loaded by a page that was opened from a folder.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from aelib import evaluate, experiments, latent
from aelib.data import CLASSES
from aelib.experiments import Trained
from aelib.figures import COLOURS
from aelib.models import SymmetricAutoencoder, kernels
from aelib.runs import Run

DIRECTIONS = 8
"""Sliders of a model: its leading principal components."""

DOTS = 2000
"""Test codes on a map; more of them would hide each other."""


def write(folder: Path, *, profile: str) -> list[Run]:
    """Write `garments.js`, `ladder.js` and a script for each model into `folder`; returns the runs that they come from.

    The same runs give the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runs = {name: experiments.obtain(name, profile=profile) for name in ("convolutional", "variational", "denoising")}
    opened = {name: experiments.open_run(runs[name]) for name in ("convolutional", "variational")}
    images, labels = opened["convolutional"].images, opened["convolutional"].labels
    chosen = evaluate.pictured(labels)
    denoiser = experiments.load_model(runs["denoising"])
    assert isinstance(denoiser, SymmetricAutoencoder)
    scripts = {
        name: _networks(each.model, encoder, decoder)
        | {"space": space(each.codes, labels, chosen), "samplers": samplers(each)}
        for name, each in opened.items()
    }
    scripts["denoising"] = _networks(denoiser, encoder, decoder)
    for name, run in runs.items():
        scripts[name]["run"] = f"{run.path.parent.name}/{run.path.name}"
    garments = {"classes": CLASSES, "colours": COLOURS, "labels": labels[chosen].tolist()}
    scripts["garments"] = garments | {"images": packed(images[chosen])}
    along = [*experiments.ladder(profile=profile, maps=False).values()]
    scripts["ladder"] = {"steps": [step(run) for run in along]}
    for name, content in scripts.items():
        text = json.dumps(content, separators=(",", ":"))
        (folder / f"{name}.js").write_text(f"(window.aelibData ??= {{}}).{name} = {text};\n")
    return [*runs.values(), *along]


def missing(folder: Path) -> dict[str, str]:
    """Of what `write` has written: why the page goes without a model, by the model's name."""
    scripts = {path.stem: path.read_text() for path in folder.glob("*.js")}
    contents = {name: json.loads(text.partition(" = ")[2].removesuffix(";\n")) for name, text in scripts.items()}
    return {name: content["missing"] for name, content in contents.items() if "missing" in content}


class NoLayer(Exception):
    """A network has a layer that `book/_static/network.js` cannot compute."""


def _networks(model: SymmetricAutoencoder, *parts: Callable[[SymmetricAutoencoder], Any]) -> dict[str, Any]:
    """What the page needs to know of those parts of a model; or what is `missing`, if that is so."""
    try:
        return {part.__name__: part(model) for part in parts}
    except NoLayer as error:
        return {"missing": str(error)}


def encoder(model: SymmetricAutoencoder) -> list[dict[str, Any]]:
    """The layers from image to code."""
    return [*layers(model.features), *layers(model.hidden), *layers(model.latent)]


def decoder(model: SymmetricAutoencoder) -> list[dict[str, Any]]:
    """The layers from code to image."""
    return [*layers(model.decoder), {"type": "sigmoid"}]


KNOWN = {nn.Sequential, nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.InstanceNorm2d, nn.LeakyReLU, nn.Unflatten}
KNOWN |= {kernels.QuickConv2d, kernels.QuickConvTranspose2d, kernels.InstanceNorm, kernels.DroppingLeakyReLU}
"""The layers that `network.js` has; those of `kernels` compute the same more quickly."""


def layers(module: nn.Module) -> list[dict[str, Any]]:
    """What `book/_static/network.js` needs to know of `module`, one dict a layer, in the order of computation."""
    if type(module) not in KNOWN:  # what inherits from one of them may compute something else
        raise NoLayer(f"network.js has no layer for {module}")
    match module:
        case nn.Sequential():
            return [layer for child in module for layer in layers(child)]
        case nn.Linear(bias=nn.Parameter()):
            return [{"type": "linear", **_parameters(module)}]
        case nn.Conv2d() | nn.ConvTranspose2d() if _square(module):
            convolution = {"stride": module.stride[0], "padding": module.padding[0], **_parameters(module)}
            if isinstance(module, nn.Conv2d):
                return [{"type": "convolution", **convolution}]
            return [{"type": "transposed_convolution", "output_padding": module.output_padding[0], **convolution}]
        case nn.InstanceNorm2d(affine=False, track_running_stats=False):
            return [{"type": "instance_norm", "epsilon": module.eps}]
        case nn.LeakyReLU():
            return [{"type": "leaky_relu", "slope": module.negative_slope}]
        case nn.Unflatten():
            return [{"type": "unflatten", "shape": [*module.unflattened_size]}]
        case _:
            raise NoLayer(f"network.js has no layer for {module}")


def _square(module: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Whether it is one of those that `network.js` has: alike in both directions, all channels together."""
    pairs = (module.kernel_size, module.stride, module.padding, module.output_padding, module.dilation)
    alike = all(isinstance(pair, tuple) and len({*pair}) == 1 for pair in pairs)
    plain = (module.dilation[0], module.groups, module.padding_mode) == (1, 1, "zeros")
    return alike and plain and module.bias is not None


def _parameters(module: nn.Module) -> dict[str, Any]:
    return {name: packed(value.detach().numpy()) for name, value in module.named_parameters()}


def space(codes: np.ndarray, labels: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    """The latent space: codes (M, D) and labels (M,) of test images, of which those `chosen` stand in the strips."""
    mean, directions, deviations, shares = latent.directions(codes, DIRECTIONS)
    return {
        "mean": mean.tolist(),
        "directions": packed(directions),
        "deviations": deviations.tolist(),
        "shares": shares.tolist(),
        "codes": packed(codes[:DOTS]),
        "labels": labels[:DOTS].tolist(),
        "garments": packed(codes[chosen]),
    }


def samplers(trained: Trained) -> dict[str, Any]:
    """Where the page draws codes from: the report's box, and the mixtures that `evaluate.MIXTURES` names."""
    low, high = latent.edges(trained.codes, experiments.random_box(trained.run))
    found = evaluate.evaluate(trained.run, "mixtures")
    return {"box": {"low": low, "high": high, "units": trained.codes.shape[1]}} | {
        name: {
            "weights": found[f"{name}_weights"].tolist(),
            "means": packed(found[f"{name}_means"]),
            "factors": packed(found[f"{name}_factors"]),
        }
        for name in evaluate.MIXTURES
    }


def step(run: Run) -> dict[str, Any]:
    """Pictures and numbers of one of the variational autoencoders along β, which the page does not run."""
    rate = {name: each for name, (each,) in evaluate.said([evaluate.evaluate(run, "rate")]).items()}
    images = evaluate.evaluate(run, "pictures")
    return {name: rate[name] for name in ("beta", "nats", "units", "error")} | {
        name: packed(images[name].reshape(len(images[name]), -1) / 255) for name in ("garments", "drawn")
    }


def packed(array: np.ndarray) -> dict[str, Any]:
    """`array` in 16 bits a number: whole numbers, in base64, times one scale.

    Half precision would take as many bits; its steps are several times as large for all but the smallest weights.
    """
    scale = float(np.abs(array).max()) / 32767 or 1.0
    numbers = np.rint(array.astype(np.float64) / scale).astype("<i2")
    return {"shape": [*array.shape], "scale": scale, "numbers": base64.b64encode(numbers.tobytes()).decode()}
