"""Why stored runs and studies may not be what today's code makes: `aelib.code_version`, remembered beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aelib import code_version, json_cache

DOUBTS = ".doubts.json"
"""In a folder of runs: what probes have said of those of another code, since each takes a second."""

ASKED = ("config.json", "provenance.json", "journal.log")
"""The files of a run, or a study, that decide what a probe says of it."""


def known(path: Path, provenance: Mapping[str, Any]) -> str | None:
    """Why the run or the study at `path` is in doubt, in words, empty where it is not; None where a probe has to tell.

    Args:
        provenance: its own.
    """
    code = provenance.get("code")
    if not code:
        return code_version.UNRECORDED
    if code.get("digests", [code.get("digest")]) == [code_version.digest()]:
        return ""
    return json_cache.read(path.parent / DOUBTS).get(_key(path))


def remember(path: Path, why: str) -> str:
    """Keep `why`, which a probe has told of the run or the study at `path`; returns it."""
    file = path.parent / DOUBTS
    kept = {key: each for key, each in json_cache.read(file).items() if key.startswith(_code())}
    json_cache.write(file, kept | {_key(path): why})
    return why


def _code() -> str:
    return f"{code_version.digest()} {code_version.TOLERANCE} {_torch()}"


@cache
def _torch() -> str:
    return version("torch")  # without importing it, which takes seconds


def _key(path: Path) -> str:
    files = (path / name for name in ASKED)
    return f"{_code()} {hashlib.sha256(b'|'.join(each.read_bytes() for each in files if each.exists())).hexdigest()}"
