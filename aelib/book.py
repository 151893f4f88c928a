"""Build the book: papermill executes the chapters, jupyter-book renders them, the built HTML is checked.

`_build/executed/<profile>/` keeps each executed chapter beside a stamp of all that it depends on, so that a chapter
is executed again only if its code, its parameters, aelib, the lock or a run that it read has changed. Captions
and prose come from the source at every build.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
import yaml
from filelock import FileLock, Timeout
from nbformat import NotebookNode

from aelib import code, cores, data, determinism, experiments, explorer, figures, pages, runs, words
from aelib.errors import AelibError, known


@dataclass(frozen=True)
class Execution:
    """The stamp of one executed chapter.

    Attributes:
        key: digest of its code, its parameters, aelib and the lock.
        runs: path (as `runs.portable` writes it) and checksum of each run that it read.
        seconds: that it took.
        made: digest of what it made.
    """

    key: str
    runs: dict[str, str]
    seconds: float
    made: str


@dataclass(frozen=True)
class Line:
    """One line of the table that a build ends with."""

    chapter: str
    outcome: str
    seconds: float


def build(root: Path, *, profile: str, notice: str, output: Path | None = None) -> list[Line]:
    """Execute what has to be executed and render the book of `root` into `html` below `output`.

    The book that was there stays until the new one is whole and has passed `check`.

    Args:
        root: folder with `_toc.yml`, `_config.yml` and `book/`.
        profile: given to every chapter as its parameter `profile`.
        notice: shown on top of each page, if there is one.
        output: `_build` in `root` by default; what is there already is used.

    Raises:
        AelibError: a cell failed, jupyter-book warned, or the HTML has a fault; each is named.
    """
    output = (output or root / "_build").absolute()  # a chapter's process may stand elsewhere
    with runs.unwritable_explained(output, "build a copy of the project elsewhere"), _only_here(output):
        stage = output / "stage"
        _set(root, stage, notice)
        doubt = cache(experiments.doubt)
        lines, seconds, read = [], {}, {}
        names = chapters(root)
        executed = _together(root, names, output / "executed" / profile, {"profile": profile})
        for chapter, (line, execution, notebook) in zip(names, executed, strict=True):
            lines.append(line)
            seconds[chapter], read[chapter] = execution.seconds, [runs.located(path) for path in execution.runs]
            _put(root, chapter, notebook, pages.papermill(chapter, profile), stage, doubt)
        if "explore" in words.pages(root):
            line, execution = _explorer(root, output / "executed" / profile, profile)
            lines.append(line)
            seconds["explore"], read["explore"] = execution.seconds, [runs.located(path) for path in execution.runs]
            shutil.copytree(output / "executed" / profile / "explore", stage / "book" / "_static" / "explore")
        same: dict[str, bool] = {}
        if "about" in words.pages(root):
            line, same = _repeats(root, output / "executed" / profile)
            lines.append(line)
        for name, text in pages.build_facts(seconds, read, same, doubt).items():
            (stage / "book" / f"_build_{name}.md").write_text(text)
        if "costs" in words.pages(root):
            _costs(root / "benchmarks", stage / "book")
        _describe({path for each in read.values() for path in each}, stage, doubt)
        lines.append(_render(stage, output, profile, _key(root, {}, [])))
    return lines


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
    with runs.unwritable_explained(output, "build a copy of the project elsewhere"), _only_here(output):
        stage, doubt = folder / "stage", cache(experiments.doubt)
        _set(root, stage, notice)
        # The other pages are empty, but for what is referred to: so it has the numbers of the book here, too.
        (stage / "book" / "_stand_in.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>')
        for other in words.pages(root):
            if other not in (name, "references"):
                (stage / "book" / f"{other}.md").write_text(pages.stand_in(other, words.book(root)))
        ((_, execution, notebook),) = _together(root, [name], folder, parameters)
        _put(root, name, notebook, pages.papermill(name, profile, parameters), stage, doubt)
        _describe({runs.located(path) for path in execution.runs}, stage, doubt)
        page = folder / "html" / "book" / f"{name}.html"

        def alone(html: Path) -> None:
            for each in {*_html_pages(html)} - {page, html / "index.html"}:
                each.unlink()
            for each in (page, html / "index.html"):
                pages.lead_out(each, page, output / "html")

        _render(stage, folder, profile, _key(root, {}, []), alone)
    return page


def _set(root: Path, stage: Path, notice: str) -> None:
    """Make `stage` of what is written, without the chapters."""
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(root / "book", stage / "book", ignore=shutil.ignore_patterns("*.ipynb", ".*"))
    shutil.copy(root / "_toc.yml", stage)
    config = yaml.safe_load((root / "_config.yml").read_text())
    config |= pages.launch(runs.provenance())
    for name in config.get("sphinx", {}).pop("local_extensions", {}):  # which stops whoever renders without this
        config["sphinx"]["config"]["extensions"].remove(name)
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


def _describe(paths: set[Path], stage: Path, doubt: Callable[[Path], str]) -> None:
    """Put the configuration of each run into `stage`."""
    (stage / "book" / "_runs").mkdir()
    for path in sorted(paths):
        if doubt(path) == code.STALE:
            print(f"aelib: run {path.name}: {code.STALE}{experiments.mend(path, code.STALE)}", file=sys.stderr)
        shutil.copy(path / "config.json", stage / "book" / "_runs" / f"{path.name}.json")


def profile_of(html: Path) -> str:
    """The profile that a built book is of."""
    try:
        return (html.parent / STAMP).read_text().split()[0]
    except (FileNotFoundError, IndexError) as error:
        raise AelibError(f"{html} was not built by `aelib book`: build it again") from error


AT_ONCE = 2
"""Chapters that are executed at once. Most of what they do, imports and drawing, is on one core each."""

STAMP = "html.stamp"
"""Beside a built book: its profile, a digest of all that it was rendered from, and one of the book."""


@contextmanager
def _only_here(output: Path) -> Iterator[None]:
    output.mkdir(exist_ok=True)
    try:
        lock = FileLock(output / ".lock", timeout=0).acquire()
    except Timeout:
        raise AelibError(f"another process is building the book in {output}: wait for it to end") from None
    with lock:
        yield


def chapters(root: Path) -> list[str]:
    """Names of the notebooks of `book/` that `_toc.yml` lists, in its order."""
    return [name for name in words.pages(root) if (root / "book" / f"{name}.ipynb").exists()]


def _together(
    root: Path, names: list[str], folder: Path, parameters: dict[str, Any]
) -> list[tuple[Line, Execution, NotebookNode]]:
    """`_chapter` of each name, `AT_ONCE` at a time; the first that fails, or an interrupt, ends the others."""
    kernels: list[subprocess.Popen] = []
    environment = {}
    if len(names) > 1:
        # With more threads than cores, two trainings at once would take for ever.
        environment["OMP_NUM_THREADS"] = str(max(1, (cores.asked() or cores.available()) // AT_ONCE))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(_chapter, root, name, folder, parameters, environment, kernels) for name in names]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            # One may be about to start its kernel.
            while not all(future.done() for future in futures):
                for kernel in kernels:
                    kernel.kill()
                time.sleep(0.1)
            raise
    return [future.result() for future in futures]


def _chapter(
    root: Path,
    name: str,
    folder: Path,
    parameters: dict[str, Any],
    environment: dict[str, str],
    kernels: list[subprocess.Popen],
) -> tuple[Line, Execution, NotebookNode]:
    """Execute a chapter if it has to be; returns its source with the outputs of its last execution."""
    source = nbformat.read(root / "book" / f"{name}.ipynb", as_version=4)
    key = _key(root, parameters, [cell.source for cell in source.cells if cell.cell_type == "code"])
    executed = folder / f"{name}.ipynb"
    line, execution = _kept(executed, key, lambda: _execute(root, name, executed, parameters, environment, kernels))
    return line, execution, _with_outputs(source, nbformat.read(executed, as_version=4), parameters)


def _explorer(root: Path, folder: Path, profile: str) -> tuple[Line, Execution]:
    """Write what the page `explore` computes with into `folder / "explore"`, unless that is what is there."""
    key = _key(root, {"profile": profile}, [])
    written = folder / "explore"

    def write() -> dict[str, str]:
        return {runs.portable(run.path): run.checksum for run in explorer.write(written, profile=profile)}

    kept = _kept(written, key, write)
    left_out = explorer.missing(written)
    for why in sorted({*left_out.values()}):
        names = ", ".join(name for name in sorted(left_out) if left_out[name] == why)
        print(f"aelib: the page explore goes without exhibits of {names}: {why}", file=sys.stderr)
    return kept


def _costs(benchmarks: Path, folder: Path) -> None:
    """Write the tables and the figures of the page `costs` into `folder`, from what the benchmarks have recorded."""
    record, growth, gpu, processor = (
        json.loads((benchmarks / f"{name}.json").read_text()) for name in ("record", "growth", "gpu", "losses-cpu")
    )
    (folder / "_build_costs.md").write_text(pages.costs(record) + pages.costs_on_a_gpu(gpu, processor))
    (folder / "_build_growth.md").write_text(pages.growth(growth))

    def panel(part: str, cost: str, lines: dict[str, str], unit: float = 1.0) -> figures.Growing:
        column = {name: [row[name] / unit for row in growth[part]] for name in lines}
        counts = [row["count"] for row in growth[part]]
        return figures.Growing(part.capitalize(), counts, cost, {lines[name]: column[name] for name in lines})

    drawings = {
        "growth": [
            panel("images", "Seconds", {"epoch": "an epoch", "tsne": "t-SNE", "encode": "encoding"}),
            panel("images", "Peak memory, GB", {"memory": "training", "memory_with_tsne": "with t-SNE"}, 1e9),
        ],
        "growth-search": [
            panel("trials", "Milliseconds", {"read": "reading the study", "proposal": "the next proposal"}, 1e-3),
            panel("workers", "Epochs an hour", {"epochs": "all together"}),
        ],
    }
    for name, panels in drawings.items():
        figures.growth(panels, of=[]).savefig(folder / "_figures" / f"fig-x-{name}.svg", metadata={"Date": None})


def _repeats(root: Path, folder: Path) -> tuple[Line, dict[str, bool]]:
    """What `determinism.repeats` finds, unless aelib, the lock and the machine are those that it was found with."""

    def find() -> dict[str, str]:
        found.write_text(json.dumps(determinism.repeats()))
        return {}

    found = folder / "determinism.found"
    line, _ = _kept(found, _key(root, runs.provenance()["hardware"], []), find)
    return line, json.loads(found.read_text())


def _kept(product: Path, key: str, make: Callable[[], dict[str, str]]) -> tuple[Line, Execution]:
    """Have `make` write `product`, unless it is there and its stamp, beside it, says that nothing has changed.

    Args:
        make: returns the path and checksum of each run that it read.
    """
    stamp = product.with_suffix(".json")
    why, execution = _reason(stamp, product, key)
    if why:
        # Gone first: were this build killed, the old stamp would vouch for something half-written.
        stamp.unlink(missing_ok=True)
        start = time.perf_counter()
        read = make()
        execution = Execution(key, read, round(time.perf_counter() - start, 1), _digest(product))
        stamp.write_text(json.dumps(asdict(execution), indent=2))
    assert execution is not None
    outcome = f"ran: {why}" if why else "skipped: nothing changed"
    return Line(product.stem, outcome, execution.seconds if why else 0.0), execution


def _key(root: Path, parameters: dict[str, Any], own: list[str]) -> str:
    lock = (root / "requirements.txt").read_text()
    return json.dumps(
        {
            "its code": _sha256(*own),
            "its parameters": _sha256(json.dumps(parameters)),
            "aelib": code.whole(),
            "requirements.txt": _sha256(*[line for line in lock.splitlines() if not line.startswith("#")]),
        }
    )


def _sha256(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _digest(product: Path) -> str:
    """Of a file, or of all files of a folder and their names."""
    files = sorted(path for path in product.rglob("*") if path.is_file()) if product.is_dir() else [product]
    return _sha256(*[f"{path.relative_to(product)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files])


def _reason(stamp: Path, executed: Path, key: str) -> tuple[str, Execution | None]:
    """Why a chapter has to be executed, or "" and its last execution."""
    try:
        execution = Execution(**json.loads(stamp.read_text()))
        before = json.loads(execution.key)
        made = _digest(executed)
    except (FileNotFoundError, ValueError, TypeError):
        return "not executed yet", None
    changed = [what for what, digest in json.loads(key).items() if before.get(what) != digest]
    read = {runs.located(path): digest for path, digest in execution.runs.items()}
    changed += [f"run {path.name}" for path, digest in read.items() if runs.checksum(path) != digest]
    changed += [] if made == execution.made else ["what it had made"]
    return (f"{' and '.join(changed)} changed", None) if changed else ("", execution)


def _execute(
    root: Path,
    name: str,
    executed: Path,
    parameters: dict[str, Any],
    environment: dict[str, str],
    kernels: list[subprocess.Popen],
) -> dict[str, str]:
    """Execute a chapter into `executed`, by a process with `environment` that is added to `kernels`.

    Returns:
        Path and checksum of each run that it read.
    """
    import papermill
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    from aelib import engine

    executed.parent.mkdir(parents=True, exist_ok=True)
    log, settings = executed.with_suffix(".runs"), executed.with_suffix(".ipython")
    log.unlink(missing_ok=True)
    shutil.rmtree(settings, ignore_errors=True)
    environment = environment | {
        "AELIB_RUNS_READ": str(log),
        "IPYTHONDIR": str(settings),
        # A chapter is executed in another folder than that which a relative path is about.
        "AELIB_RESULTS": str(runs.results_folder().absolute()),
        "AELIB_DATA": str(data.cache_folder().absolute()),
    }

    class Kernel(AsyncKernelManager):
        """Of this chapter: papermill would have it take its folder and environment from this process.

        On this Python, whatever a `python3` that Jupyter finds may be, and as IPython is before anybody sets it up.
        """

        kernel_spec = KernelSpec(**get_kernel_dict())

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            own = {name: value for name, value in os.environ.items() if name != "PYTHONSTARTUP"} | environment
            await super().start_kernel(env=own, cwd=str(root), **options)
            kernels.append(self.provisioner.process)  # type: ignore[union-attr]

    # Of a kernel that ends together with us they would tell at length; of one that dies alone we tell ourselves.
    for library in ("asyncio", "papermill"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    print(f"aelib: executing {name}", file=sys.stderr)
    # papermill would put parameters in place of what stands between braces.
    paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (root / "book" / f"{name}.ipynb", executed)]
    try:
        papermill.execute_notebook(
            *paths,
            parameters,
            engine_name=engine.RAW,
            kernel_name="python3",
            kernel_manager_class=Kernel,
            progress_bar={"desc": name, "disable": None},
            # All that it wrote is on disk by then; to take PyTorch down in good order takes two to three seconds.
            shutdown_kernel="immediate",
        )
    except papermill.PapermillExecutionError as error:
        raise AelibError(
            f"chapter {name}, cell {error.cell_index}: {error.ename}: {' '.join(error.evalue.split())} "
            f"(all of it is in {executed})"
        ) from error
    except RuntimeError as error:  # of nbclient, at the start or later
        raise AelibError(f"chapter {name}: {error}, most likely for want of memory") from error
    read = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    shutil.rmtree(settings, ignore_errors=True)
    return {runs.portable(Path(path)): digest for path, digest in read}


def _with_outputs(source: NotebookNode, executed: NotebookNode, parameters: dict[str, Any]) -> NotebookNode:
    """The chapter as it is written now, with the outputs that its unchanged code gave when it was executed."""
    ran = [
        cell
        for cell in executed.cells
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    for cell, twin in zip(code, ran, strict=True):
        cell.outputs, cell.execution_count = twin.outputs, twin.execution_count
        # Progress bars and notes on the way are for a terminal.
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += "".join(f"\n{name} = {value!r}  # in this build" for name, value in parameters.items())
    return source


def _render(
    stage: Path, output: Path, profile: str, key: str, alter: Callable[[Path], None] = lambda html: None
) -> Line:
    """Render `stage` into `output/html`, unless that is what is there; `key` stands for what renders and alters it."""
    html, stamp = output / "html", output / STAMP
    digest = f"{profile} {_sha256(key, _digest(stage))}"
    if stamp.exists() and html.exists() and stamp.read_text() == f"{digest} {_digest(html)}":
        return Line("the pages", "skipped: nothing changed", 0.0)
    start = time.perf_counter()
    # From nothing: an incremental build leaves glued numbers of other pages stale. Of a name of its own: where a build
    # was killed, its jupyter-book may still be writing to the old one.
    for old in output.glob("draft-*"):
        shutil.rmtree(old, ignore_errors=True)
    draft, log = output / f"draft-{os.getpid()}", output / "jupyter-book.log"
    program = Path(sys.executable).with_name("jupyter-book")  # of this environment, activated or not
    command: list[str | Path] = [program, "build", stage, "--path-output", draft, "-W", "-n", "--keep-going"]
    with log.open("w") as file:
        # Without colours, and with the year of the copyright as it is written: some shells set a date to build at.
        own = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"} | {"NO_COLOR": "1"}
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=own).returncode
    if code:
        text = re.sub(r"\x1b\[[\d;]*m", "", log.read_text())
        if os.strerror(errno.ENOSPC) in text:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(draft))
        lines = [line for line in text.splitlines() if re.search("WARNING|ERROR|CRITICAL", line)]
        first = lines[0] if lines else text.strip().splitlines()[-1]
        raise AelibError(f"jupyter-book: {first} ({len(lines)} such lines, all of it in {log})")
    built = draft / "_build" / "html"
    for page in _html_pages(built):
        pages.finish(page, built / "_static" / "inline")
    if faults := check(built):
        raise AelibError(f"the built book has {len(faults)} faults, the first: {faults[0]}")
    stamp.unlink(missing_ok=True)
    shutil.rmtree(html, ignore_errors=True)
    os.replace(built, html)
    alter(html)
    stamp.write_text(f"{digest} {_digest(html)}")
    shutil.rmtree(draft)
    return Line("the pages", "rendered", time.perf_counter() - start)


def _html_pages(html: Path) -> list[Path]:
    # Below _static lie templates of the theme.
    return [path for path in sorted(html.rglob("*.html")) if "_static" not in path.relative_to(html).parts]


class _Page(HTMLParser):
    """What a page refers to: anchors of its own, links, and what it loads; what it runs, and its policy about that."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.repeated: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.without_alt: list[str] = []
        self.own_code: list[str] = []
        self.policy = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if values.get("id") in self.anchors:
            self.repeated.append(values["id"])
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        self.own_code += [f"{name}={value}" for name, value in values.items() if name.startswith("on")]
        # Of another type it is data.
        if tag == "script" and "src" not in values and values.get("type") in (None, "", "module", "text/javascript"):
            self.own_code.append("<script>")
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        if tag in ("script", "img", "iframe", "source") and "src" in values:
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "shortcut icon"):
            self.loaded.append(values.get("href", ""))
        if tag == "img" and "images/" in values.get("src", "") and not values.get("alt"):
            self.without_alt.append(values["src"])


def check(html: Path) -> list[str]:
    """Faults of a built book, a line each.

    A link or an anchor that leads nowhere or to two places, a file that is missing, a picture without alternative
    text, anything loaded from another host, code within a page, a page without a policy that refuses such code.
    """
    read = {path: _Page(path) for path in _html_pages(html)}
    faults = []
    for path, page in read.items():
        name = path.relative_to(html)
        faults += [f"{name}: {image} has no alternative text" for image in page.without_alt]
        faults += [f"{name}: {anchor} names two places" for anchor in page.repeated]
        faults += [f"{name}: {code} runs within the page" for code in page.own_code]
        if page.policy != pages.POLICY:
            faults.append(f"{name}: has no content security policy, or another one")
        for target in page.loaded:
            parts = urlsplit(target)
            if parts.netloc:
                faults.append(f"{name}: loads {target} from another host")
            elif parts.scheme != "data" and not (path.parent / unquote(parts.path)).is_file():
                faults.append(f"{name}: {target} is missing")
        for target in page.links:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            other = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not other.exists():
                faults.append(f"{name}: link to {target} leads nowhere")
            elif parts.fragment and other in read and unquote(parts.fragment) not in read[other].anchors:
                faults.append(f"{name}: {target} names an anchor that is not there")
    return faults
