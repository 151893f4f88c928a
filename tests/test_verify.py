"""What is stored follows from the weights and the data; what was changed by hand, checksums included, is found."""

import csv
import hashlib
import io
import json
import shutil

import pytest
import safetensors.torch
import torch

from aelib import cli, experiments, runs, verify


@pytest.fixture(scope="module")
def intact(smoke_results):
    folder = smoke_results / "verify"
    for name in ("convolutional", "transfer", "cnn"):
        experiments.obtain(name, profile="smoke", folder=folder)
    experiments.obtain("variational", profile="smoke", folder=folder, max_epochs=2, summary=True)
    return folder


@pytest.fixture
def results(intact, tmp_path, monkeypatch):
    folder = tmp_path / "results"
    shutil.copytree(intact, folder)
    monkeypatch.setenv("AELIB_RESULTS", str(folder))
    monkeypatch.setattr(runs, "ROOT", tmp_path)  # where no book is built
    return folder / "smoke"


def retouch(path, name, change):
    """Change a file of a run, and its checksum with it."""
    (path / name).write_bytes(change((path / name).read_bytes()))
    kept = [line for line in (path / runs.CHECKSUMS).read_text().splitlines() if not line.endswith(f"  {name}")]
    digest = hashlib.sha256((path / name).read_bytes()).hexdigest()
    (path / runs.CHECKSUMS).write_text("\n".join([*kept, f"{digest}  {name}"]) + "\n")


def one_number(name):
    def change(content):
        metrics = json.loads(content)
        metrics[name] *= 1 + 3 * verify.TOLERANCE
        return json.dumps(metrics).encode()

    return change


def one_row(content):
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    rows[0]["validation_loss"] = "0.0001"
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def one_tensor(name, change):
    def changed(content):
        tensors = safetensors.torch.load(content)
        tensors[name] = change(tensors[name])
        return safetensors.torch.save(tensors)

    return changed


def one_weight(content):
    """Of the last layer; the biases before an instance norm, for instance, change nothing."""
    name = "decoder.3.6.bias"
    return one_tensor(name, lambda weights: weights + 0.5)(content)


def shifted(predictions):
    return torch.cat([(predictions[:5] + 1) % 10, predictions[5:]])


def test_what_was_left_alone_agrees(results, capsys):
    assert cli.main(["verify", "--profile", "smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "there is no built book to verify: make book"
    assert len(lines) == 5
    assert all(line.endswith(": agrees") for line in lines[1:])


@pytest.mark.parametrize(
    ("run", "file", "change", "words"),
    [
        ("convolutional", "metrics.json", one_number("test_loss"), "metrics.json: test_loss is"),
        ("convolutional", "metrics.json", one_number("train_loss"), "metrics.json: train_loss is"),
        ("convolutional", "history.csv", one_row, "metrics.json: best_epoch is"),
        ("convolutional", "weights.safetensors", one_weight, "metrics.json: test_loss is"),
        (
            "convolutional",
            "arrays.safetensors",
            one_tensor("pictures", lambda each: 255 - each),
            "pictures is not what",
        ),
        ("cnn", "arrays.safetensors", one_tensor("predictions", shifted), "predictions is not what the weights give"),
        ("transfer", "metrics.json", one_number("test_accuracy"), "metrics.json: test_accuracy is"),
        ("variational", "metrics.json", one_number("validation_loss"), "metrics.json: validation_loss is"),
    ],
)
def test_what_was_changed_with_its_checksum_is_found(results, run, file, change, words, capsys):
    (path,) = results.glob(f"{run}-*")
    retouch(path, file, change)
    assert cli.main(["verify", "--profile", "smoke"]) == 1
    output = capsys.readouterr()
    assert words in output.out
    assert path.name in output.err
    assert output.err.count("\n") == 1


def test_what_was_changed_without_its_checksum_is_found(results, capsys):
    (path,) = results.glob("convolutional-*")
    (path / "metrics.json").write_text((path / "metrics.json").read_text().replace("0", "1", 1))
    assert cli.main(["verify", "--profile", "smoke"]) == 1
    assert "metrics.json is missing, truncated or altered" in capsys.readouterr().out


def test_an_encoder_that_is_gone_is_named(results, capsys):
    (path,) = results.glob("convolutional-*")
    shutil.rmtree(path)
    assert cli.main(["verify", "--profile", "smoke"]) == 1
    assert "the encoder that it stands on is not beside it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0.01000", "0.01001", True),
        ("0.01000", "0.01003", False),
        ("71", "71", True),
        ("71", "72", False),
        ("900,477", "900,478", True),
        ("9,999", "9,980", False),
        ("−0.5", "0.5", False),
        ("(0.25)", "(0.25),", False),
        ("3e-05", "4e-05", False),
        ("5.00e-05", "5.01e-05", True),
    ],
)
def test_words_are_the_same_up_to_the_last_digit_of_their_numbers(one, other, same):
    assert verify._close(one, other) == same
