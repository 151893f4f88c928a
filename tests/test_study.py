"""The study: what is proposed, and that nothing is lost or counted twice."""

import contextlib
import glob
import itertools
import json
import math
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
import tiny
import torch
from conftest import ROOT, lacking
from faults import tried
from optuna.trial import TrialState
from processes import PATIENCE, WARM

from aelib import cli, code_version, commands, experiments, runs, study, training
from aelib.errors import AelibError
from aelib.hyperparameters import TrainingConfig
from aelib.models import AutoencoderConfig
from aelib.study import Plan, SymmetricAutoencoderHPS, queue, result, storage, worker
from aelib.study import plan as plans

pytestmark = pytest.mark.usefixtures("all_tiny")

WORK = """
study.obtain(study.Plan("smoke", folder=Path("results")))
"""
BEGIN = (
    tiny.BEGIN
    + """
from pathlib import Path
from optuna.storages.journal import JournalFileBackend
from aelib import checkpoints, lightning, study, training
from aelib.study import queue
save = checkpoints.save

def noted(value, path):
    save(value, path)
    if path.name == "checkpoint":  # not the learning-rate finder's
        with open("epochs", "a") as file:
            file.write("one more\\n")

checkpoints.save = noted
"""
)
"""How the programs of other workers begin: they keep count of the epochs that they have finished."""

WAIT = """
import time
fit = training.fit

def waits(*arguments, **options):
    while not Path("killed").exists():
        time.sleep(0.01)
    return fit(*arguments, **options)

training.fit = waits
"""
"""A worker that waits, when it has a trial, until another one has been killed."""


@pytest.fixture
def untrained(monkeypatch):
    """For what is about trials and not about what happens in them: three epochs each, made up, at once."""

    def fit(network, *_, watch, **__):
        rows = []
        for epoch in (1, 2, 3):
            loss = network.config.latent_dim / 1000 / epoch
            rows.append({"epoch": epoch, "learning_rate": 0.01, "train_loss": loss, "validation_loss": loss})
            watch(rows, [0.0] * epoch)
        return training.History(rows, 3, torch.empty(0), [0.0] * 3, training.choose_engine(0), [[0, 1]], None)

    monkeypatch.setattr(training, "fit", fit)


def epochs(folder: Path) -> int:
    """How many epochs all workers there have finished, together."""
    return len((folder / "epochs").read_text().splitlines())


def outcome(trials):
    """What a trial was and became, to the last bit."""
    return [(each.number, each.state, each.params, each.value, each.intermediate_values) for each in trials]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A study that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        tiny.everything(patch)
        return study.obtain(Plan("smoke", folder=folder))


def test_the_space_is_that_of_table_1():
    trial = optuna.trial.FixedTrial(study.REPORTS_CHOICE)
    hps = SymmetricAutoencoderHPS()
    assert hps.sample_model(trial) == AutoencoderConfig()
    settings = hps.sample_training(trial)
    assert (settings.optimizer, settings.weight_decay) == (TrainingConfig().optimizer, TrainingConfig().weight_decay)
    space = trial.distributions
    assert list(range(128, 257, 8)) == [v for v in range(1, 500) if space["linear_units"]._contains(v)]
    assert list(range(10, 41, 2)) == [v for v in range(1, 500) if space["latent_dim"]._contains(v)]
    assert (space["weight_decay"].low, space["weight_decay"].high, space["weight_decay"].log) == (1e-7, 1e-4, True)


def test_a_distribution_in_words():
    space = optuna.distributions
    assert study.distribution(space.IntDistribution(128, 256, step=8)) == "128 to 256, in steps of 8"
    small = space.FloatDistribution(1e-7, 1e-4, log=True)
    assert study.distribution(small) == "1e-07 to 0.0001, uniform in the logarithm"
    assert study.distribution(space.CategoricalDistribution([True, False])) == "yes, no"


@pytest.mark.parametrize(("number", "sizes"), [(1, [28, 14, 7, 5]), (2, [28, 13, 6, 6]), (3, [28, 12, 5, 5])])
def test_each_configuration_of_convolutions_has_the_reports_sizes(number, sizes):
    trial = optuna.trial.FixedTrial(study.REPORTS_CHOICE | {"conv": number})
    assert SymmetricAutoencoderHPS().sample_model(trial).sizes == sizes


def test_a_study_is_complete_checked_and_read_back(undisturbed):
    assert [each.state for each in undisturbed.trials] == [TrialState.COMPLETE] * 4
    assert len({json.dumps(each.params) for each in undisturbed.trials}) == 4
    best = undisturbed.best
    assert best.value == min(min(each.intermediate_values.values()) for each in undisturbed.trials)
    assert best.user_attrs["epochs"] == 3
    plan = Plan("smoke", folder=undisturbed.path.parent.parent)
    assert not plan.workspace.exists()
    assert study.status(plan).finished


def test_what_other_losses_would_have_been_worth_as_a_trial():
    """Each trial of the committed study, as if it had gone on to a loss of 0."""
    search = study.load(Plan("report", folder=ROOT / "results"))
    completed = [each for each in search.trials if each.state == TrialState.COMPLETE]
    assert completed
    for each in completed:
        losses = [each.intermediate_values[step] for step in sorted(each.intermediate_values)]
        assert search.value_of([*losses, 0.0]) == each.value
        assert search.value_of([*losses[:-1], 0.0]) == 0.0
    falling = [1 - 0.01 * epoch for epoch in range(70)]
    assert search.value_of(falling) == falling[59], "no trial goes on for longer"


def test_a_random_trial_stays_the_same_whatever_has_finished_since():
    plan, space = Plan("smoke"), SymmetricAutoencoderHPS()
    proposed = []
    for finished in (0, 6):
        search = optuna.create_study(sampler=plan.sampler())
        trial = search.ask()
        space.sample_model(trial)
        for value in range(finished):
            done = search.ask()
            space.sample_model(done)
            space.sample_training(done)
            search.tell(done, float(value))
        space.sample_training(trial)
        proposed.append(trial.params)
    assert proposed[0] == proposed[1]


def test_another_seed_is_another_study(undisturbed, tmp_path):
    plan = Plan("smoke", seed=1, folder=tmp_path)
    assert plan.path.name != undisturbed.path.name
    other = optuna.create_study(sampler=plan.sampler())
    SymmetricAutoencoderHPS().sample_model(trial := other.ask())
    assert trial.params.items() - undisturbed.trials[0].params.items()


def test_each_trial_is_trained_with_a_seed_of_its_own(undisturbed, tmp_path):
    seeds = [each.user_attrs["seed"] for each in undisturbed.trials]
    plan = Plan("smoke", folder=tmp_path)
    assert seeds == [plan.seed_of(number) for number in range(plan.trials)]
    assert len({*seeds, *map(Plan("smoke", seed=1).seed_of, range(plan.trials))}) == 2 * plan.trials
    plan.workspace.mkdir(parents=True)
    shared = storage.begin(plan)
    twice = optuna.load_study(study_name=plan.path.name, storage=shared)
    for _ in range(2):
        twice.enqueue_trial(undisturbed.best.params)
    first, second = study.obtain(plan).trials[:2]
    assert first.params == second.params
    assert first.intermediate_values[0] != second.intermediate_values[0]


def test_killed_at_any_moment_it_proposes_and_finds_the_same(undisturbed, tmp_path, python):
    """With real SIGKILLs: as the journal grows, in the learning-rate finder, in an epoch, and after one.

    And no epoch that was finished is trained again.
    """
    plan = Plan("smoke", folder=tmp_path / "results")
    for moment in (
        "JournalFileBackend, 'append_logs', 2",
        "JournalFileBackend, 'append_logs', 9",
        f"lightning.Training, 'training_step', {tiny.FINDER_STEPS - 5}",
        f"lightning.Training, 'training_step', {tiny.FINDER_STEPS + 13}",
        "training._Recorder, 'on_train_epoch_end', 2",
        "checkpoints, 'save', 2",
        "lightning.Training, 'training_step', 40",
        "JournalFileBackend, 'append_logs', 30",
    ):
        (process := python(f"{BEGIN}\ntiny.dies_in({moment})\n{WORK}")).communicate()
        assert process.returncode == -signal.SIGKILL, f"{moment}: {process.errors()}"
    waiting = study.status(plan)
    assert len(waiting.idle) <= 1
    assert not waiting.finished
    _, errors = (process := python(BEGIN + WORK)).communicate()
    assert process.returncode == 0, errors
    assert outcome(study.load(plan).trials) == outcome(undisturbed.trials)
    assert epochs(tmp_path) == 4 * 3


def test_a_line_that_was_not_written_to_its_end_never_happened(tmp_path):
    path = tmp_path / "journal.log"
    first = optuna.create_study(storage=storage.journal(path), study_name="a")
    first.enqueue_trial({"x": 1})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"worker_id":"x","stu' + b"x" * 9000)
    second = optuna.load_study(storage=storage.journal(path), study_name="a")
    second.enqueue_trial({"x": 2})
    assert path.read_bytes().startswith(whole)
    third = optuna.load_study(storage=storage.journal(path), study_name="a")
    assert [each.system_attrs["fixed_params"]["x"] for each in third.trials] == [1, 2]


def test_two_workers_one_killed_no_trial_lost_none_twice(tmp_path, python):
    killed = "tiny.dies_in(training._Recorder, 'on_train_epoch_end', 1)\n"
    first, second = python(BEGIN + killed + WORK), python(BEGIN + WAIT + WORK)
    assert first.wait() == -signal.SIGKILL, first.errors()
    (tmp_path / "killed").touch()
    _, errors = second.communicate()
    assert second.returncode == 0, errors
    assert re.search("trial [01] goes on: its worker has stopped", errors)
    found = study.load(Plan("smoke", folder=tmp_path / "results"))
    assert [each.number for each in found.trials] == [0, 1, 2, 3]
    assert [each.state for each in found.trials] == [TrialState.COMPLETE] * 4
    assert [len(each.intermediate_values) for each in found.trials] == [3] * 4
    assert epochs(tmp_path) == 4 * 3


WORKER = worker._worker


def _tiny_worker(plan, threads):
    """In a process of its own, which knows nothing of this one's."""
    tiny.everything()
    WORKER(plan, threads)


def test_the_command_shares_the_trials_between_workers_and_says_how_it_stands(monkeypatch, capfd):
    monkeypatch.setattr(worker.multiprocessing, "get_context", lambda _: WARM)
    monkeypatch.setattr(worker, "_worker", _tiny_worker)
    assert cli.main(["study", "--profile", "smoke", "--status"]) == 0
    assert capfd.readouterr().out == "4 trials: 0 completed, 0 pruned, 0 failed, 0 running, 4 to come\n"
    assert cli.main(["study", "--profile", "smoke", "--workers", "2"]) == 0
    assert "best of 4 trials is trial" in capfd.readouterr().out
    found = study.load(Plan("smoke"))
    assert sorted(each.number for each in found.trials) == [0, 1, 2, 3]
    assert {each.user_attrs["hardware"]["threads"] for each in found.trials} == {max(1, (os.cpu_count() or 1) // 2)}
    assert not any("where" in each.user_attrs for each in found.trials)
    assert cli.main(["study", "--profile", "smoke", "--status"]) == 0
    shown = capfd.readouterr().out
    assert shown.startswith("4 trials: 4 completed, 0 pruned, 0 failed, 0 running, 0 to come\nbest: ")


def test_the_status_is_shown_in_place_of_the_last_one_however_long_its_lines(monkeypatch, capsys):
    seen = [["one", "x" * 100], ["two"]]
    monkeypatch.setattr(study, "describe", lambda _: seen.pop(0))
    monkeypatch.setattr(study, "status", lambda _: SimpleNamespace(finished=len(seen) == 1))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("COLUMNS", "40")
    commands._study_status(None)
    shown = capsys.readouterr().out
    assert shown == f"one\n{'x' * 100}\n\033[4F\033[Jtwo\n"


def test_the_status_of_a_study_in_the_making(tmp_path):
    plan = Plan("smoke", folder=tmp_path)
    plan.workspace.mkdir(parents=True)
    begun = storage.begin(plan)
    here = optuna.load_study(study_name=plan.path.name, storage=begun)
    done = here.ask()
    done.set_user_attr("where", plan.here)
    done.set_user_attr("seconds", 60.0)
    here.tell(done, 0.1)
    first, second, third = here.ask(), here.ask(), here.ask()
    for trial in (first, second, third):
        trial.set_user_attr("where", plan.here)
    for trial in (first, second):
        trial.report(0.03, 0)
        trial.report(0.02, 1)
    third.set_user_attr("reason", "out of memory")
    third.set_user_attr("seconds", 10.0)
    here.tell(third, state=TrialState.FAIL)
    held = queue.hold(plan, first, takeover=False)
    lines = study.describe(study.status(plan))
    held.release()
    assert lines[0] == "4 trials: 1 completed, 0 pruned, 1 failed, 2 running, 0 to come"
    assert lines[1:4] == [
        "  trial 1: epoch 2, 0.02000 so far",
        "  trial 2: epoch 2, 0.02000 so far (its worker has stopped)",
        "  trial 3 failed: out of memory",
    ]
    # 35 s a trial, two to come, one worker alive.
    assert lines[5] == "about 1 min left"


def test_a_failed_trial_is_recorded_with_its_reason_and_the_study_goes_on(tmp_path, monkeypatch):
    sample, fit = SymmetricAutoencoderHPS.sample_training, training.fit

    def diverges(self, trial):
        settings = sample(self, trial)
        wrong = replace(settings, optimizer="sgd", learning_rate=1.0, weight_decay=1e12)
        return wrong if trial.number == 1 else settings

    def exhausts(network, *arguments, **options):
        if options["folder"].name.startswith("trial-2-"):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")
        return fit(network, *arguments, **options)

    monkeypatch.setattr(SymmetricAutoencoderHPS, "sample_training", diverges)
    monkeypatch.setattr(training, "fit", exhausts)
    found = study.obtain(Plan("smoke", folder=tmp_path))
    states = [each.state for each in found.trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]
    assert "diverged in epoch 1" in found.trials[1].user_attrs["reason"]
    assert found.trials[2].user_attrs["reason"] == "out of memory"


def test_a_study_without_a_completed_trial_says_why_and_is_not_published(tmp_path, monkeypatch):
    def exhausts(*_, **__):
        raise MemoryError

    monkeypatch.setattr(training, "fit", exhausts)
    plan = Plan("smoke", folder=tmp_path)
    with pytest.raises(AelibError, match="none of the 4 trials was completed; trial 0 failed: out of memory"):
        study.obtain(plan)
    assert not plan.path.exists()


def test_a_database_that_goes_away_is_named(tmp_path, untrained, monkeypatch):
    database = tmp_path / "study.sqlite"
    plan = Plan("smoke", storage=f"sqlite:///{database}", folder=tmp_path / "results")
    assert study.status(plan).records == []
    assert optuna.get_all_study_names(plan.storage) == [], "a look begins no study"
    fit = training.fit

    def lost_meanwhile(*arguments, **options):
        database.write_bytes(b"no database any more" * 1000)
        return fit(*arguments, **options)

    monkeypatch.setattr(training, "fit", lost_meanwhile)
    with pytest.raises(AelibError, match="the storage cannot be reached any more: .*database"):
        study.obtain(plan)


def test_a_fault_of_the_program_stops_the_worker_and_loses_nothing(tmp_path, untrained, monkeypatch):
    plan = Plan("smoke", folder=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", lambda *_, **__: {}["no such key"])
        with pytest.raises(KeyError):
            study.obtain(plan)
    assert study.status(plan).idle == [0]
    assert len(study.obtain(plan).trials) == 4


def test_a_poor_trial_is_pruned(tmp_path, untrained, monkeypatch):
    strict = optuna.pruners.PercentilePruner(0.0, n_startup_trials=1, n_warmup_steps=1)
    monkeypatch.setattr(Plan, "pruner", lambda self: strict)
    found = study.obtain(Plan("smoke", folder=tmp_path))
    pruned = [each for each in found.trials if each.state == TrialState.PRUNED]
    assert pruned
    assert all(each.user_attrs["epochs"] == 2 for each in pruned)
    assert found.best.state == TrialState.COMPLETE


def work_where_another_takes_trial_0(tmp_path, monkeypatch, then):
    """Work on a study of which another machine claims trial 0 while it is trained, and then does `then` with it.

    Returns:
        The trials, by number.
    """
    plan = Plan("smoke", folder=tmp_path)
    plan.workspace.mkdir(parents=True)
    begun = storage.begin(plan)
    fit = training.fit

    def claimed_meanwhile(*arguments, **options):
        here = optuna.load_study(study_name=plan.path.name, storage=begun)
        if here.trials[-1].number == 0:
            optuna.trial.Trial(here, here.trials[0]._trial_id).set_user_attr("where", "another machine")
            then(here)
        return fit(*arguments, **options)

    monkeypatch.setattr(training, "fit", claimed_meanwhile)
    study.work(plan)
    return study.status(plan).records


def test_a_worker_that_was_taken_for_dead_gives_its_trial_up(tmp_path, untrained, monkeypatch):
    """Another worker claims trial 0 while it is trained: its result counts, once."""
    found = work_where_another_takes_trial_0(tmp_path, monkeypatch, lambda here: here.tell(0, 0.5))
    assert found[0].value == 0.5
    assert [each.state for each in found] == [TrialState.COMPLETE] * 4


def test_of_a_trial_that_another_worker_has_a_want_of_memory_says_nothing(tmp_path, untrained, monkeypatch):
    def exhausts(_):
        raise MemoryError

    monkeypatch.setattr(queue, "SILENCE", 0.5)
    monkeypatch.setattr(queue, "PAUSE", 0.1)  # nobody else is there to take it over
    found = work_where_another_takes_trial_0(tmp_path, monkeypatch, exhausts)
    assert [each.state for each in found] == [TrialState.COMPLETE] * 4


def test_of_two_machines_that_ask_for_the_last_trial_one_gets_it(tmp_path):
    plan = Plan("smoke", folder=tmp_path)
    plan.workspace.mkdir(parents=True)
    begun = storage.begin(plan)
    here = optuna.load_study(study_name=plan.path.name, storage=begun)
    real = optuna.Study.ask

    def finish(trial, value):
        trial.set_user_attr("where", "another machine")
        plan.sample(trial)
        here.tell(trial, value)

    for _ in range(3):
        finish(here.ask(), 0.1)

    def with_a_rival(self, *arguments, **options):
        finish(real(here), 0.2)
        return real(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optuna.Study, "ask", with_a_rival)
        assert queue.claim(plan, begun) is None
    assert [each.value for each in study.status(plan).records] == [0.1, 0.1, 0.1, 0.2]


@pytest.mark.parametrize("name", study.FILES)
def test_a_tampered_study_is_found_out(undisturbed, tmp_path, name):
    plan = Plan("smoke", folder=tmp_path)
    plan.path.mkdir(parents=True)
    for file in (*study.FILES, runs.CHECKSUMS):
        (plan.path / file).write_bytes((undisturbed.path / file).read_bytes())
    assert len(study.load(plan).trials) == 4
    (plan.path / name).write_bytes((plan.path / name).read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(AelibError, match=rf"{name} is missing, truncated or altered"):
        study.load(plan)


def test_no_study_and_a_wrong_plan_are_named(tmp_path):
    with pytest.raises(AelibError, match="run `aelib study --profile smoke`"):
        study.load(Plan("smoke", folder=tmp_path))
    with pytest.raises(AelibError, match="profile must be one of report, quick, smoke"):
        Plan("smok")
    with pytest.raises(AelibError, match="seed must be a whole number"):
        Plan("smoke", seed=-1)
    with pytest.raises(AelibError, match="workers must be a whole number"):
        study.obtain(Plan("smoke", folder=tmp_path), workers=0)


@pytest.fixture
def hasty(monkeypatch):
    """What is not there now will not be there in a second."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.mark.faults
@pytest.mark.parametrize("url", ["no-such-dialect://host/name", "not a url", "sqlite:////no/such/folder/db.sqlite"])
def test_a_storage_that_cannot_be_used_is_named(tmp_path, url, hasty):
    with pytest.raises(AelibError, match="the storage cannot be"):
        study.obtain(Plan("smoke", storage=url, folder=tmp_path))
    tried("A storage that is mistyped", f"`{url}`", 1, "one line")


@pytest.fixture
def postgresql(tmp_path_factory):
    """The URL of a database on a PostgreSQL server of our own."""
    found = shutil.which("initdb") or next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))), None)
    if not found:
        lacking("PostgreSQL (Debian: postgresql)")
    programs = Path(os.path.realpath(found)).parent
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a short path: the server's socket lies there
    # The server refuses to run as root.
    user = {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, **user)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": folder} | user
    try:
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", "aelib", "-A", "trust", "--no-sync"], check=True, **quiet
        )
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-F"], **quiet
        )
        try:
            while not (folder / ".s.PGSQL.5432").exists():
                assert server.poll() is None, server.stderr.read()
                time.sleep(0.05)
            yield f"postgresql+psycopg://aelib@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(PATIENCE)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_workers_of_several_machines_share_a_postgresql_server(undisturbed, tmp_path, python, postgresql):
    """Three folders stand for three machines; the worker on one of them is killed, and another runs its trial again."""

    def program(machine, then):
        return (
            BEGIN
            + then
            + (
                "\nqueue.SILENCE = 3\n"
                f"plan = study.Plan('smoke', storage={postgresql!r}, folder=Path('machine {machine}'))\n"
                "print(len(study.obtain(plan).trials))"
            )
        )

    plan = Plan("smoke", storage=postgresql, folder=tmp_path / "machine 1")
    first = python(program(1, "tiny.dies_in(training._Recorder, 'on_train_epoch_end', 1)"))
    others = [python(program(number, WAIT)) for number in (2, 3)]
    assert first.wait() == -signal.SIGKILL, first.errors()
    assert plan.here in {each.user_attrs.get("where") for each in study.status(plan).records}
    (tmp_path / "killed").touch()
    for each in others:
        output, errors = each.communicate()
        assert each.returncode == 0, errors
        assert output.strip() == "4"
    records = study.status(plan).records
    assert [(each.number, each.state) for each in records] == [(n, TrialState.COMPLETE) for n in range(4)]
    assert plan.here not in {each.user_attrs["where"] for each in records}
    # The first half is random: it does not depend on who proposes when.
    assert outcome(records)[:2] == outcome(undisturbed.trials)[:2]
    published = study.load(replace(plan, folder=tmp_path / "machine 2"))
    assert outcome(published.trials) == outcome(records)


@pytest.mark.faults
@pytest.mark.parametrize("other", ["code that trains otherwise", "another version of torch"])
def test_a_trial_that_other_code_began_is_begun_again(other, tmp_path, monkeypatch, capsys):
    """What that code has reported does not count, neither does its checkpoint."""
    plan, fit = Plan("smoke", folder=tmp_path), training.fit

    def killed(*arguments, watch, **options):
        def after_an_epoch(rows, seconds):
            watch(rows, seconds)
            raise KeyboardInterrupt

        return fit(*arguments, watch=after_an_epoch, **options)

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", killed)
        if "torch" in other:
            patch.setattr(torch, "__version__", "2.0.0")
        else:
            patch.setattr(result, "origin", lambda *_: {"digest": "other", "probe": {"loss": 2.0}})
        with pytest.raises(KeyboardInterrupt):
            study.obtain(plan)
    assert list(plan.workspace.glob("trial-0-*/checkpoint"))
    found = study.obtain(plan)
    assert f"trial 0 was begun by {other}: another takes its place" in capsys.readouterr().err
    assert [each.state for each in found.trials] == [TrialState.COMPLETE] * 4
    assert [len(each.intermediate_values) for each in found.trials] == [3] * 4
    assert not list(tmp_path.glob("**/trial-*"))
    tried(
        "A trial that was begun by other code",
        f"killed in its first epoch; {other} goes on",
        1,
        "another trial takes its place, which is said; the study ends",
    )


def test_a_study_of_other_code_is_stale(undisturbed, monkeypatch, capsys):
    plan = Plan("smoke", folder=undisturbed.path.parent.parent)
    assert undisturbed.provenance["code"] == {"digests": [code_version.digest()]}
    assert study.doubt(undisturbed.path) == ""
    monkeypatch.setattr(code_version, "digest", lambda: "another")
    assert study.doubt(undisturbed.path) == "", "it trains alike"
    monkeypatch.setattr(result, "origin", lambda *_: {"digest": "a third", "probe": {"loss": 2.0}})
    assert study.doubt(undisturbed.path) == "", "that code was looked at"
    monkeypatch.setattr(code_version, "digest", lambda: "a third")
    code_version.say.cache_clear()
    study.obtain(plan)
    assert f": {code_version.STALE}; again: `rm -r {plan.path}; aelib study --profile smoke`" in capsys.readouterr().err


def test_the_study_says_in_words_what_its_sampler_and_its_pruner_do(monkeypatch):
    config = Plan("smoke").config()
    assert config["sampler"] == "TPE, each parameter by itself, 24 candidates"
    assert config["pruner"] == "median, 10 trials to start, from epoch 20, every 10 epochs"
    monkeypatch.setitem(plans.TPE, "n_ei_candidates", 25)
    monkeypatch.setitem(plans.MEDIAN, "interval_steps", 5)
    assert Plan("smoke").config()["sampler"].endswith("25 candidates")
    assert Plan("smoke").config()["pruner"].endswith("every 5 epochs")
    assert Plan("smoke").pruner()._interval_steps == 5


ENDINGS = {
    "failed": lambda here: here.tell(0, state=TrialState.FAIL),
    "completed": lambda here: here.tell(0, 0.0001),
    "asked and completed": lambda here: here.tell(here.ask(), 0.0001),
    "asked and failed": lambda here: here.tell(here.ask(), state=TrialState.FAIL),
}


@pytest.mark.parametrize("url", [None, "sqlite:///{}/study.sqlite"], ids=["journal", "database"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_trial_that_another_program_ends_counts_as_failed(ending, url, tmp_path, untrained, monkeypatch, capsys):
    plan, fit = Plan("smoke", storage=url and url.format(tmp_path), folder=tmp_path), training.fit
    plan.workspace.mkdir(parents=True)

    def ended_meanwhile(*arguments, watch, **options):
        def after_an_epoch(rows, seconds):
            here = optuna.load_study(study_name=plan.path.name, storage=storage.existing(plan))
            if len(rows) == 2 and [each.number for each in here.trials] == [0]:
                ENDINGS[ending](here)
            watch(rows, seconds)

        return fit(*arguments, watch=after_an_epoch, **options)

    monkeypatch.setattr(training, "fit", ended_meanwhile)
    found = study.obtain(plan)
    said = capsys.readouterr().err
    word = ending.split()[-1]
    assert found.best.user_attrs["learning_rate"] is not None
    assert found.winner()
    assert found.provenance["code"] == {"digests": [code_version.digest()]}
    if ending.startswith("asked"):  # with no parameters
        assert [each.state for each in found.trials] == [TrialState.COMPLETE] * 4
        assert f"trial 1 is left out: {word} by another program, without a training" in said
    else:
        assert [each.state for each in found.trials] == [TrialState.FAIL] + [TrialState.COMPLETE] * 3
        assert f"trial 0 was ended by another program ({word})" in said
        assert f"trial 0 counts as failed: {word} by another program, without a training\n" in said
        facts = found.trials[0].user_attrs
        assert (facts["epochs"], facts["learning_rate"]) == (1, None)
        assert facts["parameters"] > 1000
    monkeypatch.setattr(code_version, "digest", lambda: "another")
    assert study.doubt(found.path) == ""


@pytest.mark.parametrize("url", [None, "sqlite:///{}/study.sqlite"], ids=["journal", "database"])
def test_copies_and_trials_of_nobody_are_left_out(url, tmp_path, untrained, monkeypatch, capsys):
    """Of our own space, and with all that a training leaves: no worker has begun them here."""
    plan, fit = Plan("smoke", storage=url and url.format(tmp_path), folder=tmp_path), training.fit

    def copied_meanwhile(*arguments, **options):
        here = optuna.load_study(study_name=plan.path.name, storage=storage.existing(plan))
        if len(here.trials) == 2:
            here.add_trial(here.trials[0])
            plan.sample(foreign := here.ask())
            here.tell(foreign, 0.0001)
        return fit(*arguments, **options)

    monkeypatch.setattr(training, "fit", copied_meanwhile)
    found = study.obtain(plan)
    assert [each.state for each in found.trials] == [TrialState.COMPLETE] * 4
    assert len({json.dumps(each.params) for each in found.trials}) == 4
    assert not any({"where", "number"} & each.user_attrs.keys() for each in found.trials)
    said = capsys.readouterr().err
    for number in (2, 3):
        assert f"trial {number} is left out: completed by another program, without a training\n" in said


def test_the_status_tells_what_another_program_has_ended(tmp_path):
    plan = Plan("smoke", folder=tmp_path)
    plan.workspace.mkdir(parents=True)
    here = optuna.load_study(study_name=plan.path.name, storage=storage.begin(plan))
    for trial in (here.ask(), here.ask()):
        trial.set_user_attr("where", plan.here)
        plan.sample(trial)
    here.tell(0, state=TrialState.FAIL)
    here.tell(1, 0.0001)
    here.tell(here.ask(), 0.0001)
    here.enqueue_trial({"conv": 1})
    lines = study.describe(study.status(plan))
    assert lines == [
        "4 trials: 1 completed, 0 pruned, 1 failed, 0 running, 2 to come",
        "  trial 0 counts as failed: failed by another program, without a training",
        "  trial 1 counts as failed: completed by another program, without a training",
        "  trial 2 is left out: completed by another program, without a training",
    ]


@pytest.mark.parametrize(
    ("ours", "wrong"),
    [
        (2, {"conv": 9}),
        (2, {"latent_dim": 11}),
        (2, {"latent_dim": "x"}),
        (2, {"linear_units": 1000}),
        (2, {"weight_decay": math.nan}),
        (4, {"conv": 9}),
    ],
)
def test_trials_that_somebody_enqueues(ours, wrong, tmp_path, untrained, monkeypatch, capsys):
    """Before the last one they are taken, after it they are not; for what is not of the space others are trained."""
    plan = Plan("smoke", folder=tmp_path)
    plan.workspace.mkdir(parents=True)
    begun, fit = storage.begin(plan), training.fit

    def enqueued_meanwhile(*arguments, **options):
        here = optuna.load_study(study_name=plan.path.name, storage=begun)
        if len(here.trials) == ours:
            here.enqueue_trial(study.REPORTS_CHOICE)
            here.enqueue_trial(wrong)
        return fit(*arguments, **options)

    monkeypatch.setattr(training, "fit", enqueued_meanwhile)
    found = study.obtain(plan)
    said = capsys.readouterr().err
    assert [each.state for each in found.trials] == [TrialState.COMPLETE] * 4
    if ours == 4:
        assert "enqueued" not in said
    else:
        assert "trial 2 takes what somebody has enqueued: {'conv': 1, " in said
        assert found.trials[2].params == study.REPORTS_CHOICE
        assert said.count("trial 3 is left out: enqueued with parameters that are not of the search space") == 1


@pytest.mark.parametrize(
    "strange",
    [
        {"x": optuna.distributions.FloatDistribution(0, 1)},
        {"weight_decay": optuna.distributions.CategoricalDistribution(["none"])},
        {"conv": optuna.distributions.CategoricalDistribution([7])},
    ],
    ids=lambda strange: next(iter(strange)),
)
def test_trials_of_another_space_that_somebody_adds(strange, tmp_path, untrained, monkeypatch, capsys):
    """Others take their places, and nothing is learnt from them; a database refuses all but the first kind."""
    plan, fit = Plan("smoke", folder=tmp_path), training.fit

    def added_meanwhile(*arguments, **options):
        here = optuna.load_study(study_name=plan.path.name, storage=storage.existing(plan))
        if len(here.trials) == 1:
            params = {name: getattr(each, "choices", [0.5])[0] for name, each in strange.items()}
            for _ in range(2):
                here.add_trial(optuna.trial.create_trial(params=params, distributions=strange, value=0.0001))
        return fit(*arguments, **options)

    monkeypatch.setattr(training, "fit", added_meanwhile)
    found = study.obtain(plan)
    assert [each.state for each in found.trials] == [TrialState.COMPLETE] * 4
    assert found.best.value > 0.0001
    said = capsys.readouterr().err
    for number in (1, 2):
        assert f"trial {number} is left out: completed by another program, without a training\n" in said


STRANGE = {
    "another range": lambda trial: trial.suggest_float("weight_decay", 1e-9, 1, log=True),
    "another name": lambda trial: trial.suggest_float("x", 0, 1),
    "another scale": lambda trial: trial.suggest_float("weight_decay", 0, 1),
    "another choice": lambda trial: trial.suggest_categorical("conv", [7, 8]),
}


@pytest.mark.parametrize("url", [None, "sqlite:///{}/study.sqlite"], ids=["journal", "database"])
@pytest.mark.parametrize("kind", STRANGE)
def test_a_trial_that_another_program_began_in_a_space_of_its_own(kind, url, tmp_path, untrained, monkeypatch, capsys):
    """It is left out; where a journal then takes no parameters of ours, that is said, each time."""
    monkeypatch.setattr(queue, "UNCLAIMED", 0.1)
    plan = Plan("smoke", storage=url and url.format(tmp_path), folder=tmp_path)
    plan.workspace.mkdir(parents=True)
    here = optuna.load_study(study_name=plan.path.name, storage=storage.begin(plan))
    STRANGE[kind](here.ask())
    if url or kind in ("another range", "another name"):
        assert [each.state for each in study.obtain(plan).trials] == [TrialState.COMPLETE] * 4
    else:
        for _ in range(2):
            with pytest.raises(AelibError, match=rf"beside those of trial 0, .*: delete {plan.workspace} and start"):
                study.obtain(plan)
    said = capsys.readouterr().err
    assert said.count("trial 0 is left out: begun with parameters that are not of the search space") == 1


@pytest.mark.parametrize("url", [None, "sqlite:///{}/study.sqlite"], ids=["journal", "database"])
@pytest.mark.parametrize("directions", [["maximize"], ["minimize", "minimize"]], ids=lambda each: each[-1])
def test_a_study_that_another_program_made_for_another_goal_is_named(directions, url, tmp_path):
    plan = Plan("smoke", storage=url and url.format(tmp_path), folder=tmp_path)
    plan.workspace.mkdir(parents=True)
    kept = plan.storage or storage.journal(plan.workspace / "journal.log")
    optuna.create_study(study_name=plan.path.name, storage=kept, directions=directions)
    place = "in its database" if url else "partial"
    wrong = f"made to {', '.join(directions)}, .* minimize one loss: delete .*{place} and start again, or choose"
    with pytest.raises(AelibError, match=wrong):
        study.obtain(plan)


def test_a_study_that_another_program_deletes_is_named(tmp_path, untrained, monkeypatch):
    plan, fit = Plan("smoke", storage=f"sqlite:///{tmp_path}/study.sqlite", folder=tmp_path / "results"), training.fit

    def deleted_meanwhile(*arguments, **options):
        optuna.delete_study(study_name=plan.path.name, storage=plan.storage)
        return fit(*arguments, **options)

    monkeypatch.setattr(training, "fit", deleted_meanwhile)
    with pytest.raises(AelibError, match=f"another program has deleted the study {plan.path.name}"):
        study.obtain(plan)


@pytest.fixture
def finished(undisturbed, tmp_path):
    """A plan of which a finished study lies in the results, as in a clone."""
    plan = Plan("smoke", folder=tmp_path / "results")
    shutil.copytree(undisturbed.path, plan.path)
    return plan


@pytest.mark.faults
def test_beside_a_finished_study_a_storage_is_reached_all_the_same(finished, tmp_path, capsys, hasty):
    with pytest.raises(AelibError, match="the storage cannot be"):
        study.obtain(replace(finished, storage="postgresql+psycopg://aelib@127.0.0.1:9/no-server"))
    database = tmp_path / "study.sqlite"
    plan = replace(finished, storage=f"sqlite:///{database}")
    assert study.obtain(plan).path == finished.path
    said = capsys.readouterr().err
    assert f"there is no file {database}" in said
    assert f"the study is finished, in {finished.path}: the storage has nothing to add; to search again, choose" in said
    assert not database.exists()
    tried(
        "A storage beside a finished study",
        "a server that is not there, a database that is not there",
        2,
        "reached, or one line; a look makes no file",
    )


def test_the_status_is_of_the_storage_that_is_asked_for(finished, tmp_path, capsys, hasty):
    plan = replace(finished, storage=f"sqlite:///{tmp_path}/study.sqlite")
    assert study.status(plan).records == []
    assert f"there is no file {tmp_path}/study.sqlite: nobody has begun, or the address is another one" in (
        capsys.readouterr().err
    )
    assert not list(tmp_path.glob("study.sqlite*")), "a look makes no file"
    begun = optuna.load_study(study_name=plan.path.name, storage=storage.begin(plan))
    begun.ask()
    assert [each.state for each in study.status(plan).records] == [TrialState.RUNNING]
    assert study.status(finished).finished
    with pytest.raises(AelibError, match="the storage cannot be"):
        study.status(replace(plan, storage="postgresql+psycopg://aelib@127.0.0.1:9/no-server"))


@pytest.mark.faults
def test_a_storage_of_another_version_of_optuna_is_named(tmp_path):
    plan = Plan("smoke", storage=f"sqlite:///{tmp_path}/study.sqlite", folder=tmp_path / "results")
    storage.database(plan.storage)
    with contextlib.closing(sqlite3.connect(tmp_path / "study.sqlite")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    with pytest.raises(AelibError, match="the storage cannot be used: The runtime optuna version .* no longer"):
        study.obtain(plan)
    newer = Plan("smoke", folder=tmp_path)
    newer.workspace.mkdir(parents=True)
    storage.begin(newer)
    with (newer.workspace / "journal.log").open("a") as journal:
        journal.write('{"op_code": 99, "worker_id": "x"}\n')
    with pytest.raises(AelibError, match=r"journal.log is not a journal of Optuna's"):
        study.obtain(newer)
    tried("A study's storage of a newer Optuna", "a database's schema, an entry of a journal", 2, "one line")


def test_the_best_of_n_is_that_of_all_orders():
    values = np.array([3.0, 1.0, 2.0, 5.0, 4.0, 2.5])
    found = study.best_of(values, level=0.5)
    for count in range(1, len(values) + 1):
        lowest = [min(each) for each in itertools.combinations(values, count)]
        assert found[count - 1].tolist() == np.quantile(lowest, [0.25, 0.5, 0.75], method="inverted_cdf").tolist()


def test_what_is_most_important_is_found_and_kept(tmp_path):
    """Where one hyper-parameter alone decides, each bootstrap says so."""
    found, sampler = study.obtain(Plan("smoke", folder=tmp_path)), optuna.samplers.RandomSampler(seed=0)

    def decided_by_one(trial):
        trial.set_user_attr("seconds", 1.0)
        return Plan("smoke").sample(trial)[0].latent_dim / 40

    made = optuna.create_study(sampler=sampler)
    made.optimize(decided_by_one, n_trials=30)
    shares = study.importances(made.trials)
    assert shares.keys() == study.REPORTS_CHOICE.keys()
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.get) == "latent_dim"
    assert {*study.importances(made.trials[:1] * 2).values()} == {0}, "of one and the same loss"
    many = replace(found, trials=made.trials)
    assert study.most_important(many, times=5, trees=4) == ["latent_dim"] * 5
    kept = (found.path / "evaluations/most_important.json").read_text()
    assert study.most_important(found, times=5, trees=4) == ["latent_dim"] * 5, "it was kept"
    assert (found.path / "evaluations/most_important.json").read_text() == kept
    assert study.load(Plan("smoke", folder=tmp_path)).checksum == found.checksum, "the study is as it was"


def test_a_trial_again_is_trained_as_it_was(tmp_path):
    found = study.obtain(plan := Plan("smoke", folder=tmp_path))
    trial = study.ranked(found.trials)[0]
    again = experiments.obtain(
        "convolutional",
        profile="smoke",
        folder=tmp_path,
        seed=plan.seed_of(trial.number),
        summary=True,
        **found.again(trial.params),
    )
    losses = [row["validation_loss"] for row in again.history]
    assert losses == [*trial.intermediate_values.values()]
    assert found.value_of(losses) == trial.value
    assert again.metrics["learning_rate"] == trial.user_attrs["learning_rate"]


def test_the_published_study_again_prunes_as_it_did():
    """And a pruner that starts later ends fewer, none of them among the random ones."""
    found = study.load(Plan(folder=ROOT / "results"))
    same = study.replay(found, plans.MEDIAN["n_startup_trials"])
    assert same.pruned == np.flatnonzero(found.pruned).tolist()
    assert (same.saved, same.unknown) == (0, [])
    late = study.replay(found, 30)
    assert min(late.pruned) >= 30
    assert set(late.pruned) | set(late.unknown) == set(same.pruned)
    early = study.replay(found, 0)
    assert early.saved > 0
