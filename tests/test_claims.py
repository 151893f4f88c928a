"""The claims: every one has its rules, its figure and a verdict that follows from the runs."""

import json
import re

import nbformat
import numpy as np
import pytest
from conftest import ROOT

from aelib import book, claims, cli, evaluate, experiments, figures, metrics, report, verdicts
from aelib.errors import AelibError
from aelib.evidence import EVIDENCE
from aelib.statements import STATEMENTS, Statement
from aelib.verdicts import CONFIRMED, NOT_CONFIRMED, UNDECIDED, Above, Alike, Always, Reproduces

SEEDS = (0, 1)


@pytest.fixture
def found(all_tiny, tiny_results):
    return claims.claims("smoke", seeds=SEEDS, folder=tiny_results)


def labels_in_the_book() -> set[str]:
    """Names of the figures and tables of all chapters."""
    names = set()
    for chapter in book.chapters(ROOT):
        for cell in nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4).cells:
            names |= {cell.metadata.get("mystnb", {}).get("figure", {}).get("name")}
            names |= set(re.findall(r'"(tab-[\w-]+)"', cell.source))
    return names - {None}


def test_every_claim_is_whole(found):
    assert [each.name for each in found] == [each.name for each in STATEMENTS if each.name in EVIDENCE]
    for claim in found:
        assert claim.verdict in verdicts.VERDICTS
        once = all(len(ruling.values) == 1 for ruling in claim.rulings)
        assert claim.seeds == ((0,) if once else SEEDS)
        assert claim.command == f"aelib claims {'' if once else '--seeds 0,1 '}--profile smoke"
        assert (claim.rule, claim.interval) in [(each.rule, each.interval) for each in claim.rulings]
        for each in claim.rulings:
            assert len(each.values) in (1, len(SEEDS)), "of one study there is one number"
            assert set(each.moved.values()) <= {*verdicts.VERDICTS}
    numbers = [claim for claim in found if claim.theirs is not None]
    assert len(figures.reproductions([claim.reproduced for claim in numbers], of=[]).columns["report"]) == 15


def test_every_claim_is_shown_in_the_book():
    assert {each.shown for each in STATEMENTS} <= labels_in_the_book()


def test_the_book_has_the_figures_and_tables_of_the_report():
    figures = {f"fig-r{number:02d}" for number in range(1, 21)}
    assert figures | {f"tab-r{number}" for number in range(1, 5)} <= labels_in_the_book()


FIVE = np.array([1.0, 1.01, 0.99, 1.005, 0.995])


def case(rules, *values, judges=False):
    statement = Statement("a", "A claim", "Section 1", "fig-a", dict(zip("abc", rules, strict=False)), judges)
    return claims.Case(statement, (0, 1, 2, 3, 4), values)


def test_verdicts_follow_the_numbers():
    """And each says on which of its rules it stands, and what another threshold would make of it."""
    cases = [
        case([Reproduces(1.0, also=(0.001, 0.1))], FIVE),
        case([Reproduces(2.0)], FIVE),
        case([Reproduces(1.0)], FIVE + np.array([0.5, -0.5, 0.3, -0.3, 0])),
        case([Above(), Above()], FIVE, FIVE - 1),
        case([Above(), Above()], FIVE, -FIVE, judges=True),
        case([Always(0.5, also=(2.0,))], FIVE),
    ]
    found = claims.decided(cases)
    expected = [CONFIRMED, NOT_CONFIRMED, UNDECIDED, UNDECIDED, UNDECIDED, NOT_CONFIRMED]
    assert [each.verdict for each in found] == expected
    assert [each.outcome for each in found][3:5] == [UNDECIDED, f"{UNDECIDED}: the judges disagree"]
    assert found[0].rulings[0].moved == {0.001: UNDECIDED, 0.1: CONFIRMED}
    assert found[5].rulings[0].moved == {2.0: CONFIRMED}
    assert found[3].interval == found[3].rulings[1].interval, "the weaker of the two"
    assert found[0].near == (0.95, 1.05)
    assert found[1].theirs == 2.0
    assert found[3].theirs is None


def test_many_other_claims_ask_for_more():
    weak = case([Alike(0.0125)], FIVE - 1)
    assert claims.decided([weak])[0].verdict == CONFIRMED
    assert claims.decided([weak] * 30)[0].verdict == UNDECIDED
    assert claims.decided([weak] * 30)[0].rulings[0].verdict == CONFIRMED, "alone"


def test_one_seed_is_refused():
    with pytest.raises(AelibError, match="one seed has no spread"):
        claims.claims("smoke", seeds=[0])


@pytest.mark.parametrize(("profile", "seeds"), [("report", ((0, 1, 2, 3, 4), (0, 1, 2))), ("smoke", ((0, 1), (0, 1)))])
def test_a_claim_that_names_seeds_takes_those_that_the_profile_has(profile, seeds, monkeypatch):
    numbers = {"ae-loss": 1, "beta": 4}
    found = {name: lambda of, count=count: [1 + np.array(of.seeds) / 10] * count for name, count in numbers.items()}
    monkeypatch.setattr(claims, "EVIDENCE", found)
    assert {each.name: each.seeds for each in claims.claims(profile)} == dict(zip(numbers, seeds, strict=True))


def test_numbers_that_claims_repeat_are_the_reports():
    numbers = (report.CONVOLUTIONAL, report.DENOISING, report.VARIATIONAL, report.TRANSFER, report.CNN)
    theirs = {each for table in (*numbers, report.CNN_AUGMENTED, report.STUDY) for each in table.values()}
    named = [(each, rule.theirs) for each in STATEMENTS for rule in each.rules.values() if isinstance(rule, Reproduces)]
    assert len(named) == 15
    for statement, number in named:
        assert number in theirs, statement.name
        assert str(number) in statement.claim, statement.name


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
    command = ["claims", "--profile", "smoke", "--seeds", "0-1"]
    assert cli.main(command) == 0
    assert "AE: validation loss of the best epoch: 0." in capsys.readouterr().out
    assert cli.main([*command, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert first["seeds"] == [0, 1]
    assert first["rulings"][0]["report"] == 0.01019
    assert {"interval", "rule", "verdict"} <= first.keys()
