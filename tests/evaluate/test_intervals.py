from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.evaluate.intervals import (
    FEWEST_RESAMPLED,
    Method,
    bootstrap,
    estimate,
    mean,
    mean_interval,
    standard_error,
    wilson,
)

SHARES = st.integers(0, 16).map(lambda c: c / 16)
MANY = st.lists(SHARES, min_size=FEWEST_RESAMPLED, max_size=40)
SIXTEENTHS = (0, 0, 1, 1, 1, 1, 1, 1, 2, 3, 4, 8, 8, 9, 12, 15, 16, 16, 16, 16)


@pytest.mark.parametrize(
    ("num_successes", "num_trials", "low", "high"),
    [  # scipy 1.17.1, binomtest(...).proportion_ci(method="wilson")
        (8, 10, 0.4901624715, 0.9433178485),
        (0, 30, 0.0, 0.1135133932),
        (24, 30, 0.6269430359, 0.9049489282),
        (790, 1000, 0.7636693995, 0.8141110806),
        (1319, 1319, 0.9970960550, 1.0),
    ],
)
def test_wilson_is_that_of_scipy(
    num_successes: int, num_trials: int, low: float, high: float
) -> None:
    found = wilson(num_successes, num_trials)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_wilson_never_leaves_0_and_1() -> None:
    for n in (1, 7, 30, 1319):
        assert wilson(0, n).low == 0
        assert wilson(n, n).high == 1


@pytest.mark.parametrize("n", [10, 30, 100])
def test_wilson_holds_the_truth_as_often_as_it_says(n: int) -> None:
    found = [wilson(c, n) for c in range(n + 1)]
    coverage = [
        sum(
            comb(n, c) * p**c * (1 - p) ** (n - c)
            for c in range(n + 1)
            if found[c].low <= p <= found[c].high
        )
        for p in np.linspace(0.02, 0.98, 97).tolist()
    ]
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.01)  # exact, over a grid of truths
    assert min(coverage) > 0.83  # the dips are known: Brown, Cai and DasGupta, 2001


@pytest.mark.parametrize(
    ("sixteenths", "low", "high"),
    [  # scipy 1.17.1, bootstrap(..., method="BCa", n_resamples=200_000)
        (SIXTEENTHS, 0.253125, 0.59375),
        ((1, 1, 2, 1, 3, 1, 2, 2, 1, 16, 1, 12), 0.09375, 0.47657),  # between those of two seeds
    ],
)
def test_the_bootstrap_is_that_of_scipy(
    sixteenths: tuple[int, ...], low: float, high: float
) -> None:
    found = bootstrap([c / 16 for c in sixteenths])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.004)


def test_intervals_over_problems_hold_the_truth_and_those_over_samples_do_not() -> None:
    random = np.random.default_rng(0)
    num_problems, num_samples, num_runs = 30, 16, 100
    hits = naive_hits = 0
    for _ in range(num_runs):  # the truth is 0.4, in each problem more or less
        correct = random.binomial(num_samples, random.beta(0.8, 1.2, num_problems))
        found = mean_interval((correct / num_samples).tolist())
        naive = wilson(int(correct.sum()), num_problems * num_samples)
        hits += found.low <= 0.4 <= found.high
        naive_hits += naive.low <= 0.4 <= naive.high
    assert 0.9 <= hits / num_runs <= 0.99
    assert naive_hits / num_runs < 0.7


def test_few_problems_get_an_interval_that_holds() -> None:
    random = np.random.default_rng(0)
    found = [
        mean_interval((random.binomial(16, random.beta(9, 1, 5)) / 16).tolist()) for _ in range(200)
    ]
    assert {interval.method for interval in found} == {Method.WILSON}
    assert sum(interval.low <= 0.9 <= interval.high for interval in found) >= 190


@settings(deadline=None)
@given(st.lists(SHARES, min_size=1, max_size=40))
def test_an_interval_holds_its_mean_and_stays_in_bounds(values: list[float]) -> None:
    found = mean_interval(values)
    assert 0 <= found.low <= mean(values) <= found.high <= 1
    assert found.low < found.high


@settings(deadline=None, max_examples=25)
@given(MANY)
def test_the_order_of_problems_changes_nothing(values: list[float]) -> None:
    assert estimate(values) == estimate(sorted(values)) == estimate(values[::-1])


@settings(deadline=None, max_examples=25)
@given(MANY)
def test_bounds_turn_with_the_values(values: list[float]) -> None:
    found = mean_interval(values)
    scaled = mean_interval([2 * v - 1 for v in values], least=-1, most=1)
    assert (scaled.low, scaled.high) == pytest.approx((2 * found.low - 1, 2 * found.high - 1))


def test_the_method_follows_from_the_values() -> None:
    assert mean_interval([0, 1] * 20) == wilson(20, 40)
    assert mean_interval([1.0] * 40) == wilson(40, 40)
    assert mean_interval([0.5, 1.0]) == wilson(1.5, 2)
    assert mean_interval([0.5, 0.25] * 20).method is Method.BOOTSTRAP


def test_values_without_spread_still_leave_doubt() -> None:
    found = mean_interval([0.25] * 100)
    unseen = wilson(0, 100).high
    assert (found.low, found.high) == pytest.approx((0.25 * (1 - unseen), 0.25 + 0.75 * unseen))
    same = mean_interval([0.0] * 100, least=-1, most=1)
    assert (same.low, same.high) == pytest.approx((-unseen, unseen))


def test_the_standard_error_is_clustered_by_problem() -> None:
    random = np.random.default_rng(1)
    num_problems, num_samples = 12, 5
    correct = random.random((num_problems, num_samples)) < random.random((num_problems, 1))
    off = correct - correct.mean()
    # arXiv 2411.00640: products of all pairs of samples in one cluster, over n^2
    pairs = sum(float(np.outer(row, row).sum()) for row in off)
    clustered = sqrt(pairs) / correct.size * sqrt(num_problems / (num_problems - 1))
    assert standard_error(correct.mean(axis=1).tolist()) == pytest.approx(clustered)
    naive = correct.std() / sqrt(correct.size)
    assert clustered > 1.3 * naive


def test_one_problem_has_no_standard_error() -> None:
    found = estimate([0.5])
    assert found.standard_error is None
    assert found.interval == wilson(0.5, 1)
    assert found.num_problems == 1


def test_more_problems_narrow_the_interval() -> None:
    widths = []
    for times in (1, 4, 16):
        found = mean_interval([c / 16 for c in SIXTEENTHS * times])
        widths.append(found.high - found.low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.1)
    assert widths[1] / widths[2] == pytest.approx(2, rel=0.1)
