"""The one exception that aelib raises for what its user can mend, and the checks that several modules make."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeGuard


class AelibError(Exception):
    """A mistake or a fault that the user can mend.

    The message is a single line that names the thing and the mend. The command line prints that line and
    exits with 1; a notebook shows that line in place of a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython, and papermill through it, show of this exception: the line alone."""
        return [f"{type(self).__name__}: {self}"]


def known(what: str, name: object, choices: Iterable[str]) -> str:
    """`name` if it is one of `choices`; else an error that says which they are, and which is nearest."""
    if isinstance(name, str) and name in choices:
        return name
    near = difflib.get_close_matches(str(name), choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise AelibError(f"{what} must be one of {', '.join(choices)}, not {name!r}{hint}")


def at_home(path: str, variable: str) -> Path:
    """`path` with the user's home folder in place of `~`; where there is none, an error that names `variable`."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # HOME is not set, and the system has no entry for this user
        raise AelibError(f"there is no home folder for {path}: name a folder in {variable}") from error


def folder_at(path: str, variable: str) -> Path:
    """As `at_home`; what is a file is refused."""
    folder = at_home(path, variable)
    try:
        if folder.is_file():
            raise AelibError(f"{variable} is {path}, which is a file: name a folder")
    except OSError as error:
        raise AelibError(f"{variable} is no folder ({error.strerror}): name another one") from error
    return folder


def is_int(value: object) -> TypeGuard[int]:
    """Whether `value` is a whole number; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether `value` is a real number; True and False are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def at_least_one(name: str, value: object) -> None:
    """Refuse `value`, which is called `name`, if it is not a whole number of at least 1, and below 2³¹."""
    if not (is_int(value) and value >= 1):
        raise AelibError(f"{name} must be a whole number of at least 1, not {value!r}")
    if value >= 2**31:
        raise AelibError(f"{name} must be below 2³¹, not {value!r}")


def a_seed(value: object) -> None:
    """Refuse `value` if it is no seed."""
    if not (is_int(value) and 0 <= value < 2**32):
        raise AelibError(f"seed must be a whole number in [0, 2³²), not {value!r}")


_UNWRITABLE = {errno.ENOSPC, errno.EEXIST, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
_NO_FOLDER = {errno.ELOOP, errno.ENOENT, errno.ENAMETOOLONG}
_UNLOCKABLE = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def unwritable_explained(folder: Path, otherwise: str = "name another folder in AELIB_RESULTS") -> Iterator[None]:
    """Turns the system's refusal to write in `folder` into a line that says what to do: make room, or `otherwise`.

    Raises:
        AelibError: something in `folder` could not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _UNLOCKABLE:
            raise AelibError(
                f"nothing can be locked in {folder} ({error.strerror}), as on some disks of a network: {otherwise}, "
                "on a disk of this machine; what is done is kept"
            ) from error
        # A file elsewhere, a compiler's for instance, is not ours to explain.
        named = Path(str(error.filename or folder))
        above = folder.is_relative_to(named)
        ours = above or named.is_relative_to(folder)
        if not ours or error.errno not in (_UNWRITABLE | _NO_FOLDER if above else _UNWRITABLE):
            raise
        raise AelibError(
            f"{error.filename or folder} cannot be written ({error.strerror}): "
            f"make room, or {otherwise}; what is done is kept"
        ) from error
