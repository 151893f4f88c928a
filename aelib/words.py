"""MyST → the Markdown that Jupyter and GitHub show: roles become words and numbers, directives what they stand for.

Figures, tables, equations and citations are called as in the book.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Book:
    """What the pages of a book refer to.

    Attributes:
        titles: of its pages, by name, in its order.
        labels: what each figure, table, equation or section is called, and the page that it is on, by label.
        cited: author and year of each publication, by key.
        publications: each in full, by key.
    """

    titles: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    cited: Mapping[str, str] = field(default_factory=dict)
    publications: Mapping[str, str] = field(default_factory=dict)


HERE = Path(__file__).resolve().parent.parent
"""Where the sources of the book are, if aelib runs from a checkout."""


@cache
def book(root: Path = HERE) -> Book:
    """What can be referred to in the book whose `_toc.yml` is in `root`; nothing where there is none."""
    if not (root / "_toc.yml").exists():
        return Book()
    titles, labels, counts = {}, {}, dict.fromkeys(("fig", "tab", "eq"), 0)
    for page in pages(root):
        for label in _labels(root / "book", page):
            kind, _, title = label.partition("-") if " " not in label else ("", "", label)
            if not kind:
                name, _, words = title.partition(" ")
                labels[name] = words, page
            elif label not in labels:
                counts[kind] += 1
                name = {"fig": "Fig. {}", "tab": "Table {}", "eq": "({})"}[kind]
                labels[label] = name.format(counts[kind]), page
        texts = ["".join(cell["source"]) for cell in _cells(root / "book", page) if cell["cell_type"] == "markdown"]
        titles[page] = next(iter(re.findall(r"^# (.+)$", "\n".join(texts), re.M)), page)
    cited, publications = _bibliography(root / "book" / "references.bib")
    return Book(titles, labels, cited, publications)


def pages(root: Path) -> list[str]:
    """Names of the pages of `book/` that `_toc.yml` lists, in its order."""
    import yaml

    def files(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (value for key, value in node.items() if key in ("root", "file"))
            node = [*node.values()]
        if isinstance(node, list):
            for item in node:
                yield from files(item)

    return [Path(name).name for name in files(yaml.safe_load((root / "_toc.yml").read_text()))]


def _cells(folder: Path, page: str) -> list[dict[str, Any]]:
    if (path := folder / f"{page}.ipynb").exists():
        return json.loads(path.read_text())["cells"]
    return [{"cell_type": "markdown", "source": (folder / f"{page}.md").read_text(), "metadata": {}}]


def _labels(folder: Path, page: str) -> Iterator[str]:
    """The labels of a page in its order; those of sections with their titles."""
    for cell in _cells(folder, page):
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            if figure := cell["metadata"].get("mystnb", {}).get("figure"):
                yield figure["name"]
            elif "remove-cell" not in cell["metadata"].get("tags", []):
                yield from re.findall(r'"(tab-[\w-]+)"', source)
            continue
        for name, table, label, title in re.findall(
            r"^:(?:name|label): (\S+)$|^```\{include\} _tables/(\S+)\.md$|^\((\S+)\)=\n#+ (.+)$", source, re.M
        ):
            yield name or table or f"{label} {title}"


def _bibliography(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    if not path.exists():
        return {}, {}
    from pybtex.database import parse_file
    from pybtex.plugin import find_plugin
    from pybtex.richtext import Text

    entries, cited = parse_file(str(path)).entries, {}
    for key, entry in entries.items():
        parts = [person.prelast_names + person.last_names for person in entry.persons["author"]]
        names = [" ".join(str(Text.from_latex(part)) for part in each) for each in parts]
        who = " and ".join(names) if len(names) < 3 else f"{names[0]} *et al.*"
        cited[key] = f"{who}, {entry.fields['year']}"
    style, backend = find_plugin("pybtex.style.formatting", "plain")(), find_plugin("pybtex.backends", "markdown")()
    full = {each.key: " ".join(each.text.render(backend).split()) for each in style.format_entries(entries.values())}
    return cited, full


ROLE = re.compile(r"\{([a-z]+(?::[a-z]+)?)\}`([^`]+)`")
DIRECTIVE = re.compile(r"^(`{3,}|:{3,})\{(\w+)\} ?([^\n]*)\n((?::\w+:[^\n]*\n)*)(.*?)^\1 *$", re.M | re.S)


def words(text: str, book: Book, *, here: str = "", glued: Mapping[str, str] = MappingProxyType({})) -> str:
    """`text`, MyST, as Jupyter shows it.

    Args:
        text: what is no role or directive of MyST, or one that is not known here, stays as it is.
        book: what it may refer to.
        here: the page that it is on; what is on others is said to be there.
        glued: what notebooks have glued, as text, by name.
    """

    def called(label: str) -> str:
        name, page = book.labels.get(label, (f"`{label}`", here))
        return f"{name} of *{book.titles[page]}*" if here and page != here else name

    def role(found: re.Match[str]) -> str:
        kind, content = found.groups()
        title, _, target = content.removesuffix(">").rpartition(" <") if content.endswith(">") else ("", "", content)
        if kind == "glue:text":
            from myst_nb.core.variables import format_plain_text

            name, _, form = content.partition(":")
            return format_plain_text(glued[name], form or "s") if name in glued else "…"  # a cell has failed
        if kind in ("numref", "eq"):
            return called(content)
        if kind == "ref":
            return title or book.labels.get(target, (target, ""))[0]
        if kind == "doc":
            return title or f"*{book.titles.get(target, target)}*"
        if kind == "download":
            return title or target
        if kind.startswith("py:"):
            return f"`{target.rpartition('.')[2] if target.startswith('~') else target}`"
        if kind in ("cite:p", "cite:t"):
            cited = [book.cited.get(key.strip(), key.strip()) for key in content.split(",")]
            return f"({'; '.join(cited)})" if kind == "cite:p" else " and ".join(cited)
        return found[0]

    def directive(found: re.Match[str]) -> str:
        _, kind, argument, options, body = found.groups()
        if kind == "literalinclude":
            return f"```python\n{source(argument, re.findall(r'^:pyobject: (.+)$', options, re.M)[0])}```"
        body = DIRECTIVE.sub(directive, body)
        label = next(iter(re.findall(r"^:(?:name|label): (\S+)$", options, re.M)), "")
        name = book.labels.get(label, ("", ""))[0]
        if kind == "math":
            tag = f" \\tag{{{name.strip('()')}}}" if name else ""
            return f"$$\n{body.strip()}{tag}\n$$"
        if kind == "table":
            return f"**{name or 'Table'}.** {argument}\n\n{body.strip()}"
        if kind in ("admonition", "note", "warning", "tip"):
            title = argument if kind == "admonition" else kind.capitalize()
            return "\n".join(f"> {line}".rstrip() for line in [f"**{title}**", "", *body.strip().splitlines()])
        if kind == "dropdown":
            return f"<details><summary>{argument}</summary>\n\n{body.strip()}\n\n</details>"
        return found[0]

    return ROLE.sub(role, DIRECTIVE.sub(directive, text))


def source(path: str, name: str) -> str:
    """The code of the function, class or method `name` in a file of aelib, as Sphinx would include it.

    Args:
        path: as a chapter has it, `../aelib/….py`.
    """
    from sphinx.pycode import ModuleAnalyzer

    file = HERE / path.removeprefix("../")
    _, first, last = ModuleAnalyzer.for_file(str(file), "").find_tags()[name]
    return textwrap.dedent("".join(file.read_text().splitlines(keepends=True)[first - 1 : last]))


def html(text: str) -> str:
    """`text`, plain Markdown with tables, as HTML."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
