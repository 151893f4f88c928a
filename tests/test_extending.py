"""What is easy to add: a fifth autoencoder, a model that is trained on the codes of another, one's own images."""

import gzip
import re

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from aelib import book, cli, evaluate, evidence, experiments, figures, index, runs, sweeps, tables, verify
from aelib.data import SplitConfig, own
from aelib.errors import AelibError
from aelib.experiments.registry import split_of
from aelib.models import SymmetricAutoencoder


@pytest.fixture
def folder(all_tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path))


def test_a_fifth_autoencoder_is_a_file_and_an_entry(folder, tmp_path, capsys):
    command = ["train", "regularised", "--profile", "smoke", "--set", "weight_decay=0.0,0.5"]
    assert cli.main(command) == 0
    free, held = (experiments.obtain("regularised", profile="smoke", weight_decay=value) for value in (0.0, 0.5))

    def norm(run, part):
        return sum(float(each.float().square().sum()) for name, each in run.weights.items() if name.startswith(part))

    assert norm(held, "decoder") < 0.9 * norm(free, "decoder")
    assert norm(held, "latent") == pytest.approx(norm(free, "latent"), rel=0.2)
    for name, each in evaluate.evaluate(held, "reconstructions").items():
        assert each.shape == (40,), name
    assert "validation_size" in held.history[0]
    figures.loss_history([held.history], of=[held])
    rows = tables.compare({"epochs": "Epochs", "test_size": "Size"}, {}, held.metrics)
    assert [row[1] for row in rows] == ["–", "–"]
    assert [faults for _, _, faults in verify.verify_runs(tmp_path / "smoke")] == [[], []]


def test_a_model_of_another_ones_codes_is_an_entry(folder, tmp_path):
    run = experiments.obtain("second_stage", profile="smoke")
    assert run.config["model"] == {"latent_dim": 4, "units": 256}
    source = experiments.source_of(run.path, run.config)
    assert source is not None
    assert source.config["experiment"] == "variational"
    assert experiments.find("second_stage", profile="smoke").path == run.path
    other = experiments.obtain("second_stage", profile="smoke", source={"experiment": "convolutional", "latent_dim": 6})
    assert other.config["model"]["latent_dim"] == 6
    assert type(experiments.load_model(experiments.source_of(other.path, other.config))) is SymmetricAutoencoder
    assert other.provenance["differs"]["source"] == {"experiment": "convolutional", "latent_dim": 6}
    assert experiments.command(other.path).startswith("aelib train second_stage --set ")
    assert [faults for _, _, faults in verify.verify_runs(tmp_path / "smoke")] == [[]] * 4
    assert evidence.multiplications(run) == 2 * (3 * 4 * 256 + 4 * 256 * 2) + 2 * 2 * 256 * 256, (
        "of what it takes, which is no image"
    )


def test_the_source_of_a_run_is_part_of_a_sweep(folder, tmp_path):
    rows = sweeps.sweep("second_stage", profile="smoke", **{"source.latent_dim": [3, 5], "source": "convolutional"})
    assert [runs.load(row.path).config["model"]["latent_dim"] for row in rows] == [3, 5]
    assert [row.parameters for row in rows] == [{"source.latent_dim": 3}, {"source.latent_dim": 5}]
    assert cli.main(["train", "second_stage", "--profile", "smoke", "--set", "source.latent_dim=3"]) == 0
    assert len(list((tmp_path / "smoke").glob("second_stage-*"))) == 3


def test_the_classes_are_for_the_images_to_say(tmp_path):
    with pytest.raises(AelibError, match="parameter must be one of .*not 'classes'"):
        experiments.obtain("cnn", profile="smoke", classes=5, folder=tmp_path)


def test_no_split_leaves_a_batch_of_one():
    for train in range(100, 230):
        split = split_of(experiments.EXPERIMENTS["cnn"], SplitConfig(train=train, validation=30, batch_size=64))
        assert split.train % 64 != 1
        assert split.train + split.validation == train + 30


def test_the_head_stands_on_any_encoder(all_tiny, tmp_path):
    """In its shape, with no need to say so."""
    source = {"experiment": "variational", "linear_units": 24, "beta": 4}
    run = experiments.obtain("transfer", profile="smoke", source=source, folder=tmp_path)
    assert run.config["model"]["linear_units"] == 24
    found = experiments.source_of(run.path, run.config)
    assert (found.config["experiment"], found.config["model"]["beta"]) == ("variational", 4.0)


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("convolutional", "variational", "convolutional starts from no other run: leave out source"),
        ("transfer", "variatonal", "experiment must be one of .*did you mean 'variational'"),
        ("transfer", {"latnt_dim": 3}, "parameter must be one of .*did you mean 'latent_dim'"),
        ("second_stage", "cnn", "a second stage stands on an autoencoder, which BaselineCNN is not"),
        ("transfer", "cnn", "a classifier stands on an autoencoder's encoder, which BaselineCNN lacks"),
        ("transfer", 3, "source must be the name of an experiment, or a mapping with parameters of it, not 3"),
        ("transfer", 0, "source must be the name of an experiment"),
        ("transfer", {"profile": "quick"}, "source takes an experiment and parameters of it, and not 'profile'"),
    ],
)
def test_a_wrong_source_is_one_line(name, source, words, tmp_path):
    with pytest.raises(AelibError, match=words) as error:
        experiments.obtain(name, profile="smoke", source=source, folder=tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def digits():
    """Real images that a package ships, in the size of ours: (300, 28, 28), uint8, and their labels."""
    data = load_digits()
    images = [Image.fromarray((each * 255 / 16).astype(np.uint8)).resize((28, 28)) for each in data.images[:300]]
    return np.stack([np.asarray(image) for image in images]), data.target[:300]


def written(form, digits, folder):
    """The digits in one of the forms that are read; a path."""
    images, labels = digits
    if form == "npz":
        np.savez(folder / "digits.npz", images=images / 255, labels=labels)
        return folder / "digits.npz"
    if form == "npz in parts":
        arrays = {"x_train": images[:250], "y_train": labels[:250], "x_test": images[250:], "y_test": labels[250:]}
        np.savez(folder / "digits.npz", **arrays, classes=[f"digit {label}" for label in range(10)])
        return folder / "digits.npz"
    if form == "idx":
        for part, chosen in (("train", slice(250)), ("t10k", slice(250, None))):
            for what, array in (("images-idx3", images[chosen]), ("labels-idx1", labels[chosen].astype(np.uint8))):
                head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
                (folder / f"{part}-{what}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
        return folder
    for part, chosen in (("train", range(250)), ("test", range(250, 300))):
        for number in chosen:
            path = folder / part / f"digit {labels[number]}" / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[number]).save(path)
    return folder


FORMS = ("npz", "npz in parts", "idx", "pictures")


@pytest.mark.parametrize("form", FORMS)
def test_ones_own_images_are_read_in_many_forms(form, digits, tmp_path):
    images, labels = digits
    read = own.load(written(form, digits, tmp_path))
    assert len(read.train_images) + len(read.test_images) == 300
    assert read.train_images.dtype == torch.uint8
    assert len(read.classes) == 10
    if form == "npz in parts":
        assert {image.numpy().tobytes() for image in read.test_images} == {image.tobytes() for image in images[250:]}
    pairs = {
        (image.numpy().tobytes(), int(label)) for image, label in zip(read.train_images, read.train_labels, strict=True)
    }
    assert pairs <= {(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}
    assert (read.classes[3] == "digit 3") == (form in ("npz in parts", "pictures"))


def test_idx_files_are_known_by_either_of_their_names(digits, tmp_path):
    for file in written("idx", digits, tmp_path).iterdir():
        (tmp_path / "dotted").mkdir(exist_ok=True)
        (tmp_path / "dotted" / file.name.replace("-idx", ".idx")).write_bytes(file.read_bytes())
    assert own.load(tmp_path / "dotted").sha256 == own.load(tmp_path).sha256


@pytest.mark.parametrize("form", ["npz", "pictures"])
def test_what_has_changed_is_read_anew(form, digits, tmp_path):
    images, labels = digits
    path = written(form, digits, tmp_path)
    first = own.load(path)
    assert own.load(path) is first
    written(form, (images[:, ::-1], labels), tmp_path)
    assert own.load(path).sha256 != first.sha256


def test_other_images_are_another_digest(digits, tmp_path):
    images, labels = digits
    found = set()
    for number, (some, named) in enumerate([(images, labels), (images[::-1], labels), (images, labels[::-1])]):
        np.savez(tmp_path / f"{number}.npz", images=some, labels=named)
        found.add(own.load(tmp_path / f"{number}.npz").sha256)
    for cut in (200, 250):
        parts = {"x_train": images[:cut], "y_train": labels[:cut], "x_test": images[cut:], "y_test": labels[cut:]}
        np.savez(tmp_path / f"{cut}.npz", **parts)
        found.add(own.load(tmp_path / f"{cut}.npz").sha256)
    assert len(found) == 5


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((9, 8, 8)), "labels": np.arange(9)}, "are 8×8 and not 28×28, grey: convert them first"),
        ({"images": np.zeros((9, 28, 28, 3)), "labels": np.arange(9)}, "are 28×28×3 and not 28×28"),
        ({"images": np.full((9, 28, 28), 300), "labels": np.arange(9)}, "pixels from 300 to 300: give whole numbers"),
        ({"images": np.full((9, 28, 28), np.nan), "labels": np.arange(9)}, "pixels from nan"),
        ({"images": np.zeros((9, 28, 28)), "labels": np.arange(8)}, r"9 images and labels of shape \(8,\)"),
        ({"images": np.zeros((9, 28, 28)), "labels": np.array(["a"] * 9)}, "labels such as .*give whole numbers"),
        ({"images": np.zeros((9, 28, 28)), "labels": np.zeros(9, int)}, "has 1 class"),
        ({"pictures": np.zeros((9, 28, 28))}, "holds pictures: give a .npz with"),
        ({"images": np.zeros((0, 28, 28)), "labels": np.zeros(0, int)}, "without images"),
        ({"images": np.full((9, 28, 28), 9.5), "labels": np.arange(9)}, "give whole numbers in"),
        ({"images": np.full((9, 28, 28), "a"), "labels": np.arange(9)}, "pixels of type"),
        ({"images": np.zeros((9, 28, 28)), "labels": np.array(3)}, "cannot be read"),
        ({"images": np.zeros((9, 28, 28)), "labels": np.arange(9)}, "no image of 0 to train: give some of each class"),
        ({"images": np.zeros((9, 28, 28)), "labels": np.arange(9), "classes": ["a", "b"]}, "names 2 classes"),
        ({"images": np.zeros((999, 28, 28)), "labels": np.arange(999)}, "999 class.* give images of 2 at least, and"),
        (
            {"images": np.zeros((9, 28, 28)), "labels": np.arange(9) % 2, "classes": ["a", "a"]},
            "names its classes 'a', 'a': give each a name of its own",
        ),
        (
            {"images": np.zeros((9, 28, 28)), "labels": np.arange(9) % 2, "classes": ["a", "b\nc"]},
            r"names its classes 'a', 'b\\nc': give each a name of its own",
        ),
    ],
)
def test_images_that_cannot_be_used_are_one_line(arrays, words, tmp_path, capsys):
    np.savez(tmp_path / "mine.npz", **arrays)
    command = ["train", "convolutional", "--profile", "smoke", "--dataset", str(tmp_path / "mine.npz")]
    assert cli.main(command) == 1
    said = capsys.readouterr().err
    assert re.search(words, said)
    assert len(said.splitlines()) == 1


def test_a_broken_or_missing_data_set_is_one_line(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and then nothing")
    (tmp_path / "empty").mkdir()
    for each in ("a", "b"):
        (tmp_path / "huge" / each).mkdir(parents=True)
        Image.new("1", (20_000, 20_000)).save(tmp_path / "huge" / each / "0.png")
    for name, words in (
        ("broken.npz", "cannot be read"), ("empty", "holds no pictures"), ("none", "not there"), ("a.txt", "no form"),
        ("huge", "cannot be read"),
    ):  # fmt: skip
        (tmp_path / "a.txt").write_text("")
        with pytest.raises(AelibError, match=words) as error:
            own.load(tmp_path / name)
        assert "\n" not in str(error.value)


def test_a_training_on_ones_own_images_knows_them(all_tiny, digits, tmp_path, monkeypatch):
    """Wherever its run is put since: its classes, its notice, its images; a run of others has another name."""
    images, labels = digits
    few = labels < 4
    path = written("npz in parts", (images, labels), tmp_path)
    np.savez(tmp_path / "four.npz", images=images[few], labels=labels[few], classes=["none", "one", "two", "three"])
    results = tmp_path / "results"
    ten = experiments.obtain("convolutional", profile="smoke", dataset=path, folder=results)
    run = experiments.obtain("cnn", profile="smoke", dataset=tmp_path / "four.npz", max_epochs=1, folder=results)
    assert run.config["model"]["classes"] == 4
    assert run.arrays["logits"].shape[1] == 4
    usual = experiments.obtain("convolutional", profile="smoke", folder=results)
    assert len({ten.path.name, usual.path.name}) == 2
    assert "classes" not in experiments.obtain("cnn", profile="smoke", max_epochs=1, folder=results).config["model"]
    moved = tmp_path / "elsewhere" / "mine" / ten.path.name
    moved.parent.mkdir(parents=True)
    ten.path.rename(moved)
    trained = experiments.open_run(runs.load(moved))
    assert trained.classes == tuple(f"digit {label}" for label in range(10))
    assert (trained.images[0] * 255).astype(np.uint8).tobytes() in {image.tobytes() for image in images[250:]}
    figure = figures.class_map(trained.codes[:, :2], trained.labels, trained.images, ("a", "b"), of=[trained.run])
    assert figure.get_suptitle() == "IMAGES OF digits.npz, not of FashionMNIST; SMOKE PROFILE"
    assert [text.get_text() for text in figure.legends[0].get_texts()][3] == "digit 3"
    path.rename(tmp_path / "other.npz")
    own._load.cache_clear()
    own.LOADED.clear()
    own.load(tmp_path / "other.npz")
    assert experiments.open_run(runs.load(moved)).classes == trained.classes, "found where it is now"
    own.LOADED.clear()
    with pytest.raises(AelibError, match="digits.npz is not there"):
        experiments.open_run(runs.load(moved))


def test_a_folder_of_pictures_is_what_it_seems(digits, tmp_path):
    """What an editor has put there is no class; no picture is made another without a word."""
    images, _ = digits
    written("pictures", digits, tmp_path)
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    assert len(own.load(tmp_path).classes) == 10
    (tmp_path / "train" / "digit x").mkdir()
    own._load.cache_clear()
    with pytest.raises(AelibError, match="has no image of digit x to train"):
        own.load(tmp_path)
    (tmp_path / "train" / "digit x").rmdir()
    Image.fromarray(images[0].astype(np.uint16) * 257).save(tmp_path / "train" / "digit 0" / "deep.png")
    with pytest.raises(AelibError, match="deep.png has more than 256 greys"):
        own.load(tmp_path)


def test_what_another_run_stands_on_is_not_deleted(folder, tmp_path, capsys):
    run = experiments.obtain("second_stage", profile="smoke")
    source = experiments.source_of(run.path, run.config)
    with pytest.raises(AelibError, match=f"{run.path.name} stands on {source.path.name}: delete both, or neither"):
        index.remove(tmp_path / "smoke", [source.path.name])
    assert index.remove(tmp_path / "smoke", [source.path.name, run.path.name]) == [source.path.name, run.path.name]


def test_a_chapter_is_told_where_ones_own_images_are(digits, tmp_path, monkeypatch):
    """It is executed in another folder than that which a relative path is about."""
    written("npz", digits, tmp_path)
    monkeypatch.chdir(tmp_path)
    given = []
    monkeypatch.setattr(book, "build_chapter", lambda root, name, parameters, **_: given.append(parameters) or root)
    asked = ["chapter", "01_convolutional", "-p", "dataset", "digits.npz", "-p", "profile", "smoke"]
    assert cli.main(asked) == 0
    assert given == [{"dataset": str(tmp_path / "digits.npz"), "profile": "smoke"}]
    assert cli.main([*asked[:4], "digit.npz"]) == 1
