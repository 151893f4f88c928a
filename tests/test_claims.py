"""The claims: every one has its rule, its figure and a verdict that follows from the runs."""

import dataclasses
import json
import re

import nbformat
import numpy as np
import pytest
from conftest import ROOT

from aelib import book, claims, cli, evaluate, experiments, metrics, report


@pytest.fixture
def found(all_tiny, tiny_results):
    return claims.claims("smoke", folder=tiny_results)


def labels_in_the_book() -> set[str]:
    """Names of the figures and tables of all chapters."""
    names = set()
    for chapter in book.chapters(ROOT):
        for cell in nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4).cells:
            names |= {cell.metadata.get("mystnb", {}).get("figure", {}).get("name")}
            names |= set(re.findall(r'"(tab-[\w-]+)"', cell.source))
    return names - {None}


def test_every_claim_is_whole(found):
    assert len(found) >= 14
    for claim in found:
        assert claim.verdict in claims.VERDICTS
        assert claim.claim
        assert claim.ours
        assert claim.rule
        assert claim.command.startswith("aelib ")
        assert claim.command.endswith(" --profile smoke"), "of the runs that it is about"
        assert claim.figure in labels_in_the_book()


def test_the_book_has_the_figures_and_tables_of_the_report():
    figures = {f"fig-r{number:02d}" for number in range(1, 21)}
    assert figures | {f"tab-r{number}" for number in range(1, 5)} <= labels_in_the_book()


def test_verdicts_follow_the_runs():
    """The rules themselves, on runs that are made up: better, equal and worse."""

    def run(**numbers):
        defaults = {"validation_loss": 0.01, "test_accuracy": 0.9}
        predictions = numbers.pop("predictions")
        return dataclasses.make_dataclass("Run", ["metrics", "arrays", "provenance"])(
            defaults | numbers,
            {"predictions": _Array(predictions)},
            {
                "training_seconds": numbers.get("seconds", 1),
                "hardware": numbers.get("hardware", "this"),
                "engine": {"device": "cpu"},
            },
        )

    labels = np.arange(10_000) % 10
    good, bad = labels.copy(), labels.copy()
    good[:900] = (good[:900] + 1) % 10
    bad[:1500] = (bad[:1500] + 1) % 10
    head = run(predictions=good, test_accuracy=0.91, seconds=2)
    cnn = run(predictions=bad, test_accuracy=0.85, seconds=60)
    verdicts = [
        claim.verdict for claim in claims._classifiers({"transfer": head, "cnn": cnn, "cnn_augmented": head}, labels)
    ]
    assert verdicts == ["not confirmed", "not confirmed", "confirmed", "not confirmed", "confirmed", "confirmed"]
    same = claims._classifiers({"transfer": head, "cnn": head, "cnn_augmented": head}, labels)
    assert [claim.verdict for claim in same][3:] == ["confirmed", "within noise", "not confirmed"]
    elsewhere = run(predictions=bad, test_accuracy=0.85, seconds=60, hardware="another")
    apart = claims._classifiers({"transfer": head, "cnn": elsewhere, "cnn_augmented": head}, labels)[-1]
    assert apart.verdict == "not confirmed"
    assert "not on the same machine" in apart.ours


class _Array:
    def __init__(self, values):
        self.values = values

    def numpy(self):
        return self.values


def test_the_confusion_of_the_report_adds_up_to_its_accuracy():
    """A check on what was typed: the diagonals are of 1,000 images a class."""
    assert sum(report.TRANSFER_DIAGONAL) / 10_000 == pytest.approx(report.TRANSFER["test_accuracy"], abs=5e-4)
    assert sum(report.CNN_DIAGONAL) / 10_000 == pytest.approx(report.CNN["test_accuracy"], abs=5e-4)


def test_restorations_are_of_every_kind(smoke_results):
    run = experiments.obtain("denoising", profile="smoke", folder=smoke_results)
    trained = experiments.open_run(run)
    made = evaluate.restorations(trained, count=100)
    assert tuple(made) == evaluate.CORRUPTIONS
    assert np.array_equal(made["horizontal flip"][0], trained.images[:100, :, ::-1])
    noisy, restored = (metrics.psnr(each, trained.images[:100]) for each in made["noise"])
    assert (restored > noisy).mean() > 0.9


def test_the_command_prints_the_table_and_json(all_tiny, tiny_results, monkeypatch, capsys):
    monkeypatch.setenv("AELIB_RESULTS", str(tiny_results))
    assert cli.main(["claims", "--profile", "smoke"]) == 0
    assert "rule: McNemar's exact test" in capsys.readouterr().out
    assert cli.main(["claims", "--profile", "smoke", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["theirs"] == "0.01019"
