"""Faults that really happen: what is said, and what is lost, which is nothing.

Here are those that kill, damage and starve; others, marked alike, stand beside the tests of what they strike.
"""

import gzip
import hashlib
import itertools
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import nbformat
import optuna
import pytest
import tiny
import torch
from conftest import ROOT, lacking, write
from faults import TIMES, tried
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell
from processes import PATIENCE
from test_book import read as chapter
from test_book import second_chapter
from test_compilation import NO_HEADERS
from test_study import outcome as trials_of

from aelib import (
    book,
    checkpoints,
    cli,
    data,
    experiments,
    formats,
    latent,
    metrics,
    profiles,
    runs,
    study,
    training,
    verify,
)
from aelib.data import SplitConfig, fashion_mnist, synthetic
from aelib.errors import AelibError
from aelib.models.base import plain
from aelib.provenance import commit_checked_out

pytestmark = pytest.mark.faults
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, but for locks, and for provenance, which says when."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not path.name.endswith(".lock") and path.name not in ("provenance.json", runs.CHECKSUMS)
    }


def strike(start, outcome, reset, times=TIMES) -> int:
    """Stop a command so many times, each at a random moment of its work; it always ends with the same outcome.

    Args:
        start: starts a `program`.
        outcome: what it has made.
        reset: does away with that.
    """

    def run(seconds: float | None = None, number: signal.Signals = signal.SIGKILL) -> tuple[float, int, str]:
        process = start()
        try:
            while process.stdout.readline() != "go\n":
                assert process.poll() is None, process.errors()
            began = time.perf_counter()
            if seconds is not None:
                time.sleep(seconds)
                process.send_signal(number)
            while process.stdout.readline() not in ("done\n", ""):
                pass
            took = time.perf_counter() - began
            _, errors = process.communicate()
        finally:
            process.kill()
        return took, process.returncode, errors

    took, status, errors = run()
    assert status == 0, errors
    expected = outcome()
    reset()
    moments, hits = random.Random(0), 0
    while hits < times:
        # From a moment on in which the command has taken over from the program that starts it.
        _, status, errors = run(0.02 + moments.uniform(0, took), SIGNALS[hits % len(SIGNALS)])
        assert "Traceback" not in errors, errors
        if status == 0:  # it was quicker
            assert outcome() == expected
            reset()
        else:
            hits += 1
    _, status, errors = run()
    assert status == 0, errors
    assert outcome() == expected
    return hits


def program(*arguments: str, before: str = "") -> str:
    """A command as a program that says when its work begins and when it is done; no signal strikes after that."""
    return (
        "import signal, sys; from pathlib import Path\n"
        "from aelib import book, cli, data, experiments, runs, study, verify\n"
        f"{before}\nprint('go', flush=True)\nstatus = cli.main({[*arguments]!r})\n"
        "for each in (signal.SIGTERM, signal.SIGINT): signal.signal(each, signal.SIG_IGN)\n"
        "print('done', flush=True)\nsys.exit(status)"
    )


HOW = "SIGKILL, SIGTERM and Ctrl-C in turns, at random moments"
SAME = "started again, it ends with the same bytes"


TRAIN = program("train", "convolutional", "--profile", "smoke", before=tiny.BEGIN)


def test_a_training_that_is_killed(python, tmp_path):
    results = tmp_path / "results"
    hits = strike(lambda: python(TRAIN), lambda: digests(results), lambda: shutil.rmtree(results))
    tried("A training is killed", HOW, hits, SAME)


COMPILED = """
import os
from aelib import engines, experiments
from test_training import SHALLOW
engines.COMPILE_FROM_STEPS = 1
chosen = experiments.EXPERIMENTS["convolutional"]
experiments.EXPERIMENTS["convolutional"] = chosen.with_choice(SHALLOW, chosen.training)
"""


@pytest.mark.skipif("AELIB_FAULTS" not in os.environ, reason="minutes of compilation: make faults")
def test_a_compiled_training_that_is_killed(python, tmp_path, monkeypatch):
    """With all that it has started, as Ctrl-C does in a terminal; of the compiler's cache nothing is known before."""
    results, cache = tmp_path / "results", tmp_path / "compiled"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    monkeypatch.setenv("LOGNAME", f"aelib-{os.getpid()}")  # the compiler's headers are kept by that name
    headers = Path(tempfile.gettempdir(), f"torchinductor_aelib-{os.getpid()}")
    command = program("train", "convolutional", "--profile", "smoke", before=f"{tiny.BEGIN}{COMPILED}os.setpgid(0, 0)")

    def start():
        process = python(command)
        process.whole_group = True
        return process

    def outcome():
        (path,) = (results / "smoke").glob("convolutional-*/provenance.json")
        assert json.loads(path.read_text())["engine"]["compiled"]
        return digests(results)

    def reset():
        for folder in (results, cache, headers):
            shutil.rmtree(folder, ignore_errors=True)

    try:
        hits = strike(start, outcome, reset, times=min(TIMES, 3))
    finally:
        shutil.rmtree(headers, ignore_errors=True)
    tried("A compiled training is killed", f"{HOW}, most while it compiles, the compiler with it", hits, SAME)


def test_a_task_of_a_cluster(python, tmp_path, all_tiny):
    """Four tasks of a job of SLURM's, as `srun` starts them: workers of one study."""
    variables = {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "study", "SLURM_NODEID": "0"}
    tasks = [python(STUDY, **variables, SLURM_PROCID=str(n), SLURM_LOCALID=str(n)) for n in range(4)]
    outputs = [task.communicate() for task in tasks]
    assert [task.returncode for task in tasks] == [0] * 4, [errors for _, errors in outputs]
    said = "".join(errors for _, errors in outputs)
    assert [said.count(f"trial {number} completed") for number in range(4)] == [1] * 4
    assert len({output for output, _ in outputs}) == 1
    tried("A cluster's variables are set", "SLURM's, four tasks", 1, "four workers of one study; each trial once")


def test_an_evaluation_that_is_killed(python, tmp_path, all_tiny):
    experiments.obtain("convolutional", profile="smoke")
    results = tmp_path / "results"

    def trained():
        return {name: digest for name, digest in digests(results).items() if verify.VERIFIED not in name}

    before = trained()
    nowhere = "runs.ROOT = Path('nowhere')"  # where no book is built
    command = program("verify", "--profile", "smoke", before=tiny.BEGIN + nowhere)
    hits = strike(
        lambda: python(command), trained, lambda: (results / "smoke" / verify.VERIFIED).unlink(missing_ok=True)
    )
    assert trained() == before
    tried("An evaluation (`aelib verify`) is killed", HOW, hits, "it has changed nothing")


STUDY = program("study", "--profile", "smoke", before=tiny.BEGIN)


def test_a_study_that_is_killed(python, tmp_path, all_tiny):
    results = tmp_path / "results"

    def outcome():
        return trials_of(study.load(study.Plan("smoke")).trials)

    hits = strike(lambda: python(STUDY), outcome, lambda: shutil.rmtree(results))
    tried("A study is killed", HOW, hits, "started again, it ends with the same trials, each counted once")


@pytest.fixture
def four_files(tmp_path):
    """A folder in the place of FashionMNIST's, and a program that fetches from there."""
    folder, generator = tmp_path / "four files", random.Random(0)
    folder.mkdir()
    contents = {name: generator.randbytes(4_000_000) for name in data.FILES}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return folder, program("data", "--from", str(folder), before=f"data.FILES.update({files!r})")


def test_a_fetch_that_is_killed(python, tmp_path, four_files):
    _, command = four_files
    cache = tmp_path / "no-data"
    hits = strike(lambda: python(command), lambda: digests(cache), lambda: shutil.rmtree(cache))
    tried("The fetch of the data is killed", HOW, hits, SAME)


def test_two_fetches_at_once(python, tmp_path, four_files):
    folder, command = four_files
    for _ in range(TIMES):
        processes = [python(command) for _ in range(2)]
        for process in processes:
            _, errors = process.communicate()
            assert process.returncode == 0, errors
        assert digests(tmp_path / "no-data") == digests(folder)
        shutil.rmtree(tmp_path / "no-data")
    tried("Two processes fetch the data", "both at once", TIMES, "both have it")


def test_chapters_that_are_killed(python, small_book):
    """Two, which are executed at once."""
    second_chapter(small_book, "import time\ntime.sleep(1)\nprint('the other')")
    before = f"runs.ROOT = Path({str(small_book)!r}); book.driver._render = lambda *_: book.Line('', '', 0.0)"
    command = program("book", "--profile", "smoke", before=before)
    built = small_book / "_build"

    def outputs() -> str:
        paths = [built / f"executed/smoke/{name}.ipynb" for name in ("chapter", "other")]
        cells = [cell for path in paths for cell in nbformat.read(path, as_version=4).cells]
        return re.sub("<dc:date>.*?</dc:date>", "", json.dumps([cell.get("outputs") for cell in cells]))

    hits = strike(lambda: python(command), outputs, lambda: shutil.rmtree(built))
    tried("The execution of two chapters at once is killed", HOW, hits, "started again, it ends with the same outputs")


def test_a_build_that_is_killed(python, small_book):
    command = program("book", "--profile", "smoke", before=f"runs.ROOT = Path({str(small_book)!r})")
    html = small_book / "_build/html"
    _, errors = python(command).communicate()
    assert html.exists(), errors
    shutil.rmtree(html)
    hits = strike(lambda: python(command), lambda: digests(html), lambda: shutil.rmtree(html))
    tried("The build of a book from executed chapters is killed", HOW, hits, SAME)


def test_two_trainings_at_once(python, tmp_path):
    processes = [python(TRAIN) for _ in range(2)]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(errors.count("aelib: training") for _, errors in outputs) == 1, "one trains"
    assert outputs[0][0] == outputs[1][0], "both have it"
    tried("Two processes ask for one run", "both at once", 1, "one trains, both have it")


# ---------------------------------------------------------------- people's habits


def outcomes(root: Path) -> list[str]:
    """Of a build of the small book, in the profile that `built_book` is of."""
    return [line.outcome for line in book.build(root, profile="quick", notice=profiles.PROFILES["quick"].notice)]


def test_a_book_that_somebody_else_has_touched(built_book):
    html, executed = built_book / "_build/html", built_book / "_build/executed/quick/chapter.ipynb"
    assert outcomes(built_book) == ["skipped: nothing changed"] * 2
    before = digests(html)
    page, search = html / "book/chapter.html", html / "searchindex.js"
    touches = [page.unlink, lambda: page.write_text("other"), search.unlink, (html / "index.html").unlink]
    touches.append(lambda: (html / "old.html").touch())
    for touch in touches:
        touch()
        assert outcomes(built_book) == ["skipped: nothing changed", "rendered"]
        assert digests(html) == before
    executed.write_text(executed.read_text().replace("0.12345", "0.12245"))
    assert outcomes(built_book)[0] == "ran: what it had made changed"
    assert "0.12345" in page.read_text()
    how = "pages deleted, overwritten and added; the outputs of a chapter edited"
    tried("A built book is touched by somebody else", how, len(touches) + 1, "`make book` makes it anew")


def test_a_built_checkout_that_is_copied(small_book, tmp_path, monkeypatch):
    cells = chapter(small_book)
    cells[2].source = re.sub(r"Path\('.*?'\)", "next(runs.results_folder().glob('report/test-*'))", cells[2].source)
    cells[2].source += "\nprint(run.history)"
    write(small_book, cells)
    outcomes(small_book)
    others = tmp_path / "moved", tmp_path / "Kopie {für} Zoë"
    for other in others:
        for name in ("results", small_book.name):
            shutil.copytree(tmp_path / name, other / name)
    for name in ("results", small_book.name):
        shutil.rmtree(tmp_path / name)
    for other in others:
        monkeypatch.setenv("AELIB_RESULTS", str(other / "results"))
        assert outcomes(other / small_book.name) == ["skipped: nothing changed"] * 2
    (run,) = (runs.load(path) for path in (other / "results/report").glob("test-*"))
    runs.load_or_make(run.path, lambda _: replace(run, history=[{"epoch": 2}]), again=True)
    assert outcomes(other / small_book.name) == [f"ran: run {run.path.name} changed", "rendered"]
    monkeypatch.setenv("AELIB_RESULTS", str(others[0] / "results"))
    assert outcomes(others[0] / small_book.name) == ["skipped: nothing changed"] * 2
    how = "copied twice, once to an odd path, and the original deleted; a run of one copy trained again"
    tried("A built checkout is copied or moved", how, 2, "each is a project of its own, and builds nothing in vain")


def test_what_others_have_set_up_for_jupyter(small_book, tmp_path, monkeypatch):
    """A kernel of another environment in place of ours; code and settings for each kernel that a user starts."""
    executed = small_book / "_build/executed/quick/chapter.ipynb"
    cells = [*chapter(small_book), new_code_cell("'first'\n'last'"), new_code_cell("import sys\nsys.executable")]
    write(small_book, cells)

    def outputs() -> list:
        book.chapter.execute(small_book / "book/chapter.ipynb", executed, {}, {}, [])
        read = nbformat.read(executed, as_version=4).cells
        return [re.sub("<dc:date>.*?</dc:date>", "", json.dumps(cell.get("outputs"))) for cell in read]

    before = outputs()
    assert sys.executable in before[-1]
    odd = "raise SystemExit('of another')"
    files = {
        "jupyter/kernels/python3/kernel.json": json.dumps(
            {"argv": [sys.executable, "-c", odd], "display_name": "Python 3", "language": "python"}
        ),
        "ipython/profile_default/startup/00-first.py": "print('of the user')",
        "ipython/profile_default/ipython_config.py": "get_config().InteractiveShell.ast_node_interactivity = 'all'",
        "startup.py": "print('of the user')",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for variable, name in (("JUPYTER_PATH", "jupyter"), ("IPYTHONDIR", "ipython"), ("PYTHONSTARTUP", "startup.py")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.setenv("MPLBACKEND", "Qt4Agg")  # which Matplotlib has no more
    assert outputs() == before
    how = "a `python3` kernel of another Python; IPython's settings and startup files, `PYTHONSTARTUP`, `MPLBACKEND`"
    tried("Jupyter is set up in other ways", how, 5, "the chapters run on the Python that builds, and end the same")


def test_an_installed_copy_of_aelib(tmp_path):
    """As on Binder, where a kernel starts in the folder of its chapter."""
    checkout, installed = tmp_path / "project", tmp_path / "site-packages"
    shutil.copytree(ROOT / "aelib", installed / "aelib")
    shutil.copytree(ROOT / "aelib", checkout / "aelib")
    (checkout / "_toc.yml").touch()
    (checkout / "book").mkdir()
    (tmp_path / "elsewhere").mkdir()
    write(checkout, [new_code_cell("from aelib import runs\nprint(runs.ROOT, runs.results_folder())")])
    clean = {name: value for name, value in os.environ.items() if name != "AELIB_RESULTS"}
    papermill = Path(sys.executable).with_name("papermill")
    expected = {checkout / "book": checkout, checkout: checkout, tmp_path / "elsewhere": tmp_path / "elsewhere"}
    for here, project in expected.items():
        command = [papermill, checkout / "book/chapter.ipynb", tmp_path / "out.ipynb"]
        subprocess.run(command, cwd=here, env=clean | {"PYTHONPATH": str(installed)}, capture_output=True, check=True)
        (cell,) = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
        root = checkout if here == checkout else installed  # a kernel looks for modules where it stands
        assert cell.outputs[0].text == f"{root} {project / 'results'}\n"
    how = "in `book/`, at the root, elsewhere, by papermill"
    tried("aelib is installed as a copy", how, len(expected), "the runs of the checkout, where there is one")


def test_a_network_that_the_page_cannot_compute(all_tiny, tiny_results, chromium, monkeypatch, capsys, tmp_path):
    load = experiments.load_model

    def load_with_elu(run):
        model = load(run)
        if run.config["experiment"] == "denoising":
            model.features[2] = torch.nn.ELU()
        return model

    monkeypatch.setenv("AELIB_RESULTS", str(tiny_results))
    monkeypatch.setattr(experiments, "load_model", load_with_elu)
    (tmp_path / "requirements.txt").touch()
    for outcome in ("ran: not executed yet", "skipped: nothing changed"):
        capsys.readouterr()
        assert book.driver.write_explorer(tmp_path, tmp_path / "executed", "smoke")[0].outcome == outcome
        why = "network.js has no layer for ELU(alpha=1.0)"
        (said,) = [line for line in capsys.readouterr().err.splitlines() if "explore" in line]
        assert said == f"aelib: the page explore goes without exhibits of denoising: {why}"
    (tmp_path / "executed/explore").rename(tmp_path / "explore")
    for script in ("network.js", "explore.js"):
        shutil.copy(ROOT / "book/_static" / script, tmp_path)
    exhibits = "".join(f'<div data-explore="{name}"></div>' for name in ("map", "repair"))
    scripts = "".join(f'<script src="{name}.js"></script>' for name in ("network", "explore"))
    (tmp_path / "page.html").write_text(f"<!doctype html><meta charset=utf-8>{exhibits}{scripts}")
    page = chromium.new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    page.get_by_text(f"This exhibit is left out: {why}.").wait_for()
    page.locator("[data-explore=map] canvas").first.wait_for()
    page.close()
    how = "ELU in one of three networks"
    tried("A layer that the page to play with does not have", how, 1, "the page goes without that exhibit, and says so")


LACKS = ["aelib"], ["torch"], ["aelib", "myst_nb"]


def test_papermill_with_a_kernel_of_another_python(tmp_path, monkeypatch):
    """Of one that has ipykernel, and of aelib and its needs only a part."""
    spec = tmp_path / "jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    papermill, names = Path(sys.executable).with_name("papermill"), book.chapters(ROOT)
    names = names if TIMES > 1 else names[: len(LACKS)]
    for name, lacks in zip(names, itertools.cycle(LACKS), strict=False):
        without = f"import sys; sys.modules |= dict.fromkeys({lacks}); from ipykernel import kernelapp as app; "
        argv = [sys.executable, "-c", without + "app.launch_new_instance()", "-f", "{connection_file}"]
        spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
        command = [papermill, ROOT / f"book/{name}.ipynb", tmp_path / "out.ipynb"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode != 0
        said = (
            f"ModuleNotFoundError: {sys.executable} has no {', no '.join(lacks)}: take the papermill or the kernel of"
        )
        assert done.stderr.strip().splitlines()[-1].startswith(said), done.stderr
    how = "one without aelib, torch or myst-nb, with each chapter"
    tried("papermill finds a kernel of another Python", how, len(names), "the chapter says which Python lacks what")


def test_papermills_own_options(tmp_path):
    """They set parameters that no chapter has; this one all of them."""
    notebook = nbformat.read(ROOT / "book/04_variational.ipynb", as_version=4)
    refuses, uses = "only_known_parameters()\n", "print(profile, dataset, seed, config, beta, latent_dim)"
    last = next(number for number, cell in enumerate(notebook.cells) if refuses in cell.source)
    notebook.cells[last:] = [new_code_cell(notebook.cells[last].source.partition(refuses)[0] + refuses + uses)]
    nbformat.write(notebook, tmp_path / "chapter.ipynb")
    papermill = Path(sys.executable).with_name("papermill")
    command = [papermill, tmp_path / "chapter.ipynb", tmp_path / "out.ipynb", "--inject-paths", "-p", "beta", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    assert any("PAPERMILL_" in cell.source for cell in cells)
    assert cells[-1].outputs[0].text == "report None 0 report 4 None\n"
    tried("papermill's own options", "`--inject-paths`", 1, "the chapter runs")


@pytest.mark.parametrize("what", [".", "book/01_convolutional.ipynb"])
def test_jupyter_books_own_command(what, tmp_path):
    for name in ("_config.yml", "_toc.yml", "book", "tools"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    page = tmp_path / "_build/html/index.html"
    page.parent.mkdir(parents=True)
    page.write_text("the book")
    program = Path(sys.executable).with_name("jupyter-book")
    done = subprocess.run([program, "build", what], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0
    assert one_line(done.stderr).endswith("run `make book`, or `aelib book`")
    assert [path for path in (tmp_path / "_build").rglob("*") if path.is_file()] == [page]
    assert page.read_text() == "the book"
    tried("`jupyter-book build` in place of `make book`", f"`jupyter-book build {what}`", 1, "one line; writes nothing")


# ---------------------------------------------------------------- disks


def apart(kind: str, script: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a shell script with a `kind` of things, mounts or networks, that the rest of the machine does not see."""
    unshare = ["unshare", kind, *([] if os.getuid() == 0 else ["--map-root-user"])]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        lacking("unshare that works here (Debian: util-linux; some systems leave it to root)")
    variables = {"PYTHON": sys.executable, "TWICE": TWICE} | environment
    return subprocess.run(
        [*unshare, "bash", "-eu", "-c", script],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def on_a_disk(tmp_path, options: str, script: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a shell script in which `$DISK` is a small disk of its own."""
    (tmp_path / "disk").mkdir(exist_ok=True)
    mount = f'mount -t tmpfs -o {options} tmpfs "$DISK"\n'
    return apart("--mount", mount + script, DISK=str(tmp_path / "disk"), OUT=str(tmp_path), **environment)


def one_line(errors: str) -> str:
    """What is left of standard error without the notes on the way."""
    lines = [line for line in errors.splitlines() if not line.startswith(("aelib: training ", "aelib: executing "))]
    assert len(lines) == 1, errors
    return lines[0]


FULL_THEN_NOT = """
"$PYTHON" -c "$TWICE" >/dev/null
cp -r "$DISK" "$OUT/kept"
"""
TWICE = """
import os, subprocess, sys
from aelib import book, cli, study, training, verify  # once for both

def attempt():
    if not (child := os.fork()):
        try:
            exec(os.environ["PROGRAM"], {})
        except SystemExit as end:
            sys.stderr.flush()
            os._exit(end.code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

if attempt() == 0:
    sys.exit("it did not notice")
subprocess.run(["mount", "-o", "remount,size=200m", os.environ["DISK"]], check=True)
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
sys.exit(attempt())
"""


@pytest.mark.parametrize("size", ["64k", "160k"] if TIMES > 1 else ["160k"])
def test_a_full_disk_in_training(size, tmp_path, all_tiny):
    results = str(tmp_path / "disk/results")
    done = on_a_disk(tmp_path, f"size={size}", FULL_THEN_NOT, PROGRAM=TRAIN, AELIB_RESULTS=results)
    assert done.returncode == 0, done.stderr
    assert "No space left on device" in one_line(done.stderr)
    assert "make room, or name another folder in AELIB_RESULTS" in done.stderr
    run = experiments.obtain("convolutional", profile="smoke")
    assert digests(tmp_path / "kept/results/smoke" / run.path.name) == digests(run.path)
    tried(
        "The disk is full in training",
        f"a disk of {size[:-1]} KiB, then a larger one",
        1,
        f"one line; {SAME}",
    )


def test_a_full_disk_in_a_study(tmp_path, all_tiny):
    done = on_a_disk(tmp_path, "size=1m", FULL_THEN_NOT, PROGRAM=STUDY, AELIB_RESULTS=str(tmp_path / "disk/results"))
    assert done.returncode == 0, done.stderr
    assert "No space left on device" in one_line(done.stderr)
    found, undisturbed = (
        study.load(study.Plan("smoke", folder=tmp_path / "kept/results")),
        study.obtain(study.Plan("smoke")),
    )
    assert trials_of(found.trials) == trials_of(undisturbed.trials)
    tried(
        "The disk is full in a study", "a disk of 1 MiB, then a larger one", 1, "one line; it ends with the same trials"
    )


def test_a_full_disk_in_a_fetch(tmp_path, four_files):
    folder, command = four_files
    done = on_a_disk(tmp_path, "size=9m", FULL_THEN_NOT, PROGRAM=command, AELIB_DATA=str(tmp_path / "disk/data"))
    assert done.returncode == 0, done.stderr
    assert "disk/data cannot be written (No space left on device): name another one" in one_line(done.stderr)
    assert digests(tmp_path / "kept/data") == digests(folder)
    tried("The disk is full in a fetch", "a disk of 9 MiB, then a larger one", 1, f"one line; {SAME}")


def test_a_full_disk_in_a_build(tmp_path, small_book):
    (small_book / "_build").symlink_to(tmp_path / "disk")
    command = program("book", "--profile", "smoke", before=f"runs.ROOT = Path({str(small_book)!r})")
    done = on_a_disk(tmp_path, "size=2m", FULL_THEN_NOT, PROGRAM=command)
    assert done.returncode == 0, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("aelib: ")
    assert "cannot be written (No space left on device): make room, or build a copy" in last
    assert "Traceback" not in done.stderr
    assert (tmp_path / "kept/html/book/chapter.html").exists()
    tried("The disk is full in a build", "a disk of 2 MiB, then a larger one", 1, "one line; it goes on")


def test_results_that_may_only_be_read(tmp_path, all_tiny):
    run = experiments.obtain("convolutional", profile="smoke")
    script = """
    mkdir -p "$DISK/results/smoke"
    cp -r "$RUN" "$DISK/results/smoke"
    mount -o remount,ro "$DISK"
    "$PYTHON" -c "$READ"
    if "$PYTHON" -c "$WRITE"; then exit 1; fi
    """
    other = program("train", "convolutional", "--profile", "smoke", "--seed", "7", before=tiny.BEGIN)
    variables = {"RUN": str(run.path), "AELIB_RESULTS": str(tmp_path / "disk/results"), "READ": TRAIN, "WRITE": other}
    done = on_a_disk(tmp_path, "size=200m", script, **variables)
    assert done.returncode == 0, done.stderr
    assert run.path.name in done.stdout, "what is there is read"
    assert "cannot be written (Read-only file system): make room, or name" in one_line(done.stderr)
    tried("The results may only be read", "a disk mounted so", 1, "what is there is read; else one line")


def test_results_without_permission(tmp_path):
    results = tmp_path / "results"
    results.mkdir(mode=0o555)
    command = [sys.executable, "-m", "aelib.cli", "train", "convolutional", "--profile", "smoke"]
    if os.getuid() == 0:  # who may do everything, unless told not to
        if not shutil.which("setpriv"):
            lacking("setpriv (Debian: util-linux)")
        caps = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}", *command]
    for mode, words in ((0o555, "cannot be written (Permission denied)"), (0o000, "(Permission denied)")):
        results.chmod(mode)
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 1
        assert words in one_line(done.stderr)
    results.chmod(0o755)
    tried("No permission", "results that may not be written, then not even be read", 2, "one line")


def test_odd_paths_and_another_disk(tmp_path, all_tiny):
    run = experiments.obtain("convolutional", profile="smoke")
    script = """
    mkdir "$DISK/elsewhere"
    ln -s "$DISK/elsewhere" "$AELIB_RESULTS"
    "$PYTHON" -c "$PROGRAM"
    cp -r "$AELIB_RESULTS/smoke" "$OUT/kept"
    """
    odd = str(tmp_path / "Ergebnisse für Zoë & Søn")
    done = on_a_disk(tmp_path, "size=200m", script, PROGRAM=TRAIN, AELIB_RESULTS=odd)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "kept" / run.path.name) == digests(run.path)
    tried(
        "An odd path on another disk", "spaces, `&`, letters beyond ASCII, a symbolic link", 1, "the same bytes as ever"
    )


# ---------------------------------------------------------------- tampering


def damage(content: bytes, how: str, dice: random.Random) -> bytes:
    if how == "truncated":
        return content[: dice.randrange(len(content))]
    if how == "emptied":
        return b""
    changed = bytearray(content)
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


WAYS = ("truncated", "emptied", "a bit flipped")


def tamper(folder: Path, names, load) -> int:
    """Damage each file in each way, `TIMES` times; `load` must refuse, in a line that names the folder."""
    dice, count = random.Random(0), 0
    for name in names:
        whole = (folder / name).read_bytes()
        for how in WAYS:
            for _ in range(TIMES):
                (folder / name).write_bytes(damage(whole, how, dice))
                with pytest.raises(AelibError) as error:
                    load()
                assert str(folder) in str(error.value)
                assert "\n" not in str(error.value)
                count += 1
        (folder / name).write_bytes(whole)
    load()
    return count


DAMAGES = "every file truncated, emptied, a bit flipped"


def test_a_run_that_was_tampered_with(all_tiny, tmp_path):
    paths = []
    for seed in (0, 1):
        run = experiments.obtain("convolutional", profile="smoke", seed=seed)
        paths.append(shutil.copytree(run.path, tmp_path / run.path.name))
    names = [*runs.FILES, runs.CHECKSUMS]
    count = tamper(paths[0], names, lambda: runs.load(paths[0]))
    for name in names:
        whole = (paths[0] / name).read_bytes()
        if (paths[1] / name).read_bytes() == whole:
            continue  # the provenance of two runs of one second
        shutil.copy(paths[1] / name, paths[0] / name)
        with pytest.raises(AelibError, match="restore it from git"):
            runs.load(paths[0])
        (paths[0] / name).write_bytes(whole)
        count += 1
    tried("A run is damaged", f"{DAMAGES}, swapped with another run's", count, "all found before use")


def test_data_that_were_tampered_with(idx_folder):
    count = tamper(idx_folder, data.FILES, lambda: data.fetch(idx_folder))
    tried("The data are damaged", DAMAGES, count, "all found before use")


def test_a_study_that_was_tampered_with(tmp_path, all_tiny):
    plan = study.Plan("smoke", folder=tmp_path)
    study.obtain(plan)
    count = tamper(plan.path, [*study.FILES, runs.CHECKSUMS], lambda: study.load(plan))
    tried("A study is damaged", f"{DAMAGES}, its journal too", count, "all found before use")


def test_a_checkpoint_that_was_tampered_with(tmp_path):
    value = {"weights": torch.arange(3000.0), "rows": [{"epoch": 1, "loss": 0.5}]}
    checkpoints.save(value, tmp_path / "checkpoint")
    count = tamper(tmp_path, ["checkpoint"], lambda: checkpoints.load(tmp_path / "checkpoint"))
    tried("A checkpoint is damaged", DAMAGES, count, "all found before use")


def test_a_pickle_is_never_loaded(tmp_path, all_tiny):
    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    run = experiments.obtain("convolutional", profile="smoke")
    path = shutil.copytree(run.path, tmp_path / run.path.name)
    plain = {"state_dict": {}, "payload": Payload()}
    torch.save(plain, tmp_path / "as torch saves")
    payloads = [pickle.dumps(plain), (tmp_path / "as torch saves").read_bytes()]
    for content in payloads:
        for name in ("weights.safetensors", "arrays.safetensors"):
            whole = (path / name).read_bytes(), (path / runs.CHECKSUMS).read_bytes()
            (path / name).write_bytes(content)
            lines = whole[1].decode().splitlines()
            digest = hashlib.sha256(content).hexdigest()
            lines = [f"{digest}  {name}" if line.endswith(f"  {name}") else line for line in lines]
            (path / runs.CHECKSUMS).write_text("\n".join(lines) + "\n")
            with pytest.raises(AelibError, match=f"{name} is not a safetensors file"):
                runs.load(path)
            (path / name).write_bytes(whole[0])
            (path / runs.CHECKSUMS).write_bytes(whole[1])
        (tmp_path / "checkpoint").write_bytes(content)
        with pytest.raises(AelibError, match="checkpoint is truncated or altered"):
            checkpoints.load(tmp_path / "checkpoint")
    assert not (tmp_path / "owned").exists()
    tried("A file carries a pickle with a payload", "weights, arrays and checkpoints, checksums to match", 6, "refused")


def test_a_configuration_leads_nowhere_else(tmp_path, all_tiny):
    """Its fingerprint is in the name of its folder, and no path is made from what it says."""
    run = experiments.obtain("transfer", profile="smoke")
    path = shutil.copytree(run.path, tmp_path / run.path.name)
    for name in ("experiment", "encoder"):
        config = run.config | {name: "../../elsewhere"}
        (path / "config.json").write_bytes(formats.to_json(config))
        lines = (path / runs.CHECKSUMS).read_text().splitlines()
        digest = hashlib.sha256((path / "config.json").read_bytes()).hexdigest()
        lines = [f"{digest}  config.json" if line.endswith("  config.json") else line for line in lines]
        (path / runs.CHECKSUMS).write_text("\n".join(lines) + "\n")
        with pytest.raises(AelibError, match="config.json belongs to another run"):
            runs.load(path)
    outside = ("../report", "/etc", "smoke/../../..", "..")
    for name in outside:
        with pytest.raises(AelibError, match="profile must be one of"):
            experiments.obtain("convolutional", profile=name)
        with pytest.raises(AelibError, match="experiment must be one of"):
            experiments.obtain(name, profile="smoke")
    tried(
        "A configuration or a name points elsewhere", "`../…` and the like", 2 + 2 * len(outside), "refused in one line"
    )


# ---------------------------------------------------------------- parameters

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.sampled_from(["__import__('os')", "16", "1e-3", "adam ", "true"]),
)
NAMES = ["latent_dim", "linear_units", "instance_norm", "optimizer", "learning_rate", "weight_decay", "dropout"]
NAMES += ["max_epochs", "patience", "min_delta", "beta", "probability", "noise_std", "channels", "latent_dmi"]
EXAMPLES = settings(
    max_examples=25 * TIMES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def test_wrong_parameters_in_python():
    count, said = 0, list[str]()

    @EXAMPLES
    @given(st.sampled_from([*experiments.EXPERIMENTS]), st.sampled_from(NAMES), ANYTHING)
    def check(name, parameter, value):
        nonlocal count
        count += 1
        try:
            changed = experiments.configure(experiments.EXPERIMENTS[name], **{parameter: value})
        except AelibError as error:
            said.append(str(error))
        else:
            # What was let through can be written down, and read back as it was.
            for part in (changed.model, changed.training):
                assert type(part)(**json.loads(formats.to_json(plain(asdict(part))))) == part

    check()
    assert len(said) > count / 2
    assert not [line for line in said if "\n" in line]
    tried(
        "A parameter is wrong, in Python",
        "any value for any parameter, by the tool Hypothesis",
        count,
        "a result, or one line",
    )


def test_wrong_parameters_on_the_command_line(capsys, monkeypatch):
    monkeypatch.setattr(experiments, "obtain", lambda *_, **__: pytest.fail("work was begun"))
    count = 0

    @EXAMPLES
    @given(st.text(max_size=12), st.sampled_from(["name", "profile", "seed"]))
    def check(text, which):
        nonlocal count
        if text in (*experiments.EXPERIMENTS, *profiles.PROFILES) or text.startswith("-") or which == "seed":
            text = f"x{text}"
        count += 1
        name = text if which == "name" and text else "convolutional"
        wrong = {"name": ["--profile", "smoke" if name == text else "?"], "profile": [f"--profile={text}"]}
        try:
            status = cli.main(["train", name, *wrong.get(which, [f"--seed={text}"])])
        except SystemExit as exit:  # argparse's own, with a line of its own
            status = exit.code
        assert status in (1, 2)
        assert "Traceback" not in capsys.readouterr().err

    check()
    tried(
        "A parameter is wrong, on the command line",
        "any text, by the tool Hypothesis",
        count,
        "one line, before any work",
    )


WORDS = st.text("abcdefghijklmnop", min_size=3, max_size=8)
WRONG = {
    "latent_dim": st.integers(max_value=0).map(str) | st.floats(1.1, 1.9).map(str) | WORDS,
    "linear_units": st.integers(max_value=0).map(str) | WORDS,
    "optimizer": WORDS | st.integers().map(str),
    "learning_rate": st.floats(1.01, 1e9).map(str) | st.floats(max_value=-1e-9).map(str) | WORDS,
    "weight_decay": st.floats(max_value=-1e-9).map(str) | WORDS,
    "instance_norm": st.integers(2).map(str) | WORDS,
    "seed": st.integers(max_value=-1).map(str) | WORDS,
    "profile": WORDS,
    "latent": st.integers().map(str),
}


@pytest.mark.skipif("AELIB_FAULTS" not in os.environ, reason="a kernel for each: make faults")
def test_wrong_parameters_by_papermill(tmp_path):
    papermill = Path(sys.executable).with_name("papermill")
    count = 0

    @settings(EXAMPLES, max_examples=2 * TIMES)
    @given(st.sampled_from([*WRONG]).flatmap(lambda name: st.tuples(st.just(name), WRONG[name])))
    def check(parameter):
        nonlocal count
        count += 1
        command = [papermill, "book/01_convolutional.ipynb", tmp_path / "out.ipynb", "-p", *parameter]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode != 0
        name = "parameter" if parameter[0] == "latent" else parameter[0]
        assert done.stderr.strip().splitlines()[-1].startswith(f"aelib: {name} must be"), done.stderr
        assert not (tmp_path / "results").exists()

    check()
    tried(
        "A parameter is wrong, by papermill",
        "types, ranges and names, by the tool Hypothesis",
        count,
        "one line, before any work",
    )


# ---------------------------------------------------------------- numbers


def with_images(change, **split):
    garments = change(synthetic.garments(120, 40))
    smoke = profiles.PROFILES["smoke"]
    smaller = SplitConfig(**{"train": 96, "validation": 24, "test": 40, "batch_size": 30} | split)
    return replace(smoke, garments=lambda: garments, split=smaller, max_epochs=2)


def black(garments):
    nothing = {name: torch.zeros_like(getattr(garments, name)) for name in ("train_images", "test_images")}
    return replace(garments, **nothing, sha256="black")


def one_class(garments):
    same = {name: torch.full_like(getattr(garments, name), 3) for name in ("train_labels", "test_labels")}
    return replace(garments, **same, sha256="one class")


CASES = {
    "images that are all black": lambda: with_images(black),
    "one class alone": lambda: with_images(one_class),
    "batches of one image": lambda: with_images(lambda garments: garments, train=24, batch_size=1),
    "a validation set of one image": lambda: with_images(lambda garments: garments, validation=1),
    "a test set of one image": lambda: with_images(lambda garments: garments, test=1),
}


@pytest.mark.parametrize("case", CASES)
def test_odd_data(case, monkeypatch, tmp_path):
    tiny.everything(monkeypatch)
    monkeypatch.setitem(profiles.PROFILES, "smoke", CASES[case]())
    for name in experiments.EXPERIMENTS:
        if name.startswith("cnn") and case == "batches of one image":
            with pytest.raises(AelibError, match="leave a batch of one, which batch normalisation cannot take"):
                experiments.obtain(name, profile="smoke", folder=tmp_path)
            continue
        run = experiments.obtain(name, profile="smoke", folder=tmp_path)
        assert all(value == value and abs(value) < float("inf") for value in run.metrics.values()), run.metrics
    tried(
        "Odd data",
        f"{case}, with each model",
        len(experiments.EXPERIMENTS),
        "a result, or an error that names the cause",
    )


def test_a_learning_rate_that_diverges(tmp_path, capsys):
    with pytest.raises(training.Diverged, match="take a smaller learning_rate"):
        experiments.obtain(
            "convolutional",
            profile="smoke",
            folder=tmp_path,
            optimizer="sgd",
            learning_rate=1.0,
            weight_decay=1e12,
        )
    assert not list(tmp_path.glob("smoke/convolutional-*"))
    tried("A training diverges", "SGD at learning rate 1 with a huge penalty", 1, "one line that names the epoch")


def test_a_silhouette_of_one_class_is_named():
    with pytest.raises(AelibError, match="compares classes with each other"):
        metrics.silhouette(torch.rand(9, 2).numpy(), torch.zeros(9).numpy())
    assert latent.tsne(torch.rand(3, 5).numpy(), perplexity=80).shape == (3, 2)


# ---------------------------------------------------------------- machines


def test_a_machine_without_a_network(tmp_path):
    """And without the data: where the Debian package is installed, it is found all the same."""
    done = apart("--net", '"$PYTHON" -m aelib.cli data')
    if Path("/", fashion_mnist.DEBIAN_FOLDER).is_dir():
        assert done.returncode == 0
    else:
        assert done.returncode == 1
        assert "Put its four IDX files in a folder and run `aelib data --from FOLDER`" in one_line(done.stderr)
    tried("No network", "a process without one", 1, "one line that says where to put the data")


def test_a_machine_without_a_compiler(python, tmp_path):
    if sys.platform != "linux":
        lacking("Linux, where alone aelib compiles")
    compiled = tiny.BEGIN + "from aelib import engines; engines.COMPILE_FROM_STEPS = 1"
    command = program("train", "convolutional", "variational", "--profile", "smoke", before=compiled)
    process = python(command, CXX="/no/such/compiler")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert one_line(errors).startswith("aelib: no C++ compiler here: training without torch.compile")
    tried("No C++ compiler", "`CXX` leads nowhere", 1, "trains without, and says so once")


def test_a_machine_with_one_core(python):
    if sys.platform != "linux":
        lacking("Linux, to bind a process to a core")
    bound = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    process = python(bound + program("train", "cnn", "--profile", "smoke", before=tiny.BEGIN))
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    tried("One core", "a process bound to it", 1, "trains")


def test_an_older_python(tmp_path):
    older = tmp_path / "python3.10"
    older.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import runpy, sys; '
        'sys.version_info, sys.version = (3, 10, 1), \'3.10.1\'; runpy.run_path(sys.argv[1])" "$@"\n'
    )
    older.chmod(0o755)
    (tmp_path / "tools").mkdir()
    for name in ("Makefile", "requirements.txt", "pyproject.toml", "tools/environment.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    done = subprocess.run(["make", "setup", f"PYTHON={older}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"Python 3.11 to 3.15 is needed, {sys.executable} is 3.10.1: make PYTHON=" in done.stderr
    assert not (tmp_path / ".venv").exists()
    tried("An older Python", "a stand-in that says so", 1, "one line, before anything is installed")


# ---------------------------------------------------------------- other people's machines

NO_LOCKS = """
import errno, fcntl, os
def refuses(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.flock = refuses
"""


def test_a_disk_without_locks(python, tmp_path, four_files):
    """As NFS is without its lock daemon."""
    _, fetch = four_files
    commands = {
        program("train", "convolutional", "--profile", "smoke", before=tiny.BEGIN + NO_LOCKS): "AELIB_RESULTS",
        program("study", "--profile", "smoke", before=tiny.BEGIN + NO_LOCKS): "AELIB_RESULTS",
        NO_LOCKS + fetch: "AELIB_DATA",
    }
    for command, mend in commands.items():
        process = python(command)
        _, errors = process.communicate()
        assert process.returncode == 1, errors
        assert "(No locks available)" in one_line(errors)
        assert mend in errors
    tried("A disk without locks", "`flock` answers ENOLCK", len(commands), "one line")


HOMELESS = """
import os, pwd
def nobody(*_):
    raise KeyError("getpwuid(): uid not found: 12345")
pwd.getpwuid = nobody
for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "XDG_CACHE_HOME", "AELIB_DATA"):
    os.environ.pop(name, None)
"""


def test_a_user_without_a_home(python, tmp_path):
    process = python(program("data", before=HOMELESS))
    _, errors = process.communicate()
    assert process.returncode == 1
    assert one_line(errors) == "aelib: there is no home folder for ~/.cache: name a folder in AELIB_DATA"
    process = python(program("train", "convolutional", "--profile", "smoke", before=tiny.BEGIN + HOMELESS))
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    tried("No home folder", "no HOME, a user without a name", 2, "trains; where the data would be there, one line")


def test_a_machine_that_refuses_something_else(python, tmp_path):
    refusals = {
        "raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), '/a/file')": "Too many open files: '/a/file'",
        "raise FileNotFoundError(errno.ENOENT, 'No usable temporary directory found')": "No usable temporary directory",
        "b'\\xe2'.decode('ascii')": "set PYTHONUTF8=1",
    }
    for refusal, words in refusals.items():
        before = f"import errno, os\ndef refuses(*_):\n    {refusal}\ncli.commands.do_data = refuses"
        process = python(program("data", before=before))
        _, errors = process.communicate()
        assert process.returncode == 1, errors
        assert words in one_line(errors)
    odd = "import io\nsys.stdout = io.TextIOWrapper(open(1, 'wb', closefd=False), 'ascii')\n"
    odd += "cli.commands.do_data = lambda _: print('2 × 2')"
    process = python(program("data", before=odd))
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert "2 ? 2" in output
    tried(
        "Files, folders or letters run out",
        "too many files, no TMPDIR, a terminal of ASCII",
        4,
        "one line, or it works",
    )


def test_git_of_somebody_else(tmp_path, monkeypatch, capfd):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", "-C"]
    commits = []
    for name in ("ours", "other"):
        subprocess.run([*git, tmp_path, "init", "--quiet", name], check=True)
        subprocess.run([*git, tmp_path / name, "commit", "--quiet", "--allow-empty", "-m", name], check=True)
        head = subprocess.run([*git, tmp_path / name, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        commits.append(head.stdout.strip())
    monkeypatch.setattr(runs, "ROOT", tmp_path / "ours")
    with monkeypatch.context() as hook:  # of the other repository
        hook.setenv("GIT_DIR", str(tmp_path / "other/.git"))
        hook.setenv("GIT_INDEX_FILE", str(tmp_path / "other/.git/index"))
        assert commit_checked_out() == {"commit": commits[0], "uncommitted_changes": False}
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own way to try it
    for _ in range(2):
        assert commit_checked_out() == {"commit": None, "uncommitted_changes": None}
    said = one_line(capfd.readouterr().err)
    assert said.startswith("aelib: the commit is not recorded, for git does not tell it (fatal: detected dubious owner")
    assert said.endswith(f"git config --global --add safe.directory {tmp_path / 'ours'}")
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    (tmp_path / "other/nested/.git").mkdir(parents=True)
    monkeypatch.setattr(runs, "ROOT", tmp_path / "other/nested")  # a broken one does not take its parent's
    assert commit_checked_out()["commit"] is None
    outcome = "its own commit, or none, which is said"
    tried("Git of somebody else", "a hook's `GIT_DIR`, another owner, a broken repository in another", 3, outcome)


def test_packed_files_in_the_place_of_the_data(idx_folder, tmp_path, monkeypatch):
    folder = tmp_path / "packed"
    folder.mkdir()
    for name in data.FILES:
        (folder / f"{name}.gz").write_bytes(gzip.compress((idx_folder / name).read_bytes(), compresslevel=1))
    monkeypatch.setenv("AELIB_DATA", str(folder))
    assert data.fetch() == (folder, f".gz files in {folder}")
    assert data.fetch() == (folder, "cache")
    (folder / name).unlink()
    (folder / f"{name}.gz").write_bytes(b"")
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "not-installed")
    monkeypatch.setattr(fashion_mnist, "_torchvision_download", lambda _: tmp_path / "nothing")
    monkeypatch.setattr(fashion_mnist, "_apt_download", lambda _: tmp_path / "nothing")
    with pytest.raises(AelibError, match=rf"{folder}/{name}.gz"):
        data.fetch()
    tried("The data lie packed in `AELIB_DATA`", "`.gz` files, then one that is empty", 2, "used, or named")


def test_compilation_that_cannot_be_had(python, tmp_path):
    if not shutil.which("g++"):
        lacking("C++ compiler on Linux (Debian: g++)")
    compiler = tmp_path / "without-headers"
    compiler.write_text(NO_HEADERS)
    compiler.chmod(0o755)
    compiled = tiny.BEGIN + "from aelib import engines; engines.COMPILE_FROM_STEPS = 1\n"
    compiled += f"import torch._inductor.config as c; c.cpp.cxx = ({str(compiler)!r},)"
    command = program("train", "convolutional", "variational", "--profile", "smoke", before=compiled)
    process = python(command, CXX=str(compiler), TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "compiled"))
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert one_line(errors).startswith("aelib: torch.compile does not work here (")
    assert "Python.h" in errors
    tried("No headers of Python", "a C++ compiler that does not find `Python.h`", 1, "trains without, and says so once")


def test_a_study_that_somebody_else_touches(tmp_path, all_tiny, monkeypatch):
    plan, fit = study.Plan("smoke", storage=f"sqlite:///{tmp_path}/study.sqlite", folder=tmp_path), training.fit

    def touched(*arguments, **options):
        here = optuna.load_study(study_name=plan.path.name, storage=plan.storage)
        if len(here.trials) == 1:
            here.tell(0, state=optuna.trial.TrialState.FAIL)
        if len(here.trials) == 2:
            here.tell(1, 0.0001)
        if len(here.trials) == 4:
            here.enqueue_trial({"conv": 1})
        return fit(*arguments, **options)

    monkeypatch.setattr(training, "fit", touched)
    found = study.obtain(plan)
    assert [each.state.name for each in found.trials] == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    outcome = "the first two count as failed, the last is not taken; the study ends"
    tried("A study is touched by another program", "a trial failed, one completed, one enqueued", 3, outcome)
