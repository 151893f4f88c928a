"""What a build adds to the pages: provenance below each figure, facts about the build.

Figures and tables of the chapters are written beside them, by their names, so that other pages can show them.
"""

from __future__ import annotations

import base64
import importlib.metadata
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from aelib import code_version, data, formats, runs, words
from aelib.book.cache import Execution
from aelib.credits import MANY, again, by_experiment, commit, machine, origin, origins, papermill, trained_by
from aelib.provenance import record_of_this_process


def publish(notebook: NotebookNode, command: str, folder: Path, doubt: Callable[[Path], str]) -> None:
    """Write the figures and tables of an executed chapter below `folder`, and say under each figure where it is from.

    Args:
        notebook: changed in place.
        command: executes the chapter.
        folder: of the chapter; it gets `_figures/` and `_tables/`.
        doubt: why a run may not be what today's code makes, in words; empty where it is.
    """
    for name in ("_figures", "_tables"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    cells = []
    for cell in notebook.cells:
        figure = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        if figure:
            cells.append(new_markdown_cell(f'<span id="code-{figure}"></span>', id=f"code-{figure}"[:64]))
        cells.append(cell)
        contents = [output["data"] for output in cell.get("outputs", []) if "data" in output]
        for content in contents:
            if table := re.search(r"^:name: (\S+)$", content.get("text/markdown", ""), re.M):
                (folder / "_tables" / f"{table[1]}.md").write_text(content["text/markdown"])
                (folder / "_tables" / f"{table[1]}.csv").write_text(content.pop("text/csv", ""))
                if "remove-cell" not in cell.metadata.get("tags", []):
                    link = f"{{download}}`CSV <_tables/{table[1]}.csv>`"
                    cells.append(_remark(f"{link}\n", f"provenance-{table[1]}"))
        if figure and contents:
            drawn_from = contents[-1].pop(runs.PATHS, "").split("\n")  # myst-nb does not know it, nor CSV
            files = _files(contents[-1], folder / "_figures" / figure)
            source = _source(command, [runs.located(path) for path in drawn_from if path], doubt)
            link = f'<a class="code" href="#code-{figure}">Code</a>'
            cells.append(_remark(provenance(files, source, link), f"provenance-{figure}"))
    notebook.cells = cells


def offer(notebook: NotebookNode, source: Path, folder: Path) -> None:
    """End a chapter with a link to its `source`, the notebook without outputs, which is copied below `folder`."""
    (folder / "_notebooks").mkdir(exist_ok=True)
    shutil.copy(source, folder / "_notebooks")
    link = f"{{download}}`This chapter as it is written, without outputs <_notebooks/{source.name}>`"
    notebook.cells.append(_remark(f"{link}\n", "source-notebook"))


def provenance(files: Iterable[Path], source: str, *links: str) -> str:
    """The line below a figure: `files` of `_figures` to download, more `links`, and, folded, its `source`."""
    downloads = [f"{{download}}`{path.suffix[1:].upper()} <_figures/{path.name}>`" for path in files]
    return f"{' · '.join([*downloads, *links])}\n\n<details><summary>Provenance</summary>\n\n{source}\n\n</details>"


def remark(text: str) -> str:
    """`text`, small, below a figure or a table."""
    return f'<div class="provenance">\n\n{text}\n</div>'


def _remark(text: str, name: str) -> NotebookNode:
    # A name of its own: a random one would make every build another.
    return new_markdown_cell(remark(text), id=name[:64])


def _files(content: MutableMapping[str, str], path: Path) -> list[Path]:
    """Write a picture, also as a vector drawing where there is one, and its numbers.

    In `content` it leaves the one that the page shows.
    """
    files = []
    if "image/svg+xml" in content:
        # The moment of drawing, which Matplotlib writes down, would make every build another.
        content["image/svg+xml"] = re.sub(r"<dc:date>.*?</dc:date>", "", content["image/svg+xml"])
        files.append(path.with_suffix(".svg"))
        files[0].write_text(content["image/svg+xml"])
    if "image/png" in content:
        files.append(path.with_suffix(".png"))
        files[-1].write_bytes(base64.b64decode(content["image/png"]))
    if "image/svg+xml" in content:
        content.pop("image/png", None)  # in the page, too, it would make the book a quarter larger
    if "text/csv" in content:
        files.append(path.with_suffix(".csv"))
        files[-1].write_text(content.pop("text/csv"))
    return files


def _source(command: str, drawn_from: Sequence[Path], doubt: Callable[[Path], str]) -> str:
    """What drew a figure, and from which runs."""
    if not drawn_from:
        return f"Drawn by `{command}`; no training decides it."

    def each(path: Path) -> str:
        return f"{origin(path, doubt(path), _parameters(path, 'parameters') + ', ')}; again: `{again(path, command)}`"

    lines = [f"- {line}" for line in origins(drawn_from, doubt, each, "; each is in {doc}`about`")]
    return "\n".join([f"Drawn by `{command}`, from", "", *lines])


def _parameters(path: Path, words: str) -> str:
    """A link to all parameters of a run, from a page beside `_runs`."""
    return f"{{download}}`{words} <_runs/{path.name}.json>`"


def _run(path: Path, command: str, doubt: str) -> str:
    """A run in one line, that unfolds; `command` executes the chapter that asks for it."""
    config, about = runs.about(path)
    stale = f", {doubt}" if doubt == code_version.STALE else ""
    where = f"{about['training_seconds']:,.0f} s on {machine(about)}"
    return f"""<details><summary><code>{path.name}</code>, seed {config.get("seed", 0)}{stale}</summary>

Commit {trained_by(about, doubt)}, {where}; {_parameters(path, "parameters")}.
Again:

```shell
{again(path, command)}
```

</details>
"""


def _all_runs(chapters: Mapping[Path, str], doubt: Callable[[Path], str]) -> str:
    """All runs, by path with the chapter that asks for it; many summaries of one experiment are one table."""
    parts = []
    for name, group in by_experiment(chapters).items():
        summaries = [path for path in group if runs.about(path)[0].get("summary")]
        many = summaries if len(summaries) > MANY else []
        commands = {path: papermill(chapters[path], path.parent.name) for path in group}
        parts += [_run(path, commands[path], doubt(path)) for path in group if path not in many]
        if many:
            parts.append(_many(name, {path: commands[path] for path in many}, doubt))
    return "\n".join(parts)


def _many(name: str, commands: Mapping[Path, str], doubt: Callable[[Path], str]) -> str:
    """Runs of the experiment `name` in a table that unfolds: what one of them has and another has not."""
    paths = [*commands]
    abouts = [runs.about(path) for path in paths]
    configs = [dict(formats.flat(config)) for config, _ in abouts]
    keys = {key: None for each in configs for key in each}
    varied = [key for key in keys if len({str(each.get(key)) for each in configs}) > 1]
    rows = [
        [
            _parameters(path, path.name),
            ", ".join(f"{key.rpartition('.')[2]} {str(config.get(key, '–'))[:8]}" for key in varied),
            f"{provenance['training_seconds']:,.0f} s",
        ]
        for path, config, (_, provenance) in zip(paths, configs, abouts, strict=True)
    ]
    (together,) = origins(paths, doubt)
    return f"""<details><summary>{len(paths)} more runs of <code>{name}</code>, of which a summary is kept</summary>

{together}. The first of them again, and so any other: `{again(paths[0], commands[paths[0]])}`.

{table(["Run", "In which they differ", "Trained in"], rows)}
</details>
"""


def stand_in(page: str, book: words.Book) -> str:
    """A page, as MyST, in place of another: with its title, and with all that others refer to there."""
    parts = [f"# {book.titles[page]}"]
    for label, (name, where) in book.labels.items():
        if where == page:
            form = _STAND_INS.get(label.partition("-")[0], "({label})=\n## {name}")
            parts.append(form.format(label=label, name=name))
    return "\n\n".join(parts) + "\n"


_STAND_INS = {
    "fig": "```{{figure}} _stand_in.svg\n:name: {label}\n:alt: {name}\n\n{name}\n```",
    "tab": "```{{table}} {name}\n:name: {label}\n\n| |\n| --- |\n| |\n```",
    "eq": "```{{math}}\n:label: {label}\n0\n```",
}


def launch(now: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What `_config.yml` needs for buttons that lead to the source of a page; empty where the project has no address.

    Args:
        now: the provenance of this build, whose commit they lead to: what is there is what the pages show. On GitHub
            there is one that starts a chapter on Binder, too.
        config: of the book, which may give another address of the repository than the one on GitHub that `now` knows.
    """
    given = config.get("repository", {}).get("url")
    if not (address := given or now["repository"]):
        return {}
    buttons = {
        "repository": {"url": address, "branch": now["commit"]},
        "html": config.get("html", {}) | {"use_issues_button": True},
    }
    if given:
        return buttons
    return buttons | {"launch_buttons": {"notebook_interface": "jupyterlab", "binderhub_url": "https://mybinder.org"}}


def _elsewhere(now: Mapping[str, Any], chapters: Iterable[str]) -> str:
    """How to run a chapter on somebody else's machine."""
    if not now["repository"]:
        return "This build does not know where the project is on GitHub, and so has no buttons for Binder and Colab.\n"
    address, commit = now["repository"], now["commit"]
    folder = address.rpartition("/")[2]
    colab = address.replace("https://github.com", "https://colab.research.google.com/github")
    links = ", ".join(f"[{name}]({colab}/blob/{commit}/book/{name}.ipynb)" for name in chapters)
    return f"""The rocket above a chapter starts it on [Binder](https://mybinder.org), with `aelib` at the commit above.

On Colab, open {links}, and put this into a first cell of its own:

```
!git clone --quiet {address} && git -C {folder} checkout --quiet {commit}
%cd {folder}
%pip install --quiet ".[book]"
```
"""


def build_facts(
    executions: Mapping[str, Execution], same: Mapping[str, bool], doubt: Callable[[Path], str]
) -> dict[str, str]:
    """Facts about a build, as Markdown by name.

    Args:
        executions: of what read runs, by name.
        same: whether a training that was made again ended with the same bits, by the way of making it again.
        doubt: as `publish` takes it.
    """
    now = record_of_this_process()
    versions = now["versions"] | {name: importlib.metadata.version(name) for name in ("jupyter-book", "papermill")}
    paths = {path: chapter for chapter, each in reversed([*executions.items()]) for path in each.paths}
    return {
        "elsewhere": _elsewhere(now, [name for name in executions if name != "explore"]),
        "build": table(
            ["What", "In this build"],
            [
                ["Commit", commit(now)],
                ["Processor", f"{now['hardware']['processor']}, {now['hardware']['cores']} cores"],
                *([name, version] for name, version in versions.items()),
            ],
        ),
        "chapters": table(
            ["Chapter", "Executed in", "Runs read"],
            [[name, f"{each.seconds:.0f} s", str(len(each.runs))] for name, each in executions.items()],
        ),
        "determinism": table(
            ["A small training, made again", "Its weights, in this build"],
            [[way, "the same bits" if each else "**other bits**"] for way, each in same.items()],
        ),
        "runs": _all_runs(paths, doubt),
        "data": table(["File", "SHA-256"], [[f"`{name}`", f"`{digest}`"] for name, digest in data.FILES.items()]),
    }


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as Markdown, without a number."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]) + "\n"
