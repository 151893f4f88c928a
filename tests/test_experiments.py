"""Experiments: configuration in, run out; wrong names and values are found before any work."""

import ast
import itertools
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aelib import data, determinism, experiments, index, lightning, runs, study, sweeps, training, verify
from aelib.errors import AelibError
from aelib.experiments import making
from aelib.hyperparameters import TrainingConfig
from aelib.models import AutoencoderConfig


@pytest.fixture(scope="module")
def run(smoke_results):
    return experiments.obtain("convolutional", profile="smoke", folder=smoke_results)


def test_a_smoke_run_learns_and_is_complete(run):
    assert run.metrics["validation_loss"] < 0.6 * run.history[0]["validation_loss"]
    assert run.metrics["epochs"] == len(run.history) == len(run.arrays["pictures"])
    assert run.arrays["tsne"].shape == (500, 2)
    assert run.arrays["codes"].shape == (500, 30)
    assert run.metrics["parameters"] == 892_767
    assert run.provenance["data"] == "synthetic garments"


def test_the_stored_loss_is_that_of_the_stored_weights(run):
    best = min(row["validation_loss"] for row in run.history)
    assert run.metrics["validation_loss"] == pytest.approx(best, rel=verify.HALF)
    assert {each.dtype for each in run.weights.values()} == {torch.float16}
    trained = experiments.open_run(run)
    error = (trained.images - trained.decode(trained.codes)) ** 2
    assert float(error.mean()) == pytest.approx(run.metrics["test_loss"], rel=1e-5)


def test_a_run_of_a_version_that_kept_no_codes_is_encoded_anew(run):
    older = replace(run, arrays={name: each for name, each in run.arrays.items() if name != "codes"})
    assert np.array_equal(experiments.open_run(older).codes, experiments.open_run(run).codes)
    other = replace(run, arrays=run.arrays | {"codes": run.arrays["codes"] + 1})
    assert np.array_equal(experiments.open_run(other).codes, other.arrays["codes"].numpy()), "those that are kept"


def test_the_picture_of_the_best_epoch_is_the_models_own(run):
    trained = experiments.open_run(run)
    picture = trained.decode(trained.codes[[trained.pictured]])[0]
    best = run.arrays["pictures"][run.metrics["best_epoch"] - 1].numpy() / 255
    assert np.abs(picture - best).max() < 0.003


def test_a_stored_run_is_read_without_waiting_for_what_it_does_not_need(run):
    program = (
        "import sys; from pathlib import Path; from aelib import evaluate, experiments, figures, study, tables\n"
        f"run = experiments.obtain('convolutional', profile='smoke', folder=Path({str(run.path.parent.parent)!r}))\n"
        "experiments.open_run(run)\n"
        "slow = {'pytorch_lightning', 'scipy.stats', 'sklearn', 'torchmetrics', 'torchvision'}\n"
        "sys.exit(str(sorted(sys.modules.keys() & slow)))"
    )
    read = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert read.stderr == "[]\n"


def test_asked_for_twice_it_is_trained_once(run, monkeypatch):
    monkeypatch.setattr(making, "_make", lambda *_, **__: pytest.fail("it is trained again"))
    again = experiments.obtain("convolutional", profile="smoke", folder=run.path.parent.parent)
    assert again.checksum == run.checksum


def test_trained_again_it_has_the_same_bits(all_tiny, two_threads, tmp_path):
    run, twin = (
        experiments.obtain("convolutional", profile="smoke", folder=tmp_path / name) for name in ("first", "second")
    )
    for name in ("weights.safetensors", "history.csv", "metrics.json", "arrays.safetensors", "config.json"):
        assert (twin.path / name).read_bytes() == (run.path / name).read_bytes(), name


def test_a_whole_number_and_its_float_are_one_configuration():
    variational = experiments.EXPERIMENTS["variational"]
    assert repr(experiments.configure(variational, beta=2, dropout=0)) == repr(
        experiments.configure(variational, beta=2.0, dropout=0.0)
    )


def test_the_commit_is_that_of_the_code_which_trained_it(all_tiny, tmp_path, monkeypatch):
    commit, fit = "before", training.fit

    def committed_meanwhile(*arguments, **options):
        nonlocal commit
        commit = "after"
        return fit(*arguments, **options)

    monkeypatch.setattr("aelib.provenance._git", lambda *command, **_: commit)
    monkeypatch.setattr(training, "fit", committed_meanwhile)
    run = experiments.obtain("convolutional", profile="smoke", summary=True, max_epochs=1, folder=tmp_path)
    assert run.provenance["commit"] == "before"


def test_a_training_of_milliseconds_keeps_its_time(tmp_path, monkeypatch):
    """A quotient of two times is a claim's evidence; heads of 48 images take 40 ms on some machines."""
    clock = itertools.count()
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: next(clock) / 1000))
    run = experiments.obtain("convolutional", profile="smoke", summary=True, max_epochs=1, folder=tmp_path)
    assert 0 < run.provenance["training_seconds"] < 0.04
    assert 0 < run.provenance["seconds_per_epoch"] < 0.04


def test_other_parameters_are_another_run(all_tiny, tmp_path):
    run = experiments.obtain("convolutional", profile="smoke", folder=tmp_path)
    other = experiments.obtain("convolutional", profile="smoke", folder=tmp_path, latent_dim=1, max_epochs=2)
    assert other.path.name != run.path.name
    trained = experiments.open_run(other)
    assert trained.codes.shape == (40, 1)
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
    monkeypatch.setattr(runs, "load_or_make", lambda *_, **__: pytest.fail("work was begun"))
    with pytest.raises(AelibError, match=words) as error:
        experiments.obtain(**{"name": "convolutional", "folder": tmp_path} | arguments)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def published(monkeypatch):
    """The results that come with the repository; a run that is missing is not trained there."""
    monkeypatch.setattr(making, "_make", lambda *_, **__: pytest.fail("not published, or under another configuration"))
    return runs.ROOT / "results"


def test_the_published_run_is_the_reports_configuration(published):
    """Read back, verified, from the default parameters alone; and as good as the report's."""
    run = experiments.obtain("convolutional", folder=published)
    assert run.config["data"] == {
        "sha256": data.SHA256, "train": 51_200, "validation": 8_800, "test": 10_000, "seed": 23, "batch_size": 256,
    }  # fmt: skip
    assert run.metrics["validation_loss"] <= 0.0104
    assert run.arrays["tsne"].shape == (10_000, 2)
    assert run.arrays["codes"].shape == (10_000, 30)
    assert run.provenance["uncommitted_changes"] is False
    assert len(run.provenance["commit"]) == 40


def test_a_build_notices_a_training_that_does_not_repeat_itself(all_tiny, monkeypatch):
    assert list(determinism.repeats().values()) == [True, True]
    seeds = itertools.count()
    monkeypatch.setattr(lightning, "epoch_seed", lambda *_: next(seeds))
    assert list(determinism.repeats().values()) == [False, False]


def test_the_published_runs_stay_small():
    listed = subprocess.run(["git", "ls-files", "results/report"], cwd=runs.ROOT, capture_output=True, text=True)
    assert 0 < sum((runs.ROOT / name).stat().st_size for name in listed.stdout.splitlines()) < 60e6


def test_only_what_decides_the_result_is_in_the_fingerprint(run):
    assert set(run.config) == {"experiment", "model", "training", "data", "seed", "perplexity"}
    assert json.loads(json.dumps(run.config)) == run.config


@pytest.mark.data
def test_the_published_loss_is_that_of_the_published_weights(users_data, published):
    run = experiments.obtain("convolutional", folder=published)
    trained = experiments.open_run(run)
    error = torch.from_numpy((trained.images - trained.decode(trained.codes)) ** 2)
    assert float(error.double().mean()) == pytest.approx(run.metrics["test_loss"], rel=1e-4)


def test_maps_are_left_out_where_they_are_not_asked_for(tmp_path, all_tiny):
    run = experiments.obtain("convolutional", profile="smoke", maps=False, max_epochs=1, folder=tmp_path)
    assert run.weights
    assert run.arrays.keys() == {"pictures"}
    assert experiments.open_run(run).codes.shape == (40, 4)
    again = experiments.obtain("convolutional", profile="smoke", max_epochs=1, folder=tmp_path)
    assert again.path == run.path


def test_where_weights_were_left_out_a_training_that_has_them_stands_beside(tmp_path, all_tiny, capsys):
    asked = {"profile": "smoke", "beta": 4.0, "max_epochs": 1, "folder": tmp_path}
    kept = experiments.obtain("variational", **asked)
    runs.leave_out_weights(kept.path)
    before = {path.name: path.read_bytes() for path in kept.path.iterdir() if path.is_file()}
    assert experiments.find("variational", **asked) is None
    capsys.readouterr()
    assert experiments.obtain("variational", **asked, weights=False).path == kept.path
    assert experiments.obtain("variational", **asked, summary=True).path == kept.path
    assert sweeps.sweep("variational", **asked)[0].path == kept.path
    assert capsys.readouterr().err == "", "nothing was trained"
    whole = experiments.obtain("variational", **asked)
    assert whole.path != kept.path
    assert len(experiments.open_run(whole).codes) == whole.config["data"]["test"]
    assert {path.name: path.read_bytes() for path in kept.path.iterdir() if path.is_file()} == before
    assert experiments.find("variational", **asked).path == whole.path
    capsys.readouterr()
    assert experiments.obtain("variational", **asked).path == whole.path
    assert "training" not in capsys.readouterr().err
    assert [run.path for run in index.seeds_of(whole)] == [whole.path]


def test_what_stands_on_a_run_without_weights_is_made_on_one_that_has_them(tmp_path, all_tiny, capsys):
    asked = {
        "profile": "smoke",
        "folder": tmp_path,
        "max_epochs": 1,
        "source": {"experiment": "variational", "beta": 4.0},
    }
    of = {"profile": "smoke", "folder": tmp_path, "beta": 4.0}
    kept = experiments.obtain("variational", **of)
    first = experiments.obtain("transfer", **asked)
    runs.leave_out_weights(kept.path)
    capsys.readouterr()
    assert experiments.obtain("transfer", **asked).path == first.path
    assert "training" not in capsys.readouterr().err, "what is there needs no weights of what it stands on"
    asked["patience"] = 2
    assert experiments.find("transfer", **asked) is None
    head = experiments.obtain("transfer", **asked)
    whole = experiments.find("variational", **of)
    assert whole.path != kept.path
    assert experiments.source_of(head.path, head.config).path == whole.path
    assert experiments.find("transfer", **asked).path == head.path
    capsys.readouterr()
    assert experiments.obtain("transfer", **asked).path == head.path
    assert "training" not in capsys.readouterr().err
    shutil.rmtree(kept.path)
    assert experiments.obtain("variational", **of, weights=False).path == whole.path, "with more than is asked for"


def test_a_summary_of_a_classifier_has_its_answers(tmp_path, all_tiny):
    run = experiments.obtain("cnn", profile="smoke", summary=True, max_epochs=1, precision="float32", folder=tmp_path)
    assert not run.weights
    assert run.provenance["engine"]["precision"] == "float32"
    assert run.arrays["logits"].shape == (run.config["data"]["test"], 10)
    assert torch.equal(run.arrays["logits"].float().argmax(1), run.arrays["predictions"].long())
    labels = torch.from_numpy(experiments.tested_on(run)[1]).long()
    loss = torch.nn.functional.cross_entropy(run.arrays["logits"].float(), labels)
    assert loss.item() == pytest.approx(run.metrics["test_loss"], rel=1e-3)


def test_a_summary_has_the_metrics_of_the_run_and_nothing_else(all_tiny, tmp_path):
    run = experiments.obtain("convolutional", profile="smoke", folder=tmp_path / "a")
    whole = experiments.obtain("convolutional", profile="smoke", folder=tmp_path / "a", summary=True)
    assert whole.checksum == run.checksum  # where the run is there, it is as good
    made = experiments.obtain("convolutional", profile="smoke", folder=tmp_path / "b", summary=True)
    assert made.metrics == run.metrics
    assert made.history == run.history
    assert made.path.name != run.path.name
    assert not made.weights
    assert not made.arrays
    with pytest.raises(AelibError, match="is a summary without weights"):
        experiments.open_run(made)


def test_the_choice_of_a_study_goes_into_every_experiment_that_has_it(tmp_path, monkeypatch):
    chosen = AutoencoderConfig(channels=(16, 32, 32), linear_units=128, latent_dim=12)
    settings = TrainingConfig(optimizer="adam", learning_rate=0.002, weight_decay=1e-6)
    search = SimpleNamespace(winner=lambda: (chosen, settings))
    monkeypatch.setattr(study, "obtain", lambda plan: search)
    monkeypatch.setattr(making, "_make", lambda *arguments, **_: pytest.fail(repr(arguments[0].decisive)))

    def decided(name, **options):
        with pytest.raises(pytest.fail.Exception) as caught:
            experiments.obtain(name, profile="smoke", config="study", folder=tmp_path, **options)
        return ast.literal_eval(str(caught.value))

    plain = decided("convolutional")
    assert (plain["model"]["latent_dim"], plain["training"]["learning_rate"]) == (12, 0.002)
    assert decided("convolutional", latent_dim=7)["model"]["latent_dim"] == 7
    # The denoising model's learning rate is the finder's.
    assert decided("denoising")["training"] | {"max_epochs": 200} == asdict(replace(settings, learning_rate=None))
    encoder = experiments.EXPERIMENTS["convolutional"].with_choice(chosen, settings)
    head = experiments.EXPERIMENTS["transfer"].with_choice(chosen, settings).standing_on(encoder)
    assert (head.model.features, head.model.linear_units, head.training.optimizer) == (800, 128, "adam")
    assert head.training.weight_decay == 0
    monkeypatch.setattr(study, "obtain", lambda plan: pytest.fail("a search for nothing"))
    with pytest.raises(AelibError, match="take 'report' for BaselineCNN"):
        experiments.obtain("cnn", profile="smoke", config="study", folder=tmp_path)
    with pytest.raises(AelibError, match="config must be one of report, study, not 'studie'; did you mean 'study'"):
        experiments.obtain("convolutional", profile="smoke", config="studie", folder=tmp_path)


def test_the_parameters_of_a_chapter_are_those_that_its_setup_uses(monkeypatch):
    """Whether papermill gave them or the first cell names them, and however often cells were executed before."""
    setup = "import x\nx.only_known_parameters()\nrun = x.obtain(profile, beta=beta)"
    cells = ["", "profile: str = 'report'\nbeta = 2", setup]
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(user_ns={"In": cells}))
    experiments.only_known_parameters()
    cells[2:2] = ["# Parameters\nPAPERMILL_INPUT_PATH = 'a'\nPAPERMILL_OUTPUT_PATH = 'b'\nbeta = 4\n"]
    experiments.only_known_parameters()
    cells[2] += "profiel = 'smoke'\n"
    wrong = "parameter must be one of profile, beta, not 'profiel'; did you mean 'profile'"
    with pytest.raises(AelibError, match=wrong):
        experiments.only_known_parameters()
    for mistyped in ("profile = 'report'\nbetta = 2", "profile = 'report'\nbeta = 2\nbetta: float = 4"):
        cells[:] = ["", "profile = 'report'\nbeta = 2", setup, "1 + 1", mistyped, setup]
        with pytest.raises(AelibError, match="must be one of profile, beta, not 'betta'; did you mean 'beta'"):
            experiments.only_known_parameters()
        cells += ["profile = 'report'\nbeta = 4", "other = 2", setup]  # mended
        experiments.only_known_parameters()
    cells[:] = ["", setup]  # the first cell was not executed: Python says so
    experiments.only_known_parameters()


def test_a_run_has_its_model_at_hand(all_tiny, tmp_path):
    """From a folder that is named by text, as well as from the run."""
    run = experiments.obtain("variational", profile="smoke", folder=str(tmp_path))
    assert run.path.parent == tmp_path / "smoke"
    images = run.open().images[:3]
    for model in (run.model(), experiments.load_model(str(run.path)), experiments.find(
        "variational", profile="smoke", folder=str(tmp_path)
    ).model()):  # fmt: skip
        np.testing.assert_array_equal(model.reconstruct(images), run.model().reconstruct(images))
    assert experiments.open_run(str(run.path)).images.shape == run.open().images.shape


def test_what_comes_with_aelib_is_not_made_again(all_tiny, tmp_path, monkeypatch):
    """It is put where it was asked for, whole, and is the same run."""
    made = experiments.obtain("transfer", profile="smoke", folder=tmp_path / "there")
    monkeypatch.setattr(runs, "PUBLISHED", tmp_path / "there")
    monkeypatch.setenv("AELIB_NOTHING_NEW", "1")
    assert experiments.find("transfer", profile="smoke", folder=tmp_path / "here").checksum == made.checksum
    assert experiments.source_of(tmp_path / "here/smoke" / made.path.name, made.config) is not None
    (made.path / "metrics.json").write_text("{}")
    with pytest.raises(AelibError, match=r"there.*metrics.json is missing, truncated or altered"):
        experiments.obtain("transfer", profile="smoke", folder=tmp_path / "elsewhere")
