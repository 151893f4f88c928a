"""The profiles: how much of the report's effort is made, and on which images."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aelib import data
from aelib.data import Garments, SplitConfig, own, synthetic
from aelib.errors import AelibError, at_home, known


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How much of the report's effort is made.

    Attributes:
        garments: gives the images.
        split: how many of them are used, and for what.
        max_epochs: upper bound of every experiment's own, or None.
        trials: of the hyper-parameter study, the first half of them random.
        seeds: of the trainings that the report's claims are decided on.
        betas: of the variational autoencoders that are held against each other, the report's 2 among them, rising.
        best: how many of the study's best trials are trained again, and stand for what it prefers.
        suggestions: how often the learning-rate finder is asked about one shape, each time with another seed.
        bootstraps: of the study's trials, to see which hyper-parameter is the most important.
        notice: what marks each page and each figure, in capitals; empty for what is published.
        dataset: where the images are, if they are one's own.
    """

    garments: Callable[[], Garments]
    split: SplitConfig
    max_epochs: int | None
    trials: int
    notice: str
    seeds: tuple[int, ...] = (0, 1)
    betas: tuple[float, ...] = (0.03, 0.3, 2.0)
    best: int = 2
    suggestions: int = 2
    bootstraps: int = 50
    dataset: Path | None = None

    def epochs(self, most: int) -> int:
        """How many epochs a training of at most `most` may take."""
        return min(most, self.max_epochs or most)

    @property
    def sha256(self) -> str:
        """A digest of the images; FashionMNIST's is known beforehand: to read a run takes no data."""
        return data.SHA256 if self.garments is data.load else self.garments().sha256

    def on(self, dataset: str | Path) -> Profile:
        """The same on a data set of one's own (`aelib.data.own`): on as many of its images, in the same shares.

        Raises:
            AelibError: it cannot be read, or is too small.
        """
        path = at_home(str(dataset), "dataset").absolute()
        images, split = own.load(path), self.split
        wanted = split.train + split.validation
        available = min(wanted, len(images.train_images))
        validation = max(1, round(available * split.validation / wanted))
        if available < 2:
            raise AelibError(f"dataset {path} has {available} image to train and validate: give two at least")
        split = replace(
            split, train=available - validation, validation=validation, test=min(split.test, len(images.test_images))
        )
        notice = _notice(self, images.name)
        return replace(self, garments=lambda: own.load(path), split=split, notice=notice, dataset=path)


def _notice(profile: Profile, images: str) -> str:
    """What marks pages and figures of `profile` on the data set of that name, one's own."""
    effort = profile.notice.partition(":")[0]
    return f"IMAGES OF {images}, not of FashionMNIST" + (f"; {effort}" if effort else "")


PROFILES = {
    # The report's own settings: what is published.
    "report": Profile(
        garments=data.load,
        split=SplitConfig(),
        max_epochs=None,
        trials=60,
        notice="",
        seeds=(0, 1, 2, 3, 4),
        betas=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 7.0, 10.0),
        best=5,
        suggestions=20,
        bootstraps=1000,
    ),
    # Half the data and at most 20 epochs: everything from scratch in minutes on two cores.
    "quick": Profile(
        garments=data.load,
        split=SplitConfig(train=25_600, validation=4_400),
        max_epochs=20,
        trials=6,
        notice="QUICK PROFILE: half the data, at most 20 epochs",
    ),
    # Seconds, without the data.
    "smoke": Profile(
        garments=lambda: synthetic.garments(1_600, 500),
        split=SplitConfig(train=1_280, validation=320, test=500, batch_size=64),
        max_epochs=8,
        trials=6,
        betas=(0.01, 2.0),
        notice="SMOKE PROFILE: synthetic garments, not FashionMNIST",
    ),
}


def find_profile(name: str, dataset: str | Path | None = None) -> Profile:
    """The profile of that name, or an error that names them all; on `dataset`, one's own, if there is one."""
    profile = PROFILES[known("profile", name, PROFILES)]
    if dataset == "":
        raise AelibError("dataset is empty: name a file or a folder, or leave it out")
    return profile.on(dataset) if dataset else profile


def profile_of(path: Path, provenance: Mapping[str, Any]) -> str:
    """The name of the profile that the run or study at `path` is of, wherever it was put since.

    An older version kept none: then it is that of the folder, or the report's.
    """
    return provenance.get("profile") or (path.parent.name if path.parent.name in PROFILES else "report")


def notice_of(path: Path, provenance: Mapping[str, Any]) -> str:
    """What marks what is made from the run or study at `path`; empty for what is published."""
    profile = PROFILES[profile_of(path, provenance)]
    return _notice(profile, provenance["data"]) if provenance.get("dataset") else profile.notice


def command_options(profile: str, seed: int, provenance: Mapping[str, Any] | None = None) -> str:
    """What a command of `aelib` needs for runs of these, as text to append; nothing for its defaults."""
    dataset = (provenance or {}).get("dataset")
    images = f" --dataset {shlex.quote(dataset)}" if dataset else ""
    return (f" --profile {profile}" if profile != "report" else "") + images + (f" --seed {seed}" if seed else "")
