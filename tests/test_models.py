"""One contract over every model, and what the report says of each."""

import numpy as np
import pytest
import safetensors.torch
import torch

from aelib.data import synthetic
from aelib.errors import AelibError
from aelib.experiments import EXPERIMENTS
from aelib.models import (
    AutoencoderConfig,
    BaselineCNN,
    DenoisingAutoencoder,
    DenoisingConfig,
    RegularisedAutoencoder,
    RegularisedConfig,
    SecondStage,
    SecondStageConfig,
    SymmetricAutoencoder,
    TransferClassifier,
    VariationalAutoencoder,
    VariationalConfig,
)
from aelib.models.base import decisive
from aelib.models.variational import kl_to_standard_normal


@pytest.fixture(scope="module")
def garments():
    """32 images, (32, 1, 28, 28), in [0, 1], and their labels."""
    garments = synthetic.garments(32, 1)
    return garments.train_images.float() / 255, garments.train_labels


@pytest.fixture(params=EXPERIMENTS)
def model(request):
    torch.manual_seed(0)
    experiment = EXPERIMENTS[request.param]
    return experiment.model_class(experiment.model)


@pytest.fixture
def batch(model, garments):
    """What `model` takes: images, or their features."""
    images, labels = garments
    return images if model.input_shape == images.shape[1:] else torch.rand(32, *model.input_shape), labels


def test_losses_are_per_image(model, batch):
    losses = model.eval().losses(*batch)
    assert all(term.shape == (32,) for term in losses.values())
    for name, alone in model.losses(batch[0][3:4], batch[1][3:4]).items():
        torch.testing.assert_close(losses[name][3:4], alone)


def test_every_parameter_has_a_gradient(model, batch):
    model.train().losses(*batch)["loss"].mean().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters() if parameter.ndim > 1)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("convolutional", 892_767),
        ("denoising", 892_767),
        ("variational", 900_477),
        ("transfer", 412_426),
        ("cnn", 2_511_082),
        ("cnn_augmented", 2_511_082),
        ("regularised", 892_767),
    ],
)
def test_the_model_is_as_large_as_the_reports(name, count):
    experiment = EXPERIMENTS[name]
    model = experiment.model_class(experiment.model)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


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
    assert losses[-1] < 0.8 * losses[0]


def test_dropout_is_off_in_evaluation(model, batch):
    model.eval()
    assert torch.equal(model.losses(*batch)["loss"], model.losses(*batch)["loss"])


def test_the_autoencoder_of_table_2(garments):
    model = SymmetricAutoencoder()
    assert sum(parameter.numel() for parameter in model.parameters()) == 892_767
    codes = model.encode(garments[0])
    images = model.decode(codes)
    assert codes.shape == (32, 30)
    assert images.shape == (32, 1, 28, 28)
    assert 0 <= images.min() < images.max() <= 1


def test_the_loss_is_the_mean_over_pixels(garments):
    model = SymmetricAutoencoder().eval()
    expected = ((model(garments[0]) - garments[0]) ** 2).sum((1, 2, 3)) / 784
    torch.testing.assert_close(model.losses(*garments)["loss"], expected)


@pytest.mark.parametrize("conv", [((3, 2, 1), (3, 2, 1), (3, 1, 0)), ((7, 2, 1), (5, 2, 1), (3, 1, 1))])
@pytest.mark.parametrize("channels", [(16, 32, 32), (16, 32, 64), (32, 32, 64)])
@pytest.mark.parametrize("instance_norm", [True, False])
def test_the_search_space_of_table_1(conv, channels, instance_norm, garments):
    config = AutoencoderConfig(
        conv=conv, channels=channels, linear_units=136, latent_dim=12, instance_norm=instance_norm
    )
    model = SymmetricAutoencoder(config)
    assert model(garments[0]).shape == (32, 1, 28, 28)
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


def test_the_divergence_in_closed_form():
    mean, log_variance = torch.randn(7, 5), torch.randn(7, 5)
    normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros(5), torch.ones(5))
    expected = torch.distributions.kl_divergence(normal, prior).sum(1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)
    assert kl_to_standard_normal(torch.zeros(1, 6), torch.zeros(1, 6)).item() == 0
    assert kl_to_standard_normal(torch.ones(1, 6), torch.zeros(1, 6)).item() == 3


@pytest.mark.parametrize("beta", [0.0, 2.0, 5.0])
def test_the_variational_loss_is_that_of_the_paper(beta, garments):
    """[Σ squared error + β KL] / 784, and so MSE + (β · 30 / 784) · the mean over the latent units."""
    model = VariationalAutoencoder(VariationalConfig(beta=beta)).eval()
    images, labels = garments
    terms = model.losses(images, labels)
    total = (model(images) - images).square().sum((1, 2, 3)) + beta * terms["kl"]
    torch.testing.assert_close(terms["loss"], total / 784)
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + beta * 30 / 784 * terms["kl"] / 30)


def test_a_learned_variance_is_the_one_that_makes_the_images_likeliest(garments):
    """The gradient is that of D/2 log σ² + the divergence, with σ² the error of the batch, but for the scale."""
    images, labels = garments
    model = VariationalAutoencoder(VariationalConfig(beta=None, dropout=0.0)).train()
    for _ in range(200):  # until the running mean is that of this batch
        torch.manual_seed(0)
        terms = model.losses(images, labels)
    parameters = [each for each in model.parameters() if each.requires_grad]
    found = torch.autograd.grad(terms["loss"].mean(), parameters, retain_graph=True)
    error = terms["reconstruction"].mean()
    expected = torch.autograd.grad(784 / 2 * error.log() + terms["kl"].mean(), parameters)
    scale = 2 * error.item() / 784
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, scale * other, rtol=1e-3, atol=1e-7)
    terms = model.eval().losses(images, labels)
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 2 * error.detach() * terms["kl"] / 784)


def test_the_regularised_one_holds_back_codes_and_the_decoders_weights(garments):
    model = RegularisedAutoencoder(RegularisedConfig(beta=3.0)).eval()
    images, labels = garments
    codes, terms = model.encode(images), model.losses(images, labels)
    total = (model(images) - images).square().sum((1, 2, 3)) + 3 / 2 * codes.square().sum(1)
    torch.testing.assert_close(terms["loss"], total / 784)
    free, held = model.parameter_groups(0.5)
    assert (free["weight_decay"], held["weight_decay"]) == (0.0, 0.5)
    named = {id(each): name for name, each in model.named_parameters()}
    assert {named[id(each)] for each in held["params"]} == {
        name for name, each in model.decoder.named_parameters("decoder") if name.endswith("weight")
    }
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    assert {named[id(each)] for group in (free, held) for each in group["params"]} == trained


def test_a_second_stage_draws_codes_as_they_are_distributed():
    """On a parabola, where no Gaussian is."""
    generator = torch.Generator().manual_seed(0)
    across = torch.randn(4096, generator=generator)
    codes = torch.stack([across, across.square() + 0.1 * torch.randn(4096, generator=generator)], 1)
    torch.manual_seed(0)
    model = SecondStage(SecondStageConfig(latent_dim=2, units=64)).train()
    model.standardise(codes)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(500):
        part = codes[step * 256 % 4096 :][:256]
        optimizer.zero_grad()
        model.losses(part, part)["loss"].mean().backward()
        optimizer.step()

    def apart(drawn):
        return (drawn[:, 1] - drawn[:, 0].square()).abs().median()

    drawn = model.eval().prior(2000, torch.Generator().manual_seed(1))
    assert apart(drawn) < 0.3
    assert drawn.std(0).min() > 0.7
    gaussian = torch.randn(2000, 2, generator=generator) @ torch.linalg.cholesky(codes.T.cov()).T + codes.mean(0)
    assert apart(gaussian) > 0.9, "which a Gaussian is not"


def test_codes_are_drawn_in_training_only(garments):
    torch.manual_seed(0)
    model = VariationalAutoencoder(VariationalConfig(dropout=0.0))
    first, second = (model.train().losses(*garments)["reconstruction"] for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (model.eval().losses(*garments)["reconstruction"] for _ in range(2))
    assert torch.equal(first, second)


def test_the_denoiser_sees_corrupted_images_in_training_only(garments, monkeypatch):
    model = DenoisingAutoencoder(DenoisingConfig(dropout=0.0))
    seen = []
    monkeypatch.setattr(model, "hide", lambda images: seen.append(images) or type(model).hide(model, images))
    loss = model.train().losses(*garments)["loss"]
    assert not torch.equal(seen[-1], garments[0])
    torch.testing.assert_close(
        loss, (model(seen[-1]) - garments[0]).square().mean((1, 2, 3)), msg="against the clean images"
    )
    model.eval().losses(*garments)
    assert torch.equal(seen[-1], garments[0])


def test_the_denoiser_overrides_one_hook():
    assert [name for name in vars(DenoisingAutoencoder) if not name.startswith("_")] == ["config_class", "corrupt"]


def test_the_classifier_starts_from_the_encoder_and_leaves_it_alone(garments):
    autoencoder, classifier = SymmetricAutoencoder(), TransferClassifier()
    classifier.adopt(autoencoder)
    features = autoencoder.features(garments[0]).flatten(1)
    autoencoder.eval(), classifier.eval()
    assert torch.equal(classifier.hidden(features), autoencoder.hide(garments[0]))
    with torch.no_grad():
        classifier.hidden[0].weight.zero_()
    assert autoencoder.hidden[0].weight.abs().sum() > 0


def test_the_shapes_of_the_cnn():
    sizes = []
    model = BaselineCNN().eval()
    for layer in model.layers:
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, __, out: sizes.append(out.shape[-1]))
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert sizes == [13, 8, 8]


def test_the_cnn_pads_by_hand_what_pytorch_would_pad():
    """In bf16, where it does."""
    model = BaselineCNN()
    convolutions = [layer for layer in model.layers if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.padding for layer in convolutions] == [(2, 2), (2, 2), (1, 1)]
    for layer, size in zip(convolutions, (28, 13, 8), strict=True):
        images = torch.rand(2, layer.in_channels, size, size)
        torch.testing.assert_close(layer(images), torch.nn.Conv2d.forward(layer, images))
        with torch.autocast("cpu", torch.bfloat16):
            found, expected = layer(images), torch.nn.Conv2d.forward(layer, images)
        torch.testing.assert_close(found, expected)


def test_what_a_norm_takes_away_is_not_trained():
    """The bias before a norm changes nothing: its gradient is rounding, which Adam would make steps of."""
    for model in (SymmetricAutoencoder(), BaselineCNN()):
        frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        norms = [layer for layer in model.modules() if "Norm" in type(layer).__name__]
        assert len(frozen) == len(norms) == 5
        assert all(name.endswith("bias") for name in frozen)
        images = torch.rand(8, 1, 28, 28)
        torch.manual_seed(0)  # the same dropout
        before = model.train()(images)
        for name in frozen:
            model.get_parameter(name).data += 1
        torch.manual_seed(0)
        torch.testing.assert_close(model(images), before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("size", "channels"), [(32, 1), (28, 3), (33, 3), (64, 1)])
@pytest.mark.parametrize("kind", [SymmetricAutoencoder, DenoisingAutoencoder, VariationalAutoencoder])
def test_images_of_other_sizes_and_colours(kind, size, channels):
    config = kind.config_class(image_size=size, image_channels=channels, conv=((3, 2, 1), (5, 2, 0)), channels=(4, 8))
    model, images = kind(config).train(), torch.rand(5, channels, size, size)
    losses = model.losses(images, torch.zeros(5, dtype=torch.long))
    assert losses["loss"].shape == (5,)
    losses["loss"].mean().backward()
    assert model.eval()(images).shape == images.shape
    assert model.reconstruct(images.numpy()).shape == images.shape


def test_the_images_of_old_runs_are_in_no_configuration():
    """Else each stored run would be another."""
    assert decisive(AutoencoderConfig()).keys() == {
        "conv", "channels", "linear_units", "latent_dim", "instance_norm", "dropout",
    }  # fmt: skip
    assert decisive(AutoencoderConfig(image_size=32))["image_size"] == 32


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.rand(2, 1, 32, 32), r"takes \(B, 1, 28, 28\), floats in \[0, 1\], not \(2, 1, 32, 32\)"),
        (torch.rand(2, 3, 28, 28), r"not \(2, 3, 28, 28\).* image_size and image_channels"),
        (torch.rand(2, 28, 28), r"not \(2, 28, 28\)"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), "torch.uint8: convert"),
        (torch.rand(2, 1, 28, 28) * 255, r"pixels in \[0, 1\], not from .* to 25.*: divide those by 255"),
        (torch.full((2, 1, 28, 28), torch.nan), "pixels in .*, not from nan to nan"),
    ],
)
@pytest.mark.parametrize("kind", [SymmetricAutoencoder, VariationalAutoencoder, BaselineCNN])
def test_images_that_a_model_cannot_take_are_one_line(kind, images, words):
    model = kind()
    for mode in (True, False):
        with pytest.raises(AelibError, match=words) as error:
            model.train(mode).losses(images, torch.zeros(2, dtype=torch.long))
        assert "\n" not in str(error.value)
    if kind is not BaselineCNN and images.ndim == 4:
        with pytest.raises(AelibError, match="takes"):
            model.encode(images.numpy())


@pytest.mark.parametrize(
    ("kind", "config"),
    [(VariationalAutoencoder, AutoencoderConfig()), (DenoisingAutoencoder, VariationalConfig()), (BaselineCNN, {})],
)
def test_the_configuration_of_another_model_is_refused(kind, config):
    with pytest.raises(AelibError, match=f"{kind.__name__} takes a .*Config, not a {type(config).__name__}"):
        kind(config)


def test_arrays_are_taken_and_given_back(garments):
    """Batch by batch, of any length, whether it was being trained or not."""
    model = VariationalAutoencoder().train()
    images = garments[0].repeat(20, 1, 1, 1)  # 640, more than a batch
    codes = model.encode(images.numpy())
    assert model.training, "as it was"
    with torch.no_grad():
        np.testing.assert_allclose(codes, model.eval().encode(images).numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.encode(images[:, 0].numpy()), codes)
    drawn = model.decode(codes)
    assert isinstance(drawn, np.ndarray)
    assert drawn.shape == (640, 1, 28, 28)
    np.testing.assert_array_equal(model.reconstruct(images[:, 0].numpy()), drawn[:, 0])
    assert isinstance(model.reconstruct(images), torch.Tensor)
    assert model.encode(images[:0].numpy()).shape == (0, 30)


def test_samples_repeat_themselves_by_their_seed():
    model = VariationalAutoencoder().eval()
    assert model.sample(3).shape == (3, 1, 28, 28)
    assert torch.equal(model.sample(3, seed=1), model.sample(3, seed=1))
    assert not torch.equal(model.sample(3, seed=1), model.sample(3, seed=2))
    with pytest.raises(AelibError, match="SymmetricAutoencoder takes codes to have no distribution"):
        SymmetricAutoencoder().sample(3)
    with pytest.raises(AelibError, match="count must be a whole number"):
        model.sample(0)
