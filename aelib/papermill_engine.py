"""How papermill executes a chapter: progress in the terminal, and a notebook that everyone can read.

papermill loads this module by its entry point, so that `papermill CHAPTER out.ipynb` needs no option. It must import
little: it does so for every notebook of the environment. One that does not import aelib is executed as by papermill
alone; any that does counts as a chapter.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.log import logger
from papermill.translators import PythonTranslator
from tqdm.contrib import DummyTqdmFile

from aelib import words
from aelib.progress import MEDIA_TYPE
from aelib.provenance import record_of_this_process

RAW = "aelib"
"""The engine that leaves the notebook as the book needs it."""


def plain_environment() -> dict[str, str]:
    """The variables of this process, but for those that would make a chapter, or its page, another one.

    Those are what Python runs first, that it leaves out docstrings, how Matplotlib draws, and the day of the build.
    """
    left_out = {"PYTHONSTARTUP", "PYTHONOPTIMIZE", "MPLBACKEND", "SOURCE_DATE_EPOCH"}
    return {name: value for name, value in os.environ.items() if name not in left_out}


class _Client(PapermillNotebookClient):
    """Shows the progress of a training at the end of papermill's bar, and keeps nothing of it."""

    def process_message(self, msg: Any, cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        line = msg["content"].get("data", {}).get(MEDIA_TYPE)
        if line is None:
            return super().process_message(msg, cell, cell_index)
        if self.nb_man.pbar is not None:
            self.nb_man.pbar.set_postfix_str(line)
        return None


class Raw(NBClientEngine):
    """Executes a notebook; progress and notes on the way are for the terminal."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> NotebookNode:
        """As papermill does, by `_Client`."""
        del options["input_path"]
        options |= {"startup_timeout": options.pop("start_timeout"), "timeout": options.pop("execution_timeout", None)}
        if not options["log_output"]:
            options["stderr_file"] = options.get("stderr_file") or DummyTqdmFile(sys.stderr)  # above its bar
        # Without, a kernel warns of TCP, and says that it was interrupted.
        options.setdefault("extra_arguments", ["--log-level=CRITICAL"])
        # tqdm, which Optuna imports, would rather draw its bars with ipywidgets.
        os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")
        os.environ.pop("MPLBACKEND", None)  # a chapter opens no window, and Matplotlib refuses a name it does not know
        return _Client(nb_man, kernel_name=kernel_name, log=logger, **options).execute()


class Readable(Raw):
    """Executes a notebook; has a chapter show in Jupyter what it shows in the book."""

    @classmethod
    def execute_notebook(cls, nb: NotebookNode, kernel_name: str, **options: Any) -> NotebookNode:
        """As papermill does; it writes what is returned."""
        if not any(re.search(r"^(from|import) aelib\b", cell.source, re.M) for cell in _code(nb)):
            return NBClientEngine.execute_notebook(nb, kernel_name, **options)
        _as_written(nb)
        nb = super().execute_notebook(nb, kernel_name, **options)
        for error in (output for cell in _code(nb) for output in cell.outputs if output.output_type == "error"):
            _explain_in_one_line(error)
        make_readable(nb, Path(nb.metadata.papermill.get("input_path") or "chapter.ipynb"))
        return nb


papermill_engines.register(RAW, Raw)
papermill_engines.register(None, Readable)


def _as_written(notebook: NotebookNode) -> None:
    """Take back what `make_readable` has done to a notebook that is executed again."""
    notebook.cells = [cell for cell in notebook.cells if ADDED not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        kept = cell.metadata.pop(WRITTEN, {})
        if kept.get("shown") == cell.source:  # else somebody has changed it since
            cell.source = kept["written"]


ADDED, WRITTEN = "aelib-added", "aelib-written"
"""The tag of cells that a chapter does not have; where others keep how they are written."""


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _explain_in_one_line(error: NotebookNode) -> None:
    """Have Python end with the line of an `AelibError`, whose traceback is that line, rather than with papermill's."""
    before = sys.excepthook

    def hook(kind: Any, raised: BaseException, traceback: Any) -> None:
        if isinstance(raised, PapermillExecutionError) and raised.traceback == [f"{error.ename}: {error.evalue}"]:
            print(f"aelib: {error.evalue}", file=sys.stderr)
        else:
            before(kind, raised, traceback)

    sys.excepthook = hook


def make_readable(notebook: NotebookNode, source: Path) -> None:
    """Turn an executed chapter into what Jupyter, VS Code, Colab and GitHub show as the book does.

    Args:
        notebook: changed in place. Its sentences get their numbers, its figures their captions; code is folded where
            the book folds it; below the title stand its parameters, and the runs that its figures are drawn from.
        source: the chapter that was executed.
    """
    root = source.absolute().parent.parent
    book = words.book(root if (root / "_toc.yml").exists() else words.HERE)
    name = notebook.metadata.setdefault("aelib", {}).setdefault("chapter", source.stem)
    about = _about(notebook, name)
    outputs = [output for cell in _code(notebook) for output in cell.outputs]
    glued = {
        output.metadata.scrapbook.name: output.data["application/papermill.record/text/plain"]
        for output in outputs
        if "scrapbook" in output.get("metadata", {})
    }
    cells: list[NotebookNode] = []
    cited: list[str] = []

    def shown(text: str) -> str:
        cited.extend(key for keys in re.findall(r"\{cite:[pt]\}`([^`]+)`", text) for key in keys.split(","))
        return words.words(text, book, here=name, glued=glued)

    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type != "code":
            if (text := shown(cell.source)) != cell.source:
                cell.metadata[WRITTEN] = {"written": cell.source, "shown": text}
                cell.source = text
            continue
        tags = set(cell.metadata.get("tags", []))
        if tags & {"hide-input", "remove-cell", "injected-parameters"}:
            cell.metadata.setdefault("jupyter", {})["source_hidden"] = True
        if "hide-cell" in tags:  # the solution of an exercise
            cell.metadata["jupyter"] = {"source_hidden": True, "outputs_hidden": True}
        cell.outputs = [
            output
            for output in cell.outputs
            if output.output_type == "error"
            or not (
                "remove-cell" in tags or output.get("name") == "stderr" or "scrapbook" in output.get("metadata", {})
            )
        ]
        for output in cell.outputs:
            if table := output.get("data", {}).get("text/markdown"):
                text = shown(table)
                output.data.update({"text/markdown": text, "text/html": words.html(text), "text/plain": text})
        figure = cell.metadata.get("mystnb", {})
        if "figure" in figure and cell.outputs:
            picture = cell.outputs[-1]
            picture.setdefault("metadata", {}).setdefault("image/png", {})["alt"] = figure["image"]["alt"]
            number = book.labels.get(figure["figure"]["name"], ("Figure", ""))[0]
            cells.append(_markdown(f"**{number}.** {shown(figure['figure']['caption'])}"))
    if about:
        title = next((at for at, cell in enumerate(cells) if cell.source.startswith("# ")), -1)
        cells.insert(title + 1, about)
    if listed := [book.publications[key] for key in dict.fromkeys(cited) if key in book.publications]:
        cells.append(_markdown("## References\n\n" + "\n".join(f"- {each}" for each in listed)))
    notebook.cells = cells


def _markdown(text: str) -> NotebookNode:
    return new_markdown_cell(text, metadata={"tags": [ADDED]})


def _about(notebook: NotebookNode, name: str) -> NotebookNode | None:
    """Parameters and provenance of an executed chapter."""
    parameters = next((cell for cell in _code(notebook) if "parameters" in cell.metadata.get("tags", [])), None)
    if parameters is None:
        return None
    from aelib import runs
    from aelib.credits import commit, origins, papermill

    executed, now = notebook.metadata.papermill, record_of_this_process()
    given = executed.get("parameters", {})
    rows = ["| Parameter | Value | Meaning |", "| :-- | :-- | :-- |"]
    for each in PythonTranslator.inspect(parameters):
        value = f"**`{PythonTranslator.translate(given[each.name])}`**" if each.name in given else f"`{each.default}`"
        rows.append(f"| `{each.name}` | {value} | {each.help} |")
    paths = dict.fromkeys(
        runs.located(line)
        for cell in _code(notebook)
        for output in cell.outputs
        for line in output.get("data", {}).get(runs.PATHS, "").split("\n")
        if line
    )
    notices, drawn_from = dict[str, None](), list[str]()
    if paths:
        from aelib import experiments, profiles  # and with them PyTorch: a chapter that fails need not wait for it

        notices = dict.fromkeys(profiles.notice_of(path, runs.about(path)[1]) for path in paths)
        drawn_from = origins(paths, experiments.doubt)
    when = executed["start_time"][:16].replace("T", " ")
    # One that came by standard input has no name that a command would find.
    command = "papermill" if name == "-" else f"`{papermill(name, 'report', given)}`"
    text = [
        *(f"**{notice}**\n" for notice in notices if notice),
        *rows,
        "",
        f"Executed by {command} on {when} UTC "
        f"in {executed['duration']:,.0f} s, with `aelib` at commit {commit(now, 8)}"
        + ("; the figures are drawn from" if paths else "."),
        "",
        *(f"- {line}" for line in drawn_from),
    ]
    return _markdown("\n".join(text))
