"""A Sphinx extension: pages that everyone can use, and that run nothing but files of the book.

What the theme's templates write is changed by `book/_templates`; here is what they do not reach: scripts, the policy,
and what docutils and myst-nb write. Sphinx loads this module by its name in `_config.yml`; it must import little.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from html import escape, unescape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from myst_nb.sphinx_ import HideCodeCellNode, depart_HideCellInput, visit_HideCellInput
from sphinx.application import Sphinx
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file: 'unsafe-inline'; img-src 'self' file: data:; "
    "font-src 'self' file:; connect-src 'self' file:; form-action 'self' file:; base-uri 'none'"
)
"""What a page may load and run: files of the book, from a server or, where browsers disagree on what 'self' is, from a
folder. MathJax and the figures need styles within the page."""


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.add_config_value("aelib_alone", "", "html")
    app.connect("config-inited", _settle)
    app.connect("builder-inited", _lead_out)
    app.connect("html-page-context", _confine, priority=900)  # when the theme has added its scripts
    app.set_translator("html", _Translator)
    app.add_html_math_renderer("mathml", inline_renderers=(_mathml, None), block_renderers=(_mathml_block, None))
    app.add_node(HideCodeCellNode, override=True, html=(_visit_hidden, depart_HideCellInput))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _settle(app: Sphinx, config: Any) -> None:
    """What jupyter-book does not pass on, or Sphinx would choose otherwise."""
    config.html_math_renderer = config.html_math_renderer or "mathjax"  # rather than a newcomer, `_mathml`
    # Beside the button for a new issue, which `pages.launch` asks for, one that leads to the source of the page.
    config.html_theme_options["use_source_button"] = bool(config.html_theme_options.get("use_issues_button"))


def _lead_out(app: Sphinx) -> None:
    """Where one page is built alone, `aelib_alone`, have the links to others lead to the book in `_build/html`."""
    builder: Any = app.builder
    alone, own = app.config.aelib_alone, builder.get_target_uri
    if alone:
        builder.get_target_uri = lambda name, typ=None: f"{'' if name == alone else '../../../html/'}{own(name, typ)}"


def _confine(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Give a page its policy, and have its scripts in files."""
    if app.builder.name == "epub":
        return
    policy = f'\n    <meta http-equiv="Content-Security-Policy" content="{POLICY}" />'
    context["metatags"] = policy + context.get("metatags", "")
    context["script_files"] = [_in_a_file(script, Path(app.outdir)) for script in context["script_files"]]


def _in_a_file(script: Any, html: Path) -> Any:
    if script.filename:
        return script
    body = script.attributes["body"].encode()
    name = f"_static/inline/{hashlib.sha256(body).hexdigest()[:8]}.js"
    (html / name).parent.mkdir(parents=True, exist_ok=True)
    (html / name).write_bytes(body)
    return type(script)(name, priority=script.priority)


class _Translator(HTML5Translator):
    """Writes what axe-core finds in its absence."""

    def visit_citation(self, node: nodes.citation) -> None:
        """With a role that ARIA has not given up, in a list."""
        super().visit_citation(node)
        self.body[-1] = self.body[-1].replace("doc-biblioentry", "listitem")

    def visit_entry(self, node: nodes.entry) -> None:
        """The corner of a table heads nothing."""
        super().visit_entry(node)
        if isinstance(node.parent.parent, nodes.thead) and [len(child) for child in node] == [0]:
            node.clear()
            self.body[-1], self.context[-1] = "<td>", "</td>\n"


def _mathml(self: HTML5Translator, node: nodes.Element, block: bool = False) -> None:
    """An equation for readers of EPUBs, which run no MathJax; as TeX, where docutils does not know its commands."""
    tex = node.astext()
    try:
        # XML knows five names of characters, and docutils uses more.
        self.body.append(
            re.sub(r"&(?!lt;|gt;|amp;)\w+;", lambda name: unescape(name[0]), tex2mathml(tex, as_block=block))
        )
    except MathError:
        self.body.append(f"<code>{escape(tex)}</code>")
    raise nodes.SkipNode


def _mathml_block(self: HTML5Translator, node: nodes.Element) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})</span>')
    with suppress(nodes.SkipNode):
        _mathml(self, node, block=True)
    self.body.append("</div>")
    raise nodes.SkipNode


def _visit_hidden(self: HTML5Translator, node: HideCodeCellNode) -> None:
    """Its two titles are its name; another would hide them from the ear."""
    visit_HideCellInput(self, node)
    self.body[-4] = "<summary>\n"
