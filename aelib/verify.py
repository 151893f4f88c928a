"""Whether the stored numbers follow from the weights and the data, and the numbers in the built book from the runs.

Every run is measured anew; every page is made anew, from nothing, and compared word by word with the one that is there.
Not made anew are the trainings themselves, t-SNE maps, and the trials of a study, whose weights are not kept: of these,
the files are verified by checksum. Drawings are not compared.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import zip_longest
from pathlib import Path

import torch

from aelib import book, experiments, runs, study
from aelib.errors import AelibError
from aelib.profiles import find_profile
from aelib.runs import Run

TOLERANCE = 1e-3
"""Relative. Processors differ in the last digits of a float32; a loss that was tampered with, by more."""
FLIPPED = 1e-3
"""Share of the images whose predicted class may be another: those that lie on the border between two."""
PAGES_THAT_DIFFER = {"about.html"}
"""It gives the time that each chapter took in this build."""


def verify_runs(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Measure each run in `folder`, a profile's, anew.

    Yields:
        The name of a run, and a line for each number that differs by more than `TOLERANCE`, or for the run's damage.
    """
    for path in sorted(path for path in folder.glob("[!.]*") if path.is_dir()):
        try:
            yield path.name, [*_faults(path)]
        except AelibError as error:
            yield path.name, [str(error)]


def _faults(path: Path) -> Iterator[str]:
    if path.name.startswith("study-"):
        runs.read(path, study.FILES)
        return
    run = runs.load(path)
    metrics, arrays = _summary(run) if run.config.get("summary") else experiments.measure_again(run)
    for name in sorted(metrics.keys() | run.metrics.keys()):
        stored, found = run.metrics.get(name), metrics.get(name)
        if stored is None or found is None or not abs(stored - found) <= TOLERANCE * abs(found):
            yield f"metrics.json: {name} is {stored}, but comes out as {found}"
    for name, array in arrays.items():
        kept = run.arrays[name][int(metrics["best_epoch"]) - 1] if name == "pictures" else run.arrays[name]
        # Of the 256 greys of a picture, one more or less, by rounding.
        wrong = (kept.int() - array.int()).abs() > (name == "pictures")
        if wrong.double().mean() > FLIPPED:
            yield f"arrays.safetensors: {name} is not what the weights give"


def _summary(run: Run) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Of a run without weights: what its history says; what only the weights could say is taken as it is."""
    lowest = {"validation_loss": min(row["validation_loss"] for row in run.history)}
    return run.metrics | experiments.summarise(run.history) | lowest, {}


def verify_book(root: Path, html: Path, *, profile: str) -> Iterator[tuple[str, list[str]]]:
    """Build the book of `root` again, from nothing, and compare its pages with those of `html`.

    Yields:
        The name of a page, and a line for the first place where it differs, if it does.
    """
    with tempfile.TemporaryDirectory(prefix="aelib-verify-") as folder:
        book.build(root, profile=profile, notice=find_profile(profile).notice, output=Path(folder))
        for made in sorted((Path(folder) / "html" / "book").glob("*.html")):
            if made.name in PAGES_THAT_DIFFER:
                continue
            there = html / "book" / made.name
            yield made.name, _difference(_words(there), _words(made)) if there.exists() else ["the page is missing"]


def _difference(there: list[str], made: list[str]) -> list[str]:
    for place, (one, other) in enumerate(zip_longest(there, made, fillvalue="(the end)")):
        if one != other and not _close(one, other):
            return [f"after {' '.join(made[max(0, place - 8) : place])!r} it reads {one!r}, but comes out as {other!r}"]
    return []


def _close(one: str, other: str) -> bool:
    """Whether two words are the same but for numbers that agree to `TOLERANCE`, or to one in the last digit shown."""
    number = r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?"
    if re.sub(number, "#", one) != re.sub(number, "#", other):
        return False
    for first, second in zip(re.findall(number, one), re.findall(number, other), strict=True):
        a, b = (float(each.replace(",", "")) for each in (first, second))
        mantissa, _, exponent = second.partition("e")
        last = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        if abs(a - b) > max(TOLERANCE * abs(b), 1.001 * last if "." in second else 0):
            return False
    return True


def _words(page: Path) -> list[str]:
    parser = _Article()
    parser.feed(page.read_text())
    return " ".join(parser.text).split()


class _Article(HTMLParser):
    """The text of a page without its frame."""

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.text = 0, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.depth += tag == "article"

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "article"

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.text.append(data)
