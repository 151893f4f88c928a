"""Every page of the built book in a real browser: wide and narrow, light and dark."""

import functools
import http.server
import re
import threading
from html import unescape

import pytest
from conftest import ROOT

from aelib import words
from aelib.theme import POLICY

AXE = (ROOT / "tests/axe-core/axe.min.js").read_text()
# Without preload: axe-core would ask for the style sheets again, which a browser refuses to pages from a folder.
VIOLATIONS = "axe.run({preload: false}).then(found => found.violations)"
COLOURS = "{type: 'rule', values: ['color-contrast', 'link-in-text-block']}"
CONTRAST = f"axe.run({{preload: false, runOnly: {COLOURS}}}).then(found => found.violations)"
TYPESET = "!window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)"
UNFOLD = "document.querySelectorAll('details').forEach(each => each.open = true)"
SCROLLED = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
EMPTY = "[...document.images].filter(each => each.complete && !each.naturalWidth).map(each => each.src)"
CUT = """[...document.querySelectorAll('pre, table')].filter(
  each => each.scrollWidth > each.clientWidth || each.getBoundingClientRect().right > innerWidth
).map(each => each.innerText)"""
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}


@pytest.mark.long
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_every_page_is_whole_and_open_to_everyone(size, chromium, html):
    """No violation that axe-core finds, no sideways scroll, no error, no request elsewhere, no missing picture."""
    faults = []
    context = chromium.new_context(viewport=size, color_scheme="light", reduced_motion="reduce")
    page = context.new_page()
    page.on("console", lambda message: faults.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("request", lambda request: _elsewhere(request.url) and faults.append(f"request: {request.url}"))
    for path in [html / "search.html", *sorted((html / "book").glob("*.html"))]:
        before = len(faults)
        page.emulate_media(color_scheme="light")
        page.goto(path.as_uri(), wait_until="load")
        page.wait_for_function(TYPESET)
        page.evaluate(UNFOLD)
        page.evaluate(AXE)
        for scheme, violations in (("light", VIOLATIONS), ("dark", CONTRAST)):  # of the dark what colours decide
            page.emulate_media(color_scheme=scheme)
            page.locator(f"html[data-theme={scheme}]").wait_for(state="attached")
            if scrolled := page.evaluate(SCROLLED):
                faults.append(f"scrolls sideways by {scrolled} pixels")
            faults += [f"empty picture: {source}" for source in page.evaluate(EMPTY)]
            for violation in page.evaluate(violations):
                where = ", ".join(" ".join(map(str, node["target"])) for node in violation["nodes"][:3])
                faults.append(f"{violation['id']} ({len(violation['nodes'])} times): {where}")
        faults[before:] = [f"{path.name}: {fault}" for fault in faults[before:]]
    context.close()
    assert not faults, "\n".join(faults)


def test_the_buttons_of_the_theme_work_under_the_policy(chromium, html):
    """Their handlers stood in the page, where the policy lets nothing run."""
    context = chromium.new_context(viewport=WIDE)
    page = context.new_page()
    page.goto((html / "book/intro.html").as_uri(), wait_until="load")
    page.evaluate("window.print = () => { window.printed = true }")
    page.evaluate("document.querySelector('.btn-download-pdf-button').click()")
    assert page.evaluate("window.printed")
    page.locator(".btn-fullscreen-button").click()
    page.wait_for_function("document.fullscreenElement")
    context.close()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def address(html):
    """The built book on a server of this machine."""
    with http.server.ThreadingHTTPServer(("localhost", 0), functools.partial(_Silent, directory=html)) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("served", [False, True], ids=["folder", "server"])
def test_a_search_finds_pages_and_quotes_them_where_a_browser_may(served, chromium, html, address):
    context = chromium.new_context(viewport=WIDE)
    page = context.new_page()
    faults = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{address if served else html.as_uri()}/book/intro.html", wait_until="load")
    page.keyboard.press("Control+k")
    page.keyboard.type("posterior collapse")
    page.keyboard.press("Enter")
    found = page.locator("#search-results li").filter(
        has=page.get_by_role("link", name="The variational autoencoder", exact=True)
    )
    found.wait_for()
    if served:
        found.get_by_text("which is known as posterior collapse").wait_for()
    page.wait_for_load_state("networkidle")
    assert faults == []
    found.get_by_role("link").first.click()
    page.wait_for_url("**/book/04_variational.html*")
    context.close()


def test_a_script_that_was_slipped_in_does_not_run(chromium, html, tmp_path):
    text = (html / "book/intro.html").read_text()
    policy = f'content="{POLICY}"'
    assert policy in text
    assert "</article>" in text
    context = chromium.new_context()
    page = context.new_page()
    for slipped in ("<script>window.caught = true</script>", "<img src='' onerror='window.caught = true'>"):
        for obeyed in (True, False):
            changed = tmp_path / "intro.html"
            changed.write_text(text.replace("</article>", f"{slipped}</article>").replace("" if obeyed else policy, ""))
            page.goto(changed.as_uri(), wait_until="load")
            assert page.evaluate("window.caught") is (None if obeyed else True)
    context.close()


def test_paper_is_white_and_holds_the_article_alone(chromium, html):
    context = chromium.new_context(viewport=WIDE, color_scheme="dark")
    page = context.new_page()
    page.goto((html / "book/03_denoising.html").as_uri(), wait_until="load")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for part in ("#pst-primary-sidebar", "#pst-secondary-sidebar", ".provenance", "details.hide"):
        assert not page.locator(part).first.is_visible(), part
    assert page.locator("figure img").first.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    context.close()


def test_every_exhibit_is_there_to_print(chromium, html):
    """Those, too, that nobody has scrolled to."""
    context = chromium.new_context(viewport=WIDE)
    page = context.new_page()
    page.goto((html / "book/explore.html").as_uri(), wait_until="load")
    page.wait_for_function("[...document.querySelectorAll('.explore')].every(each => each.querySelector('canvas'))")
    context.close()


def test_the_line_below_a_figure_opens_the_code_that_drew_it(chromium, html):
    context = chromium.new_context(viewport=WIDE)
    page = context.new_page()
    page.goto((html / "book/03_denoising.html").as_uri(), wait_until="load")
    code = page.get_by_text("titles=[short[name] for name in names], of=[run])")
    assert not code.is_visible()
    page.locator("a.code[href='#code-fig-x-corruptions']").click()
    code.wait_for(state="visible")
    context.close()


def test_every_figure_can_be_had_and_says_where_it_is_from(html):
    for label, (_, name) in words.book().labels.items():
        page = (html / "book" / f"{name}.html").read_text()
        if label.startswith("fig-"):
            below = page[page.index(f'id="{label}"') :]
            line = below[below.index('class="provenance"') : below.index("<summary>Provenance</summary>")]
            assert all(f"/{label}{suffix}" in line for suffix in (".svg", ".png")), label
        elif label.startswith("tab-") and (html / "book" / name).with_suffix(".html").exists():
            below = page[page.index(f'id="{label}"') :]
            assert name in ("intro", "costs") or f"/{label}.csv" in below, label


def test_nothing_is_cut_off_on_paper(chromium, html):
    context = chromium.new_context(viewport={"width": 680, "height": 960})  # A4 with its margins
    page = context.new_page()
    page.emulate_media(media="print")
    cut = {}
    for path in sorted((html / "book").glob("*.html")):
        page.goto(path.as_uri(), wait_until="load")
        cut[path.name] = page.evaluate(CUT)
    context.close()
    assert not any(cut.values()), cut


def test_pages_show_the_code_that_is_run(html):
    """All that the chapters include of the package."""
    count = 0
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        page = unescape(re.sub("<[^>]+>", "", (html / "book" / f"{path.stem}.html").read_text()))
        for found in re.finditer(r"literalinclude\} (\S+)\\n\",\s+\":pyobject: (\S+)\\n", path.read_text()):
            assert words.source(*found.groups()).strip() in page, found[2]
            count += 1
    assert count > 5


def _elsewhere(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))


def test_jupyter_calls_everything_as_the_book_does(html):
    """Figures, tables and equations have the numbers that chapters have in Jupyter, and citations their words."""
    book = words.book()
    for label, (name, page) in book.labels.items():
        text = (html / "book" / f"{page}.html").read_text()
        if label.startswith("eq-"):
            assert f'id="equation-{label}"' in text
            assert name in re.findall(rf'id="equation-{label}">.*?class="eqno">(\(\d+\))', text, re.S)
        elif label.startswith(("fig-", "tab-")):
            assert name == re.findall(rf'id="{label}">.*?class="caption-number">([^<]*?) ?<', text, re.S)[0]
    cited = set()
    for page in (html / "book").glob("*.html"):
        for link in re.findall(r'href="references\.html#[^"]*" title="[^"]*">(.*?)</a>', page.read_text()):
            cited.add(re.sub("</?em>", "*", link).replace("\N{NO-BREAK SPACE}", " "))
    assert cited <= {*book.cited.values()}
    assert len(cited) > 10
