"""Rows → MyST tables, as text that a chapter shows with `IPython.display.Markdown`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def myst_table(
    name: str, caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, text: bool = False
) -> str:
    """A numbered table that prose refers to as `name`; the first column is text, the others numbers unless `text`."""
    lines = [header, [":--", *[":--" if text else "--:"] * (len(header) - 1)], *rows]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"```{{table}} {caption}\n:name: {name}\n\n{body}\n```\n"


def number(value: float | None) -> str:
    """Whole numbers with separators, others with four significant digits; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:#.4g}"


def compare(
    labels: Mapping[str, str], report: Mapping[str, float | None], ours: Mapping[str, float]
) -> list[tuple[str, str, str, str]]:
    """Rows of label, report's number, ours, relative difference; in the order of `labels`, keyed like the numbers."""
    rows = []
    for key, label in labels.items():
        theirs, mine = report[key], ours[key]
        difference = "–" if theirs is None else f"{(mine - theirs) / theirs:+.1%}".replace("-", "−")
        # The report's numbers have the digits that it gives.
        rows.append((label, f"{theirs:,g}" if isinstance(theirs, float) else number(theirs), number(mine), difference))
    return rows
