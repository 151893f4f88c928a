"""Whether torch.compile works here, which only trying tells, and its cache on disk, which a killed compiler breaks."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

WITHOUT = "training without torch.compile, up to 1.6 times as long"


@cache
def available() -> bool:
    """Whether torch.compile is on, and finds the C++ compiler it needs; says so, once, where not."""
    if platform.system() != "Linux":
        return False  # not tried there
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        print(f"aelib: no C++ compiler here: {WITHOUT}", file=sys.stderr)
        return False
    # With one of these torch.compile hands back what it is given.
    off = [name for name in ("TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE") if os.environ.get(name) == "1"]
    if off:
        print(f"aelib: {off[0]}=1 turns torch.compile off: {WITHOUT}", file=sys.stderr)
    return not off


def find_place() -> None:
    """Have PyTorch a folder to keep what it compiles: it makes one when it is imported, or fails."""
    folder = os.environ.get(PLACE)
    if folder is None:
        return
    try:
        os.makedirs(folder, exist_ok=True)  # an empty name would be any folder that one stands in
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        os.environ[PLACE] = tempfile.mkdtemp(prefix="torchinductor_")
        print(
            f"aelib: {PLACE} is {folder!r}, which cannot be used ({error.strerror}): "
            f"what is compiled is kept in {os.environ[PLACE]}",
            file=sys.stderr,
        )


PLACE = "TORCHINDUCTOR_CACHE_DIR"
"""The variable that says where PyTorch keeps what it compiles."""


_tried: dict[str, bool] = {}
"""In this process: `anew`, whether the cache was made anew; `vain`, whether compilation failed all the same."""


def works() -> bool:
    """Whether it may be tried: nothing is known against it."""
    return not _tried.get("vain") and available()


def again(error: BaseException) -> bool:
    """Whether to compile once more after `error`: the first time, with an empty cache; then it says what it costs.

    Raises:
        BaseException: `error`, where it is none of the compiler's.
    """
    from torch._dynamo.exc import TorchDynamoException

    if not isinstance(error, TorchDynamoException):
        raise error
    if not _tried.get("anew"):
        _tried["anew"] = True
        empty()
        return True
    if not _tried.get("vain"):
        _tried["vain"] = True
        print(f"aelib: torch.compile does not work here ({_cause(error)}): {WITHOUT}", file=sys.stderr)
    return False


def _cause(error: BaseException) -> str:
    """What is wrong, in a line: of a compiler's output the line that says so."""
    inner = getattr(error, "inner_exception", error)
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    cause = next((line for line in lines if "error:" in line or "not found" in line), lines[0] if lines else "")
    if not isinstance(inner, RuntimeError):  # not the compiler's own words
        cause = f"{os.environ.get('CXX', 'g++')}: {type(inner).__name__}: {cause}"
    mend = "; Debian: python3-dev" if "Python.h" in cause else ""
    return f"{cause}{mend}"


def _caches() -> Iterator[Path]:
    """Where the compiler keeps what it has compiled, and where it does by default: its headers are always there."""
    from torch._inductor.runtime import cache_dir_utils

    yield from {Path(cache_dir_utils.cache_dir()), Path(cache_dir_utils.default_cache_dir())}


def mend() -> None:
    """Remove from the cache the libraries that a killed compiler has not written to their end.

    PyTorch would load them, and fail, crash, or take the processor for a lesser one.
    """
    for folder in _caches():
        for path in folder.glob("??/*.so"):
            if _whole(path):
                continue
            # Held by the process that compiles it, if one does.
            lock = FileLock(folder / "locks" / f"{path.name.partition('.')[0]}.lock")
            with contextlib.suppress(Timeout, OSError), lock.acquire(timeout=0):
                if not _whole(path):
                    path.unlink()


def _whole(path: Path) -> bool:
    """Whether a shared library ends where it says: the table of its sections is the last thing in it."""
    try:
        with path.open("rb") as file:
            head, size = file.read(64), os.fstat(file.fileno()).st_size
    except OSError:  # gone meanwhile
        return True
    if len(head) < 64 or not head.startswith(b"\x7fELF\x02"):
        return False
    begin, each, number = (*struct.unpack_from("=Q", head, 40), *struct.unpack_from("=HH", head, 58))
    return begin > 0 and begin + each * number <= size


def empty() -> None:
    """Remove what the compiler has kept, on disk and in this process; other programs of this user compile anew, too."""
    from torch._inductor.utils import clear_caches

    for folder in _caches():
        kept = [path for path in folder.glob("??/*") if path.name[1:3] == path.parent.name]  # as PyTorch names them
        kept += folder.glob("precompiled_headers/*.gch")  # the headers themselves are still asked for
        for path in [*kept, folder / "fxgraph", folder / "aotautograd"]:
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                path.unlink()
    clear_caches()
