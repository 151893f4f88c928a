"""The profiles: how much of the report's effort is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aelib import data, synthetic
from aelib.data import Garments, SplitConfig
from aelib.errors import known


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How much of the report's effort is made.

    Attributes:
        garments: gives the images.
        split: how many of them are used, and for what.
        max_epochs: upper bound of every experiment's own, or None.
        trials: of the hyper-parameter study, the first half of them random.
        notice: what marks each page and each figure, in capitals; empty for what is published.
    """

    garments: Callable[[], Garments]
    split: SplitConfig
    max_epochs: int | None
    trials: int
    notice: str

    def epochs(self, most: int) -> int:
        """How many epochs a training of at most `most` may take."""
        return min(most, self.max_epochs or most)

    @property
    def sha256(self) -> str:
        """A digest of the images; FashionMNIST's is known beforehand: to read a run takes no data."""
        return data.SHA256 if self.garments is data.load else self.garments().sha256


PROFILES = {
    # The report's own settings: what is published.
    "report": Profile(garments=data.load, split=SplitConfig(), max_epochs=None, trials=60, notice=""),
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
        notice="SMOKE PROFILE: synthetic garments, not FashionMNIST",
    ),
}


def find_profile(name: str) -> Profile:
    """The profile of that name, or an error that names them all."""
    return PROFILES[known("profile", name, PROFILES)]
