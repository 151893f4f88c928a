"""How far a training is: a bar in a terminal, a line below the cell of a notebook; nothing of it stays."""

from __future__ import annotations

import sys
from typing import Any, TextIO, cast

from tqdm import tqdm

MEDIA_TYPE = "text/x-aelib-progress"
"""Of such a line, for whoever executes a chapter and would rather show it elsewhere."""


def bar(epochs: int, done: int) -> tqdm:
    """A bar of `epochs`, of which some are `done`; shown where somebody may look at it."""
    terminal = sys.stderr.isatty()
    return tqdm(
        total=epochs,
        initial=done,
        bar_format="epoch {n_fmt} of {total_fmt} |{bar:20}|{postfix}, at most {remaining} left",
        leave=False,
        mininterval=0,
        file=sys.stderr if terminal else cast(TextIO, _Line()),
        disable=not (terminal or _in_a_notebook()),
    )


def _in_a_notebook() -> bool:
    return type(sys.stderr).__module__.startswith("ipykernel")


class _Line:
    """A file for tqdm whose last line is shown below a cell, until it is empty.

    `tqdm.auto` would leave there what it has drawn last, be it a text or a widget.
    """

    encoding = "utf-8"

    def __init__(self) -> None:
        self.handle: Any = None

    def write(self, text: str) -> None:
        from IPython.display import display

        line = text.strip()
        content = {"text/plain": line, MEDIA_TYPE: line}
        if self.handle:
            self.handle.update(content, raw=True)
        elif line:
            self.handle = display(content, raw=True, display_id=True)

    def flush(self) -> None:
        pass
