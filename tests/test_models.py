"""One contract over every model, and what the report says of each."""

import pytest
import safetensors.torch
import torch

from aelib import synthetic
from aelib.errors import AelibError
from aelib.experiments import EXPERIMENTS
from aelib.models import AutoencoderConfig, SymmetricAutoencoder


@pytest.fixture(scope="module")
def batch():
    garments = synthetic.garments(32, 1)
    return garments.train_images.float() / 255, garments.train_labels


@pytest.fixture(params=EXPERIMENTS)
def model(request):
    torch.manual_seed(0)
    experiment = EXPERIMENTS[request.param]
    return experiment.model_class(experiment.model)


def test_losses_are_per_image(model, batch):
    losses = model.eval().losses(*batch)
    assert all(term.shape == (32,) for term in losses.values())
    alone = model.losses(batch[0][3:4], batch[1][3:4])["loss"]
    torch.testing.assert_close(losses["loss"][3:4], alone)


def test_every_parameter_has_a_gradient(model, batch):
    model.train().losses(*batch)["loss"].mean().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters() if parameter.ndim > 1)


def test_saved_and_loaded_it_is_the_same(model, batch, tmp_path):
    safetensors.torch.save_file(model.state_dict(), tmp_path / "weights")
    twin = type(model)(model.config)
    twin.load_state_dict(safetensors.torch.load_file(tmp_path / "weights"))
    assert torch.equal(model.eval().losses(*batch)["loss"], twin.eval().losses(*batch)["loss"])


def test_the_loss_falls_on_32_images(model, batch):
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(30):
        loss = model.train().losses(*batch)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_dropout_is_off_in_evaluation(model, batch):
    model.eval()
    assert torch.equal(model.losses(*batch)["loss"], model.losses(*batch)["loss"])


def test_the_autoencoder_of_table_2(batch):
    model = SymmetricAutoencoder()
    assert sum(parameter.numel() for parameter in model.parameters()) == 892_767
    codes = model.encode(batch[0])
    images = model.decode(codes)
    assert codes.shape == (32, 30)
    assert images.shape == (32, 1, 28, 28)
    assert 0 <= images.min() < images.max() <= 1


def test_the_loss_is_the_mean_over_pixels(batch):
    model = SymmetricAutoencoder().eval()
    expected = ((model(batch[0]) - batch[0]) ** 2).sum((1, 2, 3)) / 784
    torch.testing.assert_close(model.losses(*batch)["loss"], expected)


@pytest.mark.parametrize("conv", [((3, 2, 1), (3, 2, 1), (3, 1, 0)), ((7, 2, 1), (5, 2, 1), (3, 1, 1))])
@pytest.mark.parametrize("channels", [(16, 32, 32), (16, 32, 64), (32, 32, 64)])
@pytest.mark.parametrize("instance_norm", [True, False])
def test_the_search_space_of_table_1(conv, channels, instance_norm, batch):
    config = AutoencoderConfig(
        conv=conv, channels=channels, linear_units=136, latent_dim=12, instance_norm=instance_norm
    )
    model = SymmetricAutoencoder(config)
    assert model(batch[0]).shape == (32, 1, 28, 28)
    assert any(isinstance(layer, torch.nn.InstanceNorm2d) for layer in model.modules()) == instance_norm


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("latent_dim", 0, "latent_dim must be a whole number of at least 1, not 0"),
        ("latent_dim", "16", "latent_dim must be a whole number"),
        ("latent_dim", True, "latent_dim must be a whole number"),
        ("linear_units", 2.5, "linear_units must be a whole number"),
        ("channels", (32, 0, 64), "each of channels"),
        ("channels", (32, 64), "conv has 3 layers and channels has 2"),
        ("channels", "323264", "channels must be a list"),
        ("conv", ((3, 2), (3, 2, 1), (3, 1, 0)), "three whole numbers"),
        ("instance_norm", "yes", "instance_norm must be True or False"),
        ("dropout", 1.0, "dropout must be a probability"),
        ("dropout", float("nan"), "dropout must be a probability"),
    ],
)
def test_wrong_values_are_named(field, value, words):
    with pytest.raises(AelibError, match=words):
        AutoencoderConfig(**{field: value})
