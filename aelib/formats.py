"""How numbers are written into files, and read back: JSON and CSV for people to read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any


def to_json(value: Any) -> bytes:
    """`value` as JSON, for people to read."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def mapping(content: bytes) -> dict[str, Any]:
    """What `to_json` has written of a mapping.

    Raises:
        ValueError: it is no JSON, or of something else.
    """
    if not isinstance(value := json.loads(content), dict):
        raise ValueError(f"{value!r} is no mapping")
    return value


def to_csv(rows: list[dict[str, float]]) -> str:
    """`rows`, at least one, all with the same keys, as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def from_csv(text: str) -> list[dict[str, float]]:
    """The rows of `to_csv`; `epoch` is a whole number."""
    return [
        {name: int(value) if name == "epoch" else float(value) for name, value in row.items()}
        for row in csv.DictReader(io.StringIO(text))
    ]


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Of values that may be such mappings themselves each name, with dots, and what it is: `model.beta`, 2.0."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
