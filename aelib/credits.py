"""Where what is shown is from, as Markdown: commands, commits, machines."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aelib import code_version, runs
from aelib.provenance import precision_of


def papermill(chapter: str, profile: str, parameters: Mapping[str, Any] | None = None) -> str:
    """The command that executes a chapter alone."""
    asked = ({"profile": profile} if profile != "report" else {}) | dict(parameters or {})
    options = (f" -p {name} {shlex.quote(str(value))}" for name, value in asked.items())
    return f"papermill book/{chapter}.ipynb out.ipynb" + "".join(options)


def again(path: Path, chapter: str) -> str:
    """The command that makes a run anew; `chapter` is the one that executes the chapter that asks for it."""
    # No path of this machine: the pages go to others.
    place = f"{'$AELIB_RESULTS' if 'AELIB_RESULTS' in os.environ else 'results'}/{path.parent.name}/{path.name}"
    if runs.about(path)[0].get("summary"):  # of a variant, which only the chapter names
        return f"rm -r {place}; {chapter}"
    from aelib import experiments  # and with it PyTorch

    return experiments.command(path).replace(str(path), place)


def origin(path: Path, doubt: str, link: str = "") -> str:
    """Where the run at `path` is from; `link` is said first."""
    config, about = runs.about(path)
    return (
        f"`{path.name}`: {link}seed {config.get('seed', 0)}, commit {trained_by(about, doubt)}, "
        f"{about['training_seconds']:,.0f} s on {machine(about)}"
    )


MANY = 12
"""Runs of one experiment that are still named one by one."""


def by_experiment(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Runs, and studies, by what their names begin with."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(path.name.rpartition("-")[0], []).append(path)
    return found


def origins(
    paths: Iterable[Path], doubt: Callable[[Path], str], each: Callable[[Path], str] | None = None, where: str = ""
) -> list[str]:
    """Where the runs at `paths` are from, a line a run; one of all runs of an experiment that has many.

    Args:
        doubt: why a run may not be what today's code makes, in words; empty where it is.
        each: says it of one run, if not `origin` does.
        where: one finds each of many runs, said at the end of their line.
    """
    each = each or (lambda path: origin(path, doubt(path)))
    return [
        line
        for name, group in by_experiment(paths).items()
        for line in ([_together(name, group, doubt) + where] if len(group) > MANY else map(each, group))
    ]


def _together(name: str, paths: Sequence[Path], doubt: Callable[[Path], str]) -> str:
    seeds, commits, machines, seconds = set(), set(), set(), 0.0
    for path in paths:
        config, about = runs.about(path)
        seeds.add(config.get("seed", 0))
        commits.add(trained_by(about, doubt(path)))
        machines.add(machine(about))
        seconds += about["training_seconds"]
    return (
        f"{len(paths)} runs of `{name}`: seeds {', '.join(map(str, sorted(seeds)))}, "
        f"commit {'; '.join(sorted(commits))}, {seconds:,.0f} s on {'; '.join(sorted(machines))}"
    )


def machine(provenance: Mapping[str, Any]) -> str:
    """What a run was trained on."""
    hardware, engine = provenance["hardware"], provenance["engine"]
    name = f"{hardware['processor']}, {hardware['cores']} cores" if engine["device"] == "cpu" else "GPU"
    return f"{name}, {precision_of(engine)}" if engine.keys() & {"precision", "bf16"} else name


def commit(provenance: Mapping[str, Any], digits: int | None = None) -> str:
    """The commit that `provenance` names."""
    changes = " with uncommitted changes" if provenance["uncommitted_changes"] else ""
    return f"`{(provenance['commit'] or 'unknown')[:digits]}`{changes}"


def trained_by(provenance: Mapping[str, Any], doubt: str) -> str:
    """The commit that a run is of, or those that the trials of a study are of, and what is to be said about it."""
    commits = [{**provenance, "commit": each} for each in provenance.get("commits", [])] or [dict(provenance)]
    said = ", ".join(commit(each, 8) for each in commits)
    return said + (f" (**{doubt}**)" if doubt == code_version.STALE else f" ({doubt})" if doubt else "")
