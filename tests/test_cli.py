"""The command line: one clear line and an exit status."""

import io
import os
import signal
import subprocess
import sys
import time

import pytest
import tiny
from faults import tried

from aelib import cli, commands


def test_a_wrong_name_is_one_line(capsys):
    assert cli.main(["train", "convolutionl", "--profile", "smoke"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("aelib: experiment must be one of convolutional, denoising")
    assert error.endswith("not 'convolutionl'; did you mean 'convolutional'?\n")
    assert error.count("\n") == 1


def test_an_empty_option_is_not_none(capsys):
    assert cli.main(["claims", "--profile", "smoke", "--seeds", ""]) == 1
    assert "seeds are whole numbers such as" in capsys.readouterr().err


def test_a_chapter_is_looked_up_before_data_are_fetched(capsys, monkeypatch):
    monkeypatch.setattr(commands, "do_data", lambda _: pytest.fail("data were fetched"))
    assert cli.main(["chapter", "04_variatonal"]) == 1
    assert "did you mean '04_variational'" in capsys.readouterr().err


def test_all_names_are_checked_before_the_first_is_trained(capsys, monkeypatch):
    from aelib import experiments

    monkeypatch.setattr(experiments, "obtain", lambda *_, **__: pytest.fail("trained"))
    assert cli.main(["train", "convolutional", "nonsense", "--profile", "smoke"]) == 1
    assert "not 'nonsense'" in capsys.readouterr().err


def test_a_package_that_is_not_installed_is_named(capsys, monkeypatch):
    """As on a machine that is there to train, without what builds the book; but a module of ours is a fault of ours."""

    def missing(name):
        def action(_):
            raise ModuleNotFoundError(name=name)

        monkeypatch.setattr(commands, "do_runs", action)
        return cli.main(["runs"])

    assert missing("papermill.clientwrap") == 1
    assert capsys.readouterr().err == "aelib: this needs papermill, which is not installed: pip install 'aelib[book]'\n"
    with pytest.raises(ModuleNotFoundError):
        missing("aelib.gone")


def test_what_is_no_value_is_a_word(capsys):
    assert cli.main(["train", "variational", "--set", "beta={[]:1}", "--profile", "smoke"]) == 1
    assert "beta must be a number" in capsys.readouterr().err


def test_with_debug_the_traceback_is_shown():
    from aelib.errors import AelibError

    with pytest.raises(AelibError):
        cli.main(["--debug", "train", "--profile", "nonsense"])


def test_data_from_a_folder(idx_folder, capsys):
    assert cli.main(["data", "--from", str(idx_folder)]) == 0
    assert "FashionMNIST is verified in" in capsys.readouterr().out
    (idx_folder / "train-labels-idx1-ubyte").write_bytes(b"")
    assert cli.main(["data", "--from", str(idx_folder)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_train_and_read_back(capsys, all_tiny):
    assert cli.main(["train", "convolutional", "--profile", "smoke", "--seed", "2"]) == 0
    assert "test_loss" in capsys.readouterr().out


def test_help_does_not_wait_for_torch():
    program = "import sys; from aelib import cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


SLURM = {"NTASKS": "4", "PROCID": "1", "LOCALID": "1", "NODEID": "0", "JOB_ID": "77", "JOB_NAME": "study"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("cluster", [{}, {f"SLURM_{name}": value for name, value in SLURM.items()}], ids=["", "slurm"])
def test_stopped_it_goes_on_later(cluster, number, status, python, tmp_path):
    """As one of the tasks of a cluster's job, too."""
    program = tiny.BEGIN + (
        "import time; from aelib import cli, lightning\n"
        "lightning.Training.on_train_epoch_start = lambda self: time.sleep(60 * self.current_epoch)\n"
        "sys.exit(cli.main(['train', 'convolutional', '--profile', 'smoke']))"
    )
    process = python(program, **cluster)
    while not list(tmp_path.glob("results/smoke/.*/checkpoint")):
        assert process.poll() is None, process.errors()
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == status, errors
    assert errors.splitlines()[-1].startswith("aelib: interrupted")
    assert "Traceback" not in errors
    assert list(tmp_path.glob("results/smoke/.*/checkpoint"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_while_python_cannot_be_it_stops_all_the_same(number, status, python):
    program = (
        "import os, sys, time; from aelib import cli\n"
        "class Last:\n"
        "    def __del__(self):\n"
        f"        os.kill(os.getpid(), {number:d})\n"
        "        time.sleep(0)\n"
        "def lose_one(options):\n"
        "    Last()\n"
        "    time.sleep(20)\n"
        "cli.commands.do_study = lose_one\n"
        "sys.exit(cli.main(['study']))"
    )
    process = python(program)
    _, errors = process.communicate()
    assert process.returncode == status, errors
    assert "Traceback" not in errors


@pytest.mark.faults
def test_a_reader_that_has_seen_enough_is_no_fault():
    program = "import sys; from aelib import cli; cli.commands.do_data = lambda _: print('a line\\n' * 100_000)\n"
    program += "sys.exit(cli.main(['data']))"
    shell = f'set -o pipefail; {sys.executable} -c "$PROGRAM" | head -1'
    done = subprocess.run(["bash", "-c", shell], env=os.environ | {"PROGRAM": program}, capture_output=True, text=True)
    assert done.stdout == "a line\n"
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == ""
    tried("A reader has seen enough", "a command's output into `head -1`", 1, "no traceback")


@pytest.mark.parametrize("shell", ['"$@" >&-', '"$@" >&- 2>&-'])
def test_a_daemon_has_no_terminal(shell, tmp_path):
    command = [sys.executable, "-m", "aelib.cli", "runs", "--profile", "smoke"]
    own = os.environ | {"AELIB_RESULTS": str(tmp_path)}
    assert subprocess.run(["bash", "-c", shell, "-", *command], env=own, stderr=subprocess.PIPE).returncode == 0


def test_no_command_asks_which_windows_matplotlib_knows():
    program = "import sys; from aelib import cli; cli.commands.do_data = lambda _: __import__('aelib.figures')\n"
    program += "sys.exit(cli.main(['data']))"
    own = os.environ | {"MPLBACKEND": "Qt4Agg"}
    done = subprocess.run([sys.executable, "-c", program], env=own, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("text", "value"), [("4", 4), ("0.5", 0.5), ("None", None), ("True", True)])
def test_a_chapters_parameter_is_what_papermill_makes_of_it(text, value):
    assert cli.commands._value(text) == value
    assert cli.commands._value(f"{text},{text}") == f"{text},{text}"


def test_letters_that_the_terminal_does_not_have(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(cli.commands, "do_data", lambda _: print("β is 2, ±1"))
    assert cli.main(["data"]) == 0
    assert terminal.buffer.getvalue() == "? is 2, ±1\n".encode("latin-1")
