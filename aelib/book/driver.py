"""The whole: the chapters executed, what the build adds to them, and all of it rendered by jupyter-book."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import nbformat
import yaml
from filelock import FileLock, Timeout
from nbformat import NotebookNode

from aelib import code_version, determinism, experiments, papermill_engine, runs, words
from aelib.book import costs, explorer, pages, papers
from aelib.book.cache import Execution, Line, digest, kept, key_of, sha256
from aelib.book.chapter import chapters, execute_all
from aelib.book.check import check, html_pages
from aelib.credits import papermill
from aelib.errors import AelibError, known, unwritable_explained
from aelib.provenance import record_of_this_process


def build(root: Path, *, profile: str, notice: str, output: Path | None = None, pdf: bool = False) -> list[Line]:
    """Execute what has to be executed and render the book of `root` into `html` below `output`.

    The book that was there stays until the new one is whole and has passed `check`.

    Args:
        root: folder with `_toc.yml`, `_config.yml` and `book/`.
        profile: given to every chapter as its parameter `profile`.
        notice: shown on top of each page, if there is one.
        output: `_build` in `root` by default; what is there already is used.
        pdf: make one PDF and one EPUB of the whole, too, unless those that are there are current.

    Raises:
        AelibError: a cell failed, jupyter-book warned, or the HTML has a fault; each is named.
    """
    output = (output or root / "_build").absolute()  # a chapter's process may stand elsewhere
    stage, made = output / "stage", output / "executed" / profile
    with _alone_in(output):
        _set(root, stage, notice)
        doubt, names, same = cache(experiments.doubt), chapters(root), dict[str, bool]()
        lines, executions = list[Line](), dict[str, Execution]()
        executed = execute_all(root, names, made, {"profile": profile})
        for name, (line, execution, notebook) in zip(names, executed, strict=True):
            lines.append(line)
            executions[name] = execution
            _put(root, name, notebook, papermill(name, profile), stage, doubt)
        if "explore" in words.pages(root):
            line, executions["explore"] = write_explorer(root, made, profile)
            lines.append(line)
            shutil.copytree(made / "explore", stage / "book" / "_static" / "explore")
        if "about" in words.pages(root):
            line, same = _repeats(root, made)
            lines.append(line)
        for name, text in pages.build_facts(executions, same, doubt).items():
            (stage / "book" / f"_build_{name}.md").write_text(text)
        if "costs" in words.pages(root):
            costs.draw(root / "benchmarks", stage / "book" / "_figures")
        _describe(executions.values(), stage, doubt)
        whole, key = output / "papers", _key_of_all(root, executions)
        if pdf:
            lines.append(_papers(stage, whole, key, output / "jupyter-book.log"))
        papers.offer(whole, key, stage)
        return [*lines, _render(root, stage, output, profile)]


def build_chapter(root: Path, name: str, parameters: dict[str, Any], *, notice: str) -> Path:
    """Execute one chapter of the book of `root` and render it alone; its links lead to the book in `_build/html`.

    Args:
        root: as of `build`.
        name: of the chapter.
        parameters: given to it.
        notice: shown on top of the page.

    Returns:
        The page, below `_build/chapters`.

    Raises:
        AelibError: there is no such chapter, or as of `build`.
    """
    known("chapter", name, chapters(root))
    output, profile = (root / "_build").absolute(), parameters.get("profile", "report")
    folder = output / "chapters" / name
    with _alone_in(output):
        stage, doubt = folder / "stage", cache(experiments.doubt)
        _set(root, stage, notice, aelib_alone=f"book/{name}")
        # The other pages hold what is referred to and nothing else: so it has the numbers of the book here, too.
        (stage / "book" / "_stand_in.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>')
        for other in words.pages(root):
            if other not in (name, "references"):
                (stage / "book" / f"{other}.md").write_text(pages.stand_in(other, words.book(root)))
        ((_, execution, notebook),) = execute_all(root, [name], folder, parameters)
        _put(root, name, notebook, papermill(name, profile, parameters), stage, doubt)
        _describe([execution], stage, doubt)
        _render(root, stage, folder, profile, alone=name)
    return folder / "html" / "book" / f"{name}.html"


def profile_of(html: Path) -> str:
    """The profile that a built book is of."""
    try:
        return (html.parent / STAMP).read_text().split()[0]
    except (FileNotFoundError, IndexError) as error:
        raise AelibError(f"{html} was not built by `aelib book`: build it again") from error


STAMP = "html.stamp"
"""Beside a built book: its profile, a digest of all that it was rendered from, and one of the book."""


@contextmanager
def _alone_in(output: Path) -> Iterator[None]:
    with unwritable_explained(output, "build a copy of the project elsewhere"):
        output.mkdir(exist_ok=True)
        try:
            lock = FileLock(output / ".lock", timeout=0).acquire()
        except Timeout:
            raise AelibError(f"another process is building the book in {output}: wait for it to end") from None
        with lock:
            yield


def _set(root: Path, stage: Path, notice: str, **settings: str) -> None:
    """Make `stage` of what is written, without the chapters; `settings` are for Sphinx."""
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(root / "book", stage / "book", ignore=shutil.ignore_patterns("*.ipynb", ".*"))
    shutil.copy(root / "_toc.yml", stage)
    # The chapters show parts of it.
    shutil.copytree(words.HERE / "aelib", stage / "aelib", ignore=shutil.ignore_patterns("__pycache__"))
    config = yaml.safe_load((root / "_config.yml").read_text())
    config |= pages.launch(record_of_this_process(), config)
    for name in config["sphinx"].pop("local_extensions", {}):  # which stops whoever renders without this
        config["sphinx"]["config"]["extensions"].remove(name)
    config["sphinx"]["config"] |= settings
    if "costs" in words.pages(root):
        config["parse"]["myst_substitutions"] = costs.said(root / "benchmarks")
    if notice:
        config.setdefault("html", {})["announcement"] = notice
    (stage / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False))


def _put(
    root: Path, name: str, notebook: NotebookNode, command: str, stage: Path, doubt: Callable[[Path], str]
) -> None:
    """Put an executed chapter, its figures and its tables into `stage`; `command` executes it."""
    pages.publish(notebook, command, stage / "book", doubt)
    pages.offer(notebook, root / "book" / f"{name}.ipynb", stage / "book")
    nbformat.write(notebook, stage / "book" / f"{name}.ipynb")


def _describe(executions: Iterable[Execution], stage: Path, doubt: Callable[[Path], str]) -> None:
    """Put the configuration of each run that was read into `stage`."""
    (stage / "book" / "_runs").mkdir()
    for path in sorted({path for each in executions for path in each.paths}):
        if doubt(path) == code_version.STALE:
            print(
                f"aelib: run {path.name}: {code_version.STALE}{experiments.mend(path, code_version.STALE)}",
                file=sys.stderr,
            )
        shutil.copy(path / "config.json", stage / "book" / "_runs" / f"{path.name}.json")


def _key_of_all(root: Path, executions: dict[str, Execution]) -> str:
    """What decides the pages, but for how long their execution took."""
    sources = [
        digest(root / name) for name in ("book", "benchmarks", "_config.yml", "_toc.yml") if (root / name).exists()
    ]
    return sha256(*sources, *(f"{name} {each.key} {each.runs}" for name, each in sorted(executions.items())))


def _papers(stage: Path, folder: Path, key: str, log: Path) -> Line:
    if papers.current(folder, key):
        return Line("PDF and EPUB", "skipped: nothing changed", 0.0)
    start = time.perf_counter()
    papers.make(stage, folder, key, partial(_jupyter_book, log=log))
    return Line("PDF and EPUB", "made", time.perf_counter() - start)


def write_explorer(root: Path, folder: Path, profile: str) -> tuple[Line, Execution]:
    """Write what the page `explore` computes with into `folder / "explore"`, unless that is what is there."""
    written = folder / "explore"

    def write() -> dict[str, str]:
        return {runs.portable(run.path): run.checksum for run in explorer.write(written, profile=profile)}

    made = kept(written, key_of(root, {"profile": profile}), write)
    left_out = explorer.missing(written)
    for why in sorted({*left_out.values()}):
        names = ", ".join(name for name in sorted(left_out) if left_out[name] == why)
        print(f"aelib: the page explore goes without exhibits of {names}: {why}", file=sys.stderr)
    return made


def _repeats(root: Path, folder: Path) -> tuple[Line, dict[str, bool]]:
    """What `determinism.repeats` finds, unless aelib, the lock and the machine are those that it was found with."""

    def find() -> dict[str, str]:
        found.write_text(json.dumps(determinism.repeats()))
        return {}

    found = folder / "determinism.found"
    line, _ = kept(found, key_of(root, record_of_this_process()["hardware"]), find)
    return line, json.loads(found.read_text())


def _render(root: Path, stage: Path, output: Path, profile: str, *, alone: str = "") -> Line:
    """Render `stage`, or its page `alone`, into `output/html`, unless that is what is there."""
    html, stamp = output / "html", output / STAMP
    source = f"{profile} {sha256(key_of(root), digest(stage))}"
    if stamp.exists() and html.exists() and stamp.read_text() == f"{source} {digest(html)}":
        return Line("the pages", "skipped: nothing changed", 0.0)
    start = time.perf_counter()
    # From nothing: an incremental build leaves glued numbers of other pages stale. Of a name of its own: where a build
    # was killed, its jupyter-book may still be writing to the old one.
    for old in output.glob("draft-*"):
        shutil.rmtree(old, ignore_errors=True)
    draft = output / f"draft-{os.getpid()}"
    _jupyter_book(stage, draft, log=output / "jupyter-book.log")
    built = draft / "_build" / "html"
    for page in html_pages(built) if alone else []:
        if page.stem != alone:
            page.unlink()
    if faults := check(built):
        raise AelibError(f"the built book has {len(faults)} faults, the first: {faults[0]}")
    stamp.unlink(missing_ok=True)
    shutil.rmtree(html, ignore_errors=True)
    os.replace(built, html)
    stamp.write_text(f"{source} {digest(html)}")
    shutil.rmtree(draft)
    return Line("the pages", "rendered", time.perf_counter() - start)


def _jupyter_book(stage: Path, draft: Path, *options: str, log: Path) -> None:
    """Render `stage` into `draft`, as HTML unless `options` ask for another form; what is warned of is an error."""
    program = Path(sys.executable).with_name("jupyter-book")  # of this environment, activated or not
    command: list[str | Path] = [program, "build", stage, "--path-output", draft, "-W", "-n", "--keep-going", *options]
    own = papermill_engine.plain_environment() | {"NO_COLOR": "1"}
    with log.open("w") as file:
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=own).returncode
    if status:
        text = re.sub(r"\x1b\[[\d;]*m", "", log.read_text())
        if os.strerror(errno.ENOSPC) in text:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(draft))
        lines = [line for line in text.splitlines() if re.search("WARNING|ERROR|CRITICAL", line)]
        first = lines[0] if lines else text.strip().splitlines()[-1]
        raise AelibError(f"jupyter-book: {first} ({len(lines)} such lines, all of it in {log})")
