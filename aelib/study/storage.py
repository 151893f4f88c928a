"""Where Optuna keeps the trials: a journal file in the results, or any database that it knows."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from aelib import runs
from aelib.errors import AelibError
from aelib.study.plan import Plan


def say(line: str) -> None:
    """Tell whoever started this process."""
    print(f"aelib: {line}", file=sys.stderr, flush=True)


def begin(plan: Plan) -> BaseStorage:
    """The storage of `plan`, whose workspace is there, with the study in it."""
    storage = database(plan.storage) if plan.storage is not None else journal(plan.workspace / "journal.log")
    name = plan.path.name
    study = optuna.create_study(study_name=name, storage=storage, direction="minimize", load_if_exists=True)
    if study.directions != [StudyDirection.MINIMIZE]:
        goals = ", ".join(each.name.lower() for each in study.directions)
        raise AelibError(
            f"the study {name} was made to {goals}, by another program, and is to minimize one loss: delete "
            f"{plan.in_the_making} and start again, or choose another --storage or --seed"
        )
    return storage


def existing(plan: Plan) -> BaseStorage | None:
    """The storage of `plan`; None where it is a file that is not there, which is said of a database."""
    if plan.storage is None:
        path = plan.workspace / "journal.log"
        return journal(path) if path.exists() else None
    with suppress(ArgumentError):
        address = make_url(plan.storage)
        if address.get_backend_name() == "sqlite" and address.database and not Path(address.database).exists():
            say(f"there is no file {address.database}: nobody has begun, or the address is another one")
            return None
    return database(plan.storage)


def database(url: str, tries: int = 3) -> RDBStorage:
    """The database at `url`; what keeps it from being reached or used, in one line."""
    try:
        return _Database(url, engine_kwargs={"pool_pre_ping": True})
    except ArgumentError as error:
        why = str(error).splitlines()[0]
        raise AelibError(
            f"the storage cannot be used: {why}: give one such as postgresql+psycopg://host/name"
        ) from error
    except (ImportError, RuntimeError) as error:  # the last one: of another version of Optuna
        raise AelibError(f"the storage cannot be used: {str(error).splitlines()[0]}") from error
    except SQLAlchemyError as error:
        if tries == 1:
            raise AelibError(
                f"the storage cannot be reached: {str(error).splitlines()[0]}: is {make_url(url)} right?"
            ) from error
    time.sleep(1)  # Two workers that start at once may both try to make the tables: the second finds them.
    return database(url, tries - 1)


class _Database(RDBStorage):
    """Optuna's, which takes parameters of the search space whatever other programs have added under their names."""

    def _set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution, _: Any
    ) -> None:
        super()._set_trial_param(trial_id, param_name, param_value_internal, distribution, distribution)


class _Journal(JournalFileBackend):
    """Optuna's, with the system's lock, which a killed process does not leave behind."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with self._lock, open(self._file_path, "rb+") as file:  # type: ignore[attr-defined]
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            if file.read() not in (b"", b"\n"):
                # A line that was not written to its end, by a killed writer or onto a full disk, never happened.
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
            super().append_logs(logs)


def journal(path: Path) -> JournalStorage:
    """The journal file at `path`, which is made if it is not there."""
    try:
        lock: Any = FileLock(path.with_name(f"{path.name}.lock"))  # taken twice by a thread it is still its own
        return JournalStorage(_Journal(str(path), lock_obj=lock))
    except (ValueError, KeyError, AssertionError) as error:  # the last one: what a newer Optuna has written
        raise runs.damaged(path.parent, f"{path.name} is not a journal of Optuna's") from error


@contextmanager
def unreachable_explained() -> Iterator[None]:
    """Turns what a database says when it goes away into one line."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        cause = error.__cause__ or error
        raise AelibError(
            f"the storage cannot be reached any more: {str(cause).splitlines()[0]}; trials that are done are kept, "
            "and others go on from their last epoch when it is there again"
        ) from error
