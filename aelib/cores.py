"""Which share of the machine's cores a training takes: those that are idle when it begins, fewer when others come.

With more busy threads than cores, each parallel region of a step waits until the scheduler gives the last of its
threads a turn, some hundred times a step: on two cores two trainings with two threads each took ten times as long as
one after the other.
"""

from __future__ import annotations

import os
import time

import joblib
import psutil
import torch

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
        return given
    load = Load()
    time.sleep(WINDOW / 5)
    return load.room(min(available(), torch.get_num_threads()))


class Load:
    """How busy other processes keep the cores that this one may use, since it was last asked."""

    def __init__(self) -> None:
        process = psutil.Process()
        # macOS knows no affinity.
        self._cores = process.cpu_affinity() if hasattr(process, "cpu_affinity") else range(psutil.cpu_count() or 1)
        self._mark()

    def _mark(self) -> None:
        times = psutil.cpu_times(percpu=True)
        idle = sum(times[core].idle + getattr(times[core], "iowait", 0) for core in self._cores if core < len(times))
        self._now = (time.monotonic(), idle, time.process_time())

    @property
    def seconds(self) -> float:
        """Since it was last asked."""
        return time.monotonic() - self._now[0]

    def others(self) -> float:
        """How many cores were kept busy by others."""
        began, idle, own = self._now
        self._mark()
        now, still_idle, by_now = self._now
        return max(0.0, len(self._cores) - (still_idle - idle + by_now - own) / max(now - began, 1e-3))

    def room(self, threads: int) -> int:
        """How many of `threads` have a core of their own; at least one."""
        others = self.others()
        if threads + others <= len(self._cores) + 0.5:
            return threads
        return max(1, min(threads, round(len(self._cores) - others)))
