"""What the theme, myst-nb and docutils write, mended in the built pages."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

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


def lead_out(page: Path, chapter: Path, html: Path) -> None:
    """Have the links of `page`, which is rewritten, lead to `chapter`, or else to the book that is built in `html`."""
    here = chapter.parent.parent  # which has the pages of the book at the same places

    def lead(link: re.Match[str]) -> str:
        target = (page.parent / link[2]).resolve()
        if target == chapter or not target.is_relative_to(here):
            return link[0]
        return f"{link[1]}{os.path.relpath(html / target.relative_to(here), page.parent)}"

    page.write_text(re.sub(r'((?:href|action)="|url=)([\w./-]+\.html)', lead, page.read_text()))
