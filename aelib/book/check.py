"""Faults of the built pages that Sphinx does not find: in HTML that was written as such, and against the policy."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from aelib.theme import POLICY


def html_pages(html: Path) -> list[Path]:
    """The pages of a built book."""
    # Below _static lie templates of the theme.
    return [path for path in sorted(html.rglob("*.html")) if "_static" not in path.relative_to(html).parts]


def check(html: Path) -> list[str]:
    """Faults of a built book, a line each.

    A link or an anchor that leads nowhere or to two places, a file that is missing, anything loaded from another host,
    code within a page, a page with scripts but without the policy that refuses such code.
    """
    read = {path: _Page(path) for path in html_pages(html)}
    faults = []
    for path, page in read.items():
        found = list(page.faults)
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            other = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if other.is_relative_to(html) and not other.exists():
                found.append(f"{target} leads nowhere")
            elif parts.fragment and other in read and unquote(parts.fragment) not in read[other].anchors:
                found.append(f"{target} names an anchor that is not there")
        faults += [f"{path.relative_to(html)}: {fault}" for fault in found]
    return faults


class _Page(HTMLParser):
    """What a page refers to: anchors of its own, and targets of its links and of what it loads; faults of its tags."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.faults: list[str] = []
        self.policy = self.scripts = False
        self.feed(path.read_text())
        if self.scripts and not self.policy:
            self.faults.append("has no content security policy, or another one")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if values.get("id") in self.anchors:
            self.faults.append(f"{values['id']} names two places")
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.policy |= values.get("content") == POLICY
        self.scripts |= tag == "script"
        self.faults += [f"{name}={value} runs within the page" for name, value in values.items() if name[:2] == "on"]
        # Of another type it is data.
        if tag == "script" and "src" not in values and values.get("type") in (None, "", "module", "text/javascript"):
            self.faults.append("<script> runs within the page")
        loads = tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "shortcut icon")
        loaded = values.get("src", values.get("href", "") if loads else "")
        if urlsplit(loaded).netloc:
            self.faults.append(f"loads {loaded} from another host")
        self.targets += [loaded, values.get("href", "") if tag == "a" else ""]
