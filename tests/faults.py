"""What faults were tried, for the table on the page about the build.

Each strikes once, unless `AELIB_FAULTS` says how often: `make faults` kills and damages a dozen times, and writes the
table, if all of it was tried and went well.
"""

import os

import pytest
from conftest import ROOT

from aelib.provenance import record_of_this_process

TIMES = int(os.environ.get("AELIB_FAULTS", 1))
ROWS: list[tuple[str, str, int, str]] = []


def tried(fault: str, how: str, times: int, outcome: str) -> None:
    """To be called at the end of a test that is marked `faults`, when all has gone well."""
    ROWS.append((fault, how, times, outcome))


def write_table(session: pytest.Session) -> None:
    """At the end of the session."""
    config = session.config
    chosen = config.option.keyword or config.args_source is pytest.Config.ArgsSource.ARGS
    whole = ROWS and not (session.testsfailed or chosen or "PYTEST_XDIST_WORKER" in os.environ)
    if "AELIB_FAULTS" in os.environ and whole:
        about = record_of_this_process()
        commit = f"`{about['commit']}`" + (", with changes" if about["uncommitted_changes"] else "")
        lines = [f"At commit {commit}, on {about['finished'][:10]}, {about['hardware']['processor']}:", ""]
        lines += ["| Fault | Tried | Times | Outcome |", "| --- | --- | ---: | --- |"]
        lines += [f"| {fault} | {how} | {times:,} | {outcome} |" for fault, how, times, outcome in sorted(ROWS)]
        (ROOT / "book/_faults.md").write_text("\n".join(lines) + "\n")
