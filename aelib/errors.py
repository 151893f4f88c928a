"""The one exception that aelib raises for what its user can mend."""


class AelibError(Exception):
    """A mistake or a fault that the user can mend.

    The message is a single line that names the thing and the mend. The command line prints that line and
    exits with 1; a notebook shows that line in place of a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython, and papermill through it, show of this exception: the line alone."""
        return [f"{type(self).__name__}: {self}"]
