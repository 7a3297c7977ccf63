"""Two runs on the same problems: is the second better than the first, or was it luck?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import exp, fsum, lgamma, log, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penjing.errors import Contradiction
from penjing.evaluate.estimators import grades_by_problem, pass_at_k
from penjing.evaluate.intervals import Interval, mean, mean_interval, standard_error
from penjing.evaluate.sample import Sample

MOST_CHANGED = 20
NUM_FLIPS = 20_000
MOST_ENUMERATED = 1 << 16  # sums of differences under all choices of signs

_MOST_DRAWN = 1 << 20  # numbers at a time
_DECIMALS = 12  # of a difference; what is behind them is rounding
_ROUNDING = 1e-9  # between two sums of the same differences


class SignificanceTest(StrEnum):
    """What made a p-value."""

    MCNEMAR = "mcnemar"  # exact, by the binomial distribution
    SIGN_FLIP = "sign-flip"  # over all choices of signs
    SIGN_FLIP_DRAWN = "sign-flip-drawn"  # over ``NUM_FLIPS`` drawn ones


@dataclass(frozen=True, kw_only=True)
class Change:
    """The share of correct samples of one problem in either run."""

    problem: str
    first: float
    second: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All but the counts of what is left out is over ``num_problems``, those judged in both runs.

    ``first`` and ``second`` are pass@1, ``difference`` the second less the first, with its interval
    and standard error over problems, paired. ``p_value`` is two-sided: how likely a difference at
    least as large is, were it a fair coin for each problem which run got which result. ``changed``
    are the problems whose shares differ most, largest first.
    """

    num_problems: int
    num_only_first: int
    num_only_second: int
    num_unjudged: int  # in both runs, but with nothing except faults in one
    num_first_faults: int
    num_second_faults: int
    first: float
    second: float
    difference: float
    interval: Interval
    standard_error: float | None
    p_value: float
    test: SignificanceTest
    num_better: int  # in the second
    num_worse: int
    num_equal: int
    changed: Sequence[Change]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def compare(first: Sequence[Sample], second: Sequence[Sample]) -> Comparison:
    """Pairs the runs by problem.

    Raises ``Contradiction`` where no problem was judged in both, or a sample is in a run twice.
    """
    one, other = grades_by_problem(first), grades_by_problem(second)
    shared = sorted(one.keys() & other.keys())
    pairs = {problem: (one[problem], other[problem]) for problem in shared}
    judged = {problem: pair for problem, pair in pairs.items() if all(pair)}
    if not judged:
        raise Contradiction(_nothing_shared(len(shared)))
    changes = [
        Change(problem=problem, first=pass_at_k(before, 1), second=pass_at_k(after, 1))
        for problem, (before, after) in judged.items()
    ]
    differences = [change.second - change.first for change in changes]
    p_value, test = sign_flip(differences)
    is_single = all(len(grades) == 1 for pair in judged.values() for grades in pair)
    if is_single and test is SignificanceTest.SIGN_FLIP:
        test = SignificanceTest.MCNEMAR
    return Comparison(
        num_problems=len(judged),
        num_only_first=len(one.keys() - other.keys()),
        num_only_second=len(other.keys() - one.keys()),
        num_unjudged=len(shared) - len(judged),
        num_first_faults=_num_faults(first),
        num_second_faults=_num_faults(second),
        first=mean([change.first for change in changes]),
        second=mean([change.second for change in changes]),
        difference=mean(differences),
        interval=_interval(differences),
        standard_error=standard_error(differences),
        p_value=p_value,
        test=test,
        num_better=sum(d > 0 for d in differences),
        num_worse=sum(d < 0 for d in differences),
        num_equal=differences.count(0),
        changed=_most_changed(changes),
    )


def sign_flip(differences: Sequence[float]) -> tuple[float, SignificanceTest]:
    """How likely a sum at least as far from 0 is, were the sign of each difference a fair coin's.

    Exact where there are few enough sums. Of differences of one size, as with one sample a problem,
    the number of positive ones is binomial, and this is McNemar's exact test. Otherwise drawn, with
    the observed sum as one of the draws, so that no value is 0 (Phipson and Smyth, 2010). Where the
    runs have different numbers of samples a problem, signs are only nearly exchangeable.
    """
    counts = Counter(round(abs(d), _DECIMALS) for d in differences if d)
    by_size = sorted(counts.items())
    least = abs(fsum(differences)) - _ROUNDING
    if prod(count + 1 for count in counts.values()) <= MOST_ENUMERATED:
        return _enumerated(by_size, least), SignificanceTest.SIGN_FLIP
    return _drawn(by_size, least), SignificanceTest.SIGN_FLIP_DRAWN


def _enumerated(by_size: Sequence[tuple[float, int]], least: float) -> float:
    """The weight of sums of at least ``least``; differences of one size are flipped together."""
    sums, weights = np.zeros(1), np.ones(1)
    for size, count in by_size:
        positive = np.arange(count + 1)
        sums = np.add.outer(sums, size * (2 * positive - count)).ravel()
        weights = np.multiply.outer(weights, _binomial(count)).ravel()
    return min(1.0, float(weights[np.abs(sums) >= least].sum()))


def _binomial(count: int) -> NDArray[np.float64]:
    """How likely 0 to ``count`` heads are."""
    logs = [lgamma(count + 1) - lgamma(i + 1) - lgamma(count - i + 1) for i in range(count + 1)]
    return np.array([exp(ways - count * log(2)) for ways in logs])


def _drawn(by_size: Sequence[tuple[float, int]], least: float) -> float:
    sizes, counts = np.array([s for s, _ in by_size]), np.array([c for _, c in by_size])
    random = np.random.default_rng(0)
    rows = max(1, min(NUM_FLIPS, _MOST_DRAWN // len(sizes)))
    num_as_far = 0
    for start in range(0, NUM_FLIPS, rows):
        shape = (min(rows, NUM_FLIPS - start), len(sizes))
        sums = (2 * random.binomial(counts, 0.5, size=shape) - counts) @ sizes
        num_as_far += int(np.count_nonzero(np.abs(sums) >= least))
    return (1 + num_as_far) / (1 + NUM_FLIPS)


def _interval(differences: Sequence[float]) -> Interval:
    """Turned round where the runs change places: of the mean of what either way gives."""
    there = mean_interval(differences, least=-1.0, most=1.0)
    back = mean_interval([-d for d in differences], least=-1.0, most=1.0)
    return Interval(
        low=(there.low - back.high) / 2, high=(there.high - back.low) / 2, method=there.method
    )


def _most_changed(changes: Sequence[Change]) -> tuple[Change, ...]:
    changed = [change for change in changes if change.first != change.second]
    changed.sort(key=lambda change: (-abs(change.second - change.first), change.problem))
    return tuple(changed[:MOST_CHANGED])


def _num_faults(samples: Sequence[Sample]) -> int:
    return sum(sample.grade.is_fault for sample in samples)


def _nothing_shared(num_shared: int) -> str:
    if not num_shared:
        return "the runs have no problem in common; compare runs of one task, split and seed"
    return (
        f"of {num_shared} problems in both runs none was judged in both: the judge failed; "
        "mend it, and grade again"
    )
