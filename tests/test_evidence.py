"""Evidence: for each rule of each claim, numbers of the right shape, from runs of several seeds."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from aelib import evidence, verdicts
from aelib.evidence import EVIDENCE, Seeds
from aelib.statements import STATEMENTS


@pytest.fixture
def seeds(all_tiny, tiny_results):
    return Seeds((0, 1), "smoke", tiny_results)


def test_every_statement_has_its_evidence():
    assert {each.name for each in STATEMENTS} == EVIDENCE.keys()


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda s: s.name)
def test_every_rule_gets_numbers_that_it_can_decide(statement, seeds):
    found = EVIDENCE[statement.name](seeds)
    assert len(found) == len(statement.rules)
    for rule, values in zip(statement.rules.values(), found, strict=True):
        assert values.ndim in (1, 2)
        assert len(values) == (1 if isinstance(rule, verdicts.Always) and statement.name.startswith("search-") else 2)
        assert np.isfinite(values).all()
        if statement.name not in ("dae-epochs", "ae-epochs", "vae-epochs"):  # of which both have three: no spread
            outcome = rule.decide(values)
            assert outcome.interval[0] <= outcome.interval[1]
    verdicts.decide(
        [([rule.decide(v) for rule, v in zip(statement.rules.values(), found, strict=True)], statement.judges)]
    )


def test_what_a_history_says():
    falling = np.array([1.0, 0.5, 0.21, 0.2, 0.2])
    assert evidence.until_near(falling) == 3
    steady, shaky = np.linspace(1, 0.5, 60), np.linspace(1, 0.5, 60) + np.tile([0.01, -0.01], 30)
    assert evidence.unsteadiness(shaky) > evidence.unsteadiness(steady) + 3
    early = np.concatenate([shaky[:20], np.linspace(0.8, 0.5, 40)])
    assert evidence.unsteadiness(early) < -10, "of the first twenty epochs nothing counts"


def test_multiplications_are_those_of_the_layers(seeds):
    (head, _), (cnn, _) = seeds.runs("head"), seeds.runs("CNN")
    shape = head.config["model"]
    assert evidence.multiplications(cnn) > 20 * evidence.multiplications(head)
    assert shape["features"] > 0


def test_near_classes_that_are_confused_correlate(seeds, monkeypatch):
    distances = np.abs(np.arange(10)[:, None] - np.arange(10)[None]).astype(float)
    monkeypatch.setattr(Seeds, "found", lambda *_: np.stack([distances, distances]))
    monkeypatch.setattr(Seeds, "confusions", [10 - distances, np.zeros((10, 10))])
    upper = np.triu_indices(10, 1)
    assert spearmanr(distances[upper], -distances[upper]).statistic == pytest.approx(-1)
    assert evidence._nearness(seeds, "codes") == pytest.approx([-1, 0])


def test_a_beta_that_draws_worse_speaks_for_the_reports():
    class Fixed:
        def found(self, kind, metric, name, beta=2.0):
            assert (kind, metric, name) == ("VAE", "samples", "prior_frechet")
            return np.array([10.0, 12.0]) * abs(beta - 2) + 5

    assert all((each > 0).all() for each in EVIDENCE["beta"](Fixed()))
    assert [round(float(np.exp(each[0]))) for each in EVIDENCE["beta"](Fixed())] == [3, 5, 11, 17]
