"""The one exception that aelib raises for what its user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
