"""The book driver on a small book of its own, and the checks on the HTML."""

import base64
import importlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from conftest import ROOT, some_provenance, write
from faults import tried
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from processes import PATIENCE

from aelib import book, code_version, evidence, figures, profiles, provenance, runs, tables, verify, words
from aelib.book import chapter, costs, driver, pages
from aelib.book.check import check
from aelib.errors import AelibError
from aelib.runs import Contents
from aelib.theme import POLICY


def read(root) -> list:
    return nbformat.read(root / "book/chapter.ipynb", as_version=4).cells


def build(root, profile="quick"):
    return [line.outcome for line in book.build(root, profile=profile, notice=profiles.PROFILES[profile].notice)]


@pytest.mark.parametrize("words", ["died before replying to kernel_info", "didn't respond in 60 seconds"])
@pytest.mark.parametrize("deaths", [1, 2])
def test_a_kernel_that_does_not_answer_is_started_once_more(deaths, words, small_book, monkeypatch):
    """As where another process has taken one of its ports meanwhile; one that never does is one line."""
    import papermill

    started, execute = [], papermill.execute_notebook

    def dying(*arguments, **options):
        started.append(arguments)
        if len(started) <= deaths:
            raise RuntimeError(f"Kernel {words}")
        return execute(*arguments, **options)

    monkeypatch.setattr(papermill, "execute_notebook", dying)
    if deaths == 1:
        assert build(small_book) == ["ran: not executed yet", "rendered"]
    else:
        with pytest.raises(AelibError, match=f"chapter chapter: Kernel {words}, most likely"):
            build(small_book)
    assert len(started) == 2


def test_a_chapter_is_executed_only_when_it_has_to_be(small_book):
    html = small_book / "_build/html/book"
    assert build(small_book) == ["ran: not executed yet", "rendered"]
    assert "seen: quick" in (html / "chapter.html").read_text()
    assert "noise" not in (html / "chapter.html").read_text()
    assert "test-" in (html / "intro.html").read_text(), "the table of runs"
    assert build(small_book) == ["skipped: nothing changed"] * 2

    cells = read(small_book)
    cells[0].source = "# Chapter\n\nSecond prose."
    cells[2].metadata["mystnb"] = {"image": {"alt": "other"}}
    write(small_book, cells)
    (small_book / "requirements.txt").write_text("# another comment\na==1\n")
    assert build(small_book) == ["skipped: nothing changed", "rendered"]
    page = (html / "chapter.html").read_text()
    assert "Second prose." in page
    assert "seen: quick" in page

    cells[2].source += "\nprint('more')"
    write(small_book, cells)
    (small_book / "requirements.txt").write_text("a==2\n")
    path = next(Path(small_book.parent / "results/report").glob("test-*"))
    contents = Contents({"summary": True}, {}, [{"epoch": 2}], {}, {}, some_provenance())
    runs.load_or_make(path, lambda _: contents, again=True)
    reasons = f"its code and requirements.txt and run {path.name} changed"
    assert build(small_book) == [f"ran: {reasons}", "rendered"]
    assert "more" in (html / "chapter.html").read_text()


def test_each_profile_is_executed_for_itself_and_the_pages_say_which(built_book, monkeypatch):
    page = (built_book / "_build/html/book/chapter.html").read_text()
    assert "seen: quick" in page
    assert profiles.PROFILES["quick"].notice in page
    assert build(built_book) == ["skipped: nothing changed"] * 2
    monkeypatch.setattr(driver, "_render", lambda *_: book.Line("the pages", "rendered", 0.0))
    assert build(built_book, "smoke") == ["ran: not executed yet", "rendered"]
    assert "'seen: smoke" in str(nbformat.read(built_book / "_build/executed/smoke/chapter.ipynb", as_version=4))


def second_chapter(root, code):
    cells = [read(root)[1], new_markdown_cell("# Other"), new_code_cell(code)]
    write(root, cells, "other")
    chapters = [{"file": "book/chapter"}, {"file": "book/other"}]
    (root / "_toc.yml").write_text(yaml.safe_dump({"format": "jb-book", "root": "book/intro", "chapters": chapters}))


def test_a_chapter_that_fails_ends_the_other_at_once(small_book):
    cells, number = read(small_book), small_book / "process"
    cells.insert(
        2,
        new_code_cell(
            f"import os, pathlib, time\npathlib.Path({str(number)!r}).write_text(str(os.getpid()))\n"
            f"time.sleep({PATIENCE})\npathlib.Path({str(number)!r}).unlink()"
        ),
    )
    write(small_book, cells)
    second_chapter(
        small_book,
        f"import pathlib, time\nwhile not pathlib.Path({str(number)!r}).exists(): time.sleep(0.1)\n"
        "raise ValueError('no')",
    )
    with pytest.raises(AelibError, match="chapter other, cell .*ValueError: no"):
        build(small_book)
    assert number.exists(), "it was executed to its end"
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)
    assert not (small_book / "_build/html").exists()


def test_two_chapters_are_executed_at_once_and_each_knows_its_own_runs(small_book, monkeypatch):
    """Each waits for the other; one of them reads a run."""
    cells = read(small_book)
    here, there = small_book / "chapter.began", small_book / "other.began"
    wait = f"import time, pathlib\npathlib.Path({{!r}}).touch()\nend = time.monotonic() + {PATIENCE}\n" + (
        "while not pathlib.Path({!r}).exists():\n    assert time.monotonic() < end\n    time.sleep(0.1)"
    )
    cells.insert(2, new_code_cell(wait.format(str(here), str(there))))
    write(small_book, cells)
    second_chapter(small_book, wait.format(str(there), str(here)))
    monkeypatch.setattr(driver, "_render", lambda *_: book.Line("the pages", "rendered", 0.0))
    assert build(small_book) == ["ran: not executed yet"] * 2 + ["rendered"]
    read_runs = [
        list(json.loads((small_book / f"_build/executed/quick/{name}.json").read_text())["runs"])
        for name in ("chapter", "other")
    ]
    assert [len(each) for each in read_runs] == [1, 0]


def test_a_book_from_a_clone_of_github_starts_elsewhere_at_its_commit(built_book, monkeypatch):
    git = provenance._git
    remote = "git@github.com:someone/some.name.git"
    monkeypatch.setattr(
        provenance, "_git", lambda *command, **said: remote if command[0] == "remote" else git(*command, **said)
    )
    assert build(built_book) == ["skipped: nothing changed", "rendered"]
    commit = git("rev-parse", "HEAD")
    pages = built_book / "_build/html/book"
    chapter, intro = ((pages / f"{name}.html").read_text() for name in ("chapter", "intro"))
    assert f"https://mybinder.org/v2/gh/someone/some.name/{commit}?urlpath=lab/tree/book/chapter.ipynb" in chapter
    assert f"https://colab.research.google.com/github/someone/some.name/blob/{commit}/book/chapter.ipynb" in intro
    assert f"https://github.com/someone/some.name/blob/{commit}/book/chapter.ipynb?plain=1" in chapter
    assert "https://github.com/someone/some.name/issues/new?" in intro
    words = re.sub("<[^>]+>", "", intro)
    assert f"!git clone --quiet https://github.com/someone/some.name && git -C some.name checkout --quiet {commit}" in (
        words.replace("&amp;", "&")
    )


def test_figures_say_where_they_are_from_and_tables_can_be_shown_elsewhere(built_book, shared):
    html = built_book / "_build/html"
    page = (html / "book/chapter.html").read_text()
    words = re.sub("<[^>]+>", "", page)
    run = next((shared / "built-book/results/report").glob("test-*"))
    for text in (
        run.name,
        code_version.UNRECORDED,
        f"rm -r $AELIB_RESULTS/report/{run.name}; papermill",
        "papermill book/chapter.ipynb out.ipynb -p profile quick",
    ):
        assert text in words
    for name in ("fig-a.svg", "fig-a.png", "fig-a.csv", f"{run.name}.json"):
        (file,) = (html / "_downloads").rglob(name)
        assert f'href="../{file.relative_to(html)}"' in page
    assert json.loads(file.read_text()) == {"summary": True}
    (source,) = (html / "_downloads").rglob("chapter.ipynb")
    assert source.read_bytes() == (built_book / "book/chapter.ipynb").read_bytes()
    assert '<a class="code" href="#code-fig-a">' in page
    assert page.index('id="code-fig-a"') < page.index("loss_history") < page.index('id="fig-a"')
    assert "executablebooks" not in page, "the address that jupyter-book has where it is given none"
    assert "A table." in (html / "book/intro.html").read_text()
    assert "A table." not in page


def test_pictures_that_are_no_drawings_and_of_which_runs_they_are(tmp_path):
    config, about = (
        {"seed": 3, "summary": True},
        some_provenance() | {"engine": {"device": "cuda", "precision": "bf16"}},
    )
    about |= {"commit": "0123456789", "uncommitted_changes": True}
    said = f"`01234567` with uncommitted changes (**{code_version.STALE}**)"
    paths = [tmp_path / "quick" / f"run_{number}-12345678" for number in range(3)]
    for path in paths:
        path.mkdir(parents=True)
        for name, content in (("config", config), ("provenance", about)):
            (path / f"{name}.json").write_text(json.dumps(content))
    cells = []
    for name, drawn_from in (("fig-a", paths[:2]), ("fig-b", [])):
        data = {"image/png": "UE5H", runs.PATHS: "\n".join(map(str, drawn_from))}
        outputs = [new_output("display_data", data)]
        cells.append(new_code_cell(metadata={"mystnb": {"figure": {"name": name}}}, outputs=outputs))
    notebook = new_notebook(cells=cells)
    pages.publish(notebook, "papermill x", tmp_path, lambda path: code_version.STALE if path == paths[1] else "")
    assert (tmp_path / "_figures/fig-a.png").read_bytes() == b"PNG"
    _, _, first, _, _, second = (cell.source for cell in notebook.cells)
    assert f"s on GPU, bf16; again: `rm -r $AELIB_RESULTS/quick/{paths[0].name}; papermill x`" in first
    assert f"`run_1-12345678`: {{download}}`parameters <_runs/run_1-12345678.json>`, seed 3, commit {said}, " in first
    assert first.count("stale") == 1
    assert "run_2" not in first
    assert "run_" not in second


def test_a_table_can_be_had_as_numbers_and_a_picture_is_fit_for_print(tmp_path):
    header, rows = ["", "β"], [["of **2**, with `a`, {numref}`fig-x-loss`", "1,000"], ["b", "–"]]
    bundle = tables.Table("tab-x-seeds", "So.", header, rows)._repr_mimebundle_()
    assert bundle["text/csv"].splitlines()[1:] == [
        f'"of 2, with a, {words.book().labels["fig-x-loss"][0]}","1,000"',
        "b,–",
    ]
    cells = [new_code_cell(outputs=[new_output("display_data", bundle)])]
    curve = np.array([1e-3, 1e-2]), np.array([2.0, 1.0])
    drawing, sizes = figures.finder_curve([curve], [1.0], curve, 1.0, of=[])._repr_mimebundle_()
    picture = base64.b64decode(drawing["image/png"])
    assert int.from_bytes(picture[16:20]) == pytest.approx(figures.WIDTH * 300, rel=0.1)
    assert sizes["image/png"]["width"] == pytest.approx(figures.WIDTH * 100, rel=0.1)
    notebook = new_notebook(cells=cells)
    pages.publish(notebook, "papermill x", tmp_path, lambda path: "")
    assert (tmp_path / "_tables/tab-x-seeds.csv").read_text() == bundle["text/csv"]
    assert "{download}`CSV <_tables/tab-x-seeds.csv>`" in notebook.cells[1].source


def test_the_address_that_the_book_is_given_is_that_of_its_links():
    now = {"repository": None, "commit": "0123"}
    assert pages.launch(now, {}) == {}
    given = pages.launch(now, {"repository": {"url": "https://example.org/a"}, "html": {"favicon": "b"}})
    assert given["repository"] == {"url": "https://example.org/a", "branch": "0123"}
    assert given["html"] == {"favicon": "b", "use_issues_button": True}
    assert "launch_buttons" not in given, "Binder is for GitHub"


def test_what_was_measured_becomes_two_tables():
    training = {"what": "training, cnn", "unit": "images/s", "plain": 2000.0, "aelib": 5000.0, "ceiling": 0.4}
    training |= {"losses": [[0.1, 0.3], [0.2, 0.2]], "memory": [1e9, 2e9], "start": [1.0, 20.0], "whole": 2.4}
    bare = {"what": "t-SNE", "unit": "codes/s", "plain": 300.0, "aelib": 150.0, "ceiling": None, "losses": None}
    record = {
        "provenance": some_provenance(),
        "engine": {"precision": "float32"},
        "ceilings": {"float32": 150.2},
        "rows": [training, bare],
    }
    said = costs.costs(record)
    assert "| training, cnn | images/s | 2,000 | 5,000 | **2.50** | 40 % |" in said["costs_speeds"]
    assert "| t-SNE | codes/s | 300 | 150 | **0.50** | – |" in said["costs_speeds"]
    row = "| cnn | **2.40** | 20 | 0.20000 ± 0.14142 | 0.20000 ± 0.00000 | 1.00 | 2.00 |"
    assert said["costs_trainings"].splitlines()[2:] == [row]
    assert (said["costs_precision"], said["costs_most"]) == ("float32", "150 GFLOP/s in float32")


def test_what_has_grown_becomes_a_table():
    counts = {"images": (70_000, 700_000), "trials": (60, 6000), "workers": (1, 4)}
    record, factor, expected = {"provenance": some_provenance()}, 1.5, []
    for part, names in costs._GROWING.items():
        first, last = ({"count": count} for count in counts[part])
        for name, what in names.items():
            first[name], last[name] = 3.0, 3.0 * factor
            expected.append((what, f"{factor:.1f} × |"))
            factor += 1
        record[part] = [first, dict.fromkeys(first, 0), last]
    lines = [line for line in costs.growth(record)["growth"].splitlines() if "→" in line and "From" not in line]
    assert len(lines) == len(expected) == 10
    for line, (what, grown) in zip(lines, expected, strict=True):
        assert line.startswith(f"| {what} | ")
        assert line.endswith(grown)
    assert "| 60 → 6,000 trials | 100 × |" in lines[5]


def test_a_number_that_was_changed_in_a_built_page_is_found(built_book):
    """And nothing else: what was left alone agrees."""
    html = built_book / "_build/html"
    page = html / "book/chapter.html"
    assert "a loss of 0.12345" in page.read_text()
    page.write_text(page.read_text().replace("a loss of 0.12345", "a loss of 0.12245"))
    (drawing,) = (html / "_images").glob("*.svg")
    drawing.write_text("<svg/>")
    (html / "extra.js").touch()
    found = {name: faults for name, _, faults in verify.verify_book(built_book, html, profile="quick")}
    assert set(found) >= {"book/chapter.html", "book/intro.html", "other files"}
    (fault,) = found.pop("book/chapter.html")
    assert "'0.12245', but comes out as '0.12345'" in fault
    assert found.pop("other files") == [
        f"_images/{drawing.name} is not what comes out",
        "extra.js is not what comes out",
    ]
    assert not any(found.values()), found
    with pytest.raises(AelibError, match="the built book is of profile quick: `aelib verify --profile quick`"):
        next(verify.verify_book(built_book, html, profile="smoke"))


def test_a_failed_cell_is_named_and_the_old_book_stays(built_book):
    before = (built_book / "_build/html/book/chapter.html").read_bytes()
    cells = read(built_book)
    cells[2].source = "from aelib.errors import AelibError\nraise AelibError('latent_dim is wrong')"
    write(built_book, cells)
    for _ in range(2):  # a failure is not remembered as a success
        with pytest.raises(AelibError, match="chapter chapter, cell .*: AelibError: latent_dim is wrong") as error:
            build(built_book)
        assert "\n" not in str(error.value)
    assert (built_book / "_build/html/book/chapter.html").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "named"), [("{numref}`no-such-figure`", "no-such-figure"), ("```{include} gone.md\n```", r"gone\.md")]
)
def test_a_warning_of_jupyter_book_fails_the_build(built_book, text, named):
    before = (built_book / "_build/html/book/intro.html").read_bytes()
    (built_book / "book/intro.md").write_text(f"# Intro\n\n{text}\n")
    with pytest.raises(AelibError, match=rf"jupyter-book: .*intro\.md.*{named}"):
        build(built_book)
    assert (built_book / "_build/html/book/intro.html").read_bytes() == before


def test_a_build_in_a_shell_that_sets_the_date(built_book, monkeypatch):
    """As those of distributions do: Sphinx would take the year of the copyright from it."""
    year = time.strftime("%Y", time.gmtime())
    config = yaml.safe_load((built_book / "_config.yml").read_text()) | {"copyright": year}
    (built_book / "_config.yml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "315532800")
    assert build(built_book) == ["skipped: nothing changed", "rendered"]
    page = (built_book / "_build/html/book/chapter.html").read_text()
    assert f"Copyright {year}" in " ".join(page.split())


def test_two_builds_at_once(small_book):
    from filelock import FileLock

    (small_book / "_build").mkdir()
    with (
        FileLock(small_book / "_build/.lock"),
        pytest.raises(AelibError, match="another process is building the book"),
    ):
        build(small_book)


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="nowhere.html">x</a>', "nowhere.html leads nowhere"),
        ('<a href="#nothing">x</a>', "#nothing names an anchor that is not there"),
        ('<a href="other.html#nothing">x</a>', "other.html#nothing names an anchor"),
        ('<img src="_images/missing.png" alt="x">', "_images/missing.png leads nowhere"),
        ('<p id="top">x</p>', "top names two places"),
        ('<script src="https://example.org/a.js"></script>', "loads https://example.org/a.js from another host"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "loads //example.org/a.css from another host"),
        ("<script>alert(1)</script>", "<script> runs within the page"),
        ('<p onclick="alert(1)">x</p>', "onclick=alert(1) runs within the page"),
    ],
)
def test_every_fault_of_the_html_is_found(tmp_path, html, fault):
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images/a.svg").write_text("<svg/>")
    good = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    good += '<h1 id="top">x</h1><a href="other.html#top">x</a><a href="https://example.org">x</a><a href="#top">x</a>'
    (tmp_path / "other.html").write_text(good)
    (tmp_path / "index.html").write_text(f'{good}<img src="_images/a.svg" alt="a garment">')
    assert check(tmp_path) == []
    (tmp_path / "index.html").write_text(good + html)
    assert len(check(tmp_path)) == 1
    assert fault in check(tmp_path)[0]


def test_a_page_with_scripts_has_the_policy(tmp_path):
    (tmp_path / "a.js").touch()
    (tmp_path / "index.html").write_text('<meta content="default-src *"><script src="a.js"></script>')
    assert check(tmp_path) == ["index.html: has no content security policy, or another one"]


def test_what_the_theme_writes_otherwise(built_book):
    """Names for the ear, landmarks, corners of tables; and scripts in files, under the policy."""
    html = built_book / "_build/html"
    intro, chapter, search = (
        (html / name).read_text() for name in ("book/intro.html", "book/chapter.html", "search.html")
    )
    for page in (intro, chapter, search):
        assert page.index(f'content="{POLICY}"') < page.index("<script")
        assert '<div id="pst-primary-sidebar" role="complementary" aria-label="Book"' in page
        buttons = re.findall("<button[^>]* search-button-field[^>]*>", page)
        assert buttons
        assert "aria-label" not in "".join(buttons)
        assert not re.search("<i [^>]* title=", page)
    assert "<td></td>" in intro
    assert "<summary>\n" in chapter
    assert "DOCUMENTATION_OPTIONS.pagename = 'book/intro';" in {
        path.read_text() for path in (html / "_static/inline").iterdir()
    }
    assert check(html) == []


def test_a_comment_in_aelib_executes_nothing_but_a_change_does(tmp_path, monkeypatch):
    (tmp_path / "module.py").write_text("x = 1\n")
    monkeypatch.setattr(code_version, "__file__", str(tmp_path / "code.py"))
    whole = code_version.whole.__wrapped__  # in one build it is looked at once
    before = whole()
    (tmp_path / "module.py").write_text("# why\nx  =  1\n")
    assert whole() == before
    (tmp_path / "module.py").write_text("x = 2\n")
    assert whole() != before


CHAPTERS = [ROOT / "book" / f"{name}.ipynb" for name in book.chapters(ROOT)]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapters_are_thin_and_stored_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].metadata["tags"][0] == "parameters"
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert all(re.search(r"^\s*(class|def) ", cell.source, re.M) is None for cell in code)
    for cell in code:
        if "figures." in cell.source:
            assert cell.metadata["mystnb"]["image"]["alt"]
            assert cell.metadata["mystnb"]["image"]["classes"] == "dark-light"
            assert cell.metadata["mystnb"]["figure"]["name"].startswith(("fig-r", "fig-x-"))


def test_no_chapter_is_content_with_a_summary_of_what_another_asks_for_whole():
    """Which of them it found would depend on which chapter came first; so would what the pages are made of."""
    whole = [(name, {*parameters}) for name, parameters in evidence.KINDS.values()]
    for path in CHAPTERS:
        for cell in nbformat.read(path, as_version=4).cells:
            for name, options in re.findall(r'obtain\(\s*"(\w+)",([^()]*summary=True[^()]*)\)', cell.source):
                asked = {*re.findall(r"(\w+)=", options)} - {"profile", "seed", "summary"}
                assert (name, asked) not in whole, cell.source


def test_what_chapters_name_of_the_library_is_on_its_page():
    listed = (ROOT / "book/api.md").read_text()
    named = {name for path in CHAPTERS for name in re.findall(r"\{py:\w+\}`~(aelib[\w.]+)`", path.read_text())}
    assert len(named) > 6
    for name in named:
        module, _, item = name.rpartition(".")
        assert getattr(importlib.import_module(module), item).__doc__
        assert re.search(rf"{name}\b|{module}\n +:members:.*\b{item}\b", listed), name


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        (["latent_dim", "0"], "latent_dim must be a whole number of at least 1, not 0"),
        (["profile", "nonsense"], "profile must be one of report, quick, smoke, not 'nonsense'"),
        (
            ["latent_dmi", "16"],
            "parameter must be one of profile, dataset, seed, config, latent_dim, linear_units, instance_norm, "
            "optimizer, learning_rate, weight_decay, not 'latent_dmi'; did you mean 'latent_dim'?",
        ),
        (
            ["latent_dim", "__import__('os').mkdir('owned')"],
            """latent_dim must be a whole number of at least 1, not "__import__('os').mkdir('owned')\"""",
        ),
    ],
)
def test_papermill_with_a_wrong_value_ends_with_one_line(parameter, words, tmp_path):
    papermill = Path(sys.executable).with_name("papermill")
    command = [papermill, "book/01_convolutional.ipynb", tmp_path / "out.ipynb", "-p", *parameter]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1] == f"aelib: {words}"
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists(), "nothing was trained"
    assert not (ROOT / "owned").exists(), "a value that looks like code is not run"
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    failed = next(out for cell in cells for out in cell.get("outputs", []) if out.output_type == "error")
    assert json.dumps(failed.traceback) == json.dumps([f"AelibError: {words}"])


@pytest.mark.faults
def test_a_relative_folder_is_the_one_that_was_meant(tmp_path, monkeypatch):
    """A chapter is executed in the folder of the project, wherever the command was given."""
    (tmp_path / "project/book").mkdir(parents=True)
    cell = new_code_cell("from aelib import data, runs\nprint(runs.results_folder(), data.cache_folder())")
    write(tmp_path / "project", [cell])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AELIB_RESULTS", "mine")
    monkeypatch.setenv("AELIB_DATA", "images")
    executed = tmp_path / "executed.ipynb"
    chapter.execute(tmp_path / "project/book/chapter.ipynb", executed, {}, {}, [])
    assert f"{tmp_path / 'mine'} {tmp_path / 'images'}" in executed.read_text()
    tried(
        "Folders are named relatively",
        "`AELIB_RESULTS` and `AELIB_DATA`, from outside the project",
        2,
        "the folders that were meant",
    )


def test_a_chapter_alone_is_a_page_whose_links_lead_to_the_book(built_book):
    """Of other parameters, and with the numbers that the book has."""
    cells = read(built_book)
    cells[0].source += "\n\n{doc}`intro`, {numref}`fig-a`, {numref}`fig-b`, [a file](../_config.yml)"
    write(built_book, cells)
    second = [new_markdown_cell("# Other"), *cells[1:3], cells[3].copy()]
    second[-1].metadata["mystnb"] = {"figure": {"name": "fig-b", "caption": "B."}, "image": {"alt": "B."}}
    write(built_book, second, "other")
    chapters = [{"file": "book/other"}, {"file": "book/chapter"}]
    (built_book / "_toc.yml").write_text(
        yaml.safe_dump({"format": "jb-book", "root": "book/intro", "chapters": chapters})
    )
    page = book.build_chapter(built_book, "chapter", {"profile": "smoke"}, notice="Alone, with profile = smoke")
    assert page.is_relative_to(built_book / "_build/chapters")
    html = page.read_text()
    assert "seen: smoke" in html
    assert "Alone, with profile = smoke" in html
    assert re.search(r'href="#fig-a"><span class="std std-numref">Fig. 2</span>', html)
    for target in ("intro.html", "other.html#fig-b"):
        link = f"../../../../html/book/{target}"
        assert f'href="{link}"' in html
        assert (page.parent / link.partition("#")[0]).parent.resolve() == built_book / "_build/html/book"
    assert 'src="../_images/' in html
    assert [each.name for each in (page.parent).glob("*.html")] == [page.name]
    with pytest.raises(AelibError, match="chapter must be one of other, chapter, not 'chaptr'; did you mean 'chapter'"):
        book.build_chapter(built_book, "chaptr", {}, notice="")


def test_what_is_printed_is_one_output_however_it_arrived():
    pieces = [new_output("stream", text=text) for text in ("a\n", "b\n")]
    outputs = [*pieces, new_output("display_data", {"text/plain": "c"}), new_output("stream", text="d\n")]
    joined = chapter._in_one(outputs)
    assert [output.get("text") for output in joined] == ["a\nb\n", None, "d\n"]
