"""The page "Play with the latent space": what it is given, and that its networks compute what PyTorch's do."""

import base64
import json

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import nn

from aelib import experiments, explorer, latent
from aelib.models import AutoencoderConfig, SymmetricAutoencoder

TOLERANCE = 1e-3
CONFIGS = {
    "the report's": AutoencoderConfig(),
    "second": AutoencoderConfig(conv=((5, 2, 1), (5, 2, 1), (3, 1, 1)), channels=(8, 12, 16), linear_units=64),
    "third": AutoencoderConfig(conv=((7, 2, 1), (5, 2, 1), (3, 1, 1)), channels=(6, 8, 10), latent_dim=7),
    "stride three": AutoencoderConfig(conv=((3, 3, 0), (4, 3, 2)), channels=(5, 9), linear_units=32),
    "without instance norm": AutoencoderConfig(instance_norm=False, channels=(8, 8, 12)),
    "one unit": AutoencoderConfig(latent_dim=1, channels=(4, 4, 4), linear_units=16),
}


def unpacked(packed: dict) -> np.ndarray:
    numbers = np.frombuffer(base64.b64decode(packed["numbers"]), dtype="<i2")
    return numbers.reshape(packed["shape"]) * packed["scale"]


def read(script) -> dict:
    """The object that a script of `explorer.write` assigns."""
    return json.loads(script.read_text().partition(" = ")[2].removesuffix(";\n"))


def untrained(config) -> SymmetricAutoencoder:
    torch.manual_seed(0)
    return SymmetricAutoencoder(config).eval()


@pytest.mark.parametrize("array", [np.linspace(-3, 2, 77).reshape(7, 11), np.zeros((2, 3)), np.array([1e-6, 40.0])])
def test_an_array_survives_to_half_a_step(array):
    packed = json.loads(json.dumps(explorer.packed(array)))
    assert unpacked(packed).shape == array.shape
    assert np.abs(unpacked(packed) - array).max() <= np.abs(array).max() / 32767 / 2 * (1 + 1e-6)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_description_is_that_of_the_layers(config):
    model = untrained(config)
    described = [*explorer.encoder(model), *explorer.decoder(model)]
    names = {"Conv2d": "convolution", "ConvTranspose2d": "transposed_convolution", "InstanceNorm2d": "instance_norm",
             "LeakyReLU": "leaky_relu", "Linear": "linear", "Unflatten": "unflatten"}  # fmt: skip
    real = [module for module in model.modules() if type(module).__name__ in names]
    assert [layer["type"] for layer in described] == [*[names[type(module).__name__] for module in real], "sigmoid"]
    for layer, module in zip(described, real, strict=False):
        for name, value in module.named_parameters():
            assert unpacked(layer[name]) == pytest.approx(value.detach().numpy(), abs=1e-4)
        for name in {"stride", "padding", "output_padding"} & layer.keys():
            assert getattr(module, name) == (layer[name], layer[name])


def test_a_layer_that_the_page_cannot_compute_is_refused():
    with pytest.raises(TypeError, match="no layer for BatchNorm2d"):
        explorer.layers(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm2d(3)))


def test_directions_are_those_of_the_map():
    codes = np.random.default_rng(0).normal(size=(200, 5)) * [1, 30, 2, 10, 4] + 7
    mean, directions, deviations, shares = latent.directions(codes, 3)
    points, map_shares = latent.pca(codes)
    assert ((codes - mean) @ directions.T)[:, :2] == pytest.approx(points)
    assert deviations[:2] == pytest.approx(points.std(0, ddof=1))
    assert shares[:2] == pytest.approx(map_shares)
    _, directions, deviations, shares = latent.directions(codes[:, :1], 8)
    assert directions.shape == (2, 1)
    assert (deviations[1], shares[1]) == (0, 0)


def test_the_same_runs_give_the_same_bytes(smoke_results, monkeypatch, tmp_path):
    monkeypatch.setenv("AELIB_RESULTS", str(smoke_results))
    for name in ("first", "second"):
        read_runs = explorer.write(tmp_path / name, profile="smoke")
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == ["convolutional.js", "denoising.js", "garments.js", "variational.js"]
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert [run.config["experiment"] for run in read_runs] == ["convolutional", "variational", "denoising"]
    garments, space = read(tmp_path / "first/garments.js"), read(tmp_path / "first/variational.js")["space"]
    trained = experiments.open_run(read_runs[1])
    assert garments["labels"] == [label for label in range(10) for _ in range(2)]
    for image, code in zip(unpacked(garments["images"]), unpacked(space["garments"]), strict=True):
        number = np.abs(trained.images - image).sum((1, 2)).argmin()
        assert trained.images[number] == pytest.approx(image, abs=1e-4)
        assert trained.codes[number] == pytest.approx(code, abs=1e-3)


@pytest.fixture
def network_page(chromium, tmp_path):
    """Open a page of nothing but the network script and some data."""
    page = chromium.new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))

    def start(data: dict):
        scripts = {
            "network": (ROOT / "book/_static/network.js").read_text(),
            "data": f"const data = {json.dumps(data)}",
        }
        for name, script in scripts.items():
            (tmp_path / f"{name}.js").write_text(script)
        tags = "".join(f'<script src="{name}.js"></script>' for name in scripts)
        (tmp_path / "page.html").write_text(f"<!doctype html><meta charset=utf-8>{tags}")
        page.goto((tmp_path / "page.html").as_uri())
        return page

    yield start
    page.close()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_browser_computes_what_pytorch_computes(config, network_page):
    model = untrained(config)
    images, codes = torch.rand(3, 1, 28, 28), torch.randn(3, config.latent_dim)
    with torch.no_grad():
        expected = [model.encode(images), model.decode(codes), model(images)]
    data = {"encoder": explorer.encoder(model), "decoder": explorer.decoder(model)}
    page = network_page(data | {"images": images.flatten(1).tolist(), "codes": codes.tolist()})
    got = page.evaluate("""() => {
        const encode = aelibNetwork.build(data.encoder), decode = aelibNetwork.build(data.decoder);
        const tensor = (numbers, shape) => ({ data: Float32Array.from(numbers), shape });
        const images = data.images.map((numbers) => tensor(numbers, [1, 28, 28]));
        const codes = data.codes.map((numbers) => tensor(numbers, [numbers.length]));
        const networks = [[images, encode], [codes, decode], [images, (image) => decode(encode(image))]];
        return networks.map(([inputs, run]) => inputs.map((input) => [...run(input).data]));
    }""")
    deviations = [
        np.abs(np.array(ours) - theirs.flatten(1).numpy()).max() for ours, theirs in zip(got, expected, strict=True)
    ]
    print("largest deviations of codes, decoded codes, reconstructions:", *deviations)
    assert max(deviations) < TOLERANCE


def test_a_picture_takes_less_than_a_frame(network_page):
    """The report's network, whole, in milliseconds: 30 would be seen on a phone, which is some four times slower."""
    model = untrained(AutoencoderConfig())
    page = network_page({"layers": [*explorer.encoder(model), *explorer.decoder(model)]})
    milliseconds = page.evaluate("""() => {
        const run = aelibNetwork.build(data.layers), image = { data: new Float32Array(784), shape: [1, 28, 28] };
        return Array.from({ length: 40 }, () => {
            const start = performance.now();
            run(image);
            return performance.now() - start;
        });
    }""")
    print(f"first pass {milliseconds[0]:.1f} ms, then a median of {np.median(milliseconds[10:]):.1f} ms")
    assert np.median(milliseconds[10:]) < 30
