"""What the report claims, decided by the rules of `statements` on runs of several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aelib import figures, tables, verdicts
from aelib.errors import AelibError
from aelib.evidence import EVIDENCE, Seeds
from aelib.profiles import command_options, find_profile
from aelib.statements import SEARCH, STATEMENTS, Statement
from aelib.verdicts import Outcome, Reproduces, Rule


@dataclass(frozen=True)
class Ruling:
    """What one rule of a claim finds.

    Attributes:
        quantity: that the rule is about.
        asked: of it, in short.
        rule: in words.
        report: the report's number, where the rule is about one.
        values: of the quantity, one per seed, over images the mean; one alone of what is no sample.
        interval: 95 %; where there is a number of the report's, of one more training, else of the mean.
        p: of the test that confirms, before correction; None where the rule is no test.
        against: of the test that refutes, before correction; None where the rule is no test.
        verdict: as if there were no other rule and no other claim.
        moved: what the verdict on the claim would be with other thresholds.
    """

    quantity: str
    asked: str
    rule: str
    report: float | None
    values: tuple[float, ...]
    interval: tuple[float, float]
    p: float | None
    against: float | None
    verdict: str
    moved: dict[float, str]

    @property
    def ours(self) -> str:
        """Mean and interval, as text; of one value that."""
        if len(self.values) == 1:
            return tables.number(self.values[0]).replace("-", "−")
        low, high = (tables.number(float(each)) for each in self.interval)
        return f"{tables.number(float(np.mean(self.values)))} [{low}, {high}]".replace("-", "−")


@dataclass(frozen=True)
class Claim:
    """One claim of the report.

    Attributes:
        name: for programs.
        claim: in a sentence.
        where: in the report.
        shown: label of our figure or table that shows most of it.
        seeds: of the runs; one, that of the search, of what is no sample.
        verdict: "confirmed", "not confirmed" or "undecided"; corrected for all claims.
        judges: whether its rules are judges of one question.
        disagree: whether these are, and some say yes and others no.
        rule: that on which the verdict rests: of several, the one that confirms least.
        interval: of that rule.
        near: from where to where a number counts as the report's, where it is about one.
        rulings: of each of its rules.
        command: what makes the runs that are missing, and decides it again.
    """

    name: str
    claim: str
    where: str
    shown: str
    seeds: tuple[int, ...]
    verdict: str
    judges: bool
    disagree: bool
    rule: str
    interval: tuple[float, float]
    near: tuple[float, float] | None
    rulings: tuple[Ruling, ...]
    command: str

    @property
    def outcome(self) -> str:
        """The verdict, in words for a reader."""
        return f"{self.verdict}: the judges disagree" if self.disagree else self.verdict

    @property
    def theirs(self) -> float | None:
        """The report's number, where it is about one."""
        return self.rulings[0].report

    @property
    def reproduced(self) -> figures.Reproduced:
        """A number of the report's and ours, as a row of the picture."""
        assert self.theirs is not None
        assert self.near is not None
        ruling = self.rulings[0]
        return figures.Reproduced(ruling.quantity, self.theirs, ruling.values, ruling.interval, self.near, self.outcome)


def claims(profile: str = "report", *, seeds: Sequence[int] | None = None, folder: Path | None = None) -> list[Claim]:
    """All claims of which there is evidence, decided from the runs of `profile`; trains what is missing.

    Args:
        seeds: of the runs, at least two; by default the profile's, of a claim that names some its own among them.

    Raises:
        AelibError: as `experiments.obtain`; there are fewer seeds; or numbers to be decided on are not finite.
    """
    if seeds is not None and len({*seeds}) < 2:
        raise AelibError("one seed has no spread: claims are decided on two seeds or more, such as 0-4")
    made: dict[tuple[int, ...], Seeds] = {}
    of_profile, cases = find_profile(profile).seeds, []
    for statement in STATEMENTS:
        if statement.name in EVIDENCE:
            own = tuple(each for each in of_profile if each in (statement.seeds or of_profile))
            if seeds is not None and statement.seeds != SEARCH:
                own = tuple(seeds)
            of = made.setdefault(own, Seeds(own, profile, folder))
            cases.append(Case(statement, own, EVIDENCE[statement.name](of)))
    return decided(cases, profile)


@dataclass(frozen=True)
class Case:
    """A statement with its evidence.

    Attributes:
        seeds: of the runs that it is from.
        values: for each rule, one number per seed, (n,), or one per seed and image, (n, N); (1,) of what is no sample.
    """

    statement: Statement
    seeds: tuple[int, ...]
    values: Sequence[np.ndarray]

    def outcomes(self, rules: Mapping[int, Rule] | None = None) -> list[Outcome]:
        """Of each rule, or of those that stand in for it, by its place."""
        own = enumerate(self.statement.rules.values())
        return [(rules or {}).get(place, rule).decide(self.values[place]) for place, rule in own]


def decided(cases: Sequence[Case], profile: str = "report") -> list[Claim]:
    """A claim for each case, with Holm's correction over all of them."""
    family = [(case.outcomes(), case.statement.judges) for case in cases]
    return [
        _claim(case, verdict, _rulings(cases, number, family), profile)
        for number, (case, verdict) in enumerate(zip(cases, verdicts.decide(family), strict=True))
    ]


def _rulings(cases: Sequence[Case], number: int, family: Sequence[tuple[list[Outcome], bool]]) -> list[Ruling]:
    case, (outcomes, judges) = cases[number], family[number]

    def verdict_with(place: int, rule: Rule) -> str:
        others = case.outcomes({place: rule}), judges
        return verdicts.decide([*family[:number], others, *family[number + 1 :]])[number]

    return [
        Ruling(
            quantity,
            rule.asked.replace("-", "−"),
            str(rule),
            rule.theirs if isinstance(rule, Reproduces) else None,
            tuple(verdicts.of_each_seed(case.values[place]).tolist()),
            outcomes[place].interval,
            outcomes[place].p,
            outcomes[place].against,
            verdicts.decide([([outcomes[place]], False)])[0],
            {other: verdict_with(place, moved) for other, moved in verdicts.moved(rule).items()},
        )
        for place, (quantity, rule) in enumerate(case.statement.rules.items())
    ]


def _claim(case: Case, verdict: str, rulings: Sequence[Ruling], profile: str) -> Claim:
    statement, alone = case.statement, {each.verdict for each in rulings}
    least = max(rulings, key=lambda each: (each.verdict != verdicts.CONFIRMED, each.p or 0.0))
    return Claim(
        statement.name,
        statement.claim,
        statement.where,
        statement.shown,
        case.seeds,
        verdict,
        statement.judges,
        statement.judges and {verdicts.CONFIRMED, verdicts.NOT_CONFIRMED} <= alone,
        least.rule,
        least.interval,
        rule.near if isinstance(rule := next(iter(statement.rules.values())), Reproduces) else None,
        tuple(rulings),
        "aelib claims"
        + (f" --seeds {','.join(map(str, case.seeds))}" if len(case.seeds) > 1 else "")
        + command_options(profile, 0),
    )
