"""The table of runs: what is there, in what it differs, what is stale; and runs are deleted on purpose only."""

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from aelib import cli, code_version, doubts, evaluate, experiments, index, profiles, runs, verify
from aelib.errors import AelibError
from aelib.experiments import origin


@pytest.fixture
def folder(all_tiny, shared, tmp_path, monkeypatch):
    """Two variational runs, one of another β, and a summary: trained once, and each time a copy."""
    kept = shared / "indexed"
    experiments.obtain("variational", profile="smoke", maps=False, folder=kept)
    experiments.obtain("variational", profile="smoke", maps=False, seed=3, beta=4.0, folder=kept)
    experiments.obtain("convolutional", profile="smoke", summary=True, folder=kept)
    shutil.copytree(kept / "smoke", tmp_path / "smoke", ignore=shutil.ignore_patterns(".*"))
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path))
    return tmp_path / "smoke"


def test_the_table_says_in_what_runs_differ(folder, capsys):
    found = {(each.experiment, each.seed): each for each in index.entries(folder)}
    assert len(found) == 3
    assert found["variational", 3].differs == {"beta": 4.0}
    assert found["variational", 0].differs == {}
    assert found["convolutional", 0].summary
    assert found["variational", 3].metrics["test_loss"] > 0
    assert all(each.doubt == "" and each.bytes > 1000 and each.finished for each in found.values())
    assert cli.main(["runs", "--profile", "smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "seed 3, beta=4.0, epochs " in next(line for line in lines if "beta" in line)
    assert cli.main(["runs", "--profile", "smoke", "--json"]) == 0
    assert {each["seed"] for each in json.loads(capsys.readouterr().out)} == {0, 3}


def test_runs_that_differ_in_the_seed_alone_are_found(folder, monkeypatch):
    first = experiments.obtain("variational", profile="smoke", maps=False)
    for seed, more in (
        (1, {}),
        (7, {}),
        (2, {"summary": True}),
        (4, {"summary": True}),
        (2, {}),
        (6, {"max_epochs": 1}),
    ):
        experiments.obtain("variational", profile="smoke", seed=seed, maps=False, **more)
    (folder / "variational-damaged").mkdir()
    (folder / "variational-damaged/config.json").write_text("{")
    assert index.seeds_of(first) == [first], "what is not published comes and goes while a book is built"
    monkeypatch.setattr(index, "_published", lambda _: True)
    found = index.seeds_of(first)
    assert [run.config["seed"] for run in found] == [0, 1, 2, 4]
    assert [bool(run.weights) for run in found] == [True, True, True, False]
    assert [run.config["seed"] for run in index.seeds_of(found[3])] == [4, 0, 1, 2]
    head, _other = (
        experiments.obtain("transfer", profile="smoke", seed=seed, maps=False, **more)
        for seed, more in ((0, {}), (1, {"source": {"experiment": "variational"}}))
    )
    assert index.seeds_of(head) == [head], "the other stands on another encoder"


def test_a_run_of_an_older_version_is_compared_with_the_defaults(folder, monkeypatch):
    older(folder)
    for _ in range(2):
        (entry,) = (each for each in index.entries(folder) if each.seed == 3)
        assert entry.differs == {"beta": 4.0}
        assert entry.doubt == code_version.UNRECORDED
    (folder / index.DIFFERENCES).write_text("{")
    assert index.entries(folder)
    monkeypatch.setattr(code_version, "whole", lambda: "another")
    monkeypatch.setattr(experiments, "differences", lambda *_: {"beta": "another default"})
    (entry,) = (each for each in index.entries(folder) if each.seed == 3)
    assert entry.differs == {"beta": "another default"}


def test_stale_runs_are_probed_once(folder, monkeypatch):
    """By whoever asks first, the table or what reads a run; again where it could not be told, or files are others."""
    monkeypatch.setattr(code_version, "digest", lambda: "another")
    asked, answers = [], [1.0, 2.0, OSError("no disk"), RuntimeError("can't start new thread")]

    def probed(*_):
        asked.append(answer := answers.pop(0))
        if isinstance(answer, Exception):
            raise answer
        return {"digest": "another", "probe": {"loss": answer}}

    def told():
        return [each.doubt for each in index.entries(folder)]

    monkeypatch.setattr(origin, "record", probed)
    assert told() == ["", code_version.STALE, "it could not be probed: no disk"]
    paths = sorted(path.parent for path in folder.glob("*/config.json"))
    assert [experiments.doubt(path) for path in paths] == ["", code_version.STALE, code_version.STALE]
    answers += [1.0]
    assert told() == ["", code_version.STALE, ""]
    assert told() == ["", code_version.STALE, ""]
    assert len(asked) == 5
    config = (paths[1] / "config.json").read_text()
    (paths[1] / "config.json").write_text(f"{config} ")
    answers += [1.0]
    assert told() == ["", "", ""]
    (paths[1] / "config.json").write_text(config)
    assert told() == ["", code_version.STALE, ""], "as it was told of these files"
    monkeypatch.setattr(doubts, "_torch", lambda: "another")
    answers += [1.0] * 3
    assert told() == ["", "", ""]
    monkeypatch.setattr(code_version, "TOLERANCE", 2.0)
    answers += [1.0] * 3
    told()
    monkeypatch.setattr(code_version, "digest", lambda: "a third")
    answers += [1.0] * 3
    told()
    assert len(json.loads((folder / doubts.DOUBTS).read_text())) == 3, "of another code nothing is kept"
    assert not answers


def test_two_runs_side_by_side(folder, capsys):
    one, other = sorted(path.name for path in folder.glob("variational-*"))
    assert cli.main(["runs", "--profile", "smoke", "--compare", one, other]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("model beta: ") for line in lines)
    assert any(line.startswith("metric test_loss: ") for line in lines)
    assert not any("latent_dim" in line for line in lines)
    assert cli.main(["runs", "--profile", "smoke", "--compare", one, one]) == 0
    assert capsys.readouterr() == ("", "aelib: they differ in nothing\n")
    with pytest.raises(AelibError, match="did you mean"):
        list(index.compare(folder, one, other[:-1]))


def test_published_runs_are_deleted_only_when_that_is_said(folder, capsys):
    mine, published = sorted(path.name for path in folder.glob("variational-*"))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", published], cwd=folder, check=True)
    assert cli.main(["runs", "--profile", "smoke", "--remove", mine, published]) == 1
    assert f"{published}: published" in capsys.readouterr().err
    assert (folder / mine).exists(), "none is deleted"
    assert cli.main(["runs", "--profile", "smoke", "--remove", mine]) == 0
    assert not (folder / mine).exists()
    assert cli.main(["runs", "--profile", "smoke", "--remove", published, "--published"]) == 0
    assert not (folder / published).exists()
    shutil.rmtree(folder)
    assert cli.main(["runs", "--profile", "smoke", "--remove", mine]) == 1
    assert "holds no run" in capsys.readouterr().err


def test_a_run_without_its_weights_keeps_what_was_found_of_it(folder, capsys):
    name = next(folder.glob("variational-*")).name
    with pytest.raises(AelibError, match="has no weights"):
        index.remove(folder, [next(folder.glob("convolutional-*")).name], weights_alone=True)
    before = runs.load(folder / name)
    kept = evaluate.evaluate(before, "regularity")
    assert cli.main(["runs", "--profile", "smoke", "--remove-weights", name]) == 0
    assert not (folder / name / "weights.safetensors").exists()
    run = runs.load(folder / name)
    assert (run.checksum, run.history, run.weights) == (before.checksum, before.history, {})
    found = evaluate.evaluate(run, "regularity")
    assert all((found[each] == kept[each]).all() for each in kept)
    with pytest.raises(AelibError, match="drawings is no metric of"):
        evaluate.evaluate(run, "drawings")
    with pytest.raises(AelibError, match="without its weights: make them again, `aelib train variational .*--again"):
        experiments.load_model(run)
    capsys.readouterr()
    assert cli.main(["runs", "--profile", "smoke"]) == 0
    assert "without weights" in next(line for line in capsys.readouterr().out.splitlines() if name in line)
    assert (name, "its history", []) in [*verify.verify_runs(folder)]
    assert cli.main(["verify", "--profile", "smoke", "--retrain", name]) == 0
    assert "the same bits" in capsys.readouterr().out
    (folder / name / "weights-left-out").unlink()
    with pytest.raises(AelibError, match="weights.safetensors is missing"):
        runs.load(folder / name)


def test_where_runs_are_is_a_folder_or_one_line_says_why_not(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path / "file"))
    assert cli.main(["runs"]) != 0
    assert "AELIB_RESULTS is " in (said := capsys.readouterr().err)
    assert len(said.splitlines()) == 1
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path / "none"))
    assert cli.main(["runs", "--profile", "quick"]) == 0
    assert capsys.readouterr().err == f"aelib: there are no runs in {tmp_path / 'none/quick'}\n"
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, why in (("broken", "File exists"), ("loop", "Too many levels"), ("n" * 300, "File name too long")):
        monkeypatch.setenv("AELIB_RESULTS", str(tmp_path / name))
        assert cli.main(["train", "convolutional", "--profile", "smoke"]) == 1
        assert len((said := capsys.readouterr().err).splitlines()) == 1
        assert why in said
        assert "AELIB_RESULTS" in said


def test_weights_that_another_run_stands_on_stay(all_tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path))
    head = experiments.obtain("transfer", profile="smoke", maps=False)
    (encoder,) = tmp_path.glob("smoke/convolutional-*")
    with pytest.raises(AelibError, match=f"{head.path.name} stands on {encoder.name}"):
        index.remove(encoder.parent, [encoder.name], weights_alone=True)
    assert (encoder / "weights.safetensors").exists()


def older(folder, seed=3):
    """Makes one of the variational runs one of an older version."""
    (path,) = (each for each in folder.glob("variational-*") if runs.about(each)[0]["seed"] == seed)
    _, provenance = runs.about(path)
    del provenance["differs"], provenance["code"]
    (path / "provenance.json").write_text(json.dumps(provenance))
    return path


def test_what_is_known_of_other_runs_stays_known(folder):
    older(folder)
    index.entries(folder)
    kept = json.loads((folder / index.DIFFERENCES).read_text())
    other = older(folder, seed=0)
    index._differences(folder, {other: index._about(other)})
    found = json.loads((folder / index.DIFFERENCES).read_text())
    assert len(found) == 2
    assert found.items() > kept.items()


def test_a_look_at_the_runs_needs_no_pytorch(folder):
    """Which takes longer to import than a hundred runs to read; but the first at those of an older version."""
    older(folder)
    index.entries(folder)
    program = (
        "import sys; from aelib import cli; status = cli.main(['runs', '--profile', 'smoke'])\n"
        "print([name for name in ('torch', 'lightning_fabric', 'sklearn') if name in sys.modules], status)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
    assert len(done.stdout.splitlines()) == 4


def test_one_that_is_damaged_hides_no_other(folder, capsys):
    one, other = sorted(folder.glob("variational-*"))
    (one / "config.json").write_text("{")
    assert other.name in {each.name for each in index.entries(folder)}
    assert f"run {one}: its files cannot be read: `aelib verify` says more" in capsys.readouterr().err
    assert cli.main(["runs", "--profile", "reprot"]) == 1
    assert "did you mean 'report'" in capsys.readouterr().err


def test_where_git_does_not_say_a_run_counts_as_published(folder, monkeypatch):
    (path,) = folder.glob("convolutional-*")
    assert not index._tracked(path), "there is no repository"
    with monkeypatch.context() as patch:
        patch.setattr(runs, "ROOT", folder)
        assert index._tracked(folder / "results/report/convolutional-00000000"), "of a download without one"
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    assert not index._tracked(path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert index._tracked(path)
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    subprocess.run(["git", "add", path.name], cwd=folder, check=True)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert index._tracked(path)
    monkeypatch.setenv("PATH", "")
    assert index._tracked(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "null"),
        ("config.json", "[]"),
        ("provenance.json", "null"),
        ("provenance.json", '{"code": 3, "differs": 5}'),
        ("provenance.json", '{"code": {"digest": 1}, "differs": {}}'),
        ("provenance.json", "\udcff"),
        ("metrics.json", "3"),
        ("metrics.json", '{"test_loss": "x"}'),
        ("SHA256SUMS", None),
    ],
)
def test_json_of_another_shape_is_damage_too(name, content, folder, capsys):
    one, other = sorted(folder.glob("variational-*"))
    (one / name).unlink()
    if content is None:
        (one / name).mkdir()
    else:
        (one / name).write_text(content, errors="surrogateescape")
    assert cli.main(["runs", "--profile", "smoke"]) == 0
    said = capsys.readouterr()
    assert other.name in said.out
    assert one.name not in said.out
    assert f"run {one}: its files cannot be read: `aelib verify` says more" in said.err
    assert cli.main(["runs", "--profile", "smoke", "--compare", one.name, other.name]) == 1
    assert f"run {one}: " in capsys.readouterr().err
    assert index.remove(folder, [other.name]) == [other.name]


def test_what_cannot_be_deleted_stays_whole(folder, capsys, monkeypatch):
    names = sorted(path.name for path in folder.glob("variational-*"))
    files = sorted(path for name in names for path in (folder / name).iterdir())
    replace = os.replace

    def refused(source, target):
        raise PermissionError(errno.EACCES, "Permission denied", str(source), None, str(target))

    monkeypatch.setattr(os, "replace", refused)
    assert cli.main(["runs", "--profile", "smoke", "--remove", *names]) == 1
    said = capsys.readouterr().err
    assert f"{folder / names[0]} cannot be written (Permission denied): make room, or let this user write there" in said
    assert sorted(path for name in names for path in (folder / name).iterdir()) == files
    monkeypatch.setattr(os, "replace", replace)
    assert cli.main(["runs", "--profile", "smoke", "--remove", *names]) == 0
    assert not [*folder.glob("*variational-*[!k]")], "nothing is left of them but locks"


def test_the_profiles_are_all(folder):
    for name in profiles.PROFILES:
        assert cli.main(["runs", "--profile", name]) == 0


def test_a_damaged_run_keeps_none_from_being_deleted(folder):
    one, other = sorted(path.name for path in folder.glob("variational-*"))
    (folder / one / "config.json").write_text("{")
    assert index.remove(folder, [other]) == [other]
    assert index.remove(folder, [one]) == [one]
