"""A run on disk is complete or absent, checked before use, and made once."""

import json
import multiprocessing
import os
import subprocess
import time

import pytest
import safetensors.torch
import torch
from processes import PATIENCE

from aelib import runs
from aelib.errors import AelibError
from aelib.provenance import commit_checked_out, record_of_this_process
from aelib.runs import Contents

CONFIG = {"experiment": "test", "seed": 1, "list": [1, 2.5, "x"]}


def contents(value: float = 1.0) -> Contents:
    return Contents(
        config=CONFIG,
        weights={"w": torch.full((3,), value)},
        history=[{"epoch": 1, "validation_loss": 0.1}, {"epoch": 2, "validation_loss": 1 / 3}],
        metrics={"test_loss": value},
        arrays={"a": torch.arange(4, dtype=torch.uint8)},
        provenance=record_of_this_process(),
    )


@pytest.fixture
def path(tmp_path):
    return runs.run_path(tmp_path / "report", "test", CONFIG)


def test_what_is_kept_comes_back(path):
    run = runs.load_or_make(path, lambda _: contents())
    assert run.config == CONFIG
    assert run.history == contents().history
    assert run.metrics == {"test_loss": 1.0}
    assert torch.equal(run.weights["w"], torch.ones(3))
    assert run.checksum == runs.checksum(path)
    assert sorted(item.name for item in path.iterdir()) == sorted([*runs.FILES, runs.CHECKSUMS])


def test_the_checksums_are_those_of_sha256sum(path):
    import shutil
    import subprocess

    runs.load_or_make(path, lambda _: contents())
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", runs.CHECKSUMS], cwd=path, check=True, capture_output=True)


def test_a_run_is_made_once_and_again_only_when_asked(path):
    made = []

    def make(_):
        made.append(1)
        return contents(len(made))

    assert [runs.load_or_make(path, make).metrics["test_loss"] for _ in range(3)] == [1, 1, 1]
    assert runs.load_or_make(path, make, again=True).metrics["test_loss"] == 2
    assert len(made) == 2


def test_the_fingerprint_is_over_the_configuration():
    assert runs.fingerprint(CONFIG) == runs.fingerprint(dict(reversed(CONFIG.items())))
    assert runs.fingerprint(CONFIG) != runs.fingerprint(CONFIG | {"seed": 2})


@pytest.mark.parametrize("name", [*runs.FILES, runs.CHECKSUMS])
@pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "remove"])
def test_every_damage_is_found(path, name, damage):
    runs.load_or_make(path, lambda _: contents())
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes({"truncate": content[: len(content) // 2], "empty": b""}.get(damage, content))
    if damage == "remove":
        (path / name).unlink()
    with pytest.raises(AelibError, match=f"run {path}: .*restore it from git, or delete") as error:
        runs.load(path)
    assert "\n" not in str(error.value)


def test_another_runs_folder_is_not_taken_for_this_one(path):
    runs.load_or_make(path, lambda _: contents())
    other = runs.run_path(path.parent, "test", CONFIG | {"seed": 2})
    path.rename(other)
    with pytest.raises(AelibError, match="belongs to another run"):
        runs.load(other)


def test_a_pickle_is_not_loaded(path, tmp_path):
    """With a live payload, and checksums that agree with it."""
    import hashlib
    import pickle

    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    runs.load_or_make(path, lambda _: contents())
    content = pickle.dumps(Payload())
    (path / "weights.safetensors").write_bytes(content)
    lines = (path / runs.CHECKSUMS).read_text().splitlines()
    lines = [
        f"{hashlib.sha256(content).hexdigest()}  weights.safetensors" if "weights" in line else line for line in lines
    ]
    (path / runs.CHECKSUMS).write_text("\n".join(lines) + "\n")
    with pytest.raises(AelibError, match="weights.safetensors is not a safetensors file"):
        runs.load(path)
    assert not (tmp_path / "owned").exists()


def _make_or_wait(path, counter, queue, waits):
    runs.print = lambda *_, **__: waits.set()  # what it says when another one has begun

    def make(_):
        with open(counter, "a") as file:
            file.write("x")
        while not waits.is_set() and counter.read_text() == "x":
            time.sleep(0.01)
        return contents()

    queue.put(runs.load_or_make(path, make).metrics)


def test_of_two_processes_one_makes_it_and_both_have_it(path, tmp_path):
    context = multiprocessing.get_context("fork")
    queue, waits = context.Queue(), context.Event()
    arguments = (path, tmp_path / "made", queue, waits)
    processes = [context.Process(target=_make_or_wait, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=PATIENCE) for _ in processes] == [{"test_loss": 1.0}] * 2
    for process in processes:
        process.join()
    assert (tmp_path / "made").read_text() == "x"


def test_what_was_half_made_is_found_again(path):
    def interrupted(workspace):
        (workspace / "checkpoint").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.load_or_make(path, interrupted)
    assert not path.exists()

    def resumed(workspace):
        assert (workspace / "checkpoint").read_text() == "half"
        return contents()

    runs.load_or_make(path, resumed)
    assert [item.name for item in path.parent.iterdir() if item.is_dir()] == [path.name]


def test_a_full_disk_is_one_line_and_loses_nothing(path):
    runs.load_or_make(path, lambda _: contents())

    def full(_):
        raise OSError(28, "No space left on device", str(path.parent / "somewhere"))

    with pytest.raises(AelibError, match="somewhere cannot be written .No space left on device.: make room"):
        runs.load_or_make(path, full, again=True)
    assert runs.load(path).metrics == {"test_loss": 1.0}


def test_the_provenance_says_where_it_was_made():
    about = record_of_this_process()
    assert about["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert about["hardware"]["cores"] == os.cpu_count()
    json.dumps(about)


@pytest.mark.parametrize(
    ("remote", "repository"),
    [
        ("https://github.com/someone/name", "https://github.com/someone/name"),
        ("https://token@github.com/someone/name.git", "https://github.com/someone/name"),
        ("git@github.com:someone/a.b.git", "https://github.com/someone/a.b"),
        ("/home/someone/github.com/a/name", None),
        ("", None),
    ],
)
def test_the_provenance_says_where_the_project_is_on_github(tmp_path, monkeypatch, remote, repository):
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    if remote:
        subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", remote], check=True)
    assert record_of_this_process()["repository"] == repository


def test_weights_are_plain_tensors(path):
    runs.load_or_make(path, lambda _: contents())
    assert set(safetensors.torch.load_file(path / "weights.safetensors")) == {"w"}


def test_ends_of_lines_that_git_has_changed_are_named(path):
    runs.load_or_make(path, lambda _: contents())
    for name in ("config.json", "history.csv"):
        whole = (path / name).read_bytes()
        (path / name).write_bytes(whole.replace(b"\n", b"\r\n"))
        with pytest.raises(AelibError, match=f"git has changed the ends of lines in {name}: `git config core.autocrlf"):
            runs.load(path)
        (path / name).write_bytes(whole)
    runs.load(path)


def test_the_commit_is_that_of_this_checkout(tmp_path, monkeypatch, capsys):
    """In a hook of another repository git is told of that one by the environment; another user's is distrusted."""
    commits = {}
    for name in ("ours", "theirs"):
        git = ["git", "-C", tmp_path / name, "-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "init", "--quiet", tmp_path / name], check=True)
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", name], check=True)
        commits[name] = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    monkeypatch.setattr(runs, "ROOT", tmp_path / "ours")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs/.git"))
    assert commit_checked_out() == {"commit": commits["ours"], "uncommitted_changes": False}
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own, for tests
    for _ in range(2):
        assert commit_checked_out() == {"commit": None, "uncommitted_changes": None}
    assert capsys.readouterr().err.count("the commit is not recorded, for git does not tell it") == 1
