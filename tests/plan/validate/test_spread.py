"""Intervals fitted on errors whose quantiles are known."""

import math
from collections.abc import Callable

import pytest

from penjing.cost.interval import Metric
from penjing.plan.validate.outcome import Outcome
from penjing.plan.validate.spread import LEAST_RUNS, fit_spreads

MakeOutcome = Callable[..., Outcome]
RATIOS = [2.0 ** (n / 10) for n in range(11)]  # log errors 0 to ln 2, evenly spaced


def ladder(outcome: MakeOutcome, metric: Metric, sources: str, derived: bool) -> list[Outcome]:
    """Eleven runs from as measured to twice what was measured, the same in every source."""
    return [
        outcome(r, metric=metric, source_key=s, leak_group=f"{s}{derived}{r}", derived=derived)
        for s in sources
        for r in RATIOS
    ]


def test_factors_bring_the_prediction_to_the_truth(outcome: MakeOutcome) -> None:
    fitted = fit_spreads(ladder(outcome, Metric.OFFLINE, "abc", derived=False))
    spread = fitted[Metric.OFFLINE, False].spread
    # 33 runs, three at each step: the 10 % quantile lies a tenth and a little down the ladder.
    assert spread.high == pytest.approx(2**-0.06, abs=0.02)
    assert spread.low == pytest.approx(2**-0.94, abs=0.02)
    assert (spread.groups, fitted[Metric.OFFLINE, False].sources) == (33, 3)


def test_factors_of_a_time_are_on_the_time(outcome: MakeOutcome) -> None:
    fitted = fit_spreads(ladder(outcome, Metric.TPOT, "abc", derived=False))
    spread = fitted[Metric.TPOT, False].spread
    assert spread.low == pytest.approx(2**-0.94, abs=0.02)  # predicted times were too long
    assert spread.high == pytest.approx(2**-0.06, abs=0.02)


def test_too_few_runs_or_sources_are_pooled(outcome: MakeOutcome) -> None:
    measured = ladder(outcome, Metric.OFFLINE, "abc", derived=False)
    derived = [outcome(8.0, derived=True, leak_group="x", source_key="d")]
    fitted = fit_spreads([*measured, *derived])
    assert not fitted[Metric.OFFLINE, False].together
    assert fitted[Metric.OFFLINE, True].together
    assert fitted[Metric.OFFLINE, True].spread.groups == 34
    one_source = ladder(outcome, Metric.OFFLINE, "d", derived=True)
    assert len(one_source) > LEAST_RUNS
    assert fit_spreads([*measured, *one_source])[Metric.OFFLINE, True].together


def test_a_source_far_from_the_rest_widens_the_interval_by_its_distance(
    outcome: MakeOutcome,
) -> None:
    near = [
        outcome(1.0, source_key=s, leak_group=f"{s}{n}") for s in "ab" for n in range(LEAST_RUNS)
    ]
    far = [outcome(4.0, source_key="c", leak_group=f"c{n}") for n in range(LEAST_RUNS)]
    spread = fit_spreads([*near, *far])[Metric.OFFLINE, False].spread
    assert spread.low == pytest.approx(1 / 4)
    # Seen without a or b, the centre of the others is halfway to c: they lie 2x beneath it.
    assert math.log2(spread.high) == pytest.approx(1.0)


def test_a_metric_without_runs_has_no_interval(outcome: MakeOutcome) -> None:
    fitted = fit_spreads([outcome(1.0), outcome(None, metric=Metric.TTFT)])
    assert set(fitted) == {(Metric.OFFLINE, False), (Metric.OFFLINE, True)}
