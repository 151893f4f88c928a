"""Evidence: for each rule of each claim, numbers of the right shape, from runs of several seeds."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from optuna.trial import FixedTrial, TrialState, create_trial
from scipy.stats import spearmanr

from aelib import evidence, study, verdicts
from aelib.evidence import EVIDENCE, Seeds
from aelib.profiles import PROFILES
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


def test_what_is_counted_of_a_search(tmp_path, monkeypatch):
    """Of seven trials the second was left out, so that two of the three random ones are there, and one was pruned."""
    study.SymmetricAutoencoderHPS().sample(fixed := FixedTrial(study.REPORTS_CHOICE))
    columns = {
        "value": [0.05, 0.03, 0.04, 0.02, 0.01, 0.025],
        "seed": [study.Plan("smoke").seed_of(number) for number in (0, 2, 3, 4, 5, 6)],
        "channels": ["16-32-32", "16-32-64", "16-32-32", "32-32-64", "32-32-64", "32-32-64"],
        "linear_units": [128, 128, 200, 248, 256, 240],
        "weight_decay": [1e-4, 1e-5, 1e-5, 1e-6, 1e-7, 1e-6],
        "latent_dim": [40, 40, 10, 30, 10, 20],
    }
    trials = []
    for row in (dict(zip(columns, each, strict=True)) for each in zip(*columns.values(), strict=True)):
        value, seed = row.pop("value"), row.pop("seed")
        trials.append(
            create_trial(
                state=TrialState.PRUNED if value == 0.04 else TrialState.COMPLETE,
                value=value,
                params=study.REPORTS_CHOICE | row,
                distributions=fixed.distributions,
                intermediate_values={0: 2 * value, 1: value},
                user_attrs={"seed": seed, "seconds": 1.0},
            )
        )
    monkeypatch.setitem(PROFILES, "smoke", replace(PROFILES["smoke"], best=5))
    seeds = Seeds((0, 1), "smoke")
    config = {"fixed": {"max_epochs": 60, "patience": 10, "min_delta": 1e-3}}
    vars(seeds)["search"] = study.Search(trials, config, {}, tmp_path, "")

    def again(self, params):
        of = next(trial.value for trial in trials if trial.params == params)
        return [SimpleNamespace(history=[{"validation_loss": each} for each in (1.0, of + more)]) for more in (0, 0.05)]

    monkeypatch.setattr(Seeds, "again", again)
    assert [trial.value for trial in seeds.best] == [0.01, 0.02, 0.025, 0.03, 0.05]
    assert sorted(seeds.random()) == [0.03, 0.05]
    found = {name: [each.tolist() for each in EVIDENCE[name](seeds)] for name in EVIDENCE if name.startswith("search-")}
    del found["search-important"]
    assert found["search-value"] == [pytest.approx([0.027, 0.077])]
    assert found["search-good"] == [pytest.approx(np.log([4, 4 / 6])), [0.5]]
    assert found["search-degrees"] == [[2], [pytest.approx(1 - 112 / 128)], [pytest.approx(1 / 3)]]
    assert found["search-latent"] == [[pytest.approx(1 / 6)]]
    assert found["search-short"] == [[3 / 54]]
