"""The book as one PDF and one EPUB: whole, valid, and linked only where it is there."""

import re
import zipfile
from functools import partial
from xml.etree import ElementTree

import nbformat
from conftest import ROOT, write
from nbformat.v4 import new_markdown_cell

from aelib import book
from aelib.book import driver, papers

EQUATIONS = """

```{math}
:label: eq-a
\\operatorname{KL} \\ge 0 < \\frac{1}{2}
```

and $a \\operatorname{b} < c$"""


def stage(root, monkeypatch):
    """That of the small book, with equations."""
    monkeypatch.setattr(driver, "_render", lambda *_: book.Line("the pages", "rendered", 0.0))
    cells = nbformat.read(root / "book/chapter.ipynb", as_version=4).cells
    write(root, [new_markdown_cell(cells[0].source + EQUATIONS), *cells[1:]])
    with (root / "book/intro.md").open("a") as file:
        file.write("\n```{include} _build_papers.md\n```\n")
    book.build(root, profile="quick", notice="Quick.")
    return root / "_build/stage"


def render(root):
    return partial(driver._jupyter_book, log=root / "_build/log")


def test_an_epub_is_valid_and_has_equations_that_every_reader_shows(small_book, monkeypatch, capfd):
    made = small_book / "_build/papers"
    made.mkdir(parents=True)
    monkeypatch.setattr(papers, "find_browser", lambda: None)
    papers.make(stage(small_book, monkeypatch), made, "key", render(small_book))
    assert "aelib: the PDF is left out: there is no Chromium to print it (Debian: chromium)\n" in capfd.readouterr().err
    assert {path.name for path in made.iterdir()} == {papers.EPUB, papers.MADE_OF}
    with zipfile.ZipFile(made / papers.EPUB) as archive:
        pages = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith("html")}
    for text in pages.values():
        ElementTree.fromstring(text)
    chapter = pages["book/chapter.xhtml"]
    assert chapter.count("<math") == 2
    assert "(1)</span>" in chapter
    assert "epub.css" in chapter
    assert "<figure" in chapter
    assert "make pdf" not in pages["book/intro.xhtml"]


def test_a_pdf_is_printed_of_the_whole(chromium, small_book, monkeypatch):
    made = small_book / "_build/papers"
    papers.make(stage(small_book, monkeypatch), made, "key", render(small_book))
    content = (made / papers.PDF).read_bytes()
    assert content.startswith(b"%PDF-")
    assert (made / papers.EPUB).exists()


def test_they_are_made_again_only_where_the_book_is_another(small_book, monkeypatch):
    """However long a chapter took, so that `aelib verify` finds the same links in a book that it makes anew."""

    def make(stage, folder, key, render):
        folder.mkdir(exist_ok=True)
        (folder / papers.MADE_OF).write_text(key)

    def outcome():
        lines = book.build(small_book, profile="quick", notice="", pdf=True)
        return next(line.outcome for line in lines if line.chapter == "PDF and EPUB")

    monkeypatch.setattr(driver, "_render", lambda *_: book.Line("the pages", "rendered", 0.0))
    monkeypatch.setattr(papers, "make", make)
    assert outcome() == "made"
    (small_book / "_build/executed/quick/chapter.json").unlink()
    assert outcome() == "skipped: nothing changed"
    with (small_book / "book/intro.md").open("a") as file:
        file.write("More.\n")
    assert outcome() == "made"


def test_the_front_page_leads_to_what_is_there_and_current(tmp_path):
    folder, front = tmp_path / "papers", tmp_path / "stage/book/_build_papers.md"
    front.parent.mkdir(parents=True)
    papers.offer(folder, "key", tmp_path / "stage")
    assert "make pdf" in front.read_text()
    folder.mkdir()
    for name, content in ((papers.EPUB, "e"), (papers.MADE_OF, "key")):
        (folder / name).write_text(content)
    papers.offer(folder, "another key", tmp_path / "stage")
    assert "make pdf" in front.read_text()
    papers.offer(folder, "key", tmp_path / "stage")
    assert re.findall(r"<(\S+)>", front.read_text()) == [f"_papers/{papers.EPUB}"]
    assert (front.parent / "_papers" / papers.EPUB).read_text() == "e"


def test_paper_has_what_is_folded_but_for_the_code_of_figures():
    folded = {
        '<details class="sd-dropdown">': True,
        "<details><summary>": True,
        '<div class="cell tag_hide-cell docutils container">\n<details class="admonition hide above-input">': True,
        '<div class="cell tag_hide-input docutils container">\n<details class="admonition hide above-input">': False,
    }
    for html, opened in folded.items():
        assert ("<details open" in papers._unfolded(html)) is opened


def test_exhibits_become_pictures(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(papers, "_snap", lambda book, browser, work, name: drawn.append(name))
    for browser in ("chromium", None):
        (tmp_path / "explore.md").write_text((ROOT / "book/explore.md").read_text())
        papers._still(tmp_path, browser, tmp_path)
        text = (tmp_path / "explore.md").read_text()
        assert "{raw}" not in text
        assert text.count("](_exhibits/") == (7 if browser else 0)
    assert drawn == ["map", "directions", "walk", "draw", "ladder", "repair", "own"]
