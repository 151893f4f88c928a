"""What is stored follows from the weights and the data; what was changed by hand, checksums included, is found."""

import csv
import hashlib
import io
import json
import os
import shutil
import signal
from dataclasses import replace

import pytest
import safetensors.torch
import tiny
import torch
from processes import WARM

from aelib import cli, code_version, cores, data, evaluate, experiments, lightning, runs, study, verify
from aelib.data import batches
from aelib.errors import AelibError


@pytest.fixture
def intact(all_tiny, shared):
    folder = shared / "verified-results"
    for name in ("convolutional", "transfer", "cnn"):
        experiments.obtain(name, profile="smoke", folder=folder)
    experiments.obtain("variational", profile="smoke", folder=folder, max_epochs=2, summary=True)
    return folder


@pytest.fixture
def results(intact, tmp_path, monkeypatch):
    folder = tmp_path / "results"
    shutil.copytree(intact, folder, ignore=shutil.ignore_patterns(".*"))  # where another process may just tidy up
    monkeypatch.setenv("AELIB_RESULTS", str(folder))
    monkeypatch.setattr(runs, "ROOT", tmp_path)  # where no book is built
    return folder / "smoke"


def retouch(path, name, change):
    """Change a file of a run, and its checksum with it."""
    (path / name).write_bytes(change((path / name).read_bytes()))
    kept = [line for line in (path / runs.CHECKSUMS).read_text().splitlines() if not line.endswith(f"  {name}")]
    digest = hashlib.sha256((path / name).read_bytes()).hexdigest()
    (path / runs.CHECKSUMS).write_text("\n".join([*kept, f"{digest}  {name}"]) + "\n")


def one_number(name, by=3 * verify.TOLERANCE):
    def change(content):
        metrics = json.loads(content)
        metrics[name] *= 1 + by
        return json.dumps(metrics).encode()

    return change


def first_row(content):
    return rows(content, lambda number, loss: 0.0001 if not number else loss)


def all_rows(content):
    return rows(content, lambda _, loss: 0.9 * loss)


def rows(content, change):
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    for number, row in enumerate(rows):
        row["validation_loss"] = repr(change(number, float(row["validation_loss"])))
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
    return torch.cat([(predictions[:1] + 1) % 10, predictions[1:]])


def one_code(codes):
    return torch.cat([codes[:1] + 0.1, codes[1:]])


def test_what_is_verified_is_not_added_to(results):
    run = experiments.obtain("convolutional", profile="smoke")
    evaluate.evaluate(run, "classes")
    judged = experiments.obtain("cnn", profile="smoke")
    evaluate.evaluate(run, "drawings")
    shutil.rmtree(judged.path)
    faults = {name: found for name, _, found in verify.verify_runs(results)}
    assert any(
        f"run {judged.path} is not there, and AELIB_NOTHING_NEW forbids" in each for each in faults[run.path.name]
    )
    assert not judged.path.exists()
    assert "AELIB_NOTHING_NEW" not in os.environ


def test_what_was_left_alone_agrees(results, capsys):
    assert cli.main(["verify", "--profile", "smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.pop() == "there is no built book to verify: aelib book"
    assert [line.partition(": ")[2] for line in lines] == ["agrees with its weights"] * 3 + ["agrees with its history"]


@pytest.mark.parametrize(
    ("run", "file", "change", "words"),
    [
        ("convolutional", "metrics.json", one_number("test_loss"), "metrics.json: test_loss is"),
        ("convolutional", "metrics.json", one_number("train_loss"), "metrics.json: train_loss is"),
        ("convolutional", "history.csv", first_row, "metrics.json: best_epoch is"),
        ("convolutional", "history.csv", all_rows, "history.csv: validation_loss of the best epoch is"),
        ("convolutional", "weights.safetensors", one_weight, "metrics.json: test_loss is"),
        (
            "convolutional",
            "arrays.safetensors",
            one_tensor("pictures", lambda each: 255 - each),
            "pictures is not what",
        ),
        (
            "convolutional",
            "arrays.safetensors",
            one_tensor("codes", lambda each: each * float("nan")),
            "codes is not what",
        ),
        ("convolutional", "arrays.safetensors", one_tensor("codes", lambda each: 1.01 * each), "codes is not what"),
        ("convolutional", "arrays.safetensors", one_tensor("codes", one_code), "codes is not what"),
        (
            "convolutional",
            "arrays.safetensors",
            one_tensor("codes", lambda each: each[:1]),
            "codes is not of the shape",
        ),
        ("cnn", "arrays.safetensors", one_tensor("predictions", shifted), "predictions is not what the weights give"),
        ("transfer", "metrics.json", one_number("test_accuracy"), "metrics.json: test_accuracy is"),
        (
            "variational",
            "metrics.json",
            one_number("validation_kl", 3 * verify.HALF),
            "history.csv: validation_kl of the best epoch",
        ),
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


def test_a_file_of_another_shape_does_not_keep_the_others_from_being_verified(results, capsys):
    (path,) = results.glob("convolutional-*")
    retouch(path, "weights.safetensors", lambda _: safetensors.torch.save({"x": torch.zeros(1)}))
    (other,) = results.glob("cnn-*")
    retouch(other, "metrics.json", lambda _: b"{}")
    assert cli.main(["verify", "--profile", "smoke"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{other.name}: it cannot be measured: KeyError")
    assert lines[1].startswith(f"{path.name}: run {path}: its weights do not fit the SymmetricAutoencoder of this code")
    assert lines[3].endswith(": agrees with its history")


def one_class(content):
    return one_tensor("classes.bias", lambda bias: bias + 99 * torch.eye(10)[0].to(bias.dtype))(content)


@pytest.fixture
def measured(monkeypatch):
    """Experiments whose runs are measured, rather than said to have agreed before."""
    seen, real = [], verify._verify

    def noted(path):
        seen.append(runs.experiment_of(path))
        return real(path)

    monkeypatch.setattr(verify, "_verify", noted)
    return seen


def test_what_agreed_before_is_measured_again_only_when_that_is_asked(results, measured, capsys):
    def lines(*options):
        measured.clear()
        assert cli.main(["verify", "--profile", "smoke", *options]) == 0
        return capsys.readouterr().out.splitlines()[:-1]

    names = ["cnn", "convolutional", "transfer", "variational"]
    first = lines()
    assert measured == names
    assert lines() == [f"{line} (verified before)" for line in first]
    assert measured == []
    assert lines("--again") == first
    assert measured == names
    (results / verify.VERIFIED).write_text("[]")
    assert lines() == first, "what cannot be read is nothing"
    shutil.rmtree(next(results.glob("variational-*")))
    assert lines() == [f"{line} (verified before)" for line in first[:-1]]
    assert len(json.loads((results / verify.VERIFIED).read_text())) == 3, "what is gone is forgotten"


@pytest.mark.parametrize(
    ("run", "file", "change", "anew", "words"),
    [
        ("cnn", "metrics.json", one_number("test_loss"), ["cnn"], "metrics.json: test_loss is"),
        ("transfer", "weights.safetensors", one_class, ["transfer"], "metrics.json: test_accuracy is"),
        # The encoder of another run.
        (
            "convolutional",
            "weights.safetensors",
            one_weight,
            ["convolutional", "transfer"],
            "the encoder that it stands on is not beside it",
        ),
    ],
)
def test_what_is_changed_after_it_agreed_is_found(results, measured, capsys, run, file, change, anew, words):
    assert cli.main(["verify", "--profile", "smoke"]) == 0
    measured.clear()
    (path,) = results.glob(f"{run}-*")
    before = {each: (path / each).read_bytes() for each in (file, runs.CHECKSUMS)}
    retouch(path, file, change)
    for _ in range(2):  # what does not agree is not remembered
        assert cli.main(["verify", "--profile", "smoke"]) == 1
        assert set(anew) <= {*measured}
        assert words in capsys.readouterr().out
    (path / runs.CHECKSUMS).write_bytes(before[runs.CHECKSUMS])
    assert cli.main(["verify", "--profile", "smoke"]) == 1
    assert f"{file} is missing, truncated or altered" in capsys.readouterr().out
    (path / file).write_bytes(before[file])
    assert cli.main(["verify", "--profile", "smoke"]) == 0


def test_an_evaluation_that_is_changed_after_it_agreed_is_found(results, measured, capsys):
    (path,) = results.glob("convolutional-*")
    run = runs.load(path)
    evaluate.evaluate(run, "reconstructions")
    assert cli.main(["verify", "--profile", "smoke"]) == 0
    file = path / "evaluations" / "reconstructions.safetensors"
    kept, (about, found) = file.read_bytes(), evaluate.store._load(file)
    evaluate.store._write(file, {name: 1.1 * each for name, each in found.items()}, about)
    assert cli.main(["verify", "--profile", "smoke"]) == 1
    assert "is not what the run gives" in capsys.readouterr().out
    file.write_bytes(kept[:100])
    assert cli.main(["verify", "--profile", "smoke"]) == 1
    assert "reconstructions.safetensors is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("other", ["code", "torch"])
def test_by_other_code_all_is_measured_anew(results, measured, monkeypatch, other):
    agreed = list(verify.verify_runs(results))
    measured.clear()
    if other == "code":
        monkeypatch.setattr(code_version, "whole", lambda: "another")
    else:
        monkeypatch.setattr(torch, "__version__", "99.0")
    assert list(verify.verify_runs(results)) == agreed
    assert len(measured) == 4


def test_one_that_is_interrupted_remembers_what_it_has_seen(results, measured):
    looks = verify.verify_runs(results)
    next(looks), next(looks)
    looks.close()
    measured.clear()
    said = [against for _, against, _ in verify.verify_runs(results)]
    assert measured == ["transfer", "variational"]
    assert said[:2] == ["its weights (verified before)"] * 2
    looks = verify.verify_runs(results)
    next(looks)
    looks.close()
    measured.clear()
    assert len(list(verify.verify_runs(results))) == 4
    assert measured == [], "what agreed before, and was not come to, is still known"


def test_where_nothing_can_be_kept_all_is_measured_each_time(results, measured):
    (results / verify.VERIFIED).mkdir()
    for _ in range(2):
        assert len(list(verify.verify_runs(results))) == 4
    assert len(measured) == 8


VERIFY = verify._verify


def _as_tiny(path):
    """In a process of its own, which knows nothing of this one's."""
    tiny.everything()
    return VERIFY(path)


DYING = "convolutional"


def _dies(path):
    if path.name.startswith(f"{DYING}-"):
        os.kill(os.getpid(), signal.SIGKILL)
    return _as_tiny(path)


def test_several_processes_say_the_same_in_the_same_order(results, monkeypatch):
    (path,) = results.glob("cnn-*")
    retouch(path, "metrics.json", one_number("test_loss"))
    alone = list(verify.verify_runs(results))
    monkeypatch.setattr(cores, "get_context", lambda _: WARM)
    monkeypatch.setattr(verify, "_verify", _as_tiny)
    assert list(verify.verify_runs(results, workers=2, again=True)) == alone
    assert [bool(faults) for _, _, faults in alone] == [True, False, False, False]
    monkeypatch.setattr(verify, "_verify", _dies)
    found = list(verify.verify_runs(results, workers=2, again=True))
    (killed,) = (path.name for path in results.glob(f"{DYING}-*"))
    dead = (killed, "", ["it cannot be measured: the process that measured it was killed"])
    assert found == [dead if each[0] == killed else each for each in alone], "and the others are measured"


def test_nothing_to_verify_is_no_success(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path))
    assert cli.main(["verify", "--profile", "smoke"]) == 1
    assert "holds no run to verify" in capsys.readouterr().err


def test_nothing_is_made_while_what_is_there_is_verified(monkeypatch, tmp_path):
    monkeypatch.setenv("AELIB_NOTHING_NEW", "1")
    for make in (
        lambda: experiments.obtain("cnn", profile="smoke", folder=tmp_path),
        lambda: study.obtain(study.Plan("smoke", folder=tmp_path)),
    ):
        with pytest.raises(AelibError, match="AELIB_NOTHING_NEW forbids to make it"):
            make()
    assert not list(tmp_path.iterdir())


def test_what_the_user_has_forbidden_stays_forbidden(monkeypatch):
    for before in ("1", None):
        if before is None:
            monkeypatch.delenv("AELIB_NOTHING_NEW")
        else:
            monkeypatch.setenv("AELIB_NOTHING_NEW", before)
        with verify._nothing_new():
            assert os.environ["AELIB_NOTHING_NEW"] == "1"
        assert os.environ.get("AELIB_NOTHING_NEW") == before


def test_trained_again_a_run_has_the_same_bits_or_is_within_the_spread_or_neither(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path))
    tiny = {"channels": (4, 4, 8), "linear_units": 16, "latent_dim": 4, "learning_rate": 0.001}
    run = experiments.obtain("convolutional", profile="smoke", max_epochs=2, summary=True, **tiny)
    before = {file: file.read_bytes() for file in run.path.iterdir()}

    def retrain():
        capsys.readouterr()
        return cli.main(["verify", "--profile", "smoke", "--retrain", run.path.name]), capsys.readouterr().out

    assert retrain() == (0, f"{run.path.name}: agrees with its training, made again: the same bits\n")
    seeds = data.epoch_seed
    monkeypatch.setattr(batches, "epoch_seed", lambda seed, epoch: seeds(seed + 1, epoch))
    status, said = retrain()
    assert (status, said) == (
        0,
        f"{run.path.name}: agrees with its training, made again: other bits, within the spread\n",
    )
    monkeypatch.setattr(lightning, "OPTIMIZERS", dict.fromkeys(lightning.OPTIMIZERS, torch.optim.SGD))
    status, said = retrain()
    assert status == 1
    assert "metrics.json: test_loss is" in said
    assert "when it is trained again" in said
    assert {file: file.read_bytes() for file in run.path.iterdir()} == before
    assert cli.main(["verify", "--profile", "smoke", "--retrain", "cnn"]) == 1
    assert f"run must be one of convolutional, {run.path.name}, not 'cnn'" in capsys.readouterr().err


def test_weights_that_the_code_has_no_place_for_are_named(results):
    (path,) = results.glob("cnn-*")
    run = runs.load(path)
    other = replace(run, weights={name: each for name, each in run.weights.items() if name != "layers.0.weight"})
    with pytest.raises(
        AelibError, match="do not fit the BaselineCNN .*layers.0.weight.* `aelib train cnn --again"
    ) as e:
        experiments.load_model(other)
    assert "\n" not in str(e.value)
