"""Which share of the machine's cores a training takes: those that are idle when it begins, fewer when others come.

With more busy threads than cores, each parallel region of a step waits until the scheduler gives the last of its
threads a turn, some hundred times a step: on two cores two trainings with two threads each took ten times as long as
one after the other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import joblib
import psutil
import torch
from threadpoolctl import threadpool_limits

WINDOW = 1.0
"""Seconds over which the load of the machine is looked at."""


def available() -> int:
    """The cores that this process may use, by its affinity and the quota of its container."""
    return joblib.cpu_count()


def asked() -> int | None:
    """How many threads the user has asked for, with `OMP_NUM_THREADS`; None if that is left to us."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(given) if given.isdecimal() and int(given) else None


def choose() -> int:
    """How many threads to begin with: as the user asked, or one for each idle core, and at least one."""
    if given := asked():
        return min(given, torch.get_num_threads())  # fewer in a process that shares the cores with others of ours
    load = Load()
    time.sleep(WINDOW / 5)
    return load.room(min(available(), torch.get_num_threads()))


@contextlib.contextmanager
def limited(threads: int) -> Iterator[None]:
    """Let PyTorch, scikit-learn and NumPy have so many threads, for a while."""
    before = torch.get_num_threads()
    with threadpool_limits(threads):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def share(workers: int) -> int:
    """How many threads each of so many processes has."""
    return max(1, available() // workers)


@contextlib.contextmanager
def processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """So many processes of this machine, which share its cores; they end when this one is interrupted."""
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(share(workers),))
    with pool:
        try:
            yield pool
        except BaseException:
            started = [*(pool._processes or {}).values()]
            pool.shutdown(wait=False, cancel_futures=True)
            for process in started:
                process.kill()  # which loses nothing but an epoch; anything else the pool would take for an answer
            raise


def _begin(threads: int) -> None:
    """What a process of its own begins with: its share of the cores; Ctrl-C is for the one that started it."""
    torch.set_num_threads(min(threads, asked() or threads))
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Load:
    """How busy other processes keep the cores that this one may use, since it was last asked."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._mark()

    def _mark(self) -> None:
        times = psutil.cpu_times(percpu=True)
        # macOS knows no affinity; and a container may show fewer cores than it numbers.
        mine = self._process.cpu_affinity() if hasattr(self._process, "cpu_affinity") else []
        times = [times[core] for core in mine if core < len(times)] or times
        idle = sum(each.idle + getattr(each, "iowait", 0) for each in times)
        # Of a compiler, too, that a training has started; of those that have ended, their parents know.
        own = 0.0
        for process in (self._process, *self._process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                own += sum(process.cpu_times()[:4])
        self._now = (time.monotonic(), idle, own, sum(sum(each) for each in times), len(times))

    @property
    def seconds(self) -> float:
        """Since it was last asked."""
        return time.monotonic() - self._now[0]

    def others(self) -> float:
        """How many cores were kept busy by others; 0 where the machine does not say."""
        began, idle, own, ticks, cores = self._now
        self._mark()
        seconds, idle, own, ticks = (
            now - then for now, then in zip(self._now, (began, idle, own, ticks), strict=False)
        )
        return max(0.0, cores - (idle + own) / seconds) if ticks > 0 and seconds > 0.1 else 0.0

    def room(self, threads: int) -> int:
        """How many of `threads` have a core of their own; at least one."""
        others, cores = self.others(), self._now[-1]
        if threads + others <= cores + 0.5:
            return threads
        return max(1, min(threads, round(cores - others)))


class Share:
    """The threads of one training: as they were in one that is repeated or resumed; given up as others need them."""

    def __init__(self, threads: list[list[int]] | None, compiled: bool) -> None:
        self.threads: list[list[int]] = []
        self._compiled = compiled
        self._planned, self._load = [*(threads or [[0, choose()]])], Load()
        # Exactly so many, however busy the machine is.
        self._fixed = threads is not None or asked() is not None

    def before(self, step: int) -> None:
        """Take or give up threads before that step."""
        while self._planned and self._planned[0][0] <= step:
            self._have(*self._planned.pop(0))
        if step == 0:  # what came before, the learning-rate finder's steps, is none of this training's
            self._load = Load()
        if self._fixed or self._load.seconds < WINDOW:
            return
        paused = self._load.seconds > 10 * WINDOW  # then what others did meanwhile says nothing
        room = self._load.room(have := torch.get_num_threads())
        # With another number of threads everything is compiled anew: then one or two of many are not given up.
        if room <= (have // 2 if self._compiled else have - 1) and not paused:
            self._have(step, room)

    def _have(self, step: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self.threads.append([step, threads])

    def resume(self, threads: list[list[int]]) -> None:
        """Go on with as many as the training had, or with what there is."""
        step, had = threads[-1]
        self.threads = threads
        torch.set_num_threads(min(had, available()))
        if had > torch.get_num_threads():
            self.threads = [*threads, [step, torch.get_num_threads()]]
        self._planned = [each for each in self._planned if each[0] > step] if self._fixed else []
        # With more than the user asks for now it gives up what others need.
        self._fixed = self._fixed and torch.get_num_threads() <= (asked() or had)
