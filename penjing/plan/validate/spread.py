"""Fitting the intervals that predictions carry, on the errors of sources left out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from penjing.cost.interval import Metric, Spread
from penjing.plan.validate.folds import (
    TAILS,
    centre,
    judged,
    parts_of,
    quantiles,
    source_of,
    weighted_errors,
)
from penjing.plan.validate.outcome import Outcome
from penjing.plan.validate.summary import Run

# Fewer say too little by themselves: measured and derived chips are then taken together.
LEAST_RUNS = 10
LEAST_SOURCES = 3


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A spread, the sources it rests on, and whether it had to take all chips ``together``."""

    spread: Spread
    sources: int
    together: bool


def fit_spreads(found: Iterable[Outcome]) -> Mapping[tuple[Metric, bool], Fitted]:
    """For each metric, and for chips with measured (False) or derived (True) kernel curves."""
    seen = judged(found)
    fitted = {}
    for metric in Metric:
        every = [run for run in seen if run.metric is metric]
        for derived in (False, True):
            mine = [run for run in every if run.outcomes[0].derived is derived]
            alone = len(mine) >= LEAST_RUNS and len(parts_of(mine, source_of)) >= LEAST_SOURCES
            if every:
                fitted[metric, derived] = _fitted(metric, mine if alone else every, not alone)
    return fitted


def _fitted(metric: Metric, members: Sequence[Run], together: bool) -> Fitted:
    """Jackknife: a source's errors about the centre of the others, put back about the common one.

    So a source that lies far from the rest widens the interval by all its distance.
    """
    parts = parts_of(members, source_of)
    errors: list[tuple[float, float]] = []
    for name, mine in parts.items():
        others = {other: runs for other, runs in parts.items() if other != name}
        shift = centre(parts) - centre(others) if others else 0.0
        errors += weighted_errors(mine, shift)
    low, high = quantiles(errors, TAILS)
    rates = Spread(low=math.exp(-high), high=math.exp(-low), groups=len(members))
    spread = rates.inverse() if metric.is_time else rates
    return Fitted(spread=spread, sources=len(parts), together=together)
