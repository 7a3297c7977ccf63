"""How far a mean over problems may lie from the mean over all problems of their kind.

Problems are what was drawn, not samples: the samples of a problem are a cluster, and taking them
for independent makes intervals too narrow (Miller, arXiv 2411.00640). So each problem enters with
one value, such as its share of correct samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import fsum, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
NUM_RESAMPLES = 10_000
FEWEST_RESAMPLED = 10  # of 5 problems, a bootstrap interval held the truth in 88 of 100 trials

_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf(0.5 + CONFIDENCE / 2)
_MOST_DRAWN = 1 << 20  # numbers at a time
_ROUNDING = 1e-12  # between two sums of the same values


class Method(StrEnum):
    """How an interval was made."""

    WILSON = "wilson"
    BOOTSTRAP = "bootstrap"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Both ends belong to it."""

    low: float
    high: float
    method: Method
    confidence: float = CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over ``num_problems``. ``standard_error`` is None of one problem."""

    value: float
    interval: Interval
    standard_error: float | None
    num_problems: int


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of one value in [0, 1] a problem."""
    return Estimate(
        value=mean(values),
        interval=mean_interval(values),
        standard_error=standard_error(values),
        num_problems=len(values),
    )


def mean(values: Sequence[float]) -> float:
    """The same in whatever order the values are."""
    return fsum(values) / len(values)


def standard_error(values: Sequence[float]) -> float | None:
    """Of the mean. Samples of one problem are one cluster, as they enter with one value."""
    if len(values) < 2:
        return None
    middle = mean(values)
    return sqrt(fsum((v - middle) ** 2 for v in values) / (len(values) * (len(values) - 1)))


def mean_interval(values: Sequence[float], *, least: float = 0.0, most: float = 1.0) -> Interval:
    """For the mean of values that can only lie in [least, most].

    Wilson's where every value is at an end, as with one sample a problem, and for few problems:
    no values in these bounds spread more than those at the ends, so it is wide enough for any.
    """
    assert values
    assert least <= min(values) <= max(values) <= most
    if len(values) < FEWEST_RESAMPLED or set(values) <= {least, most}:
        successes = fsum((v - least) / (most - least) for v in values)
        share = wilson(successes, len(values))
        return Interval(
            low=least + share.low * (most - least),
            high=least + share.high * (most - least),
            method=share.method,
        )
    if min(values) == max(values):
        return _without_spread(values[0], len(values), least=least, most=most)
    return bootstrap(values)


def wilson(num_successes: float, num_trials: int) -> Interval:
    """Wilson's score interval of a share (JASA 22, 1927, p. 209)."""
    assert 0 <= num_successes <= num_trials
    share = num_successes / num_trials
    weight = _Z * _Z / num_trials
    middle = (share + weight / 2) / (1 + weight)
    half = sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    return Interval(
        low=max(0.0, min(share, middle - half)),
        high=min(1.0, max(share, middle + half)),
        method=Method.WILSON,
    )


def bootstrap(values: Sequence[float]) -> Interval:
    """For the mean of values that are not all the same, by drawing problems anew.

    Bias-corrected and accelerated: Efron, JASA 82, 1987, p. 171. The same values give the same
    interval, in whatever order. With ten problems and a mean near an end it is somewhat narrow: it
    knows of no kind of problem that it has not seen.
    """
    data = np.sort(np.asarray(values, dtype=np.float64))
    means = _resampled_means(data)
    middle = mean(values)
    below = np.mean(means < middle - _ROUNDING) + np.mean(means <= middle + _ROUNDING)
    edge = 0.5 / NUM_RESAMPLES
    bias = _NORMAL.inv_cdf(min(max(float(below) / 2, edge), 1 - edge))
    off = data - middle
    skew = float(np.sum(off**3) / (6 * np.sum(off**2) ** 1.5))
    shifts = [bias + z for z in (-_Z, _Z)]
    levels = [_NORMAL.cdf(bias + shift / (1 - skew * shift)) for shift in shifts]
    low, high = np.quantile(means, levels)
    return Interval(
        low=float(np.clip(low, data[0], middle)),
        high=float(np.clip(high, middle, data[-1])),
        method=Method.BOOTSTRAP,
    )


def _resampled_means(data: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of ``NUM_RESAMPLES`` draws of as many with replacement; equal values are drawn together."""
    levels, counts = np.unique(data, return_counts=True)
    random = np.random.default_rng(0)
    rows = max(1, min(NUM_RESAMPLES, _MOST_DRAWN // len(levels)))
    pieces = [
        random.multinomial(len(data), counts / len(data), size=min(rows, NUM_RESAMPLES - start))
        @ levels
        for start in range(0, NUM_RESAMPLES, rows)
    ]
    return np.concatenate(pieces) / len(data)


def _without_spread(value: float, num_values: int, *, least: float, most: float) -> Interval:
    """All values are ``value``: some share of problems, seen in none, may lie at an end instead."""
    unseen = wilson(0, num_values).high
    return Interval(
        low=value - unseen * (value - least),
        high=value + unseen * (most - value),
        method=Method.WILSON,
    )
