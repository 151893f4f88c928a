"""Verdicts: intervals that cover as often as they say, tests that err as rarely, and rules that can go either way."""

import numpy as np
import pytest
from scipy import stats

from aelib import verdicts
from aelib.errors import AelibError
from aelib.statements import STATEMENTS
from aelib.verdicts import CONFIRMED, NOT_CONFIRMED, UNDECIDED, Above, Alike, Always, Below, Reproduces


@pytest.fixture
def rng():
    """The same numbers in each test, whichever came before it."""
    return np.random.default_rng(0)


def verdict(rule, values):
    return verdicts.decide([([rule.decide(np.asarray(values, dtype=float))], False)])[0]


def test_the_interval_of_a_few_seeds_is_students():
    values = np.array([1.0, 2.0, 4.0, 4.0, 9.0])
    found = verdicts.estimate(values)
    expected = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert found.interval() == pytest.approx(expected)
    assert found.above(1.0) == pytest.approx(stats.ttest_1samp(values, 1.0, alternative="greater").pvalue)
    assert found.below(9.0) == pytest.approx(stats.ttest_1samp(values, 9.0, alternative="less").pvalue)


def test_a_prediction_interval_holds_the_next_seed_95_times_of_100(rng):
    draws = rng.normal(3, 2, (4000, 6))
    inside = 0
    for row in draws:
        low, high = verdicts.estimate(row[:5]).prediction()
        inside += low <= row[5] <= high
    assert inside / len(draws) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(("seeds", "images"), [(1.0, 1.0), (0.1, 5.0), (1.0, 0.0)])
def test_seeds_and_images_are_both_a_sample(rng, seeds, images):
    """The interval covers the true mean, whichever of the two varies more; that of the seeds alone would not."""
    covered = alone = 0
    turns, pictures = 400, 60
    for _ in range(turns):
        values = rng.normal(0, seeds, (5, 1)) + rng.normal(0, images, (1, pictures)) + rng.normal(0, 1, (5, pictures))
        low, high = verdicts.estimate(values).interval()
        covered += low <= 0 <= high
        low, high = verdicts.estimate(values.mean(1)).interval()
        alone += low <= 0 <= high
    assert covered / turns >= 0.92
    if images > seeds:
        assert alone / turns < 0.8


def test_holm():
    assert verdicts.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert verdicts.holm([0.9, 0.8]) == [1.0, 1.0]
    assert verdicts.holm([]) == []


TIGHT = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) * 1e-3
WIDE = TIGHT * 200


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        (Reproduces(1.0), 1.001 + TIGHT, CONFIRMED),
        (Reproduces(1.0), 1.03 + TIGHT, UNDECIDED),  # near, and yet outside
        (Reproduces(1.0), 1.2 + TIGHT, NOT_CONFIRMED),
        (Reproduces(1.0), 1.0 + WIDE, UNDECIDED),  # inside, and yet not near
        (Reproduces(1.0, 0.1, absolute=True), 1.001 + TIGHT, CONFIRMED),
        (Reproduces(0.001, 1.0, ratio=True), 0.001 * np.exp(50 * TIGHT), CONFIRMED),
        (Reproduces(0.001, 1.0, ratio=True), 0.01 * np.exp(50 * TIGHT), NOT_CONFIRMED),
        (Above(), 1 + TIGHT, CONFIRMED),
        (Above(), -1 + TIGHT, NOT_CONFIRMED),
        (Above(), TIGHT, UNDECIDED),
        (Above(), [9, 9, 9, 9, -0.1], UNDECIDED),  # not in every seed
        (Below(0.5), 0.4 + TIGHT, CONFIRMED),
        (Below(0.5), 0.6 + TIGHT, NOT_CONFIRMED),
        (Alike(0.1), TIGHT, CONFIRMED),
        (Alike(0.1), 0.2 + TIGHT, NOT_CONFIRMED),
        (Alike(0.1), WIDE, UNDECIDED),
        (Always(0.0), [0, 0, 0], CONFIRMED),
        (Always(0.0), [0, 0, 1e-9], NOT_CONFIRMED),
    ],
)
def test_each_rule_can_go_either_way(rule, values, expected):
    assert verdict(rule, values) == expected


def test_differences_per_image_count_with_the_images(rng):
    images = rng.normal(0, 1, 50)
    values = images - images.mean() + rng.normal(0.0, 1e-3, (5, 50)) + 0.1
    assert verdict(Above(), values) == UNDECIDED, "the same fifty images, whichever the seed"
    assert verdict(Above(), values.mean(1) - values.mean() + 0.1) == CONFIRMED


def test_many_claims_need_more(rng):
    """Twenty claims about nothing but noise: hardly ever is one of them confirmed."""
    wrong = sum(
        CONFIRMED in verdicts.decide([([Above().decide(rng.normal(0, 1, 5))], False) for _ in range(20)])
        for _ in range(300)
    )
    assert wrong / 300 <= 0.06


def test_judges_that_disagree_leave_a_claim_undecided():
    yes, no = Above().decide(1 + TIGHT), Above().decide(-1 + TIGHT)
    assert verdicts.decide([([yes, no], True)]) == [UNDECIDED]
    assert verdicts.decide([([no, no], True)]) == [NOT_CONFIRMED]
    assert verdicts.decide([([yes, no], False)]) == [NOT_CONFIRMED]
    assert verdicts.decide([([yes, yes], True)]) == [CONFIRMED]


def test_statements_are_whole():
    names = [each.name for each in STATEMENTS]
    assert len(set(names)) == len(names) >= 30
    for each in STATEMENTS:
        assert each.claim
        assert each.where
        assert each.rules
        assert not each.judges or len(each.rules) > 1


@pytest.mark.parametrize("rule", [Above(), Alike(0.1), Always(0.0), Reproduces(1.0)])
def test_what_is_no_number_decides_nothing(rule):
    with pytest.raises(AelibError, match="not finite"):
        rule.decide(np.array([1.0, np.nan, 1.0]))


def test_no_difference_is_refuted_as_rarely_as_it_says(rng):
    """Of a margin next to nothing, where both ways out are near."""
    refuted = [Alike(0.001).decide(rng.normal(0, 1, 5)).against <= 0.05 for _ in range(4000)]
    assert np.mean(refuted) == pytest.approx(0.05, abs=0.01)
