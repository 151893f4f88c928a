"""What earlier builds have made: each product lies beside a stamp of all that it depends on, and is made once.

A chapter, for instance, is executed again only if its code, its parameters, aelib, the lock or a run that it read has
changed. Captions and prose come from the source at every build.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aelib import code_version, runs


@dataclass(frozen=True)
class Execution:
    """The stamp of one executed chapter, or of what else a build has made.

    Attributes:
        key: digest of its code, its parameters, aelib and the lock.
        runs: path (as `runs.portable` writes it) and checksum of each run that it read.
        seconds: that it took.
        made: digest of what it made.
    """

    key: str
    runs: dict[str, str]
    seconds: float
    made: str

    @property
    def paths(self) -> list[Path]:
        """Of the runs that it read."""
        return [runs.located(path) for path in self.runs]


@dataclass(frozen=True)
class Line:
    """One line of the table that a build ends with."""

    chapter: str
    outcome: str
    seconds: float


def kept(product: Path, key: str, make: Callable[[], dict[str, str]]) -> tuple[Line, Execution]:
    """Have `make` write `product`, unless it is there and its stamp, beside it, says that nothing has changed.

    Args:
        product: a file or a folder.
        key: as `key_of` gives it.
        make: returns the path and checksum of each run that it read.
    """
    stamp = product.with_suffix(".json")
    why, execution = _reason(stamp, product, key)
    if execution is None:
        # Gone first: were this build killed, the old stamp would vouch for something half-written.
        stamp.unlink(missing_ok=True)
        start = time.perf_counter()
        read = make()
        execution = Execution(key, read, round(time.perf_counter() - start, 1), digest(product))
        stamp.write_text(json.dumps(asdict(execution), indent=2))
        return Line(product.stem, f"ran: {why}", execution.seconds), execution
    return Line(product.stem, "skipped: nothing changed", 0.0), execution


def _reason(stamp: Path, product: Path, key: str) -> tuple[str, Execution | None]:
    """Why `product` has to be made, or "" and its stamp."""
    try:
        execution = Execution(**json.loads(stamp.read_text()))
        before, made = json.loads(execution.key), digest(product)
    except (FileNotFoundError, ValueError, TypeError):
        return "not executed yet", None
    changed = [what for what, now in json.loads(key).items() if before.get(what) != now]
    read = zip(execution.paths, execution.runs.values(), strict=True)
    changed += [f"run {path.name}" for path, checksum in read if runs.checksum(path) != checksum]
    changed += [] if made == execution.made else ["what it had made"]
    return (f"{' and '.join(changed)} changed", None) if changed else ("", execution)


def key_of(root: Path, parameters: dict[str, Any] | None = None, own: tuple[str, ...] = ()) -> str:
    """What decides a product of the book of `root`, the runs that it reads aside."""
    lock = (root / "requirements.txt").read_text()
    return json.dumps(
        {
            "its code": sha256(*own),
            "its parameters": sha256(json.dumps(parameters or {})),
            "aelib": code_version.whole(),
            "requirements.txt": sha256(*[line for line in lock.splitlines() if not line.startswith("#")]),
        }
    )


def sha256(*texts: str) -> str:
    """The digest of some texts, in hexadecimal."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def digest(product: Path) -> str:
    """Of a file, or of all files of a folder and their names, but those that begin with a dot."""
    files = sorted(path for path in product.rglob("[!.]*") if path.is_file()) if product.is_dir() else [product]
    return sha256(*[f"{path.relative_to(product)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files])
