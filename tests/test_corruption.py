"""Corruption: drawn per image, with the right frequencies, and within the range."""

import random

import pytest
import torch

from aelib import corruption
from aelib.corruption import Augmentation, Corruption
from aelib.data import synthetic
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
    rescaled = corruption.noise_and_stretch(grey)
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


def test_an_occluding_rectangle_lies_between_two_corners():
    """Uniform corners; where it would be too large, half as wide and half as high, nearer to the upper left."""
    white = torch.ones(40_000, 1, 28, 28)
    torch.manual_seed(0)
    gone = corruption.occlude(white)[:, 0] == 0
    rows, columns = gone.any(2).sum(1), gone.any(1).sum(1)
    assert torch.equal(rows * columns, gone.sum((1, 2))), "a filled rectangle, or nothing"
    assert gone.double().mean((1, 2)).max() <= 0.4
    draw, expected = random.Random(0), []
    for _ in range(40_000):
        y, x = ([draw.randint(0, 28), draw.randint(0, 28)] for _ in range(2))
        if abs(y[0] - y[1]) * abs(x[0] - x[1]) > 0.4 * 28 * 28:
            y, x = [each // 2 for each in y], [each // 2 for each in x]
        mask = torch.zeros(28, 28, dtype=torch.bool)
        mask[min(y) : max(y), min(x) : max(x)] = True
        expected.append(mask)
    reference = torch.stack(expected)
    torch.testing.assert_close(gone.double().mean(0), reference.double().mean(0), atol=0.012, rtol=0)
    areas, others = (each.double().mean((1, 2)).sort().values for each in (gone, reference))
    torch.testing.assert_close(areas, others, atol=0.02, rtol=0)


def test_the_augmentation_transforms_as_often_as_it_says(images):
    changed = (Augmentation(probability=0.05)(images) != images).flatten(1).any(1).float().mean().item()
    assert changed == pytest.approx(1 - 0.95**4, abs=0.02)
    assert torch.equal(Augmentation(probability=0.0)(images), images)
    always = Augmentation(probability=1.0)(images)
    assert 0 <= always.min() <= always.max() <= 1
    with pytest.raises(AelibError, match="probability"):
        Augmentation(probability=1.1)


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
