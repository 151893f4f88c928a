"""Chapters executed by papermill, each by a kernel with a folder and an environment of its own."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from aelib import cores, data, runs, words
from aelib.book.cache import Execution, Line, kept, key_of
from aelib.errors import AelibError
from aelib.profiles import find_profile

AT_ONCE = 2
"""Chapters that are executed at once. Most of what they do, imports and drawing, is on one core each."""


def chapters(root: Path) -> list[str]:
    """Names of the notebooks of `book/` that `_toc.yml` lists, in its order."""
    return [name for name in words.pages(root) if (root / "book" / f"{name}.ipynb").exists()]


def execute_all(
    root: Path, names: list[str], folder: Path, parameters: dict[str, Any]
) -> list[tuple[Line, Execution, NotebookNode]]:
    """Execute those chapters of which `folder` has no current execution, `AT_ONCE` at a time.

    The first that fails, or an interrupt, ends the others.

    Returns:
        Each as it is written now, with the outputs of its last execution.

    Raises:
        AelibError: a cell failed, or a kernel died.
    """
    kernels: list[subprocess.Popen] = []
    environment = {}
    if len(names) > 1:
        # With more threads than cores, two trainings at once would take for ever.
        environment["OMP_NUM_THREADS"] = str(max(1, (cores.asked() or cores.available()) // AT_ONCE))

    def obtain(name: str) -> tuple[Line, Execution, NotebookNode]:
        path, executed = root / "book" / f"{name}.ipynb", folder / f"{name}.ipynb"
        source = nbformat.read(path, as_version=4)
        # Of one's own images the path says little.
        images = find_profile("report", parameters["dataset"]).sha256 if parameters.get("dataset") else ""
        key = key_of(root, parameters | {"images": images}, tuple(cell.source for cell in _code(source)))
        line, execution = kept(executed, key, partial(execute, path, executed, parameters, environment, kernels))
        return line, execution, _with_outputs(source, nbformat.read(executed, as_version=4), parameters)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(obtain, name) for name in names]
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


def execute(
    chapter: Path,
    executed: Path,
    parameters: dict[str, Any],
    environment: dict[str, str],
    kernels: list[subprocess.Popen],
    again: bool = True,
) -> dict[str, str]:
    """Execute `chapter` into `executed`, by a process with `environment` that is added to `kernels`.

    One that dies before it answers, or never does, is started once more, if `again`: between the choice of its ports
    and its start another process may have taken one of them.

    Returns:
        Path and checksum of each run that it read.
    """
    import papermill
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    from aelib import papermill_engine

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
            own = papermill_engine.plain_environment() | environment
            await super().start_kernel(env=own, cwd=str(chapter.parent.parent), **options)
            kernels.append(self.provisioner.process)  # type: ignore[union-attr]

    # Of a kernel that ends together with us they would tell at length; of one that dies alone we tell ourselves.
    for library in ("asyncio", "papermill"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    print(f"aelib: executing {chapter.stem}", file=sys.stderr)
    try:
        papermill.execute_notebook(
            # papermill would put parameters in place of what stands between braces.
            *(str(path).replace("{", "{{").replace("}", "}}") for path in (chapter, executed)),
            parameters,
            engine_name=papermill_engine.RAW,
            kernel_name="python3",
            kernel_manager_class=Kernel,
            progress_bar={"desc": chapter.stem, "disable": None},
            # All that it wrote is on disk by then; to take PyTorch down in good order takes two to three seconds.
            shutdown_kernel="immediate",
        )
    except papermill.PapermillExecutionError as error:
        raise AelibError(
            f"chapter {chapter.stem}, cell {error.cell_index}: {error.ename}: {' '.join(error.evalue.split())} "
            f"(all of it is in {executed})"
        ) from error
    except RuntimeError as error:  # of nbclient, at the start or later
        if again and re.search("before replying|didn't respond", str(error)):
            return execute(chapter, executed, parameters, environment, kernels, again=False)
        raise AelibError(f"chapter {chapter.stem}: {error}, most likely for want of memory") from error
    read = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    shutil.rmtree(settings, ignore_errors=True)
    return {runs.portable(Path(path)): digest for path, digest in read}


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _with_outputs(source: NotebookNode, executed: NotebookNode, parameters: dict[str, Any]) -> NotebookNode:
    """The chapter as it is written now, with the outputs that its unchanged code gave when it was executed."""
    ran = [cell for cell in _code(executed) if "injected-parameters" not in cell.metadata.get("tags", [])]
    for cell, twin in zip(_code(source), ran, strict=True):
        cell.execution_count = twin.execution_count
        # Progress bars and notes on the way are for a terminal.
        cell.outputs = _in_one([output for output in twin.outputs if output.get("name") != "stderr"])
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += "".join(f"\n{name} = {value!r}  # in this build" for name, value in parameters.items())
    return source


def _in_one(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """What was printed in one piece: in how many it arrives is a matter of time."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == "stream" == joined[-1].output_type:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined
