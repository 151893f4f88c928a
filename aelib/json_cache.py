"""What takes long to find of stored runs, remembered in a file of their folder: it may be lost at any time."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any


def read(file: Path) -> dict[str, Any]:
    """What is remembered in `file`, by key; nothing where it cannot be read."""
    try:
        kept = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def write(file: Path, facts: dict[str, Any]) -> None:
    """Keep `facts` in `file`, in place of all others; a folder that cannot be written is asked again each time."""
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    with contextlib.suppress(OSError):
        try:
            file.parent.mkdir(exist_ok=True)
            partial.write_text(json.dumps(facts, indent=1))
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
