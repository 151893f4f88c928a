"""Shared by the tests: everything is small, synthetic, and in a temporary folder."""

import hashlib
import os
import shutil
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

# One thread for each process of the tests, of which there are as many as cores: threads that outnumber the cores wait
# for each other hundreds of times a training step. Tests about the order of threads ask for `two_threads`.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1") | dict(os.environ)
# And where they do outnumber them, those that wait are not to keep the others from their work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch
from filelock import FileLock
from processes import PATIENCE, Program

from aelib import data, profiles, runs
from aelib.data import GarmentLoaders, SplitConfig, fashion_mnist, synthetic
from aelib.provenance import record_of_this_process
from aelib.runs import Contents

ROOT = Path(__file__).resolve().parent.parent

if not find_spec("nbformat"):  # as on a machine that is there for `pytest -m gpu`
    collect_ignore = ["test_book.py", "test_claims.py", "test_papermill_engine.py", "test_faults.py", "test_house.py"]


USERS_DATA = os.environ.get("AELIB_DATA")


@pytest.fixture
def users_data(elsewhere, monkeypatch):
    """For tests on FashionMNIST itself: where the user has it."""
    if USERS_DATA:
        monkeypatch.setenv("AELIB_DATA", USERS_DATA)
    else:
        monkeypatch.delenv("AELIB_DATA")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No test sees the user's data or runs, nor leaves any."""
    monkeypatch.setenv("AELIB_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path / "results"))


def small_loaders() -> GarmentLoaders:
    """256 training, 64 validation and 100 test garments."""
    split = SplitConfig(train=256, validation=64, test=100, batch_size=64)
    return GarmentLoaders(synthetic.garments(400, 100), split, seed=1)


@pytest.fixture
def two_threads(monkeypatch):
    """Two threads for what is computed here, and in programs that are started: their order must decide no bit."""
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def lacking(what: str) -> NoReturn:
    """Skip a test for want of `what`, which says how to get it; on a machine that is to skip none, fail."""
    if os.environ.get("AELIB_NO_SKIP"):
        pytest.fail(f"AELIB_NO_SKIP is set, but there is no {what}")
    pytest.skip(f"no {what}")


def pytest_collection_modifyitems(items):
    """Those that take more than a minute first: in the end all other processes would wait for them."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_terminal_summary(terminalreporter):
    """Say in one line what was not tried, for want of what, and how to get it."""
    reasons = [report.longrepr[-1] for report in terminalreporter.stats.get("skipped", [])]
    start = "Skipped: no "
    lacked = Counter(reason.removeprefix(start) for reason in reasons if reason.startswith(start))
    if lacked:
        each = "; ".join(f"{count} for want of {what}" for what, count in sorted(lacked.items()))
        terminalreporter.write_line(f"Tests that were skipped: {each}")


def pytest_sessionfinish(session):
    if "faults" in sys.modules:  # none was imported on a machine that is there for `pytest -m gpu`
        sys.modules["faults"].write_table(session)


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium: the machine's own, driven by Playwright."""
    from aelib.book import papers

    found = papers.find_browser()
    if not found:
        lacking("Chromium (Debian: chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = {"executable_path": found, "args": papers.browser_options()}
        browser = playwright.chromium.launch(**options, timeout=1000 * PATIENCE)
        for name in ("new_context", "new_page"):
            setattr(browser, name, _patient(getattr(browser, name)))
        yield browser
        browser.close()


def _patient(make):
    """`make`, whose pages wait for as long as a slow machine takes."""

    def made(**options):
        each = make(**options)
        each.set_default_timeout(1000 * PATIENCE)
        return each

    return made


@pytest.fixture(scope="session")
def html():
    """The built book."""
    folder = ROOT / "_build" / "html"
    if not (folder / "index.html").exists():
        lacking("built book (make book)")
    return folder


@pytest.fixture
def small():
    return small_loaders()


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that processes that share the tests share, too."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def smoke_results(shared):
    """A results folder in which experiments of the smoke profile are trained as they are asked for, once."""
    return shared / "smoke-results"


@pytest.fixture(scope="session")
def tiny_results(shared):
    """The same for tests with `all_tiny`."""
    return shared / "tiny-results"


@pytest.fixture
def python(tmp_path):
    """Start a Python program in a process of its own; the keyword arguments are environment variables."""
    started = []

    def start(program: str, **environment: str) -> Program:
        started.append(Program(program, tmp_path, os.environ | environment))
        return started[-1]

    yield start
    for program in started:
        program.kill()


@pytest.fixture
def all_tiny(monkeypatch):
    """For tests that train and are not about how well: here as in programs that begin with `tiny.BEGIN`."""
    import tiny  # and with it Lightning

    tiny.everything(monkeypatch)


@pytest.fixture
def idx_folder(tmp_path, monkeypatch):
    """A folder of four small, valid IDX files, whose digests stand in for FashionMNIST's."""
    folder = tmp_path / "four files"
    folder.mkdir()
    garments = synthetic.garments(30, 20)
    parts = (garments.train_images, garments.train_labels, garments.test_images, garments.test_labels)
    digests = {}
    for name, tensor in zip(data.FILES, parts, strict=True):
        array = tensor.squeeze(1).to(torch.uint8).numpy() if tensor.ndim == 4 else tensor.to(torch.uint8).numpy()
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        content = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
        (folder / name).write_bytes(content)
        digests[name] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(fashion_mnist, "FILES", digests)
    return folder


@pytest.fixture
def small_book(tmp_path):
    """One page and one chapter, which reads a run; not built yet."""
    return make_book(tmp_path)


@pytest.fixture
def built_book(shared, tmp_path):
    """A copy of the small book, built in the quick profile; the run lies with the original."""
    from aelib import book  # and with it matplotlib

    original = shared / "built-book"
    original.mkdir(exist_ok=True)
    with FileLock(original / ".lock"):
        if not (original / BOOK / "_build/html").exists():
            shutil.rmtree(original / BOOK, ignore_errors=True)
            book.build(make_book(original), profile="quick", notice=profiles.PROFILES["quick"].notice)
    return shutil.copytree(original / BOOK, tmp_path / BOOK)


BOOK = "ein Büchlein"


def make_book(folder: Path) -> Path:
    """The small book in a folder, with its run beside it."""
    import yaml
    from nbformat.v4 import new_code_cell, new_markdown_cell

    root = folder / BOOK
    (root / "book").mkdir(parents=True)
    (root / "requirements.txt").write_text("# comment\na==1\n")
    shutil.copytree(ROOT / "book/_templates", root / "book/_templates")
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    sphinx = {name: config["sphinx"]["config"][name] for name in ("extensions", "templates_path")}
    for name in ("make_book", "sphinxcontrib.bibtex"):
        sphinx["extensions"].remove(name)
    config = {"only_build_toc_files": True, "execute": {"execute_notebooks": "off"}, "sphinx": {"config": sphinx}}
    (root / "_config.yml").write_text(yaml.safe_dump(config))
    (root / "_toc.yml").write_text(
        yaml.safe_dump({"format": "jb-book", "root": "book/intro", "chapters": [{"file": "book/chapter"}]})
    )
    includes = "".join(
        f"```{{include}} {name}.md\n```\n\n" for name in ("_build_runs", "_build_elsewhere", "_tables/tab-a")
    )
    (root / "book/intro.md").write_text(f"# Intro\n\n[a chapter](chapter.ipynb)\n\n{includes}")
    contents = Contents({"summary": True}, {}, [{"epoch": 1}], {}, {}, some_provenance())
    run = runs.load_or_make(runs.run_path(folder / "results/report", "test", {"summary": True}), lambda _: contents)
    cells = [
        new_markdown_cell("# Chapter\n\nFirst prose."),
        new_code_cell('profile = "report"', metadata={"tags": ["parameters"]}),
        new_code_cell(
            f"from pathlib import Path\nfrom aelib import runs\nrun = runs.load(Path({str(run.path)!r}))\n"
            "print('seen:', profile, 'with a loss of', 0.12345)\nimport sys; print('no' + 'ise', file=sys.stderr)"
        ),
        new_code_cell(
            "from aelib import figures\n"
            "figures.loss_history([[{'epoch': 1, 'train_loss': 0.02, 'validation_loss': 0.01}]], of=[run])",
            metadata={
                "tags": ["hide-input"],
                "mystnb": {"figure": {"name": "fig-a", "caption": "A figure."}, "image": {"alt": "Nothing."}},
            },
        ),
        new_code_cell(
            "from aelib import tables\ntables.Table('tab-a', 'A table.', ['', 'a'], [])",
            metadata={"tags": ["remove-cell"]},
        ),
    ]
    write(root, cells)
    return root


def some_provenance():
    """Of a run that was not trained."""
    return record_of_this_process() | {"engine": {"device": "cpu"}, "training_seconds": 1.0}


def write(root, cells, name="chapter"):
    """A chapter of the small book."""
    import nbformat
    from nbformat.v4 import new_notebook

    metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), root / f"book/{name}.ipynb")
