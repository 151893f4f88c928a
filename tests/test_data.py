"""FashionMNIST: found, verified, split; and what is wrong with it is said in one line."""

import gzip
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from aelib import data
from aelib.data import GarmentLoaders, SplitConfig, fashion_mnist, synthetic
from aelib.errors import AelibError


def fail(error: Exception):
    """A function that raises `error`, whatever it is called with."""

    def function(*_, **__):
        raise error

    return function


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", fail(OSError("no network")))


@pytest.fixture
def offline(no_network, tmp_path, monkeypatch):
    """A machine without a Debian package, a network or apt-get."""
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "not-installed")
    monkeypatch.setattr(shutil, "which", lambda _: None)


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_given_folder_is_verified_and_kept(idx_folder):
    folder, _ = data.fetch(idx_folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted([".lock", *data.FILES])
    assert data.fetch() == (folder, "cache")
    garments = data.load()
    assert torch.equal(garments.train_images, synthetic.garments(30, 20).train_images)
    assert torch.equal(garments.test_labels, synthetic.garments(30, 20).test_labels)


def test_packed_files_will_do(idx_folder):
    for name in data.FILES:
        content = (idx_folder / name).read_bytes()
        (idx_folder / name).unlink()
        (idx_folder / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=1))
    assert data.fetch(idx_folder)[0].is_dir()


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "remove"])
def test_a_damaged_file_is_named_and_nothing_changes(idx_folder, name, damage):
    good, _ = data.fetch(idx_folder)
    path = idx_folder / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"truncate": content[:-3], "flip": content, "empty": b"", "remove": b""}[damage])
    if damage == "remove":
        path.unlink()
    with pytest.raises(AelibError, match=name) as error:
        data.fetch(idx_folder)
    one_line(error)
    assert data.fetch() == (good, "cache")


def test_a_damaged_archive_is_named(idx_folder):
    name = "train-labels-idx1-ubyte"
    packed = gzip.compress((idx_folder / name).read_bytes())
    (idx_folder / name).unlink()
    (idx_folder / f"{name}.gz").write_bytes(packed[:-9])
    with pytest.raises(AelibError, match=f"{name}.gz cannot be read"):
        data.fetch(idx_folder)


def test_an_empty_folder_and_a_missing_one(tmp_path):
    with pytest.raises(AelibError, match="holds neither train-images"):
        data.fetch(tmp_path)
    with pytest.raises(AelibError, match="is not a folder"):
        data.fetch(tmp_path / "nowhere")
    assert [path.name for path in data.cache_folder().iterdir()] in ([], [".lock"])


def test_without_data_and_network_the_line_says_what_to_do(offline):
    with pytest.raises(AelibError) as error:
        data.fetch()
    line = one_line(error)
    assert "aelib data --from FOLDER" in line
    assert "make book PROFILE=smoke" in line
    assert "torchvision" in line
    assert "apt-get" in line
    assert not data.cache_folder().exists()


def test_a_damaged_package_does_not_keep_from_trying_the_rest(idx_folder, offline, monkeypatch):
    (idx_folder / "t10k-labels-idx1-ubyte").write_bytes(b"rotten")
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", idx_folder)
    with pytest.raises(AelibError, match="Debian package: .*t10k-labels-idx1-ubyte.*torchvision: .*apt-get: "):
        data.fetch()


def test_a_rotten_cache_is_fetched_again(idx_folder, monkeypatch, capsys):
    folder, _ = data.fetch(idx_folder)
    (folder / "t10k-images-idx3-ubyte").write_bytes(b"rotten")
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", idx_folder)
    assert data.fetch() == (folder, "Debian package")
    assert "t10k-images-idx3-ubyte is missing, truncated or altered" in capsys.readouterr().err
    assert data.fetch() == (folder, "cache")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="not a Debian or Ubuntu machine")
def test_apt_get_serves_where_the_download_fails(idx_folder, no_network, monkeypatch, tmp_path):
    """With a package built here, and an `apt-get` that hands it out."""
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", Path("usr/share/datasets/for-this-test"))
    shutil.copytree(idx_folder, tmp_path / "tree" / fashion_mnist.DEBIAN_FOLDER)
    (tmp_path / "tree/DEBIAN").mkdir()
    (tmp_path / "tree/DEBIAN/control").write_text(
        "Package: dataset-fashion-mnist\nVersion: 1\nArchitecture: all\nMaintainer: none <none@example.org>\n"
        "Description: for the test\n"
    )
    package = tmp_path / "dataset-fashion-mnist_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", tmp_path / "tree", package], check=True, capture_output=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apt-get").write_text(f'#!/bin/sh\ncp "{package}" .\n')
    (tmp_path / "bin/apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert data.fetch()[1] == "apt-get"


def test_a_cache_that_cannot_be_written(idx_folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AELIB_DATA", str(tmp_path / "file" / "cache"))
    with pytest.raises(AelibError, match="cannot be written .*AELIB_DATA"):
        data.fetch(idx_folder)


def test_a_full_disk_leaves_nothing_half_written(idx_folder, monkeypatch):
    good, _ = data.fetch(idx_folder)
    monkeypatch.setattr(os, "fsync", fail(OSError(28, "No space left on device")))
    with pytest.raises(AelibError, match="No space left"):
        data.fetch(idx_folder)
    assert sorted(path.name for path in good.iterdir()) == sorted([".lock", *data.FILES])


def test_the_split_is_the_reports():
    loaders = GarmentLoaders(synthetic.garments(60, 10), SplitConfig(train=40, validation=20, test=10, batch_size=8))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(23))
    assert torch.equal(loaders.train_indices, order[:40])
    assert torch.equal(loaders.validation_indices, order[40:])
    assert SplitConfig() == SplitConfig(train=51_200, validation=8_800, test=10_000, seed=23, batch_size=256)


def test_batches_are_whole_scaled_and_shuffled_each_epoch(small):
    loader = small.train_dataloader()
    epochs = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        assert [len(images) for images, _ in batches] == [64] * 4
        epochs.append(torch.cat([images for images, _ in batches]))
    assert epochs[0].dtype == torch.float32
    assert 0 <= epochs[0].min() < 0.5 < epochs[0].max() <= 1
    assert torch.equal(epochs[0], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(epochs[0].sum((1, 2, 3)).sort().values, epochs[1].sum((1, 2, 3)).sort().values)


def test_batches_from_another_device(small):
    """PyTorch's device without memory stands for a GPU: nothing of a batch may come from the processor."""
    there = small.on("meta")
    for loader in (there.train_dataloader(), there.val_dataloader(), there.test_dataloader()):
        images, labels = next(iter(loader))
        assert (images.device.type, labels.device.type) == ("meta", "meta")
        assert images.dtype == torch.float32


def test_a_split_larger_than_the_data():
    with pytest.raises(AelibError, match="has 60 images .* fewer than the 61"):
        GarmentLoaders(synthetic.garments(60, 10), SplitConfig(train=41, validation=20, test=10))
    with pytest.raises(AelibError, match="at least 1"):
        GarmentLoaders(synthetic.garments(60, 10), SplitConfig(train=0, validation=20, test=10))


def test_synthetic_garments_are_repeatable_and_told_apart():
    garments = synthetic.garments(300, 100)
    assert garments.sha256 == synthetic.garments.__wrapped__(300, 100).sha256
    assert garments.sha256 != synthetic.garments(300, 100, seed=1).sha256
    # Ten recognisable classes: the nearest class mean names most test garments.
    means = torch.stack([garments.train_images[garments.train_labels == k].float().mean(0) for k in range(10)])
    distances = torch.cdist(garments.test_images.float().flatten(1), means.flatten(1))
    assert (distances.argmin(1) == garments.test_labels).float().mean() > 0.7


@pytest.mark.data
def test_fashion_mnist_itself(users_data):
    garments = data.load()
    assert garments.train_images.shape == (60_000, 1, 28, 28)
    assert garments.test_labels.bincount().tolist() == [1_000] * 10


@pytest.mark.parametrize("given", ["here", ""])
def test_a_relative_cache_is_none(monkeypatch, tmp_path, given):
    """As the XDG Base Directory Specification has it: else each folder that one works in would get its own."""
    monkeypatch.delenv("AELIB_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert data.cache_folder() == tmp_path / ".cache/aelib/fashion-mnist"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    assert data.cache_folder() == tmp_path / "there/aelib/fashion-mnist"
