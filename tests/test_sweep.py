"""Sweeps: a table of runs, trained by processes and by executors, of which nothing is trained twice."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import Future

import dask
import distributed  # noqa: F401  its part of the configuration
import pytest
import tiny
from conftest import ROOT
from processes import PATIENCE, WARM

from aelib import cli, cores, experiments, runs, sweeps, training
from aelib.errors import AelibError
from aelib.experiments import making

pytestmark = pytest.mark.usefixtures("all_tiny")


@pytest.fixture
def trained(monkeypatch):
    """Names of the runs that were trained by this process."""
    seen, make = [], making._make

    def noted(asked, *arguments, **options):
        seen.append(asked.path.name)
        return make(asked, *arguments, **options)

    monkeypatch.setattr(making, "_make", noted)
    return seen


def test_a_grid_gives_a_table_and_is_trained_once(tmp_path, trained):
    def rows():
        return sweeps.sweep(
            "variational", profile="smoke", folder=tmp_path, beta=[0.5, 2.0], seeds=[0, 1], max_epochs=1
        )

    first = rows()
    assert [(row.parameters, row.seed) for row in first] == [
        ({"beta": beta}, seed) for beta in (0.5, 2.0) for seed in (0, 1)
    ]
    assert len({row.path for row in first}) == len(trained) == 4
    run = runs.load(first[1].path)
    assert (run.config["model"]["beta"], run.config["seed"], run.config["training"]["max_epochs"]) == (0.5, 1, 1)
    assert run.metrics == first[1].metrics
    assert run.weights
    assert "tsne" not in run.arrays
    assert rows() == first
    assert len(trained) == 4


def test_tuples_are_one_value():
    with pytest.raises(AelibError, match="channels"):
        sweeps.sweep("convolutional", profile="smoke", channels=[(16, 32, 32), (1, 2)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": [1.0, -1.0]}, "beta"),
        ({"betta": [1.0]}, "did you mean 'beta'"),
        ({"seeds": [0, -1]}, "seed must be"),
        ({"profile": "reprot"}, "did you mean 'report'"),
        ({"workers": 0}, "workers must be"),
        ({"precision": "float46"}, "did you mean 'float16'|precision must be one of float32"),
        ({"seeds": []}, "no run of variational is asked for"),
        ({"beta": []}, "no run of variational is asked for"),
        ({"dataset": ""}, "dataset is empty"),
    ],
)
def test_what_is_wrong_is_found_before_any_work(options, message, tmp_path, trained):
    with pytest.raises(AelibError, match=message):
        sweeps.sweep("variational", **{"profile": "smoke", "folder": tmp_path} | options)
    assert not trained
    assert not list(tmp_path.iterdir())


def test_one_that_fails_stops_no_other(tmp_path, trained, monkeypatch):
    options = {"profile": "smoke", "folder": tmp_path, "max_epochs": 1}
    fit = training.fit

    def diverging(model, data, config, **others):
        if config.learning_rate == 0.5:
            raise training.Diverged("the training diverged")
        return fit(model, data, config, **others)

    monkeypatch.setattr(training, "fit", diverging)
    with pytest.raises(AelibError, match=r"1 of 2 runs of convolutional are missing.*'learning_rate': 0.5.*diverged"):
        sweeps.sweep("convolutional", learning_rate=[0.5, 0.001], **options)
    assert len(trained) == 2
    assert sweeps.sweep("convolutional", learning_rate=[0.001], **options)[0].metrics["epochs"] == 1
    assert len(trained) == 2


def test_one_that_takes_all_memory_stops_no_other(tmp_path, trained):
    options = {"profile": "smoke", "folder": tmp_path, "max_epochs": 1}
    message = r"1 of 2 runs of convolutional are missing.*the memory of this machine is too small for convolutional-"
    with pytest.raises(AelibError, match=message):
        sweeps.sweep("convolutional", latent_dim=[2**31 - 1, 3], **options)
    assert sweeps.sweep("convolutional", latent_dim=[3], **options)[0].metrics["epochs"] == 1
    with pytest.raises(AelibError, match="latent_dim must be below 2³¹"):
        sweeps.sweep("convolutional", latent_dim=[10**21], **options)


def test_one_alone_that_fails_says_why(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path))
    monkeypatch.setattr(experiments, "obtain", lambda *_, **__: _raise(AelibError("the reason")))
    assert cli.main(["train", "cnn", "--profile", "smoke"]) == 1
    assert capsys.readouterr().err == "aelib: the reason\n"


def _raise(error):
    raise error


SIGNALLED = f"""
{tiny.BEGIN}
import multiprocessing, signal, sys
from aelib import cli, cores, sweeps
from test_sweep import _sleeps
sweeps._train = _sleeps
cores.get_context = lambda _: multiprocessing.get_context("fork")  # a new one takes seconds to import everything
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and what they start
sys.exit(cli.main("train variational --profile smoke --seeds 0-7 --workers 2".split()))
"""


def _sleeps(name, options, folder):
    """A training that goes on until it is killed; it says that it has begun."""
    (folder / f"began-{options['seed']}").touch()
    time.sleep(PATIENCE)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_its_processes_end_with_it(number, status, tmp_path, python):
    """Those that train are killed, and none of those that wait begins."""
    program = python(SIGNALLED, AELIB_RESULTS=str(tmp_path))
    _until(lambda: len([*tmp_path.glob("began-*")]) == 2)
    program.send_signal(number)
    _, said = program.communicate()
    assert program.returncode == status
    assert said.splitlines()[-1].startswith("aelib: interrupted")
    assert len([*tmp_path.glob("began-*")]) == 2


class Afar:
    """An executor that shares nothing with the one who asks, as a cluster's does; it may lose a worker."""

    def __init__(self, folder, monkeypatch):
        self.asked = []
        self.folder, self.patch = folder, monkeypatch

    def submit(self, function, *arguments):
        self.asked.append(arguments[0])
        future = Future()
        with self.patch.context() as patch:
            patch.setenv("AELIB_RESULTS", str(self.folder))
            try:
                future.set_result(pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(arguments))))))
            except Exception as error:
                future.set_exception(error)
        return future


class Gone(Afar):
    """The same, of which nothing is left soon: what waits is cancelled."""

    def submit(self, function, *arguments):
        if not self.asked:
            return super().submit(function, *arguments)
        future = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


def test_work_that_is_cancelled_is_one_line_and_what_was_done_is_kept(tmp_path, monkeypatch):
    executor, options = Gone(tmp_path / "afar", monkeypatch), {"profile": "smoke", "seeds": [0, 1], "max_epochs": 1}
    with pytest.raises(
        AelibError, match=r"1 of 2 runs of convolutional are missing.*seed 1: it was cancelled: is what"
    ):
        sweeps.sweep("convolutional", folder=tmp_path / "here", executor=executor, **options)
    assert len([*(tmp_path / "here/smoke").glob("convolutional-*")]) == 1


def test_a_fault_of_the_only_run_is_its_own(tmp_path, monkeypatch):
    """With its traceback, or as the command line explains it."""
    monkeypatch.setattr(training, "fit", lambda *_, **__: (tmp_path / "gone/a").mkdir())
    with pytest.raises(FileNotFoundError):
        sweeps.sweep("convolutional", profile="smoke", folder=tmp_path, max_epochs=1)


def test_a_fault_of_ours_in_one_run_stops_no_other(tmp_path, monkeypatch):
    fit = training.fit

    def faulty(*arguments, seed, **options):
        if seed == 0:
            raise ValueError("not so")
        return fit(*arguments, seed=seed, **options)

    monkeypatch.setattr(training, "fit", faulty)
    with pytest.raises(AelibError, match="1 of 2 runs of convolutional are missing.*seed 0: ValueError: not so"):
        sweeps.sweep("convolutional", profile="smoke", seeds=(each for each in (0, 1)), folder=tmp_path, max_epochs=1)
    assert len([*(tmp_path / "smoke").glob("convolutional-*")]) == 1


def test_runs_come_back_from_machines_that_share_no_folder(tmp_path, trained, monkeypatch):
    """Heads, too: the encoder of a seed goes there, and is made once."""
    executor = Afar(tmp_path / "afar", monkeypatch)
    rows = sweeps.sweep(
        "transfer", profile="smoke", seeds=[0, 1], folder=tmp_path / "here", executor=executor, dropout=[0.1, 0.2]
    )
    assert sorted(executor.asked) == ["convolutional"] * 2 + ["transfer"] * 4
    assert len(trained) == 6
    assert not (tmp_path / "afar").exists()
    assert {row.path.parent for row in rows} == {tmp_path / "here" / "smoke"}
    for row in rows:
        run = runs.load(row.path)
        assert experiments.source_of(run.path, run.config).config["seed"] == row.seed
        found = experiments.find("transfer", profile="smoke", seed=row.seed, folder=tmp_path / "here", **row.parameters)
        assert found.checksum == run.checksum
    again = sweeps.sweep(
        "transfer", profile="smoke", seeds=[0, 1], folder=tmp_path / "here", executor=executor, dropout=[0.1, 0.2]
    )
    assert again == rows
    assert len(trained) == 6


def test_an_encoder_without_weights_is_made_again_before_it_goes_afar(tmp_path, trained, monkeypatch):
    here = {"profile": "smoke", "folder": tmp_path / "here"}
    kept = experiments.obtain("convolutional", **here)
    runs.leave_out_weights(kept.path)
    executor = Afar(tmp_path / "afar", monkeypatch)
    (row,) = sweeps.sweep("transfer", **here, executor=executor)
    whole = experiments.obtain("convolutional", **here)
    head = experiments.find("transfer", **here)
    assert head.path == row.path
    assert experiments.source_of(head.path, head.config).path == whole.path != kept.path
    assert trained == [kept.path.name, whole.path.name, head.path.name], "each once"


def test_what_a_cluster_cannot_do_stops_no_other(tmp_path, monkeypatch):
    """An encoder that diverges, and a scheduler that gives a task up, as Dask does when its workers die."""
    executor, fit = Afar(tmp_path / "afar", monkeypatch), training.fit

    def diverging(model, data, config, *, seed, **others):
        if seed == 1:
            raise training.Diverged("the training diverged")
        return fit(model, data, config, seed=seed, **others)

    monkeypatch.setattr(training, "fit", diverging)
    with pytest.raises(AelibError, match=r"^1 of 2 runs of transfer are missing.*seed 1: convolutional: the train"):
        sweeps.sweep("transfer", profile="smoke", seeds=[0, 1], folder=tmp_path, executor=executor)
    assert experiments.find("transfer", profile="smoke", seed=0, folder=tmp_path)
    monkeypatch.setattr(sweeps, "_train_afar", lambda *_: _raise(LookupError("KilledWorker")))
    with pytest.raises(AelibError, match="LookupError: KilledWorker"):
        sweeps.sweep("cnn", profile="smoke", folder=tmp_path, executor=executor)


def _dies(name, options, folder):
    if options["seed"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return _as_tiny(name, options, folder)


def _as_tiny(name, options, folder):
    tiny.everything()
    return TRAIN(name, options, folder)


TRAIN = sweeps._train


def test_processes_share_the_work_and_one_that_is_killed_is_named(tmp_path, trained, monkeypatch):
    options = {"profile": "smoke", "folder": tmp_path, "seeds": [0, 1], "workers": 2, "max_epochs": 1}
    monkeypatch.setattr(cores, "get_context", lambda _: WARM)
    monkeypatch.setattr(sweeps, "_train", _dies)
    with pytest.raises(
        AelibError, match=r"^1 of 2 runs of variational are missing.*seed 1: its worker died \(a script .*\)$"
    ):
        sweeps.sweep("variational", **options)
    assert [runs.load(path).config["seed"] for path in (tmp_path / "smoke").glob("[!.]*")] == [0], (
        "the other one is made"
    )
    monkeypatch.setattr(sweeps, "_train", _as_tiny)
    rows = sweeps.sweep("variational", **options)
    assert [runs.load(row.path).config["seed"] for row in rows] == [0, 1]
    assert not trained, "by others"


def test_the_command_sweeps(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path))
    command = ["train", "variational", "--profile", "smoke", "--set", "beta=0.5,2", "--set", "max_epochs=1"]
    assert cli.main([*command, "--seeds", "0-1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "beta=0.5 max_epochs=1 seed=1" in lines[1]
    assert "validation_loss=" in lines[1]
    assert cli.main(["train", "variational", "--profile", "smoke", "--set", "beta"]) == 1
    assert "--set takes NAME=VALUE" in capsys.readouterr().err
    for wrong, said in (
        (["--seeds", "4-x"], "seeds are whole numbers"),
        (["--seeds", "4-2"], "seeds 4-2 are none"),
        (["--seeds", "0-1,4-2"], "seeds 4-2 are none"),
        (["--seeds", "0-4000000000"], "seeds 0-4000000000 are more than 10,000"),
        (["--dataset", ""], "dataset is empty"),
        (["--set", "seed=3"], "--set takes each parameter of the experiment once"),
        (["--set", "beta=1", "--set", "beta=2"], "--set takes each parameter of the experiment once"),
        (["--scheduler", "tcp://a:1", "--workers", "2"], "take one of them"),
    ):
        assert cli.main(["train", "variational", "--profile", "smoke", *wrong]) == 1
        assert said in capsys.readouterr().err
    channels = "channels=(16,32,32),(4,4,8)"
    assert cli.main(["train", "convolutional", "--profile", "smoke", "--set", channels, "--set", "max_epochs=1"]) == 0
    assert "channels=(4, 4, 8)" in capsys.readouterr().out


def test_a_cluster_of_which_a_worker_is_killed(tmp_path, trained, monkeypatch, capsys):
    """A real scheduler and two workers; one is killed as it trains, and the other makes that run, too."""
    program = [sys.executable, "-m", "dask"]
    contact = tmp_path / "scheduler.json"
    (tmp_path / "small.py").write_text(tiny.BEGIN)
    dies = "import os\nfrom aelib import training\ntraining.fit = lambda *_, **__: os.kill(os.getpid(), 9)\n"
    (tmp_path / "mortal.py").write_text(tiny.BEGIN + dies)
    started = [
        _start([*program, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(contact)], tmp_path)
    ]
    try:
        for name in ("mortal", "small"):
            options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--preload", str(tmp_path / f"{name}.py")]
            started.append(_start([*program, "worker", "--scheduler-file", str(contact), *options], tmp_path))
        _until(contact.exists)
        address = json.loads(contact.read_text())["address"]
        monkeypatch.setenv("AELIB_RESULTS", str(tmp_path / "here"))
        _until(lambda: _workers(address) == 2)
        command = ["train", "variational", "--profile", "smoke", "--seeds", "0-3", "--scheduler", address]
        assert cli.main(command) == 0
        assert len(capsys.readouterr().out.splitlines()) == 4
        assert started[1].wait(PATIENCE) == -signal.SIGKILL
        assert started[2].poll() is None
    finally:
        for each in reversed(started):
            each.kill()
            each.wait()
    assert not trained
    assert sorted(runs.load(path).config["seed"] for path in (tmp_path / "here/smoke").glob("[!.]*")) == [0, 1, 2, 3]


def _until(true):
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def _start(command, folder):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    log = (folder / "log").open("a")
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)


def _workers(address):
    from distributed import Client

    with Client(address) as client:
        return len(client.scheduler_info()["workers"])


def test_without_a_scheduler_it_is_said(capsys):
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        assert cli.main(["train", "cnn", "--profile", "smoke", "--scheduler", "tcp://127.0.0.1:9"]) == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err
    assert cli.main(["train", "cnn", "--profile", "smoke", "--scheduler", "nonsense://x"]) == 1
    assert "no Dask scheduler answers at nonsense://x" in capsys.readouterr().err
