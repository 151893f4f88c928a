"""What a run keeps of how, where and when it was made: versions, hardware, the commit that is checked out."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from aelib import runs


def record_of_this_process() -> dict[str, Any]:
    """Repository on GitHub, commit, versions, hardware and date of the present process, as JSON values."""
    origin = re.search(
        r"(?:@|//)github\.com[:/]([\w.-]+/[\w.-]+?)(\.git)?/?$", _git("remote", "get-url", "origin") or ""
    )
    packages = ("torch", "pytorch-lightning", "numpy", "scikit-learn")
    return {
        "repository": f"https://github.com/{origin[1]}" if origin else None,
        **commit_checked_out(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in packages},
        "hardware": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()},
    }


def precision_of(engine: Mapping[str, Any]) -> str:
    """Of the training steps of a run, of the `engine` in its provenance; an older version kept whether it was bf16."""
    return engine.get("precision") or ("bf16" if engine.get("bf16") else "float32")


def commit_checked_out() -> dict[str, Any]:
    """The commit that is checked out, and whether `aelib` differs from it; to be asked before work that takes long."""
    changes, head = _git("status", "--porcelain", "--", "aelib"), _git("rev-parse", "HEAD", said=True)
    return {"commit": head, "uncommitted_changes": None if changes is None else bool(changes)}


ANOTHER = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
"""What git sets, in a hook for instance, to mean one repository, which need not be this one."""


def _git(*command: str, said: bool = False) -> str | None:
    """What git answers about the checkout; None where it does not, with a line that says why if it is to be `said`."""
    if not (runs.ROOT / ".git").exists():
        return None  # installed, perhaps inside another project's repository
    # Where the repository is broken, the one that it lies in is not meant.
    environment = {name: value for name, value in os.environ.items() if name not in ANOTHER}
    environment |= {"GIT_CEILING_DIRECTORIES": str(runs.ROOT.parent), "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    run = ["git", *command]
    try:
        answer = subprocess.run(run, cwd=runs.ROOT, env=environment, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        if said:
            folder = runs.ROOT
            why = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
            mend = f"; if you trust it: git config --global --add safe.directory {folder}" if "dubious" in why else ""
            _say_once(f"aelib: the commit is not recorded, for git does not tell it ({why}){mend}")
        return None
    return answer.stdout.strip()


@cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
