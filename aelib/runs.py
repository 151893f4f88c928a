"""One training run on disk: complete or absent, checked by SHA-256, written by one process at a time.

`results/<profile>/<experiment>-<first 8 of the fingerprint>/` holds

- `config.json`: all that decides the result, and `weights.safetensors`: the best epoch's weights;
- `history.csv`: one row an epoch; `metrics.json`: computed from the stored weights;
- `arrays.safetensors`: what took long to compute and the figures need;
- `provenance.json`: commit, versions, hardware, time;
- `SHA256SUMS`: a checksum of each, as `sha256sum --check` reads it;
- `evaluations/`: what metrics have found of it since (`aelib.evaluate`). The weights may have been left out since, to
  save room (`leave_out_weights`): then their checksum still stands for them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from aelib import formats
from aelib.errors import AelibError, folder_at, unwritable_explained

if TYPE_CHECKING:
    from torch import Tensor  # which takes seconds to import, and a look at the runs needs none of it

ROOT = Path(__file__).resolve().parent.parent
"""The checkout that aelib runs from, where it runs from one."""

PUBLISHED = Path(__file__).parent / "published"
"""Where an installed copy of aelib has the runs of the report that come with it; a checkout has them in `results/`."""

CHECKSUMS = "SHA256SUMS"
WEIGHTS = "weights.safetensors"
FILES = ("config.json", WEIGHTS, "history.csv", "metrics.json", "arrays.safetensors", "provenance.json")

LEFT_OUT = "weights-left-out"
"""An empty file in the place of weights that were left out on purpose."""

PATHS = "text/x-aelib-runs"
"""Media type of the paths, a line each, of the runs that a figure is drawn from."""


def results_folder() -> Path:
    """Where runs are kept: `$AELIB_RESULTS`, else `results/` in a checkout, else `results/` here.

    The checkout is the one that aelib runs from; where it was installed as a copy, the one that this folder lies in.
    """
    if given := os.environ.get("AELIB_RESULTS"):
        return folder_at(given, "AELIB_RESULTS")

    def is_checkout(folder: Path) -> bool:
        return (folder / "aelib/runs.py").exists() and (folder / "_toc.yml").exists()

    if is_checkout(ROOT):
        return ROOT / "results"
    here = Path.cwd()
    return next(filter(is_checkout, (here, *here.parents)), here) / "results"


def folder_of(given: str | Path | None) -> Path:
    """The folder of runs that is `given`, or else `results_folder()`."""
    return results_folder() if given is None else folder_at(str(given), "folder")


def portable(path: Path) -> str:
    """The path of a run as it is written down in a build, which may be moved or copied together with the results."""
    path, folder = path.absolute(), results_folder().absolute()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def located(path: str) -> Path:
    """The path that `portable` has written down."""
    return results_folder().absolute() / path


@dataclass(frozen=True)
class Contents:
    """What one run leaves behind.

    Attributes:
        config: all that decides the result, as JSON values.
        weights: the model's state dict; empty of a summary, and where they have been left out.
        history: one dict an epoch, all with the same keys.
        metrics: numbers by name.
        arrays: tensors by name.
        provenance: how, where and when it was made, as JSON values.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    history: list[dict[str, float]]
    metrics: dict[str, float]
    arrays: dict[str, Tensor]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Run(Contents):
    """A complete run, read back and verified from `path`; `checksum` stands for all its files."""

    path: Path
    checksum: str


def fingerprint(config: dict[str, Any]) -> str:
    """SHA-256, in hexadecimal, of `config` in one canonical spelling."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def run_path(folder: Path, experiment: str, config: dict[str, Any]) -> Path:
    """The place in `folder` of the run of `experiment` with `config`."""
    return folder / f"{experiment}-{fingerprint(config)[:8]}"


def experiment_of(path: Path) -> str:
    """The name of the experiment that the run at `path` is of; `"study"` of a study."""
    return path.name.rpartition("-")[0]


def is_there(path: Path) -> bool:
    """Whether there is a run or a study at `path`; one that comes with aelib is put there first.

    Raises:
        AelibError: its folder cannot be written.
    """
    shipped = PUBLISHED / path.parent.name / path.name
    if not path.exists() and shipped.exists():
        receive(read(shipped, _read_checksums(shipped))[0], path)
    return path.exists()


def load_or_make(path: Path, make: Callable[[Path], Contents], *, again: bool = False) -> Run:
    """The run at `path`; made by `make` if it is not there, or if `again`.

    `make` gets a folder to work in, which it finds as it left it if it was killed. Of two processes that ask for
    the same run, one makes it and the other waits for it.

    Raises:
        AelibError: the run is damaged, or its folder cannot be written.
    """
    if not again and is_there(path):
        return load(path)
    nothing_new(path)
    with _workspace(path, "again" if again else "partial") as workspace:
        if not path.exists() or again:
            publish(_encoded(make(workspace)), path)
            shutil.rmtree(workspace)
    return load(path)


def receive(files: dict[str, bytes], path: Path, *, again: bool = False) -> None:
    """Publish the files of a run that was made elsewhere, unless it is there, or in its place if `again`.

    Raises:
        AelibError: its folder cannot be written.
    """
    with _workspace(path, "received") as workspace:
        if again or not path.exists():
            publish(files, path)
        shutil.rmtree(workspace)


def nothing_new(path: Path) -> None:
    """Refuse to make `path` while what is there is being verified, or published.

    Raises:
        AelibError: it is.
    """
    if "AELIB_NOTHING_NEW" in os.environ:
        raise AelibError(
            f"run {path} is not there, and AELIB_NOTHING_NEW forbids to make it: `aelib train`, or build the book"
        )


def load(path: str | Path) -> Run:
    """Read the run at `path`, a folder, and verify every file of it.

    Raises:
        AelibError: a file is missing, truncated, altered, or belongs to another run.
    """
    path = Path(path)
    content, digest = read(path, FILES)
    config = json.loads(content["config.json"])
    if not path.name.endswith(fingerprint(config)[:8]):
        raise damaged(path, "config.json belongs to another run")
    return Run(
        config=config,
        weights=_tensors(path, WEIGHTS, content) if content[WEIGHTS] else {},
        history=formats.from_csv(content["history.csv"].decode()),
        metrics=json.loads(content["metrics.json"]),
        arrays=_tensors(path, "arrays.safetensors", content),
        provenance=json.loads(content["provenance.json"]),
        path=path,
        checksum=digest,
    )


def about(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration and provenance of the run or study at `path`, without its weights, and unverified."""
    config, provenance = ((path / name).read_bytes() for name in ("config.json", "provenance.json"))
    return formats.mapping(config), formats.mapping(provenance)


def read(path: Path, names: Iterable[str]) -> tuple[dict[str, bytes], str]:
    """The files `names` of the folder `path`, each verified, and a digest of them all.

    Raises:
        AelibError: a file is missing, truncated or altered.
    """
    checksums = _read_checksums(path)
    content = {}
    for name in names:
        if name == WEIGHTS and has_left_out_weights(path):
            content[name] = b""
            continue
        try:
            content[name] = (path / name).read_bytes()
        except FileNotFoundError:
            content[name] = b""
        except OSError as error:
            raise AelibError(f"{path / name} cannot be read ({error.strerror}): let this user read it") from error
        if hashlib.sha256(content[name]).hexdigest() != checksums.get(name):
            if hashlib.sha256(content[name].replace(b"\r\n", b"\n")).hexdigest() == checksums.get(name):
                raise AelibError(
                    f"run {path}: git has changed the ends of lines in {name}: `git config core.autocrlf false`, "
                    "delete the folder, and `git checkout` it"
                )
            raise damaged(path, f"{name} is missing, truncated or altered")
    digest = checksum(path)
    assert digest is not None
    # The book driver executes a chapter again when something that it read has changed; so it must know what.
    if log := os.environ.get("AELIB_RUNS_READ"):
        with open(log, "a") as file:
            file.write(json.dumps([str(path), digest]) + "\n")
    return content, digest


def _tensors(path: Path, name: str, content: dict[str, bytes]) -> dict[str, Tensor]:
    import safetensors.torch

    try:
        return safetensors.torch.load(content[name])
    except safetensors.SafetensorError as error:
        raise damaged(path, f"{name} is not a safetensors file") from error


def checksum(path: Path) -> str | None:
    """What `Run.checksum` of the run at `path` would be, without reading the run; None where there is none."""
    with suppress(FileNotFoundError):
        return hashlib.sha256((path / CHECKSUMS).read_bytes()).hexdigest()
    return None


def digest_of(tensors: dict[str, Tensor]) -> str:
    """SHA-256, in hexadecimal, of the file that would keep `tensors`."""
    import safetensors.torch

    return hashlib.sha256(safetensors.torch.save(tensors)).hexdigest()


def digest_of_weights(path: Path) -> str | None:
    """SHA-256, in hexadecimal, of the weights of the run at `path` as it was written; None where nothing says it."""
    with suppress(AelibError):
        return _read_checksums(path).get(WEIGHTS)
    return None


def has_left_out_weights(path: Path) -> bool:
    """Whether the run at `path` has been left without its weights."""
    return (path / LEFT_OUT).exists()


def leave_out_weights(path: Path) -> None:
    """Delete the weights of the run at `path`, which stays what it is but for them."""
    (path / LEFT_OUT).touch()
    (path / WEIGHTS).unlink(missing_ok=True)


def damaged(path: Path, what: str) -> AelibError:
    """The error that `path`, a run, is not as it was written."""
    return AelibError(f"run {path}: {what}; restore it from git, or delete the folder to have it trained again")


def _read_checksums(path: Path) -> dict[str, str]:
    try:
        lines = (path / CHECKSUMS).read_text(errors="replace").splitlines()
    except OSError as error:
        raise damaged(path, f"{CHECKSUMS} is missing, or cannot be read") from error
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


@contextmanager
def _workspace(path: Path, kind: str) -> Iterator[Path]:
    """A folder to work in, for one process at a time; another one for each `kind` of work."""
    workspace = path.with_name(f".{path.name}.{kind}")
    # Held by the system on behalf of the process: a killed one leaves no lock behind.
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with unwritable_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"aelib: another process is making {path.name}: waiting for it", file=sys.stderr)
            lock.acquire()
        try:
            workspace.mkdir(exist_ok=True)
            yield workspace
        finally:
            lock.release()


def _encoded(contents: Contents) -> dict[str, bytes]:
    import safetensors.torch

    return {
        "config.json": formats.to_json(contents.config),
        WEIGHTS: safetensors.torch.save(contents.weights),
        "history.csv": formats.to_csv(contents.history).encode(),
        "metrics.json": formats.to_json(contents.metrics),
        "arrays.safetensors": safetensors.torch.save(contents.arrays),
        "provenance.json": formats.to_json(contents.provenance),
    }


def publish(files: dict[str, bytes], path: Path) -> None:
    """Write `files` and their sums beside the folder `path`, then move them there; an old one is `.NAME.old` then."""
    draft = path.with_name(f".{path.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    for name, content in [*files.items(), (CHECKSUMS, sums.encode())]:
        with (draft / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    os.replace(draft, path)
    shutil.rmtree(old, ignore_errors=True)
