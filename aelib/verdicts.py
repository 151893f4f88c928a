"""From a few seeds to a verdict: intervals, tests of difference and of equivalence, and corrections for many tests.

Everything here takes one number per seed, (n,), or one per seed and image, (n, N); nothing trains or evaluates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import scipy

from aelib.errors import AelibError

CONFIRMED, NOT_CONFIRMED, UNDECIDED = VERDICTS = ("confirmed", "not confirmed", "undecided")

LEVEL = 0.05
"""Of all tests, after Holm's correction over the claims; intervals have one minus this."""


@dataclass(frozen=True)
class Estimate:
    """A mean with what is known of its error.

    Attributes:
        mean: over the seeds, and the images where there are any.
        error: standard error of `mean`.
        freedom: degrees of freedom of `error`.
        seeds: (n,): the number of each seed.
    """

    mean: float
    error: float
    freedom: float
    seeds: tuple[float, ...]

    def interval(self) -> tuple[float, float]:
        """Where the mean of many more seeds lies, two-sided, by Student's t."""
        half = _student(self.freedom) * self.error
        return self.mean - half, self.mean + half

    def prediction(self) -> tuple[float, float]:
        """Where one more seed lies: mean ± t · sd · √(1 + 1/n)."""
        half = _student(len(self.seeds) - 1) * self.spread
        return self.mean - half, self.mean + half

    @property
    def spread(self) -> float:
        """How far one more seed lies from the mean: sd · √(1 + 1/n)."""
        return float(np.std(self.seeds, ddof=1)) * (1 + 1 / len(self.seeds)) ** 0.5

    def above(self, bound: float) -> float:
        """One-sided p of a mean as large as this, were the true one at `bound`."""
        return _p(self.mean - bound, self.error, self.freedom)

    def below(self, bound: float) -> float:
        """One-sided p of a mean as small as this, were the true one at `bound`."""
        return _p(bound - self.mean, self.error, self.freedom)


def _student(freedom: float) -> float:
    return float(scipy.special.stdtrit(freedom, 1 - LEVEL / 2))


def _p(difference: float, error: float, freedom: float) -> float:
    if error == 0:
        return float(difference <= 0)
    return float(scipy.special.stdtr(freedom, -difference / error))


def _numbers(values: np.ndarray) -> np.ndarray:
    """`values` as float64.

    Raises:
        AelibError: some are none: then nothing is to be decided.
    """
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise AelibError("a claim cannot be decided on numbers that are not finite: look at the runs that gave them")
    return values


def of_each_seed(values: np.ndarray) -> np.ndarray:
    """Of one number per seed, (n,), those; of one per seed and image, (n, N), the means over the images."""
    values = _numbers(values)
    return values if values.ndim == 1 else values.mean(1)


def estimate(values: np.ndarray) -> Estimate:
    """Of one number per seed, (n,), or one per seed and image, (n, N), the same N images for each seed.

    Seeds and images are both a sample: by a mixed model with both as crossed random effects, whose variances are
    estimated from the mean squares, the variance of the grand mean is (MS_seeds + MS_images − MS_residual) / (n N);
    its degrees of freedom are Satterthwaite's. An image's variance is never below zero, so that the error is at least
    that of the seeds alone.
    """
    values, by_seed = _numbers(values), of_each_seed(values)
    n = len(by_seed)
    mean, error, freedom = float(by_seed.mean()), float(by_seed.std(ddof=1) / n**0.5), float(n - 1)
    if values.ndim == 2:
        images = values.shape[1]
        of_seeds = images * by_seed.var(ddof=1)
        of_images = n * values.mean(0).var(ddof=1)
        rest = values - by_seed[:, None] - values.mean(0) + mean
        of_rest = (rest**2).sum() / ((n - 1) * (images - 1))
        more = max(0.0, of_images - of_rest)
        if more:
            squares = np.array([of_seeds, of_images, of_rest])
            freedoms = np.array([n - 1, images - 1, (n - 1) * (images - 1)])
            error = float(((of_seeds + more) / (n * images)) ** 0.5)
            freedom = float((of_seeds + more) ** 2 / (squares**2 / freedoms).sum())
    return Estimate(mean, error, freedom, tuple(by_seed.tolist()))


@dataclass(frozen=True)
class Outcome:
    """What a rule finds.

    Attributes:
        interval: 95 %, of what the rule's text says.
        p: of the test that confirms; None where the rule is no test.
        against: of the test that refutes; None where the rule is no test.
        holds: whether everything else that the rule asks for holds.
    """

    interval: tuple[float, float]
    p: float | None
    against: float | None
    holds: bool = True


@dataclass(frozen=True)
class Reproduces:
    """The report's number: inside our prediction interval, and equivalent to our mean.

    Attributes:
        theirs: the report's number.
        margin: of equivalence; a share of `theirs` unless `absolute`; a factor less one if `ratio`.
        ratio: compare logarithms, for what varies by factors.
        also: other margins, to say how the verdict changes with it.
    """

    theirs: float
    margin: float = 0.05
    absolute: bool = False
    ratio: bool = False
    also: tuple[float, ...] = (0.025, 0.1)

    @property
    def asked(self) -> str:
        """In short."""
        if self.ratio:
            return f"{self.theirs:g}, up to a factor of {1 + self.margin:g}"
        return f"{self.theirs:g} ± " + (f"{self.margin:g}" if self.absolute else f"{100 * self.margin:g} %")

    def __str__(self) -> str:
        return (
            f"the report's number is inside the 95 % prediction interval of the seeds, and their mean is {self.asked} "
            "by two one-sided tests; not confirmed if it is outside and the mean is farther away"
        )

    @property
    def near(self) -> tuple[float, float]:
        """From where to where a number counts as equivalent to the report's."""
        if self.ratio:
            return self.theirs / (1 + self.margin), self.theirs * (1 + self.margin)
        margin = self.margin if self.absolute else self.margin * abs(self.theirs)
        return self.theirs - margin, self.theirs + margin

    def decide(self, values: np.ndarray) -> Outcome:
        """`values`: (n,), one per seed."""
        found, theirs, near = estimate(np.log(values) if self.ratio else values), self.theirs, self.near
        if self.ratio:
            theirs, near = float(np.log(theirs)), (float(np.log(near[0])), float(np.log(near[1])))
        low, high = found.prediction()
        equivalent = max(found.above(near[0]), found.below(near[1]))
        apart = min(1.0, 2 * min(_p(sign * (theirs - found.mean), found.spread, found.freedom) for sign in (1, -1)))
        # What is refuted is both: one more training would give the report's number, and the mean is near it.
        far = min(found.above(near[1]), found.below(near[0]))
        interval = (float(np.exp(low)), float(np.exp(high))) if self.ratio else (low, high)
        return Outcome(interval, equivalent, max(apart, far), holds=low <= theirs <= high)


@dataclass(frozen=True)
class Above:
    """A quantity, or a difference, is larger than `bound`, in every seed and beyond the error of the mean.

    Attributes:
        bound: 0 for a difference.
        also: other bounds, to say how the verdict changes with it.
    """

    bound: float = 0.0
    also: tuple[float, ...] = ()

    sides: ClassVar = ("above", "below")

    @property
    def asked(self) -> str:
        """In short."""
        return f"{self.sides[0]} {self.bound:g}"

    def __str__(self) -> str:
        return (
            f"{self.asked} in every seed, and the mean is by a one-sided test; not confirmed if it is {self.sides[1]}"
        )

    def decide(self, values: np.ndarray) -> Outcome:
        """`values`: (n,) or (n, N)."""
        found = estimate(values)
        return Outcome(
            found.interval(), found.above(self.bound), found.below(self.bound), min(found.seeds) > self.bound
        )


@dataclass(frozen=True)
class Below(Above):
    """A quantity is smaller than `bound`, in every seed and beyond the error of the mean."""

    sides: ClassVar = ("below", "above")

    def decide(self, values: np.ndarray) -> Outcome:
        """`values`: (n,) or (n, N)."""
        mirrored = Above(-self.bound).decide(-np.asarray(values))
        low, high = mirrored.interval
        return replace(mirrored, interval=(-high, -low))


@dataclass(frozen=True)
class Alike:
    """A difference is within ±`margin`, by two one-sided tests.

    Attributes:
        also: other margins, to say how the verdict changes with it.
    """

    margin: float
    also: tuple[float, ...] = ()

    @property
    def asked(self) -> str:
        """In short."""
        return f"within ±{self.margin:g}"

    def __str__(self) -> str:
        return f"the mean is {self.asked} by two one-sided tests; not confirmed if it is beyond by another"

    def decide(self, values: np.ndarray) -> Outcome:
        """`values`: (n,) or (n, N)."""
        found = estimate(values)
        inside = max(found.above(-self.margin), found.below(self.margin))
        outside = min(1.0, 2 * min(found.above(self.margin), found.below(-self.margin)))
        return Outcome(found.interval(), inside, outside)


@dataclass(frozen=True)
class Always:
    """No test: what is computed, not sampled, is at most `bound`, in every seed where there are several."""

    bound: float
    also: tuple[float, ...] = ()

    @property
    def asked(self) -> str:
        """In short."""
        return f"at most {self.bound:g}"

    def __str__(self) -> str:
        return f"{self.asked}, in every seed where there are several; not confirmed otherwise"

    def decide(self, values: np.ndarray) -> Outcome:
        """`values`: (n,), or (1,) of what is no sample."""
        values = _numbers(values)
        return Outcome((float(np.min(values)), float(np.max(values))), None, None, bool(np.max(values) <= self.bound))


Rule = Reproduces | Above | Below | Alike | Always


def moved(rule: Rule) -> dict[float, Rule]:
    """`rule` with each of the other thresholds that it names, by these: margins of an equivalence, or else bounds."""
    if isinstance(rule, Reproduces | Alike):
        return {other: replace(rule, margin=other) for other in rule.also}
    return {other: replace(rule, bound=other) for other in rule.also}


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of `ps`, in their order: each at most 1."""
    order = np.argsort(ps, kind="stable")
    adjusted, most = np.empty(len(ps)), 0.0
    for rank, index in enumerate(order):
        most = max(most, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = most
    return adjusted.tolist()


def decide(claims: Sequence[tuple[Sequence[Outcome], bool]]) -> list[str]:
    """A verdict for each claim, with Holm's correction over all of them.

    A claim is confirmed if each of its rules holds and its largest p, corrected, is at most `LEVEL`. It is not
    confirmed if one of its rules is refuted: by the smallest p against it, corrected for the number of its rules and
    over the claims, or, where the rule is no test, by not holding. Otherwise it is undecided.

    Args:
        claims: of each, the outcomes of its rules, and whether these are judges of one question: then it is not
            confirmed only if all of them are refuted, and judges that disagree leave it undecided.
    """
    for_it = holm([max((each.p or 0.0 for each in outcomes), default=0.0) for outcomes, _ in claims])
    against = holm([_against(outcomes, judges) for outcomes, judges in claims])
    verdicts = []
    for (outcomes, judges), right, wrong in zip(claims, for_it, against, strict=True):
        broken = [each.p is None and not each.holds for each in outcomes]
        if wrong <= LEVEL or (all(broken) if judges else any(broken)):
            verdicts.append(NOT_CONFIRMED)
        else:
            verdicts.append(CONFIRMED if right <= LEVEL and all(each.holds for each in outcomes) else UNDECIDED)
    return verdicts


def _against(outcomes: Sequence[Outcome], judges: bool) -> float:
    ps = [1.0 if each.against is None else each.against for each in outcomes]
    return max(ps, default=1.0) if judges else min([1.0, *(len(ps) * p for p in ps)])
