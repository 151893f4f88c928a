"""Python programs in processes of their own, which start at once: what takes seconds to import is there already.

Like `subprocess.Popen`, but forked from a process that has imported PyTorch, Lightning and Optuna, and has done nothing
else. That process knows nothing of this one: its hashes, for instance, are others.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import torch

PATIENCE = 1800.0
"""Seconds after which what is waited for counts as hung: far more than any machine needs."""

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["aelib.training", "aelib.study", "aelib.verify", "aelib.cli", "pytest"])
"""How to start processes that have imported everything; to be put in place of "spawn", which takes seconds for each."""


class Program:
    """A running Python program.

    Attributes:
        stdout: what it prints, a line when it has flushed one.
        returncode: its exit status; minus the signal that killed it; None as long as it runs.
        whole_group: whether signals are for all that it has started, too; it leads a group of its own then.
    """

    whole_group = False

    def __init__(self, program: str, folder: Path, environment: dict[str, str]) -> None:
        reader, writer = multiprocessing.Pipe(duplex=False)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        errors = Connection(os.dup(self._errors.fileno()), readable=False)
        self._process = WARM.Process(target=_run, args=(program, str(folder), environment, writer, errors))
        self._process.start()
        writer.close()
        errors.close()
        self.stdout = os.fdopen(os.dup(reader.fileno()))
        reader.close()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int:
        self._process.join(PATIENCE)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a program", PATIENCE)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self._process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself just now
                (os.killpg if self.whole_group else os.kill)(self._process.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def errors(self) -> str:
        """All that it has written to standard error so far."""
        return os.pread(self._errors.fileno(), 2**24, 0).decode()

    def communicate(self) -> tuple[str, str]:
        """Wait for its end; returns what is left of its output, which a pipe has to hold, and its errors."""
        self.wait()
        return self.stdout.read(), self.errors()


def _run(program: str, folder: str, environment: dict[str, str], output: Connection, errors: Connection) -> None:
    """In the new process: what a new Python would do."""
    os.dup2(output.fileno(), 1)
    os.dup2(errors.fileno(), 2)
    # Whoever waits for the end of the output waits for these to be closed.
    output.close()
    errors.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
