"""Chapters as papermill executes them, and as Jupyter, GitHub and the like then show them."""

import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import papermill
import pytest
import tiny
from conftest import ROOT, write
from nbformat.v4 import new_code_cell, new_markdown_cell
from processes import PATIENCE

from aelib import book, papermill_engine, progress, runs, words
from aelib.corruption import Corruption
from aelib.lightning import Training
from aelib.models import (
    BaselineCNN,
    DenoisingAutoencoder,
    SymmetricAutoencoder,
    TransferClassifier,
    VariationalAutoencoder,
)
from aelib.models.variational import kl_to_standard_normal

UNREADABLE = re.compile(r"\{[a-z]+(:[a-z]+)?\}`|^ *(```|:::)+\{|^:(name|label|alt): |<Drawing|…", re.M)
PAPERMILL = Path(sys.executable).with_name("papermill")


@pytest.fixture
def tiny_kernel(tmp_path, monkeypatch, tiny_results):
    """Kernels in which the profile `smoke` is a tiny one."""
    startup = tmp_path / "ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "tiny.py").write_text(tiny.BEGIN)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("AELIB_RESULTS", str(tiny_results))


def execute(source, output, **parameters):
    return papermill.execute_notebook(source, output, parameters, kernel_name="python3", progress_bar=False)


@pytest.mark.parametrize("name", book.chapters(ROOT))
def test_an_executed_chapter_reads_as_in_the_book(name, tiny_kernel, tmp_path, monkeypatch):
    """Its cells executed twice, the second time in another order, and from another folder."""
    chapter = nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4)
    again = {"tags": ["again"]}
    sources = [cell.source for cell in chapter.cells[::-1] if "outputs" in cell]
    chapter.cells += [new_code_cell(f"{source}\nNone", metadata=again) for source in sources]  # run, not shown
    source = tmp_path / "project/book" / f"{name}.ipynb"
    source.parent.mkdir(parents=True)
    nbformat.write(chapter, source)
    monkeypatch.chdir(tmp_path)
    parameter, value = ("seeds", "1,0") if name == "05_conclusions" else ("seed", 1)
    execute(source, tmp_path / "out.ipynb", profile="smoke", **{parameter: value})
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if "again" not in cell.metadata.tags]
    assert cells[0].source.startswith(f"# {words.book().titles[name]}\n")
    about = cells[1].source
    assert '| `profile` | **`"smoke"`** | ' in about
    assert f"| `{parameter}` | **`{json.dumps(value)}`** | of the " in about
    assert "SMOKE PROFILE" in about
    assert f"`papermill book/{name}.ipynb out.ipynb -p profile smoke -p {parameter} {value}`" in about
    numbered = [label for label, (_, page) in words.book().labels.items() if page == name]
    figures = tables = 0
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        if cell.cell_type == "markdown":
            assert not UNREADABLE.search(cell.source), cell.source
            continue
        assert cell.metadata.jupyter.source_hidden
        if "hide-cell" in cell.metadata.tags:  # the solution of an exercise
            assert cell.metadata.jupyter.outputs_hidden
            assert "".join(output.text for output in cell.outputs).strip()
            continue
        for output in cell.outputs:
            assert output.output_type != "stream", output
            assert progress.MEDIA_TYPE not in output.data
            texts = [text for kind, text in output.data.items() if kind in ("text/html", "text/markdown", "text/plain")]
            assert not UNREADABLE.search("\n".join(texts)), texts
            assert {"text/html", "image/png"} & {*output.data}, "something that every Jupyter shows, trusted or not"
            tables += "<table>" in output.data.get("text/html", "")
            if "image/png" in output.data:
                figures += 1
                assert output.metadata["image/png"].alt
                assert re.match(r"\*\*Fig\. \d+\.\*\* ", following.source)
    assert figures == sum(label.startswith("fig-") for label in numbered)
    assert tables == sum(label.startswith("tab-") for label in numbered)


def test_papermill_finds_the_engine_by_itself():
    program = "import papermill.engines as e; print(e.papermill_engines.get_engine().__name__)"
    for first in ("", "import aelib.papermill_engine; "):
        done = subprocess.run([sys.executable, "-c", first + program], capture_output=True, text=True, check=True)
        assert done.stdout == "Readable\n"


def test_what_is_no_chapter_is_left_alone(tmp_path):
    (tmp_path / "book").mkdir()
    write(tmp_path, [new_markdown_cell("{numref}`fig-r01`"), new_code_cell("import sys; print(1, file=sys.stderr)")])
    cells = execute(tmp_path / "book/chapter.ipynb", None).cells
    assert cells[0].source == "{numref}`fig-r01`"
    assert cells[1].outputs[0].text == "1\n"


def test_what_is_executed_again_has_its_new_numbers(tmp_path):
    (tmp_path / "book").mkdir()
    cells = [
        new_markdown_cell("# Title\n\nIt is {glue:text}`n:.1f` {cite:p}`smith2017`."),
        new_code_cell("number: float = 2  # of them", metadata={"tags": ["parameters"]}),
        new_code_cell("from aelib import runs\nfrom myst_nb import glue\nglue('n', float(number), display=False)"),
    ]
    write(tmp_path, cells)
    execute(tmp_path / "book/chapter.ipynb", tmp_path / "out.ipynb")
    first = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    assert first[0].source == "# Title\n\nIt is 2.0 (Smith, 2017)."
    assert "| `number` | `2` | of them |" in first[1].source
    second = execute(tmp_path / "out.ipynb", tmp_path / "out.ipynb", number=3).cells
    assert second[0].source == "# Title\n\nIt is 3.0 (Smith, 2017)."
    assert "| `number` | **`3`** | of them |" in second[1].source
    assert "`papermill book/chapter.ipynb out.ipynb -p number 3`" in second[1].source
    assert len(second) == len(first) + 1, "papermill's own"
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    notebook.cells[0].source = "# Title\n\nA sentence of mine."
    nbformat.write(notebook, tmp_path / "out.ipynb")
    third = execute(tmp_path / "out.ipynb", tmp_path / "out.ipynb", number=4).cells
    assert third[0].source == "# Title\n\nA sentence of mine."


TRAINS = """
import sys
from aelib import progress
with progress.bar(3, 1) as bar:
    for loss in (0.25, 0.125):
        bar.set_postfix_str(f"loss {loss}", refresh=False)
        bar.update()
print("aelib: a note", file=sys.stderr)
"""


def test_progress_is_in_the_terminal_and_nothing_of_it_in_the_outputs(tmp_path, capfd):
    (tmp_path / "book").mkdir()
    write(tmp_path, [new_code_cell(TRAINS)])
    source = tmp_path / "book/chapter.ipynb"
    notebook = papermill.execute_notebook(source, None, kernel_name="python3", progress_bar=True)
    assert notebook.cells[-1].outputs == []
    terminal = capfd.readouterr().err
    assert re.search(r"epoch 2 of 3 \|[^|]*\|, loss 0\.25, at most [\d:?]+ left", terminal)
    assert "epoch 3 of 3" in terminal
    assert "aelib: a note" in terminal
    # By anybody else, and in a notebook that is open: a line that is replaced, and empty in the end.
    outputs = (
        papermill.execute_notebook(source, None, kernel_name="python3", progress_bar=False, engine_name="nbclient")
        .cells[-1]
        .outputs
    )
    assert [output.data["text/plain"] for output in outputs if output.output_type == "display_data"] == [""]


@pytest.mark.parametrize("lines", ["betta = 4.0", "beta: float = 2.0\nbetta = 4.0"], ids=["alone", "beside"])
def test_a_mistyped_line_of_the_first_cell_is_refused_in_one_line(lines, tmp_path):
    chapter = nbformat.read(ROOT / "book/04_variational.ipynb", as_version=4)
    cell = next(cell for cell in chapter.cells if "parameters" in cell.metadata.get("tags", []))
    cell.source, count = re.subn("^beta: float = 2.0.*$", lines, cell.source, flags=re.M)
    assert count == 1
    nbformat.write(chapter, tmp_path / "chapter.ipynb")
    command = [PAPERMILL, tmp_path / "chapter.ipynb", tmp_path / "out.ipynb", "--no-progress-bar"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("aelib: parameter must be one of profile, dataset, seed, config, ")
    assert last.endswith("not 'betta'; did you mean 'beta'?")
    assert not runs.results_folder().exists()


@pytest.mark.parametrize("name", book.chapters(ROOT))
def test_papermill_knows_each_parameter(name):
    """`papermill --help-notebook` shows this."""
    for each in papermill.inspect_notebook(ROOT / "book" / f"{name}.ipynb").values():
        assert each["inferred_type_name"] in ("str", "int", "float", "bool"), each
        assert each["help"], each


@pytest.mark.parametrize("name", [name for name in book.chapters(ROOT) if name != "appendix"])
def test_a_chapter_ends_with_exercises_that_have_solutions(name):
    """Those in code print something, or `test_an_executed_chapter_reads_as_in_the_book` fails."""
    cells = nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4).cells
    start = next(number for number, cell in enumerate(cells) if cell.source.startswith("## Exercises"))
    text = "\n".join(cell.source for cell in cells[start:])
    numbers = re.findall(r"^```\{admonition\} Exercise (\d): ", text, re.M)
    assert numbers == [*"1234"][: len(numbers)]
    assert len(numbers) > 2
    assert all("```{dropdown} Solution\n" in part for part in text.split("{admonition}")[1:])
    assert {"hide-cell"} in [set(cell.metadata.get("tags", [])) for cell in cells[start:]]


@pytest.mark.parametrize("name", ["README", *book.chapters(ROOT)])
def test_commands_name_parameters_that_there_are(name):
    """What a reader is told to run is not refused."""
    path = next(path for path in (ROOT / "book" / f"{name}.ipynb", ROOT / f"{name}.md") if path.exists())
    commands = re.findall(
        r"(?:papermill book/|aelib chapter )(\w+)((?:\.ipynb \w+\.ipynb)?(?: -p \w+ \S+)+)", path.read_text()
    )
    assert commands
    for chapter, given in commands:
        known = papermill.inspect_notebook(ROOT / "book" / f"{chapter}.ipynb")
        assert {*re.findall(r"-p (\w+)", given)} <= {*known}, given


SHOWN = {
    "01_convolutional": [SymmetricAutoencoder, Training.training_step],
    "02_transfer": [TransferClassifier],
    "03_denoising": [DenoisingAutoencoder, Corruption.__call__],
    "04_variational": [VariationalAutoencoder, kl_to_standard_normal],
    "appendix": [BaselineCNN],
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_chapter_shows_the_code_that_is_run(name):
    """In Jupyter, as it is in the package."""
    cells = nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4).cells
    texts = [words.words(cell.source, words.book()) for cell in cells if cell.cell_type == "markdown"]
    for each in SHOWN[name]:
        code = textwrap.dedent(inspect.getsource(each))
        assert any(f"```python\n{code}```" in text for text in texts), each


def test_every_role_and_directive_becomes_words():
    known = words.Book(
        titles={"here": "This", "there": "That"},
        labels={
            "fig-a": ("Fig. 1", "here"),
            "tab-b": ("Table 2", "there"),
            "eq-c": ("(3)", "here"),
            "s": ("How", "there"),
        },
        cited={"k": "A and B, 2022", "l": "C, 2023"},
    )
    glued = {"n": "0.123456", "text": "'1,000'"}
    for myst, shown in {
        "{numref}`fig-a`, {numref}`tab-b`": "Fig. 1, Table 2 of *That*",
        "by {eq}`eq-c`; {ref}`s`, {ref}`so <s>`": "by (3); How, so",
        "{doc}`there`, {doc}`that one <there>`": "*That*, that one",
        "{cite:p}`k` {cite:p}`k,l` {cite:t}`l`": "(A and B, 2022) (A and B, 2022; C, 2023) C, 2023",
        "{glue:text}`n:.2f` of {glue:text}`text`; {glue:text}`gone`": "0.12 of 1,000; …",
        "{download}`this <a/b.json>`": "this",
        "{py:class}`~a.b.C`, {py:func}`a.f`": "`C`, `a.f`",
        "```{math}\n:label: eq-c\n\na\n```\nand\n\n```{math}\nb\n```": "$$\na \\tag{3}\n$$\nand\n\n$$\nb\n$$",
        "```{admonition} So\n:class: note\nIt is.\n```": "> **So**\n>\n> It is.",
        "```{table} Of {glue:text}`n`.\n:name: tab-b\n\n| a |\n| - |\n```": "**Table 2.** Of 0.123456.\n\n| a |\n| - |",
        "````{admonition} Of {glue:text}`n:.1f`\n```{math}\nb\n```\n````": "> **Of 0.1**\n>\n> $$\n> b\n> $$",
        ":::{dropdown} So\nIt {doc}`is <there>`.\n:::": "<details><summary>So</summary>\n\nIt is.\n\n</details>",
        "```shell\na `b` {c}\n```\n$x_{1}$ {unknown}`d`": "```shell\na `b` {c}\n```\n$x_{1}$ {unknown}`d`",
    }.items():
        assert words.words(myst, known, here="here", glued=glued) == shown


def test_what_would_make_a_page_another_one_is_left_out(monkeypatch):
    """Without docstrings the page about the library would be a third as long, and say nothing of it."""
    for name in ("PYTHONOPTIMIZE", "PYTHONSTARTUP", "MPLBACKEND", "SOURCE_DATE_EPOCH"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    found = papermill_engine.plain_environment()
    assert found["OMP_NUM_THREADS"] == "2"
    assert os.environ.keys() - found.keys() == {"PYTHONOPTIMIZE", "PYTHONSTARTUP", "MPLBACKEND", "SOURCE_DATE_EPOCH"}
