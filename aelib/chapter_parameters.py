"""The parameters of a chapter."""

from __future__ import annotations

import ast
import builtins
import symtable

from aelib.errors import known


def only_known_parameters() -> None:
    """Refuse, in the cell of a chapter that uses its parameters, one that this cell does not use.

    Papermill would only warn, and Python say nothing at all, and the chapter be executed as if nothing had been asked.

    Raises:
        AelibError: a parameter is unknown (the nearest known one is named).
    """
    from IPython import get_ipython  # type: ignore[attr-defined]

    def assigned(cell: str) -> list[str]:
        nodes = [node for node in ast.parse(cell).body if isinstance(node, (ast.Assign, ast.AnnAssign))]
        targets = [target for node in nodes for target in getattr(node, "targets", [getattr(node, "target", None)])]
        return [target.id for target in targets if isinstance(target, ast.Name)]

    # What was executed so far, this cell included; of each kind the last counts, for cells may be executed again.
    *before, here = get_ipython().user_ns["In"]
    used = {node.id for node in ast.walk(ast.parse(here)) if isinstance(node, ast.Name)}
    for first in reversed(range(len(before))):
        names = assigned(before[first])
        if "profile" in names and not before[first].startswith(PAPERMILL):
            injected = [cell for cell in before[first + 1 :] if cell.startswith(PAPERMILL)][-1:]
            names += [name for cell in injected for name in assigned(cell) if not name.startswith("PAPERMILL_")]
            for name in names:
                # What the first cell lacks was taken out of it, or misspelt there.
                known(
                    "parameter", name, [*dict.fromkeys(each for each in names if each in used), *_missing(here, names)]
                )
            return


PAPERMILL = "# Parameters"
"""How the cell begins that papermill adds; what it calls `PAPERMILL_…` is by its --inject-paths."""


def _missing(cell: str, given: list[str]) -> list[str]:
    """Names that `cell` needs and that neither it nor Python has, without those that are `given`."""
    table = symtable.symtable(cell, "<cell>", "exec")
    needed = {each.get_name() for each in table.get_symbols() if not each.is_assigned() and not each.is_imported()}
    return sorted(needed - {*dir(builtins), *given})
