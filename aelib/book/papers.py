"""The whole book as one PDF and one EPUB, without LaTeX.

Sphinx writes it as a single page, which Chromium prints, and as an EPUB, whose equations are MathML.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from aelib.errors import AelibError

PDF, EPUB = "autoencoders.pdf", "autoencoders.epub"
MADE_OF = "made.of"
"""Beside them: the key of what they were made of."""

Render = Callable[..., None]
"""Renders a stage into a folder, with options for jupyter-book."""


def current(folder: Path, key: str) -> bool:
    """Whether those in `folder` are of what has that `key`."""
    return (folder / MADE_OF).exists() and (folder / MADE_OF).read_text() == key


def offer(folder: Path, key: str, stage: Path) -> None:
    """Write what the front page in `stage` says of them: links, if those in `folder` are current."""
    text = "`make pdf` makes one PDF and one EPUB of the whole book.\n"
    if current(folder, key):
        names = [name for name in (PDF, EPUB) if (folder / name).exists()]
        (stage / "book" / "_papers").mkdir()
        for name in names:
            shutil.copy(folder / name, stage / "book" / "_papers")
        links = [f"{{download}}`{name.rpartition('.')[2].upper()} <_papers/{name}>`" for name in names]
        text = f"The whole book in one file: {', '.join(links)}.\n"
    (stage / "book" / "_build_papers.md").write_text(text)


def make(stage: Path, folder: Path, key: str, render: Render) -> None:
    """Make both in `folder`, of the pages in `stage`; without Chromium only the EPUB, which is said.

    Raises:
        AelibError: jupyter-book warned, or Chromium failed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    work = folder / "work"
    shutil.copytree(stage, work / "stage")
    book, browser = work / "stage" / "book", find_browser()
    (book / "_build_papers.md").write_text("")
    _still(book, browser, work)
    _configure(work / "stage")
    if browser:
        render(work / "stage", work, "--builder", "singlehtml")
        pages = work / "_build" / "singlehtml"
        whole = pages / "whole.html"  # its links to pictures are for this folder
        whole.write_text(_unfolded((pages / "book" / "intro.html").read_text()))
        _chromium(browser, work, whole, f"--print-to-pdf={folder / PDF}", "--no-pdf-header-footer", OUTLINE)
    else:
        print("aelib: the PDF is left out: there is no Chromium to print it (Debian: chromium)", file=sys.stderr)
    for name in ("mathjax", "explore", "explore.js", "explore.css", "network.js", "page.js"):
        path = book / "_static" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    # The templates are those of another theme.
    _configure(work / "stage", html_math_renderer="mathml", html_js_files=[], templates_path=[])
    render(work / "stage", work, "--builder", "custom", "--custom-builder", "epub")
    shutil.copy(work / "_build" / "epub" / EPUB, folder)
    shutil.rmtree(work)
    (folder / MADE_OF).write_text(key)


OUTLINE = "--generate-pdf-document-outline"

PAPER = """<style>
@page { size: A4; margin: 18mm 20mm; }
body { font-size: 10.5pt; }
.toctree-wrapper > section { break-before: page; }
</style></head>"""


def _unfolded(page: str) -> str:
    """`page` with all that is folded open, but for the code of figures."""
    page = re.sub(r'<details(?! class="admonition hide above-input")', "<details open", page)
    page = re.sub(r'(<div class="cell tag_hide-cell[^>]*>\s*)<details', r"\1<details open", page)
    return page.replace("</head>", PAPER, 1)


def _configure(stage: Path, **settings: object) -> None:
    config = yaml.safe_load((stage / "_config.yml").read_text())
    config["html"] = config.get("html", {}) | {"announcement": ""}
    config["sphinx"]["config"] |= {
        "version": importlib.metadata.version("aelib"),
        "epub_title": config.get("title", "book"),
        "epub_author": config.get("author", "unknown"),
        "epub_basename": EPUB.partition(".")[0],
        "epub_show_urls": "no",
        "epub_css_files": ["epub.css"],
        **settings,
    }
    (stage / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    (stage / "book" / "_static").mkdir(exist_ok=True)
    (stage / "book" / "_static" / "epub.css").write_text(EPUB_STYLE)


EPUB_STYLE = """\
details.above-input, .provenance, .headerlink { display: none; }
div.cell.tag_hide-cell details { display: block; }
img { max-width: 100%; }
pre { white-space: pre-wrap; font-size: 0.75em; }
table { font-size: 0.8em; border-collapse: collapse; }
td, th { border-bottom: 1px solid #ccc; padding: 0.2em; }
.eqno { float: right; }
.admonition { border-left: 3px solid #888; padding-left: 1em; }
"""


def find_browser() -> str | None:
    """Chromium, or what else is it by another name, if this machine has it."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def browser_options() -> list[str]:
    """Without a screen, and without asking its makers for anything; as root without its sandbox, which refuses root."""
    quiet = ["--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    return ["--disable-gpu", *quiet, *(["--no-sandbox"] if os.getuid() == 0 else [])]


def _chromium(browser: str, work: Path, page: Path, *options: str) -> None:
    command = [browser, "--headless", "--no-first-run", *browser_options()]
    command += [f"--user-data-dir={work / 'profile'}", "--virtual-time-budget=120000", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise AelibError(f"{browser} could not draw {page.name}: {said}")


def _still(book: Path, browser: str | None, work: Path) -> None:
    """Put pictures in place of the exhibits of the page `explore`, and nothing where there is no browser."""
    page = book / "explore.md"
    if not page.exists():
        return

    def picture(found: re.Match[str]) -> str:
        name = re.search(r'data-explore="(\w+)"', found[1])
        if not (browser and name):
            return ""
        _snap(book, browser, work, name[1])
        return f"![What this exhibit shows when the page is opened.](_exhibits/{name[1]}.png)\n"

    text = re.sub(r"^```\{raw\} html\n(.*?)^```\n", picture, page.read_text(), flags=re.M | re.S)
    page.write_text(text.replace("\n\n", f"\n\n{STILL}\n\n", 1))


STILL = "*Here are pictures of what moves in the pages of the book.*"

SNAP = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="_static/explore.css">
<style>
body { margin: 0; background: #fff; font: 16px/1.5 sans-serif; --pst-color-text-base: #222832;
  --pst-color-text-muted: #48566b; --pst-color-border: #d1d5da; --pst-color-background: #fff;
  --pst-color-surface: #f3f4f5; --pst-color-primary: #0a7d91; --pst-color-accent: #8045e5; }
* { box-sizing: border-box; }
</style>
<div class="explore" data-explore="%s"></div>
<script src="_static/network.js"></script><script src="_static/explore.js"></script>"""


def _snap(book: Path, browser: str, work: Path, name: str) -> None:
    """A picture of an exhibit, in `_exhibits`."""
    from PIL import Image, ImageChops

    (book / "_exhibits").mkdir(exist_ok=True)
    page, target = book / "_snap.html", book / "_exhibits" / f"{name}.png"
    page.write_text(SNAP % name)
    size = ["--window-size=760,1200", "--force-device-scale-factor=2", "--hide-scrollbars"]
    _chromium(browser, work, page, f"--screenshot={target}", *size)
    page.unlink()
    drawn = Image.open(target).convert("RGB")
    box = ImageChops.difference(drawn, Image.new("RGB", drawn.size, "white")).getbbox()
    drawn.crop((0, 0, drawn.width, (box or (0, 0, 0, drawn.height))[3] + 10)).save(target)
