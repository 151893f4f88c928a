"""FashionMNIST: found or fetched, verified, read."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import torch
from filelock import FileLock
from tqdm import tqdm

from aelib.data.batches import Garments
from aelib.data.own import read_idx
from aelib.errors import AelibError, at_home, folder_at

FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""SHA-256 of the four unpacked IDX files; the .gz files are packed differently in each place."""

SHA256 = hashlib.sha256("".join(FILES.values()).encode()).hexdigest()
"""Stands for all four files."""

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("usr/share/datasets/fashion-mnist")


def cache_folder() -> Path:
    """Where the verified files are kept: `$AELIB_DATA`, or `aelib/fashion-mnist` in the user's cache."""
    if given := os.environ.get("AELIB_DATA"):
        return folder_at(given, "AELIB_DATA")
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):  # by its specification it is then as if it were not set
        cache = "~/.cache"
    return at_home(cache, "AELIB_DATA") / "aelib" / "fashion-mnist"


def fetch(source: Path | None = None) -> tuple[Path, str]:
    """Find FashionMNIST or fetch it into the cache.

    Tried in order: `source` (alone, if given), the cache (plain or .gz), an installed Debian package, torchvision's
    download, `apt-get download`. Every file is verified before it takes its place, and takes it in one step.

    Args:
        source: folder that holds the four IDX files, plain or .gz.

    Returns:
        The folder with the four verified files, and where they came from, in words.

    Raises:
        AelibError: a given file is missing, truncated or altered; nothing could be fetched; the cache is not
            writable.
    """
    target = cache_folder()
    if source is not None:
        _import(Path(source), target)
        return target, f"folder {source}"
    if target.exists():
        rotten = [name for name, sha256 in FILES.items() if _digest(target / name) != sha256]
        if not rotten:
            return target, "cache"
        if any((target / name).exists() for name in rotten):
            print(f"aelib: {target / rotten[0]} is missing, truncated or altered; fetching again", file=sys.stderr)
    packed = any((target / f"{name}.gz").exists() for name in FILES)
    ways: dict[str, Callable[[Path], Path]] = {
        **({f".gz files in {target}": lambda _: target} if packed else {}),
        "Debian package": lambda _: Path("/") / DEBIAN_FOLDER,
        "torchvision": _torchvision_download,
        "apt-get": _apt_download,
    }
    reasons = []
    for name, way in ways.items():
        with tempfile.TemporaryDirectory(prefix="aelib-") as scratch:
            try:
                found = way(Path(scratch))
                if not found.is_dir():
                    raise FileNotFoundError("not installed")
            except (OSError, RuntimeError, HTTPException, subprocess.SubprocessError) as error:
                reasons.append(f"{name}: {_one_line(error)}")
                continue
            try:
                _import(found, target)
            except _BadSource as error:  # another way may do better
                reasons.append(f"{name}: {error}")
                continue
            return target, name
    raise AelibError(
        f"FashionMNIST is not here and could not be fetched ({'; '.join(reasons)}). Put its four IDX files in a "
        "folder and run `aelib data --from FOLDER`, or do without them: `make book PROFILE=smoke`"
    )


def load() -> Garments:
    """FashionMNIST in memory, found or fetched by `fetch` and verified."""
    folder, _ = fetch()
    arrays = {name: torch.from_numpy(read_idx((folder / name).read_bytes())) for name in FILES}
    train_images, train_labels, test_images, test_labels = arrays.values()
    return Garments(
        train_images=train_images.unsqueeze(1),
        train_labels=train_labels.long(),
        test_images=test_images.unsqueeze(1),
        test_labels=test_labels.long(),
        name="FashionMNIST",
        sha256=SHA256,
    )


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # missing, a folder, unreadable
        return None


def _import(source: Path, target: Path) -> None:
    """Unpack and verify the four files of `source`, then put them into `target`, each in one step."""
    if not source.is_dir():
        raise _BadSource(f"{source} is not a folder: give one that holds {', '.join(FILES)}, plain or .gz")
    scratch = target / ".incoming"
    try:
        target.mkdir(parents=True, exist_ok=True)
        # Held by the system on behalf of the process: a killed one leaves a scratch folder behind, but no lock.
        with FileLock(target / ".lock"):
            try:
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir()
                # A bar of four steps: unpacking and hashing 55 MB takes about a second.
                for name in tqdm(FILES, desc="FashionMNIST", unit="file", disable=not sys.stderr.isatty()):
                    _unpack(source, name, scratch / name)
                for name in FILES:
                    os.replace(scratch / name, target / name)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise AelibError(
            f"the data folder {target} cannot be written ({error.strerror}): name another one in AELIB_DATA"
        ) from error


class _BadSource(AelibError):
    """A file that was found is missing, truncated or altered."""


def _unpack(source: Path, name: str, target: Path) -> None:
    plain, packed = source / name, source / f"{name}.gz"
    path = plain if plain.is_file() else packed
    if not path.is_file():
        raise _BadSource(f"{source} holds neither {name} nor {packed.name}: all four files of FashionMNIST are needed")
    try:
        content = path.read_bytes() if path is plain else gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error, OSError) as error:
        raise _BadSource(f"{path} cannot be read ({_one_line(error)}): fetch that file again") from error
    if (found := hashlib.sha256(content).hexdigest()) != FILES[name]:
        raise _BadSource(
            f"{path} is truncated or altered (SHA-256 {found[:8]}… in place of {FILES[name][:8]}…, "
            f"{len(content):,} bytes unpacked): fetch that file again"
        )
    with target.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _torchvision_download(scratch: Path) -> Path:
    from torchvision.datasets import FashionMNIST

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # seconds; urllib would wait for ever
    try:
        # What torchvision prints on failure would drown the one line that counts.
        with contextlib.redirect_stdout(None):
            FashionMNIST(scratch, download=True)
    finally:
        socket.setdefaulttimeout(before)
    return scratch / "FashionMNIST" / "raw"


def _apt_download(scratch: Path) -> Path:
    """Download the Debian package as any user and unpack it into `scratch`; nothing is installed."""

    def call(*command: str) -> None:
        subprocess.run(command, cwd=scratch, check=True, capture_output=True, text=True, timeout=300)

    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise FileNotFoundError("not a Debian or Ubuntu machine")
    try:
        call("apt-get", "download", DEBIAN_PACKAGE)
    except subprocess.CalledProcessError:
        # The package lists are empty on a fresh machine, and only root may fill them: fill a set of our own.
        lists = scratch / "lists"
        (lists / "partial").mkdir(parents=True)
        options = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={scratch}", "-o", "Debug::NoLocking=1"]
        call("apt-get", *options, "update")
        call("apt-get", *options, "download", DEBIAN_PACKAGE)
    package = next(scratch.glob("*.deb"))
    call("dpkg", "-x", str(package), str(scratch / "unpacked"))
    return scratch / "unpacked" / DEBIAN_FOLDER


def _one_line(error: BaseException) -> str:
    text = getattr(error, "stderr", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[-1]
