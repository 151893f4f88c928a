"""Experiments: configuration in, run out; wrong names and values are found before any work."""

import json
import time

import numpy as np
import pytest
import torch

from aelib import data, experiments, runs
from aelib.errors import AelibError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return experiments.obtain("convolutional", profile="smoke", folder=tmp_path_factory.mktemp("results"))


def test_a_smoke_run_learns_and_is_complete(run):
    assert run.metrics["validation_loss"] < 0.5 * run.history[0]["validation_loss"]
    assert run.metrics["epochs"] == len(run.history) == len(run.arrays["pictures"])
    assert run.arrays["tsne"].shape == (500, 2)
    assert run.metrics["parameters"] == 892_767
    assert run.provenance["data"] == "synthetic garments"


def test_the_stored_loss_is_that_of_the_stored_weights(run):
    best = min(row["validation_loss"] for row in run.history)
    assert run.metrics["validation_loss"] == pytest.approx(best, rel=1e-5)
    trained = experiments.open_run(run)
    error = (trained.images - trained.decode(trained.codes)) ** 2
    assert float(error.mean()) == pytest.approx(run.metrics["test_loss"], rel=1e-5)


def test_the_last_picture_is_the_models_own(run):
    trained = experiments.open_run(run)
    if run.metrics["best_epoch"] == run.metrics["epochs"]:
        picture = trained.decode(trained.codes[[experiments.PICTURED]])[0]
        assert np.abs(picture - run.arrays["pictures"][-1].numpy() / 255).max() < 0.003


def test_asked_for_twice_it_is_trained_once(run):
    start = time.perf_counter()
    again = experiments.obtain("convolutional", profile="smoke", folder=run.path.parent.parent)
    assert again.checksum == run.checksum
    assert time.perf_counter() - start < 2


def test_trained_again_it_has_the_same_bits(run, tmp_path):
    twin = experiments.obtain("convolutional", profile="smoke", folder=tmp_path)
    for name in ("weights.safetensors", "history.csv", "metrics.json", "arrays.safetensors", "config.json"):
        assert (twin.path / name).read_bytes() == (run.path / name).read_bytes(), name


def test_other_parameters_are_another_run(run, tmp_path):
    other = experiments.obtain("convolutional", profile="smoke", folder=tmp_path, latent_dim=1, max_epochs=2)
    assert other.path.name != run.path.name
    trained = experiments.open_run(other)
    assert trained.codes.shape == (500, 1)
    assert len(other.history) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"latent_dim": 0}, "latent_dim must be a whole number of at least 1, not 0"),
        ({"latent_dim": "__import__('os')"}, "latent_dim must be a whole number"),
        ({"latnt_dim": 3}, "parameter must be one of .* did you mean 'latent_dim'"),
        ({"profile": "nonsense"}, "profile must be one of report, quick, smoke, not 'nonsense'"),
        ({"profile": "smok"}, "did you mean 'smoke'"),
        ({"profile": None}, "profile must be one of"),
        ({"name": "convolutionl"}, "did you mean 'convolutional'"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"learning_rate": 2}, "learning_rate must be"),
        ({"conv": [[3, 2, 1]] * 3, "channels": [8, 8]}, "conv has 3 layers and channels has 2"),
    ],
)
def test_wrong_names_and_values_are_found_before_any_work(arguments, words, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", lambda: pytest.fail("the data was loaded"))
    with pytest.raises(AelibError, match=words) as error:
        experiments.obtain(**{"name": "convolutional", "folder": tmp_path} | arguments)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_published_run_is_the_reports_configuration():
    """Read back, verified, from the default parameters alone; and as good as the report's."""
    run = experiments.obtain("convolutional", folder=runs.ROOT / "results")
    assert run.config["data"] == {
        "sha256": data.SHA256, "train": 51_200, "validation": 8_800, "test": 10_000, "seed": 23, "batch_size": 256,
    }  # fmt: skip
    assert run.metrics["validation_loss"] <= 0.0104
    assert run.arrays["tsne"].shape == (10_000, 2)
    assert run.provenance["uncommitted_changes"] is False
    assert len(run.provenance["commit"]) == 40


def test_the_published_runs_stay_small():
    files = [path for path in (runs.ROOT / "results/report").glob("*/*") if not path.parent.name.startswith(".")]
    assert 0 < sum(path.stat().st_size for path in files) < 28e6


def test_only_what_decides_the_result_is_in_the_fingerprint(run):
    assert set(run.config) == {"experiment", "model", "training", "data", "seed", "perplexity"}
    assert json.loads(json.dumps(run.config)) == run.config


@pytest.mark.data
def test_the_published_loss_is_that_of_the_published_weights(monkeypatch):
    monkeypatch.delenv("AELIB_DATA")
    run = experiments.obtain("convolutional", folder=runs.ROOT / "results")
    trained = experiments.open_run(run)
    error = torch.from_numpy((trained.images - trained.decode(trained.codes)) ** 2)
    assert float(error.double().mean()) == pytest.approx(run.metrics["test_loss"], rel=1e-4)
