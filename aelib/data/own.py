"""One's own images: 28×28, grey, in classes, from a `.npz`, from IDX files, or from a folder of pictures."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from aelib.data.batches import IMAGE_SIZE, SPLIT_SEED, Garments
from aelib.errors import AelibError

Labelled = tuple[np.ndarray, np.ndarray]
"""Images, (N, 28, 28), and their labels, (N,)."""

TEST_SHARE = 7
"""Of so many images one is for testing, where a data set does not say which are: as in FashionMNIST."""

FORMS = (
    "a .npz with x_train, y_train, x_test and y_test (or train_images, …, or images and labels), a folder with four "
    "IDX files as those of MNIST, or a folder with a folder of pictures for each class, or two such: train and test"
)
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}

NO_PICTURE = (UnidentifiedImageError, Image.DecompressionBombError)
"""What Pillow raises of what it does not take for a picture, or not for a harmless one."""


LOADED: dict[str, Garments] = {}
"""What was loaded in this process, by its digest, wherever it lay."""


def load(path: Path) -> Garments:
    """The data set at `path`, an absolute one, in one of the `FORMS`; read anew where its files have changed.

    Its pixels are whole numbers in [0, 255], or fractions in [0, 1]; its labels are whole numbers, and, of a folder of
    pictures, the folders' names; colours become greys, and transparency is left out. Where nothing says which images
    are for testing, one in seven of each class is, always the same.

    Raises:
        AelibError: there is none, in none of these forms, or of other images.
    """
    if not path.exists():
        raise AelibError(f"dataset {path} is not there: give {FORMS}")
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return _load(path, tuple((str(each), (about := each.stat()).st_mtime_ns, about.st_size) for each in files))


@cache
def _load(path: Path, _files: tuple[tuple[str, int, int], ...]) -> Garments:
    try:
        if path.suffix == ".npz":
            train, test, classes = _npz(path)
        elif idx := _idx_files(path):
            train, test, classes = *((_idx(images), _idx(labels)) for images, labels in idx), ()
        elif path.is_dir():
            train, test, classes = _pictures(path)
        else:
            raise AelibError(f"dataset {path} is in no form that is known here: give {FORMS}")
        images = _checked(path, train, test, classes)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, TypeError, ValueError, *NO_PICTURE) as error:
        raise AelibError(f"dataset {path} cannot be read ({str(error).splitlines()[0]}): make it anew") from error
    LOADED[images.sha256] = images
    return images


def _npz(path: Path) -> tuple[Labelled, Labelled | None, tuple[str, ...]]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    classes = tuple(each.decode() if isinstance(each, bytes) else str(each) for each in arrays.get("classes", ()))
    for names in (
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ):
        if arrays.keys() >= {*names}:
            one, two, three, four = (arrays[name] for name in names)
            return (one, two), (three, four), classes
    if arrays.keys() >= {"images", "labels"}:
        return (arrays["images"], arrays["labels"]), None, classes
    raise AelibError(f"dataset {path} holds {', '.join(arrays) or 'nothing'}: give {FORMS}")


def _idx_files(folder: Path) -> list[list[Path]]:
    """Images and labels to train, and those to test, if `folder` holds them; nothing if not."""
    found = [
        [
            next(iter(sorted(folder.glob(f"*{part}-{what}[-.]idx{rank}-ubyte*"))), None)
            for what, rank in (("images", 3), ("labels", 1))
        ]
        for part in ("train", "t[e1]*[0-9kt]")
    ]
    return found if all(each for pair in found for each in pair) else []  # type: ignore[return-value]


def _idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, plain or .gz."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return read_idx(content)


def read_idx(content: bytes) -> np.ndarray:
    """What an IDX file of unsigned bytes holds: two zero bytes, the type (8), the rank, the sizes, the data.

    Raises:
        ValueError: it is none, or truncated.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError("no IDX file of unsigned bytes")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()


def _pictures(folder: Path) -> tuple[Labelled, Labelled | None, tuple[str, ...]]:
    parts = [folder / "train", folder / "test"]
    if not all(part.is_dir() for part in parts):
        parts = [folder]
    classes = sorted({each.name for part in parts for each in part.glob("[!.]*") if each.is_dir()})
    read = []
    for part in parts:
        images, labels = [], []
        for label, name in enumerate(classes):
            for path in sorted((part / name).glob("*")):
                if path.suffix.lower() in PICTURES:
                    with Image.open(path) as picture:
                        if picture.size != (IMAGE_SIZE, IMAGE_SIZE):
                            raise _wrong_size(path, picture.size)
                        if picture.mode in ("I", "F") or picture.mode.startswith("I;"):  # they would be cut off
                            raise AelibError(f"{path} has more than 256 greys: convert it to 8 bits first")
                        images.append(np.asarray(picture.convert("L")))
                    labels.append(label)
        if not images:
            raise AelibError(f"dataset {part} holds no pictures in folders, one a class: give {FORMS}")
        read.append((np.stack(images), np.array(labels)))
    return read[0], read[1] if len(read) > 1 else None, tuple(classes)


def _wrong_size(path: Path, size: tuple[int, ...]) -> AelibError:
    wanted = f"{IMAGE_SIZE}×{IMAGE_SIZE}"
    return AelibError(f"the images of {path} are {'×'.join(map(str, size))} and not {wanted}, grey: convert them first")


def _checked(path: Path, train: Labelled, test: Labelled | None, classes: tuple[str, ...]) -> Garments:
    parts = [(_bytes(path, images), _whole(path, images, labels)) for images, labels in filter(None, (train, test))]
    if len(parts) == 1:
        images, labels = parts[0]
        order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
        of_classes = [order[labels[order] == label] for label in np.unique(labels)]
        held = np.isin(order, np.concatenate([each[: max(1, len(each) // TEST_SHARE)] for each in of_classes]))
        parts = [(images[order[chosen]], labels[order[chosen]]) for chosen in (~held, held)]
    else:  # perhaps sorted by class, and fewer may be asked for
        order = np.random.default_rng(SPLIT_SEED).permutation(len(parts[1][0]))
        parts[1] = parts[1][0][order], parts[1][1][order]
    labels = np.concatenate([each for _, each in parts])
    values, numbers = np.unique(labels, return_inverse=True)
    if not classes:
        classes = tuple(map(str, values))
    elif values.min() < 0 or values.max() >= len(classes):
        raise AelibError(f"dataset {path} names {len(classes)} classes, and has labels up to {values.max()}: name all")
    else:
        numbers = labels
    if len({*classes}) < len(classes) or not all(each.strip() and each.isprintable() for each in classes):
        raise AelibError(
            f"dataset {path} names its classes {', '.join(map(repr, classes))}: give each a name of its own"
        )
    if not 2 <= len(classes) <= 256:
        raise AelibError(f"dataset {path} has {len(classes)} class(es): give images of 2 at least, and of 256 at most")
    count = len(parts[0][0])
    for part, some in (("train", numbers[:count]), ("test", numbers[count:])):
        if missing := {*range(len(classes))} - {*some.tolist()}:
            raise AelibError(
                f"dataset {path} has no image of {classes[min(missing)]} to {part}: give some of each class"
            )
    digest = hashlib.sha256("\0".join((*classes, str(count))).encode())
    for array in (*(images for images, _ in parts), numbers.astype("<i8")):
        digest.update(array.tobytes())
    train_images, test_images = (torch.from_numpy(images)[:, None] for images, _ in parts)
    return Garments(
        train_images=train_images,
        train_labels=torch.from_numpy(numbers[:count]).long(),
        test_images=test_images,
        test_labels=torch.from_numpy(numbers[count:]).long(),
        name=path.name,
        sha256=digest.hexdigest(),
        classes=classes,
        dataset=str(path),
    )


def _bytes(path: Path, images: np.ndarray) -> np.ndarray:
    """`images` as (N, 28, 28), uint8."""
    if images.dtype.kind not in "biuf":
        raise AelibError(f"dataset {path} has pixels of type {images.dtype}: give whole numbers in [0, 255], or [0, 1]")
    if images.ndim == 4 and 1 in (images.shape[1], images.shape[3]):  # a channel of its own
        images = images.squeeze(1 if images.shape[1] == 1 else 3)
    if images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        raise _wrong_size(path, images.shape[1:])
    if not len(images):
        raise AelibError(f"dataset {path} has a part without images: give one that has some")
    if images.dtype == bool or (images.dtype.kind == "f" and images.min() >= 0 and images.max() <= 1):
        images = np.rint(images * 255.0)
    if not (images.min() >= 0 and images.max() <= 255 and (images == np.rint(images)).all()):  # NaN is none of it
        low, high = images.min(), images.max()
        raise AelibError(f"dataset {path} has pixels from {low} to {high}: give whole numbers in [0, 255], or [0, 1]")
    return np.ascontiguousarray(images.astype(np.uint8))


def _whole(path: Path, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`labels` as (N,), int64."""
    labels = labels.reshape(len(labels), -1)[:, 0] if labels.size == len(labels) else labels
    if labels.shape != (len(images),):
        raise AelibError(f"dataset {path} has {len(images):,} images and labels of shape {labels.shape}: give each one")
    if labels.dtype.kind not in "iub":
        raise AelibError(f"dataset {path} has labels such as {labels[0]!r}: give whole numbers, and names in `classes`")
    return labels.astype(np.int64)
