"""Cores are shared: a training takes those that are idle, and gives up what others need."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import NamedTuple

import psutil
import pytest
import torch
from processes import WARM
from test_training import digest, train
from threadpoolctl import threadpool_info

from aelib import cores


@pytest.fixture
def free(monkeypatch):
    """Nobody has asked for a number of threads."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


class Times(NamedTuple):
    """Of one core, in seconds."""

    user: float
    idle: float


@pytest.fixture
def machine(monkeypatch):
    """Four cores that others keep as busy as `machine.others` says, and this process as `machine.own`."""
    state = SimpleNamespace(now=100.0, idle=0.0, busy=0.0, process=0.0, own=0.0, others=0.0)

    def passes(seconds):
        state.now += seconds
        state.process += state.own * seconds
        idle = max(0.0, 4 - state.own - state.others) * seconds
        state.idle += idle
        state.busy += 4 * seconds - idle

    state.passes = passes
    monkeypatch.setattr(cores.time, "monotonic", lambda: state.now)
    monkeypatch.setattr(cores.time, "sleep", passes)
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [Times(state.busy / 4, state.idle / 4)] * 4)
    monkeypatch.setattr(psutil.Process, "cpu_times", lambda self: (state.process, 0.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr(psutil.Process, "children", lambda self, recursive: [])
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: [0, 1, 2, 3], raising=False)
    monkeypatch.setattr(cores, "available", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    return state


@pytest.mark.parametrize(("others", "threads"), [(0.0, 4), (0.3, 4), (1.0, 3), (1.9, 2), (2.2, 2), (4.0, 1), (9.0, 1)])
def test_a_training_begins_with_the_cores_that_are_idle(others, threads, machine, free):
    machine.others = others
    assert cores.choose() == threads


def test_what_the_user_asks_for_is_what_he_gets(machine, monkeypatch):
    machine.others = 4.0
    for given, threads in (("3", 3), ("2,1", 2), ("nonsense", 1), ("0", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert cores.choose() == threads


def test_its_own_work_is_not_taken_for_that_of_others(machine):
    load = cores.Load()
    machine.own = 4.0
    machine.passes(5)
    assert load.others() == pytest.approx(0, abs=1e-9)
    machine.passes(5)
    assert load.room(4) == 4
    machine.own = machine.others = 2.0  # four threads, of which two wait
    machine.passes(5)
    assert load.room(4) == 2


def test_busy_processes_leave_no_room(free):
    """With real ones, as many as there are cores, which are nobody's children; one's own do not count."""
    loop = f"{sys.executable} -c 'while True: pass' >/dev/null 2>&1 & echo $!"
    many = cores.available()
    busy = [int(subprocess.run(["sh", "-c", loop], capture_output=True, text=True).stdout) for _ in range(many)]
    try:
        load = cores.Load()
        while load.seconds < 2:
            pass
        assert load.room(many) <= max(1, many - 1)
        own = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(many)]
        load = cores.Load()
        while load.seconds < 2:
            pass
        with_own = load.others()
        for process in own:
            process.kill()
            process.wait()
        assert with_own < many
    finally:
        for pid in busy:
            os.kill(pid, signal.SIGKILL)


def test_a_machine_that_does_not_say_how_busy_it_is_has_no_others(machine, monkeypatch):
    machine.others = 4.0
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [Times(0.0, 0.0)] * 2)
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: [12, 13], raising=False)
    load = cores.Load()
    machine.passes(5)
    assert load.room(2) == 2


@pytest.mark.parametrize(
    ("compiled", "room", "then"), [(False, 3, 3), (True, 3, 4), (True, 2, 2), (True, 1, 1), (False, 4, 4)]
)
def test_what_is_compiled_gives_up_half_of_its_threads_or_none(compiled, room, then, monkeypatch, free):
    monkeypatch.setattr(cores, "choose", lambda: 4)
    monkeypatch.setattr(cores.Load, "room", lambda self, threads: room)
    have = [1]
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: have.__setitem__(0, threads))
    monkeypatch.setattr(torch, "get_num_threads", lambda: have[0])
    share = cores.Share(None, compiled)
    share.before(0)
    monkeypatch.setattr(cores.Load, "seconds", 2.0)
    share.before(7)
    assert share.threads == ([[0, 4]] if then == 4 else [[0, 4], [7, then]])


@pytest.fixture
def others_come(monkeypatch, free):
    """A training begins with two threads, and has room for one alone after some steps."""
    monkeypatch.setattr(cores, "choose", lambda: 2)
    monkeypatch.setattr(cores, "WINDOW", 0.0)
    looks = []

    def room(self, threads):
        looks.append(threads)
        return 1 if len(looks) > 7 else threads

    monkeypatch.setattr(cores.Load, "room", room)
    monkeypatch.setattr(cores.Load, "seconds", 0.0)


def test_threads_are_given_up_and_that_is_recorded_and_repeated(others_come, small, tmp_path):
    before = torch.get_num_threads()
    model, history = train(small, tmp_path / "disturbed", max_epochs=3)
    assert history.threads == [[0, 2], [6, 1]]
    assert torch.get_num_threads() == before
    model_again, again = train(small, tmp_path / "repeated", max_epochs=3, threads=history.threads)
    assert again.threads == history.threads
    assert digest(model, history) == digest(model_again, again)


def test_a_resumed_training_keeps_its_threads(free, small, tmp_path, monkeypatch):
    monkeypatch.setattr(cores.Load, "room", lambda self, threads: threads)
    _, undisturbed = train(small, tmp_path / "a", max_epochs=3, threads=[[0, 2]])
    train(small, tmp_path / "b", max_epochs=1, threads=[[0, 2]])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    _, resumed = train(small, tmp_path / "b", max_epochs=3)
    assert resumed.threads == [[0, 2]]
    assert resumed.rows == undisturbed.rows
    monkeypatch.setattr(cores, "available", lambda: 1)
    _, elsewhere = train(small, tmp_path / "b", max_epochs=4)
    assert elsewhere.threads[0] == [0, 2]
    assert elsewhere.threads[1][1] == 1


def test_a_pause_is_no_sign_of_others(small, tmp_path, monkeypatch, free):
    monkeypatch.setattr(cores, "choose", lambda: 2)
    monkeypatch.setattr(cores.Load, "room", lambda self, threads: 1)
    monkeypatch.setattr(cores.Load, "seconds", 11 * cores.WINDOW)
    _, history = train(small, tmp_path, max_epochs=1)
    assert history.threads == [[0, 2]]


def test_what_follows_a_training_has_as_many_threads():
    """scikit-learn's, too, whose t-SNE two trainings at once would otherwise fight over."""
    import sklearn.manifold  # noqa: F401  # loads its OpenMP

    def most():
        return max(pool["num_threads"] for pool in threadpool_info())

    with cores.limited(2):
        assert most() == torch.get_num_threads() == 2
        with cores.limited(1):
            assert most() == torch.get_num_threads() == 1
        assert most() == torch.get_num_threads() == 2


def _begun_with(asked):
    """In a process of its own: how many threads it has of a share of three."""
    os.environ["OMP_NUM_THREADS"] = asked
    cores._begin(3)
    return torch.get_num_threads()


def test_a_process_takes_its_share_of_the_cores_but_no_more_than_was_asked(monkeypatch):
    monkeypatch.setattr(cores, "get_context", lambda _: WARM)
    monkeypatch.setattr(cores, "available", lambda: 7)
    assert [cores.share(workers) for workers in (1, 2, 3, 20)] == [7, 3, 2, 1]
    with cores.processes(1) as pool:
        assert [pool.submit(_begun_with, asked).result() for asked in ("", "2", "5")] == [3, 2, 3]
