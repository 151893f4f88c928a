"""What a build adds to the pages: provenance below each figure, facts about the build, and mends of the theme's HTML.

Figures and tables of the chapters are written beside them, by their names, so that other pages can show them.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from aelib import code, data, runs, verdicts, words


def papermill(chapter: str, profile: str, parameters: Mapping[str, Any] | None = None) -> str:
    """The command that executes a chapter alone."""
    asked = ({"profile": profile} if profile != "report" else {}) | dict(parameters or {})
    options = (f" -p {name} {shlex.quote(str(value))}" for name, value in asked.items())
    return f"papermill book/{chapter}.ipynb out.ipynb" + "".join(options)


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
        cells.append(cell)
        contents = [output["data"] for output in cell.get("outputs", []) if "data" in output]
        for content in contents:
            if table := re.search(r"^:name: (\S+)$", content.get("text/markdown", ""), re.M):
                (folder / "_tables" / f"{table[1]}.md").write_text(content["text/markdown"])
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        if name and contents:
            drawn_from = contents[-1].pop(runs.PATHS, "").split("\n")  # myst-nb does not know it, nor CSV
            files = _files(contents[-1], folder / "_figures" / name)
            text = _provenance(files, _source(command, [runs.located(path) for path in drawn_from if path], doubt))
            # A name of its own: a random one would make every build another.
            cells.append(new_markdown_cell(text, id=f"provenance-{name}"[:64]))
    notebook.cells = cells


def offer(notebook: NotebookNode, source: Path, folder: Path) -> None:
    """End a chapter with a link to its `source`, the notebook without outputs, which is copied below `folder`."""
    (folder / "_notebooks").mkdir(exist_ok=True)
    shutil.copy(source, folder / "_notebooks")
    link = f"{{download}}`This chapter as it is written, without outputs <_notebooks/{source.name}>`"
    notebook.cells.append(new_markdown_cell(f'<div class="provenance">\n\n{link}\n\n</div>', id="source-notebook"))


def stand_in(page: str, book: words.Book) -> str:
    """A page, as MyST, in place of another: with its title, and with all that others refer to there."""
    parts = [f"# {book.titles[page]}"]
    for label, (name, where) in book.labels.items():
        if where == page:
            parts.append(
                _STAND_INS.get(label.partition("-")[0], "({label})=\n## {name}").format(label=label, name=name)
            )
    return "\n\n".join(parts) + "\n"


_STAND_INS = {
    "fig": "```{{figure}} _stand_in.svg\n:name: {label}\n:alt: {name}\n\n{name}\n```",
    "tab": "```{{table}} {name}\n:name: {label}\n\n| |\n| --- |\n| |\n```",
    "eq": "```{{math}}\n:label: {label}\n0\n```",
}


def lead_out(page: Path, chapter: Path, html: Path) -> None:
    """Have the links of `page`, which is rewritten, lead to `chapter`, or else to the book that is built in `html`."""
    here = chapter.parent.parent  # which has the pages of the book at the same places

    def lead(link: re.Match[str]) -> str:
        target = (page.parent / link[2]).resolve()
        if target == chapter or not target.is_relative_to(here):
            return link[0]
        return f"{link[1]}{os.path.relpath(html / target.relative_to(here), page.parent)}"

    page.write_text(re.sub(r'((?:href|action)="|url=)([\w./-]+\.html)', lead, page.read_text()))


def _files(content: MutableMapping[str, str], path: Path) -> list[Path]:
    """Write a picture, as a vector drawing where there is one, and its numbers, which it leaves out of `content`."""
    if "image/svg+xml" in content:
        files = [path.with_suffix(".svg")]
        content.pop("image/png", None)  # for Jupyter; it would make the book a quarter larger
        # The moment of drawing, which Matplotlib writes down, would make every build another.
        content["image/svg+xml"] = re.sub(r"<dc:date>.*?</dc:date>", "", content["image/svg+xml"])
        files[0].write_text(content["image/svg+xml"])
    else:
        files = [path.with_suffix(".png")]
        files[0].write_bytes(base64.b64decode(content["image/png"]))
    if "text/csv" in content:
        files.append(path.with_suffix(".csv"))
        files[1].write_text(content.pop("text/csv"))
    return files


def _source(command: str, drawn_from: Sequence[Path], doubt: Callable[[Path], str]) -> list[str]:
    """Lines that say what drew a figure, and from which runs."""
    lines = [f"- {_sentence(path, command, doubt(path))}" for path in drawn_from]
    return [f"Drawn by `{command}`, from", "", *lines] if lines else [f"Drawn by `{command}`; no training decides it."]


def _provenance(files: Sequence[Path], source: Sequence[str]) -> str:
    return "\n".join(
        [
            '<div class="provenance">',
            "",
            " · ".join(f"{{download}}`{path.suffix[1:].upper()} <_figures/{path.name}>`" for path in files),
            "",
            "<details><summary>Provenance</summary>",
            "",
            *source,
            "",
            "</details>",
            "</div>",
        ]
    )


def _machine(provenance: Mapping[str, Any]) -> str:
    hardware = provenance["hardware"]
    engine = provenance["engine"]
    machine = f"{hardware['processor']}, {hardware['cores']} cores" if engine["device"] == "cpu" else "GPU"
    return f"{machine}, {runs.precision(engine)}" if engine.keys() & {"precision", "bf16"} else machine


def _again(path: Path, config: Mapping[str, Any], chapter: str) -> str:
    """The command that makes a run anew; `chapter` is the one that executes the chapter that asks for it."""
    name = path.name.rpartition("-")[0]
    removed = f"rm -r results/{path.parent.name}/{path.name}; "
    if config.get("summary"):  # of a variant, which only the chapter names
        return removed + chapter
    differs = runs.about(path)[1].get("differs", {})
    command = f"{removed}aelib study" if name == "study" else f"aelib train {name}{runs.settings(differs)} --again"
    return command + runs.options(path.parent.name, config.get("seed", 0))


def _parameters(path: Path, words: str) -> str:
    """A link to all parameters of a run, from a page beside `_runs`."""
    return f"{{download}}`{words} <_runs/{path.name}.json>`"


def _sentence(path: Path, chapter: str, doubt: str) -> str:
    config, _ = runs.about(path)
    return f"{origin(path, doubt, _parameters(path, 'parameters') + ', ')}; again: `{_again(path, config, chapter)}`"


def origin(path: Path, doubt: str, link: str = "") -> str:
    """Where the run at `path` is from, as Markdown; `link` is said first."""
    config, provenance = runs.about(path)
    return (
        f"`{path.name}`: {link}seed {config.get('seed', 0)}, commit {_code(provenance, doubt)}, "
        f"{provenance['training_seconds']:,.0f} s on {_machine(provenance)}"
    )


def launch(now: Mapping[str, Any]) -> dict[str, Any]:
    """What `_config.yml` needs for a button that starts a chapter on Binder; empty where the project has no address.

    Args:
        now: the provenance of this build. Binder takes its commit, so that what runs there is what the pages show.
    """
    if not now["repository"]:
        return {}
    return {
        "repository": {"url": now["repository"], "branch": now["commit"]},
        "launch_buttons": {"notebook_interface": "jupyterlab", "binderhub_url": "https://mybinder.org"},
    }


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
    seconds: Mapping[str, float],
    read: Mapping[str, Sequence[Path]],
    same: Mapping[str, bool],
    doubt: Callable[[Path], str],
) -> dict[str, str]:
    """Facts about a build, as Markdown by name.

    Args:
        seconds: that the execution of each chapter took.
        read: paths of the runs that each chapter read.
        same: whether a training that was made again ended with the same bits, by the way of making it again.
        doubt: as `publish` takes it.
    """
    now = runs.provenance()
    versions = now["versions"] | {name: importlib.metadata.version(name) for name in ("jupyter-book", "papermill")}
    paths = {path: chapter for chapter, each in reversed([*read.items()]) for path in each}
    rows = []
    for path, chapter in paths.items():
        config, about = runs.about(path)
        rows.append(
            [
                _parameters(path, path.name),
                str(config.get("seed", 0)),
                _code(about, doubt(path)),
                _machine(about),
                f"{about['training_seconds']:,.0f} s",
                f"`{_again(path, config, papermill(chapter, path.parent.name))}`",
            ]
        )
    return {
        "elsewhere": _elsewhere(now, [name for name in seconds if name != "explore"]),
        "build": _table(
            ["What", "In this build"],
            [["Commit", commit(now)]]
            + [["Processor", f"{now['hardware']['processor']}, {now['hardware']['cores']} cores"]]
            + [[name, version] for name, version in versions.items()],
        ),
        "chapters": _table(
            ["Chapter", "Executed in", "Runs read"],
            [[name, f"{each:.0f} s", str(len(read[name]))] for name, each in seconds.items()],
        ),
        "determinism": _table(
            ["A small training, made again", "Its weights, in this build"],
            [[way, "the same bits" if each else "**other bits**"] for way, each in same.items()],
        ),
        "runs": _table(["Run", "Seed", "Commit", "Trained on", "Trained in", "Again"], rows),
        "data": _table(["File", "SHA-256"], [[f"`{name}`", f"`{digest}`"] for name, digest in data.FILES.items()]),
    }


def commit(provenance: Mapping[str, Any], digits: int | None = None) -> str:
    """The commit that `provenance` names, as Markdown."""
    changes = " with uncommitted changes" if provenance["uncommitted_changes"] else ""
    return f"`{(provenance['commit'] or 'unknown')[:digits]}`{changes}"


def _code(provenance: Mapping[str, Any], doubt: str) -> str:
    """The commit that a run is of, or those that the trials of a study are of, and what is to be said about it."""
    commits = [{**provenance, "commit": each} for each in provenance.get("commits", [])] or [dict(provenance)]
    said = ", ".join(commit(each, 8) for each in commits)
    return said + (f" (**{doubt}**)" if doubt == code.STALE else f" ({doubt})" if doubt else "")


def costs(record: Mapping[str, Any]) -> str:
    """What `benchmarks/run.py` has measured, as Markdown: where, the speeds, and what else it noted of trainings."""
    about, ceilings, engine = record["provenance"], record["ceilings"], record["engine"]
    speeds, trainings = [], []
    for row in record["rows"]:
        share = "–" if row["ceiling"] is None else f"{100 * row['ceiling']:.0f} %"
        ways = [f"{row[way]:,.0f}" for way in ("plain", "aelib")]
        speeds.append([row["what"], row["unit"], *ways, f"**{row['aelib'] / row['plain']:.2f}**", share])
        if row["losses"]:
            losses = [f"{np.mean(each):.5f} ± {np.std(each, ddof=1):.5f}" for each in row["losses"]]
            memory = [f"{each / 1e9:.2f}" for each in row["memory"]]
            whole = [f"**{row['whole']:.2f}**", f"{row['start'][1]:.0f}"]  # first: on a phone the table is cut off
            trainings.append([row["what"].removeprefix("training, "), *whole, *losses, *memory])
    precision = runs.precision(engine)
    quickest = max(ceilings, key=ceilings.__getitem__)
    return "\n".join(
        [
            f"Measured on {about['hardware']['processor']} with {about['hardware']['cores']} cores at commit "
            f"{commit(about)}, {about['finished'][:10]}; trainings run in {precision} there. "
            f"Products of large matrices reach {ceilings[quickest]:,.0f} GFLOP/s in {quickest}; the last column is the "
            "share of that.",
            "",
            "```{table} What it costs: speeds of two ways that took turns, medians; t-SNE and the book, once each.",
            ":name: tab-x-costs",
            "",
            _table(["What", "", "Tutorial's way", "Ours", "Ratio", "Share"], speeds),
            "```",
            "",
            "```{table} The trainings above: the ratio of whole trainings, their start included, of as many epochs as "
            "those of the report took here; seconds that our first epoch takes longer, most of them for compilation; "
            "validation loss after the same epochs (mean and standard deviation of seeds); peak memory in GB.",
            ":name: tab-x-costs-trainings",
            "",
            _table(
                ["Training", "Ratio, whole", "Start", "Loss, tutorial's way", "ours", "Memory, tutorial's way", "ours"],
                trainings,
            ),
            "```",
            "",
        ]
    )


def costs_on_a_gpu(record: Mapping[str, Any], processor: Mapping[str, Any]) -> str:
    """What `benchmarks/gpu.py` has measured, as Markdown: on which card, in which ways, and how good it is.

    Args:
        processor: what `benchmarks/losses.py` has found on a processor.
    """
    about, ceilings, rows = record["provenance"], record["ceilings"], []
    earlier = commit({**about, "commit": record["commits"]["ways"]}, 8)
    for name, way in record["ways"].items():
        seconds, step = way["epoch_seconds"], way["step"]
        # The least that 200 steps take: their bytes or their operations, whichever takes longer.
        floor = 200 * max(step["traffic_bytes"] / ceilings["copy_bytes"], step["flops"] / ceilings["tf32"])
        ratio = f"**{seconds['plain'] / seconds['aelib']:.0f}**"
        share = f"{100 * floor / seconds['aelib']:.0f} %"
        rows.append([name, f"{seconds['plain']:.1f}", f"{seconds['aelib']:.3f}", ratio, share])
    processors = record["ways"]["convolutional"]["epoch_seconds"]["workers"]
    # The report corrupts per batch; per image, the other way, is left out.
    whole = sum(each["seconds"] for each in record["trainings"]["seed 0"] if each["way"] != "denoising")
    search, losses, inside, of = record["search"], [], 0, 0
    for way, seeds in processor["losses"].items():
        last = [
            [rows[-1]["validation_loss"] for rows in each.values()] for each in (record["losses"]["losses"][way], seeds)
        ]
        low, high = verdicts.estimate(np.array(last[1])).prediction()
        inside += sum(low <= loss <= high for loss in last[0])
        of += len(last[0])
        losses.append([way, *(f"{np.mean(each):.5f} ± {np.std(each, ddof=1):.5f}" for each in last)])
    return "\n".join(
        [
            f"On one {record['card']['name']} and {record['card']['cores']} cores, with PyTorch "
            f"{about['versions']['torch']}, {about['finished'][:10]}, epochs at commit "
            f"{earlier} and the rest at {commit(about, 8)}: epochs of the report, of 51,200 images, with validation.",
            "",
            "```{table} The same on a GPU: seconds of an epoch in the tutorial's way and in ours; and as a share of "
            "our epoch what its steps take at least, at the speed of a large copy, were each operation a kernel.",
            ":name: tab-x-costs-gpu",
            "",
            _table(["Training", "Tutorial's way", "Ours", "Ratio", "Share"], rows),
            "```",
            "",
            f"The tutorial's way waits for its images there, which one process decodes; with {record['card']['cores']} "
            f"processes for that, its autoencoder takes {processors:.1f} s an epoch.",
            "",
            f"All that the report trains, to its early stops and measured, without t-SNE, took {whole:.0f} s. Four "
            f"workers at once made {len(search['trials'])} trials of the report's search in {search['seconds']:.0f} s; "
            f"their {search['epochs']:,} epochs took {search['seconds'] / search['epochs']:.2f} s each, as long as "
            "those of one training alone, which fills the card.",
            "",
            "```{table} Does it train the same? Validation losses after five epochs on that GPU, in TF32, and on a "
            "processor, in float32; mean and standard deviation of five seeds.",
            ":name: tab-x-losses-gpu",
            "",
            _table(["Training", "GPU", "Processor"], losses),
            "```",
            "",
            f"Of the {of} losses on the GPU {inside} lie where the processor's seeds predict the next one at 95 %.",
            "",
        ]
    )


def growth(record: Mapping[str, Any]) -> str:
    """What `benchmarks/growth.py` has measured, as Markdown: where, and by how much each cost has grown."""
    about, rows = record["provenance"], []
    for part, names in _GROWING.items():
        first, last = record[part][0], record[part][-1]
        for name, what in names.items():
            more = f"{first['count']:,} → {last['count']:,} {part}"
            rows.append([what, more, f"{last['count'] / first['count']:.0f} ×", f"{last[name] / first[name]:.1f} ×"])
    return "\n".join(
        [
            f"Measured on {about['hardware']['processor']} with {about['hardware']['cores']} cores at commit "
            f"{commit(about)}, {about['finished'][:10]}.",
            "",
            "```{table} What grows, and how: the largest measurement over the smallest.",
            ":name: tab-x-growth",
            "",
            _table(["What", "From → to", "Growth of that", "Growth of this"], rows),
            "```",
            "",
        ]
    )


_GROWING = {
    "images": {
        "epoch": "seconds of an epoch",
        "encode": "seconds to encode the test images",
        "tsne": "seconds of t-SNE",
        "memory": "peak memory of a training",
        "memory_with_tsne": "peak memory with t-SNE",
    },
    "trials": {
        "read": "seconds to read the study",
        "proposal": "seconds to the next proposal",
        "disk": "the journal on disk",
    },
    "workers": {"epochs": "epochs an hour, all together", "memory": "their memory, all together"},
}


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]) + "\n"


_MENDS = [
    # Names for the ear that leave out what the eye reads.
    (r'(<button class="btn search-button-field[^>]*?) aria-label="[^"]*"', r"\1"),
    (r'(<i class="theme-switch [^>]*?)\s+title="[^"]*"', r"\1"),
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    # Its title and its search are in no landmark.
    (r'<div id="pst-primary-sidebar"', r'\g<0> role="complementary" aria-label="Book"'),
    # The corner of a table heads nothing.
    (r'<th class="head[^>]*><p></p></th>', "<td></td>"),
    # A role that ARIA has given up, in a list.
    (r' role="doc-biblioentry"', ' role="listitem"'),
    # `page.js` listens instead.
    (r'<button onclick="(window\.print|toggleFullScreen)\(\)"', "<button"),
]
"""What the theme, myst-nb and docutils write and cannot be told otherwise; axe-core finds each in its absence."""

POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file: 'unsafe-inline'; img-src 'self' file: data:; "
    "font-src 'self' file:; connect-src 'self' file:; form-action 'self' file:; base-uri 'none'"
)
"""What a page may load and run: files of the book, from a server or, where browsers disagree on what 'self' is, from a
folder. MathJax and the figures need styles within the page."""


def finish(page: Path, scripts: Path) -> None:
    """Make a built page one that everyone can use, and that runs nothing but files of the book.

    Args:
        page: rewritten in place.
        scripts: folder that gets the scripts that stood in the page.
    """
    html = page.read_text()
    for wrong, right in _MENDS:
        html = re.sub(wrong, right, html)

    def in_a_file(script: re.Match[str]) -> str:
        path = scripts / f"{hashlib.sha256(script[1].encode()).hexdigest()[:8]}.js"
        path.parent.mkdir(exist_ok=True)
        path.write_text(script[1])
        return f'<script src="{os.path.relpath(path, page.parent)}"></script>'

    html = re.sub(r"<script(?![^>]* (?:src|type)=)[^>]*>(.*?)</script>", in_a_file, html, flags=re.S)
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}" />'
    page.write_text(html.replace("<meta", f"{policy}\n<meta", 1))
