"""Faults of the built pages that nothing else finds."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from aelib.book.mends import POLICY


def html_pages(html: Path) -> list[Path]:
    """The pages of a built book."""
    # Below _static lie templates of the theme.
    return [path for path in sorted(html.rglob("*.html")) if "_static" not in path.relative_to(html).parts]


class _Page(HTMLParser):
    """What a page refers to: anchors of its own, links, and what it loads; what it runs, and its policy about that."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.repeated: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.without_alt: list[str] = []
        self.own_code: list[str] = []
        self.policy = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if values.get("id") in self.anchors:
            self.repeated.append(values["id"])
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        self.own_code += [f"{name}={value}" for name, value in values.items() if name.startswith("on")]
        # Of another type it is data.
        if tag == "script" and "src" not in values and values.get("type") in (None, "", "module", "text/javascript"):
            self.own_code.append("<script>")
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        if tag in ("script", "img", "iframe", "source") and "src" in values:
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "shortcut icon"):
            self.loaded.append(values.get("href", ""))
        if tag == "img" and "images/" in values.get("src", "") and not values.get("alt"):
            self.without_alt.append(values["src"])


def check(html: Path) -> list[str]:
    """Faults of a built book, a line each.

    A link or an anchor that leads nowhere or to two places, a file that is missing, a picture without alternative
    text, anything loaded from another host, code within a page, a page without a policy that refuses such code.
    """
    read = {path: _Page(path) for path in html_pages(html)}
    faults = []
    for path, page in read.items():
        name = path.relative_to(html)
        faults += [f"{name}: {image} has no alternative text" for image in page.without_alt]
        faults += [f"{name}: {anchor} names two places" for anchor in page.repeated]
        faults += [f"{name}: {code} runs within the page" for code in page.own_code]
        if page.policy != POLICY:
            faults.append(f"{name}: has no content security policy, or another one")
        for target in page.loaded:
            parts = urlsplit(target)
            if parts.netloc:
                faults.append(f"{name}: loads {target} from another host")
            elif parts.scheme != "data" and not (path.parent / unquote(parts.path)).is_file():
                faults.append(f"{name}: {target} is missing")
        for target in page.links:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            other = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not other.exists():
                faults.append(f"{name}: link to {target} leads nowhere")
            elif parts.fragment and other in read and unquote(parts.fragment) not in read[other].anchors:
                faults.append(f"{name}: {target} names an anchor that is not there")
    return faults
