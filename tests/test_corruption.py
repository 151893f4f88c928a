"""Corruption: drawn per image, with the right frequencies, and within the range."""

import pytest
import torch

from aelib import corruption, synthetic
from aelib.corruption import Corruption
from aelib.errors import AelibError


@pytest.fixture
def images():
    torch.manual_seed(0)
    return synthetic.garments(40, 1).train_images.float().div(255).repeat(100, 1, 1, 1)  # (4000, 1, 28, 28)


def test_each_image_draws_its_own_coins(images):
    changed = (Corruption()(images) != images).flatten(1).any(1).float().mean().item()
    assert changed == pytest.approx(0.9375, abs=0.02)  # the report's number: 1 − ½⁴
    assert torch.equal(Corruption(probability=0.0)(images), images)
    assert (Corruption(probability=1.0)(images) != images).flatten(1).any(1).all()


def test_per_batch_all_images_share_coins_and_rectangle():
    white = torch.ones(300, 1, 28, 28)
    for seed in range(20):
        torch.manual_seed(seed)
        corrupted = Corruption(noise_std=0.0, per_batch=True)(white)
        assert torch.equal(corrupted, corrupted[:1].expand_as(corrupted))
    torch.manual_seed(0)
    noisy = Corruption(probability=1.0, per_batch=True)(white)
    assert not torch.equal(noisy[0], noisy[1])  # the noise is each pixel's own


def test_the_images_themselves_stay_as_they_are(images):
    before = images.clone()
    corrupted = Corruption(probability=1.0)(images)
    assert torch.equal(images, before)
    assert 0 <= corrupted.min() <= corrupted.max() <= 1
    assert corrupted.shape == images.shape


def test_flips(images):
    assert torch.equal(corruption.horizontal_flip(images)[..., 0], images[..., -1])
    assert torch.equal(corruption.vertical_flip(images)[..., 0, :], images[..., -1, :])


def test_noise_has_its_deviation_where_it_is_not_clipped():
    grey = torch.full((200, 1, 28, 28), 0.5)
    noisy = corruption.add_noise(grey, 0.1)
    assert noisy.mean().item() == pytest.approx(0.5, abs=0.001)
    assert noisy.std().item() == pytest.approx(0.1, rel=0.02)
    rescaled = corruption.add_noise(grey, 0.1, rescale=True)
    assert rescaled.flatten(1).amin(1).eq(0).all()
    assert rescaled.flatten(1).amax(1).eq(1).all()


def test_one_rectangle_is_erased_of_the_asked_size():
    white = torch.ones(4000, 1, 28, 28)
    torch.manual_seed(0)
    gone = corruption.erase(white, (0.02, 0.33))[:, 0] == 0
    area = gone.float().mean((1, 2))
    assert 0.015 < area.min() < 0.03
    assert 0.31 < area.max() < 0.36  # sides are whole pixels
    assert area.mean().item() == pytest.approx(0.175, abs=0.01)
    rows, columns = gone.any(2).sum(1), gone.any(1).sum(1)
    assert torch.equal(rows * columns, gone.sum((1, 2))), "a filled rectangle"
    assert 0.2 < (rows / columns).min() < 0.5 < 2 < (rows / columns).max() < 5
    assert gone.any(0).all(), "every pixel is erased now and then"


def test_the_same_distribution_as_torchvision():
    """Areas and positions of torchvision's own RandomErasing, image by image."""
    from torchvision.transforms import RandomErasing

    torch.manual_seed(0)
    white = torch.ones(1500, 1, 28, 28)
    theirs = torch.stack([RandomErasing(p=1.0)(image) for image in white])
    ours = corruption.erase(white, (0.02, 0.33))
    for statistic in (lambda x: x.mean(), lambda x: x.mean((1, 2, 3)).std(), lambda x: x[..., 14, 14].mean()):
        assert statistic(ours).item() == pytest.approx(statistic(theirs).item(), abs=0.03)


@pytest.mark.parametrize("options", [{"probability": 1.1}, {"probability": "1"}, {"noise_std": -0.1}])
def test_wrong_values_are_named(options):
    with pytest.raises(AelibError, match=next(iter(options))):
        Corruption(**options)
