"""Compilation that cannot be had, and a cache that a killed compiler has left broken."""

import os
import re
import sys
from pathlib import Path

import pytest
import torch
from conftest import lacking
from filelock import FileLock
from safetensors import _safetensors_rust
from test_training import SHALLOW, digest, few_loaders, train

from aelib import compilation, engines, lightning, training

AVAILABLE, COMPILE = compilation.available, torch.compile

NO_HEADERS = """#!/bin/sh
for each in "$@"; do case "$each" in --version | -v) exec g++ "$@" ;; esac; done
echo "kernel.cpp:1:10: fatal error: Python.h: No such file or directory" >&2
exit 1
"""


@pytest.fixture(autouse=True)
def untried(monkeypatch, tmp_path):
    """As in a new process, with a cache of its own, where everything is compiled."""
    if sys.platform != "linux":
        lacking("Linux, where alone aelib compiles")
    from torch._inductor.cpu_vec_isa import pick_vec_isa
    from torch._inductor.runtime import cache_dir_utils

    if AVAILABLE():
        # Once a process PyTorch tries what the processor can, by compiling: a compiler that fails here would have it
        # take the processor for a lesser one in all tests that follow.
        pick_vec_isa()
    monkeypatch.setattr(compilation, "_tried", {})
    monkeypatch.setattr(engines, "COMPILE_FROM_STEPS", 1)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setattr(cache_dir_utils, "default_cache_dir", lambda: str(tmp_path / "by default"))
    AVAILABLE.cache_clear()
    yield
    AVAILABLE.cache_clear()
    torch.compiler.reset()


def test_without_the_headers_of_python_it_trains_uncompiled_and_says_so_once(tmp_path, monkeypatch, capsys):
    if not compilation.available():
        lacking("C++ compiler on Linux (Debian: g++)")
    with monkeypatch.context() as patch:
        patch.setattr(engines, "COMPILE_FROM_STEPS", 10**9)
        plain = digest(*train(few_loaders(), tmp_path / "plain", network=SHALLOW, max_epochs=2))
    compiler = tmp_path / "no-headers"
    compiler.write_text(NO_HEADERS)
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    # Not by monkeypatch, which may leave that setting hidden from the tests that follow.
    with torch._inductor.config.patch({"cpp.cxx": (str(compiler),)}):
        for name in ("one", "two"):
            assert engines.choose_engine(1).compiled is (name == "one")
            assert digest(*train(few_loaders(), tmp_path / name, network=SHALLOW, max_epochs=2)) == plain
    said = capsys.readouterr().err
    assert said.count("aelib: torch.compile does not work here (") == said.count("\n") == 1, said
    assert "Python.h: No such file or directory; Debian: python3-dev): training without torch.compile, up to" in said


def fails(times: int, monkeypatch) -> list[int]:
    """Have the compiler fail so many times; returns the list of its attempts."""
    attempts = list[int]()

    def backend(graph, _):
        attempts.append(1)
        if len(attempts) <= times:
            raise ImportError("/tmp/xy/cxy.so: file too short")
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda work, dynamic, **_: COMPILE(work, dynamic=dynamic, backend=backend))
    monkeypatch.setattr(compilation, "available", lambda: True)
    return attempts


@pytest.mark.parametrize("variable", ["TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE"])
def test_compilation_that_is_turned_off_is_not_recorded(variable, python):
    program = "from aelib import compilation, engines; print(engines.choose_engine(10**9).compiled)"
    said, errors = python(program, **{variable: "1"}).communicate()
    assert said == "False\n"
    assert "turns torch.compile off: training without" in errors


@pytest.mark.parametrize("place", ["", "file/folder", "/proc/none"])
def test_what_is_compiled_has_a_place(place, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    folder = place and str(tmp_path / place)  # of an absolute one that is itself
    monkeypatch.setenv(compilation.PLACE, folder)
    compilation.find_place()
    assert Path(os.environ[compilation.PLACE]).is_dir()
    assert f"{compilation.PLACE} is {folder!r}, which cannot be used" in capsys.readouterr().err
    compilation.find_place()
    assert capsys.readouterr().err == ""


@pytest.fixture
def emptied(monkeypatch):
    """Whether the cache, in which there is a file of another program, has been emptied."""
    ours, theirs = (Path(os.environ["TORCHINDUCTOR_CACHE_DIR"], name) for name in ("xy/cxy.main.so", "xy/notes.txt"))
    ours.parent.mkdir(parents=True)
    for path in (ours, theirs):
        path.write_bytes(Path(_safetensors_rust.__file__).read_bytes())
    return lambda: not ours.exists() and theirs.exists()


def test_a_broken_cache_is_made_anew(tmp_path, monkeypatch, emptied, capsys):
    fails(1, monkeypatch)
    _, history = train(few_loaders(), tmp_path / "run", max_epochs=1)
    assert history.engine.compiled
    assert emptied()
    assert capsys.readouterr().err == ""


def test_a_compiler_that_fails_in_the_midst_of_a_training_has_it_begun_again(tmp_path, monkeypatch, capsys):
    """Half compiled it would end with bits that no machine can make again."""
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(engines, "COMPILE_FROM_STEPS", 10**9)
        plain = digest(*train(few_loaders(), tmp_path / "plain", max_epochs=3))

    def other_threads(self):  # with which all is compiled anew
        if self.current_epoch == 1 and self.engine.compiled:
            torch.compiler.reset()
            fails(9, monkeypatch)
            self._training_losses = torch.compile(self.model.losses, dynamic=False)

    monkeypatch.setattr(lightning.Training, "on_train_epoch_start", other_threads)
    fails(0, monkeypatch)
    model, history = train(few_loaders(), tmp_path / "run", max_epochs=3)
    assert not history.engine.compiled
    assert digest(model, history) == plain
    said = capsys.readouterr().err
    assert "file too short): training without torch.compile" in said
    assert re.search(
        r"is not gone on from \(begun in \w+ on cpu, compiled, here it is in \w+ on cpu, not compiled", said
    )


def test_what_a_model_does_wrong_is_not_the_compilers(tmp_path, monkeypatch):
    fails(0, monkeypatch)
    monkeypatch.setattr(lightning.Training, "_record", lambda *_: torch.zeros(2) + torch.zeros(3))
    with pytest.raises(RuntimeError, match="must match the size"):
        train(few_loaders(), tmp_path / "run", max_epochs=1)


@pytest.mark.parametrize("left", ["nothing", "a page", "half", "all but a byte", "zeros"])
def test_a_library_that_was_not_written_to_its_end_is_removed(left):
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    whole = Path(_safetensors_rust.__file__).read_bytes()
    size = {"nothing": 0, "a page": 4096, "half": len(whole) // 2}.get(left, len(whole) - 1)
    (folder / "ab").mkdir(parents=True)
    good, bad, busy = (folder / "ab" / f"c{name}.main.so" for name in ("good", "bad", "busy"))
    good.write_bytes(whole)
    for path in (bad, busy):
        path.write_bytes(bytes(size) if left == "zeros" else whole[:size])
    (folder / "locks").mkdir()
    with FileLock(folder / "locks/cbusy.lock"):
        compilation.mend()
    assert good.exists()
    assert not bad.exists()
    assert busy.exists(), "it is being written"
