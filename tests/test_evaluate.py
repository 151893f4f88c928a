"""Evaluations: kept beside the run, until the run, the metric or a judge is another."""

import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from aelib import cli, evaluate, experiments, metrics, profiles, runs
from aelib.errors import AelibError
from aelib.evaluate import autoencoders, store
from aelib.experiments import EXPERIMENTS, AutoencoderExperiment


@pytest.fixture
def run(all_tiny, tiny_results):
    return experiments.obtain("convolutional", profile="smoke", folder=tiny_results)


@pytest.fixture
def counted(monkeypatch):
    """A metric that notes how often it is asked."""
    calls = []

    def number(run):
        calls.append(run)
        return {"number": np.asarray(float(len(calls)))}

    monkeypatch.setitem(store.METRICS, "number", None)
    evaluate.metric(version=1, of=AutoencoderExperiment)(number)
    return calls


def copied(run, folder):
    """The run, in a results folder of its own."""
    import shutil

    path = folder / "smoke" / run.path.name
    shutil.copytree(run.path, path, ignore=shutil.ignore_patterns("evaluations"))
    return runs.load(path)


def test_what_is_there_is_not_found_again(run, counted, tmp_path):
    mine = copied(run, tmp_path)
    assert evaluate.evaluate(mine, "number")["number"] == 1
    assert evaluate.evaluate(mine, "number")["number"] == 1
    assert len(counted) == 1
    assert evaluate.evaluate(mine, "number", again=True)["number"] == 2
    assert evaluate.evaluate(mine, "number")["number"] == 1, "that was not kept"
    assert runs.load(mine.path).checksum == mine.checksum, "the run itself is as it was"


def test_another_version_or_run_is_found_anew(run, counted, tmp_path, monkeypatch):
    mine = copied(run, tmp_path)
    evaluate.evaluate(mine, "number")
    monkeypatch.setitem(store.METRICS, "number", replace(store.METRICS["number"], version=2))
    assert evaluate.evaluate(mine, "number")["number"] == 2
    assert evaluate.evaluate(replace(mine, checksum="another"), "number")["number"] == 3


def test_a_judge_is_part_of_it(all_tiny, run, counted, tmp_path, monkeypatch):
    mine = copied(run, tmp_path)
    judged = replace(store.METRICS["number"], judges=("cnn",), find=lambda run, cnn: store.METRICS["answers"].find(cnn))
    monkeypatch.setitem(store.METRICS, "number", judged)
    first = evaluate.evaluate(mine, "number")["cross_entropy"]
    assert len(first) == 40
    experiments.obtain("cnn", profile="smoke", folder=tmp_path, max_epochs=1)  # another run of it changes nothing
    monkeypatch.setitem(store.METRICS, "number", replace(judged, find=lambda *_: {"asked": np.ones(1)}))
    assert "asked" not in evaluate.evaluate(mine, "number")
    experiments.obtain("cnn", profile="smoke", folder=tmp_path, again=True)
    assert "asked" in evaluate.evaluate(mine, "number"), "made again, its provenance is another"


def test_damaged_or_unwritable_it_is_found_all_the_same(run, counted, tmp_path, monkeypatch, capsys):
    mine = copied(run, tmp_path)
    evaluate.evaluate(mine, "number")
    path = mine.path / "evaluations" / "number.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert evaluate.evaluate(mine, "number")["number"] == 2
    assert "number.safetensors cannot be read: it is made anew" in capsys.readouterr().err
    path.unlink()
    path.mkdir()  # nothing can be written there, whoever tries
    assert evaluate.evaluate(mine, "number")["number"] == 3
    assert "is not kept" in capsys.readouterr().err
    path.rmdir()
    monkeypatch.setenv("AELIB_NOTHING_NEW", "1")
    assert evaluate.evaluate(mine, "number")["number"] == 4
    assert not path.exists()
    assert os.listdir(path.parent) == [], "no half-written file is left"


def test_an_unknown_metric_is_named(run):
    with pytest.raises(AelibError, match="metric must be one of .*did you mean 'drawings'"):
        evaluate.evaluate(run, "drawing")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_metric_of_every_experiment(all_tiny, tiny_results, name):
    """All that is about a run can be found, repeats itself, and has no number that is none."""
    run = experiments.obtain(name, profile="smoke", folder=tiny_results)
    names = evaluate.metrics_of(run)
    assert names
    for each in names:
        found = evaluate.evaluate(run, each)
        assert all(np.isfinite(array).all() for array in found.values()), each
        again = evaluate.evaluate(run, each, again=True)
        assert found.keys() == again.keys()
        for key, array in found.items():
            assert array.shape == again[key].shape
            np.testing.assert_allclose(array, again[key], rtol=1e-4, atol=1e-6, err_msg=key)
            if array.shape == () and 0 < abs(array) < 1e-5:
                assert not evaluate.METRICS[each].repeats, f"{key} is rounding, in which processors differ"
    assert evaluate.faults(run) == []


def test_the_first_of_the_found_rates_is_the_runs_own(all_tiny, tiny_results, run, monkeypatch):
    monkeypatch.setitem(profiles.PROFILES, "smoke", replace(profiles.PROFILES["smoke"], suggestions=20))
    found = experiments.obtain("convolutional", profile="smoke", folder=tiny_results, summary=True, learning_rate=None)
    rates = evaluate.evaluate(found, "found_rates")["rates"]
    assert rates.shape == (20,)
    assert rates[0] == found.metrics["learning_rate"]
    assert len({*rates}) > 1
    assert evaluate.evaluate(run, "found_rates") == {}, "its rate was given"


def test_a_code_with_more_numbers_than_there_are_images(all_tiny, tiny_results):
    wide = experiments.obtain("convolutional", profile="smoke", folder=tiny_results, latent_dim=100, max_epochs=1)
    assert wide.config["data"]["train"] == 64
    for name in ("components", "pixels", "filters"):
        assert all(np.isfinite(each).all() for each in evaluate.evaluate(wide, name).values())


def test_samplers_are_those_that_a_model_has(all_tiny, tiny_results):
    """And all numbers of a sampler are found again by its name."""
    asked = {"profile": "smoke", "folder": tiny_results}
    fitted = {"gaussian", "mixture_10", "mixture_50", "mixture_200"}
    plain, stage = experiments.obtain("convolutional", **asked), experiments.obtain("second_stage", **asked)
    for name, expected in (
        ("convolutional", {"box", *fitted}),
        ("variational", {"box", "prior", "aggregate_10", *fitted}),
        ("second_stage", {"second_stage"}),
    ):
        run = experiments.obtain(name, **asked)
        trained, ways = evaluate.samplers(run)
        assert {*ways} == expected
        for draw in ways.values():
            codes = draw(7, 1)
            assert codes.shape == (7, trained.codes.shape[1])
            assert (draw(7, 1) == codes).all()
            assert (draw(7, 2) != codes).any()
        scores = evaluate.by_sampler([evaluate.evaluate(run, "samples")] * 2)
        assert {*scores} == expected | {"reconstructions"}
        assert {len(each["frechet"]) for each in scores.values()} == {2}
    assert evaluate.samplers(stage)[0].run.config["experiment"] == "variational"
    assert len(evaluate.of_seeds(plain, "rate")) == 1


def test_what_is_said_adds_up(all_tiny, tiny_results):
    run = experiments.obtain("variational", profile="smoke", folder=tiny_results, beta=0.01)
    found = evaluate.evaluate(run, "rate")
    said = evaluate.said([found])
    assert said["nats"][0] == pytest.approx(run.metrics["test_kl"], rel=1e-3)
    assert said["error"][0] == pytest.approx(run.metrics["test_reconstruction"], rel=1e-3)
    assert said["drawn_error"][0] > 0
    assert said["loss"][0] == pytest.approx(said["drawn_error"][0] + 0.01 * said["nats"][0] / 784)
    assert 0 <= said["units"][0] <= 4
    assert said["kl_least"][0] <= said["kl_most"][0]


def test_the_ends_of_the_scale_are_where_they_must_be(all_tiny, tiny_results):
    scores = evaluate.by_sampler(
        [evaluate.evaluate(experiments.obtain("cnn_augmented", profile="smoke", folder=tiny_results), "ends")]
    )
    assert scores["train"]["gradients"] < scores["noise"]["gradients"]
    assert scores["mean"]["ratio"] < scores["noise"]["ratio"], "noise is as far from all"
    assert scores["train"]["coverage"] > scores["noise"]["coverage"]


def test_the_command_fills_in_what_is_missing_and_verify_sees_what_is_wrong(
    run, tmp_path, monkeypatch, capsys, counted
):
    mine = copied(run, tmp_path)
    for name in [name for name in evaluate.METRICS if name not in ("number", "reconstructions")]:
        monkeypatch.delitem(store.METRICS, name)
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path))
    assert cli.main(["evaluate", "--profile", "smoke"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert re.match(rf"{mine.path.name} +reconstructions +seed 0, error \S+, sharpness ", first)
    assert re.match(rf"{mine.path.name} +number +seed 0, number 1$", second)
    monkeypatch.delitem(store.METRICS, "number")
    assert evaluate.faults(mine) == []
    path = mine.path / "evaluations" / "reconstructions.safetensors"
    kept = evaluate.evaluate(mine, "reconstructions")
    with store.safetensors.safe_open(path, framework="numpy") as file:
        about = file.metadata()
    store._write(path, kept | {"error": kept["error"] * 1.1}, about)
    assert evaluate.faults(mine) == ["evaluations/reconstructions.safetensors: error is not what the run gives"]
    assert cli.main(["verify", "--profile", "smoke"]) == 1
    assert "error is not what the run gives" in capsys.readouterr().out


def test_one_metric_over_all_runs(run, counted, tmp_path, monkeypatch, capsys):
    """With what differs; one run that is damaged keeps no other from being looked at."""
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path))
    mine = copied(run, tmp_path)
    other = experiments.obtain("convolutional", profile="smoke", latent_dim=3, seed=2, maps=False)
    experiments.obtain("cnn", profile="smoke", max_epochs=1)
    assert cli.main(["evaluate", "number", "--profile", "smoke", "--json"]) == 0
    found = {each["run"]: each for each in json.loads(capsys.readouterr().out)}
    assert found.keys() == {mine.path.name, other.path.name}, "of a classifier there is none"
    assert found[other.path.name]["differs"] == {"latent_dim": 3}
    assert {each["numbers"]["number"] for each in found.values()} == {1.0, 2.0}
    (other.path / "weights.safetensors").write_bytes(b"")
    assert cli.main(["evaluate", "number", "--profile", "smoke"]) == 1
    said = capsys.readouterr()
    assert f"{mine.path.name:<24} number          seed 0, number" in said.out
    assert "weights.safetensors is missing, truncated or altered" in said.out
    assert said.err == f"aelib: {other.path.name}: see above; the others are evaluated\n"
    assert cli.main(["evaluate", "numbr", "--profile", "smoke"]) == 1
    assert "did you mean 'number'" in capsys.readouterr().err


def test_a_metric_that_fails_on_one_run_is_found_of_the_others(run, tmp_path, monkeypatch, capsys):
    """As one that cannot do with a single label."""
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path))
    mine, other = copied(run, tmp_path), experiments.obtain("convolutional", profile="smoke", latent_dim=3, maps=False)

    def number(run):
        if run.path.name == other.path.name:
            raise ValueError("one class alone")
        return {"number": np.asarray(1.0)}

    monkeypatch.setitem(store.METRICS, "number", replace(store.METRICS["reconstructions"], name="number", find=number))
    assert cli.main(["evaluate", "number", "--profile", "smoke"]) == 1
    said = capsys.readouterr()
    assert f"{mine.path.name:<24} number" in said.out
    assert "ValueError: one class alone" in said.out


def test_the_frechet_distance_of_gaussians():
    draws = np.random.default_rng(0)
    one, same, moved = draws.normal(0, 1, (20_000, 3)), draws.normal(0, 1, (20_000, 3)), draws.normal(2, 1, (20_000, 3))
    assert metrics.frechet_distance(one, same) == pytest.approx(0, abs=0.01)
    assert metrics.frechet_distance(one, moved) == pytest.approx(12, rel=0.03)  # three axes, 2 apart
    wider = draws.normal(0, [1, 2, 3], (20_000, 3))
    assert metrics.frechet_distance(one, wider) == pytest.approx(0 + 1 + 4, rel=0.05)  # Σ (σ − 1)²
    assert metrics.frechet_distance(one[:, :1], moved[:, :1]) == pytest.approx(4, rel=0.03)


def test_what_is_blurred_is_less_sharp():
    image = np.zeros((1, 28, 28), dtype=np.float32)
    image[:, 8:20, 8:20] = 1
    smooth = torch.nn.functional.avg_pool2d(torch.from_numpy(image)[None], 3, 1, 1)[0].numpy()
    sharp, blurred, flat = (metrics.laplacian_variance(each)[0] for each in (image, smooth, image * 0))
    assert sharp > 5 * blurred > flat == 0
    ramp = np.tile(np.linspace(0, 1, 28), (1, 28, 1))
    assert metrics.laplacian_variance(ramp)[0] == pytest.approx(0, abs=1e-12)


def test_a_drawing_is_judged_by_what_it_is(all_tiny, tiny_results, monkeypatch):
    """Random codes that decode to test images are near them; those that decode to grey are far away and blurred."""
    run = experiments.obtain("convolutional", profile="smoke", folder=tiny_results)
    judges = [experiments.obtain(each, profile="smoke", folder=tiny_results) for each in ("cnn", "cnn_augmented")]
    images = experiments.tested_on(run)[0]
    monkeypatch.setattr(experiments.Trained, "decode", lambda self, codes: images)
    near = autoencoders.drawings(run, *judges)
    monkeypatch.setattr(experiments.Trained, "decode", lambda self, codes: np.full_like(images, 0.5))
    far = autoencoders.drawings(run, *judges)
    assert near["frechet"] == pytest.approx(0, abs=1e-3 * far["frechet"])
    assert near["sharpness"].mean() > far["sharpness"].mean() + 3


def test_a_classifier_of_an_older_version_is_evaluated_too(all_tiny, tiny_results):
    run = experiments.obtain("cnn", profile="smoke", folder=tiny_results)
    older = replace(run, arrays={"predictions": run.arrays["predictions"]})
    now, then = (evaluate.answers(each)["cross_entropy"] for each in (run, older))
    np.testing.assert_allclose(then, now, rtol=5e-3, atol=1e-3)


def test_a_metric_of_others_is_refused(run):
    with pytest.raises(AelibError, match="answers is no metric of convolutional-.*: it has reconstructions"):
        evaluate.evaluate(run, "answers")


def test_what_a_metric_reads_is_part_of_its_version(run, counted, tmp_path, monkeypatch):
    mine = copied(run, tmp_path)
    monkeypatch.setitem(store.METRICS, "number", replace(store.METRICS["number"], reads=("maps",)))
    evaluate.evaluate(mine, "number")
    monkeypatch.setitem(store.METRICS, "maps", replace(store.METRICS["maps"], version=99))
    assert evaluate.evaluate(mine, "number")["number"] == 2


def test_a_damaged_evaluation_is_a_fault_and_stays(run, counted, tmp_path):
    mine = copied(run, tmp_path)
    evaluate.evaluate(mine, "number")
    path = mine.path / "evaluations" / "number.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    assert evaluate.faults(mine) == ["evaluations/number.safetensors is damaged: delete it"]
    assert len(path.read_bytes()) == 20


@pytest.mark.parametrize("idle", [{"noise_std": 0.0}, {"probability": 0.0}])
def test_a_corruption_that_changes_nothing(all_tiny, tiny_results, idle):
    """Then of all images, as they are."""
    run = experiments.obtain("denoising", profile="smoke", folder=tiny_results, max_epochs=1, **idle)
    found = evaluate.evaluate(run, "mended")
    assert found["psnr"].shape == found["ssim"].shape == (5, 2)
    assert found["closer"].shape == (5,)
    noise = evaluate.CORRUPTIONS.index("noise") if "noise_std" in idle else -1
    assert found["psnr"][noise, 0] == pytest.approx(100)
    assert found["closer"][noise] == 0
    assert np.isfinite(found["psnr"]).all()
    assert len(evaluate.evaluate(run, "restored")["before"]) > 0
