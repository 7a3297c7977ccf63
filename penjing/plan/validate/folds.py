"""Honest errors: a source, or a chip, is recalibrated with nothing learnt from it.

Each metric is recalibrated by one factor, learnt from the rows of all other sources (or chips)
and applied to the one left out. When a chip is left out its own kernel curves are hidden too, so
that it is predicted as a chip would be that nobody has measured. Errors are oriented: above zero
means predicted too fast. The throughput of requests that come at a given rate is left out: it is
that rate.

The constants of the cost model itself (engines, training stacks) were set once with all sources
in sight, so only a file that nobody looked at is a stricter test than these folds.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from penjing.cost.efficiency import measured_chips
from penjing.cost.interval import Metric
from penjing.plan.validate.outcome import Outcome, is_time, outcomes
from penjing.plan.validate.summary import Run, at_given_rate, runs, scored

TAILS = (0.1, 0.9)  # quantiles that bound an interval of 80 %


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """One source or chip, or all of them, for one metric.

    Median errors over its runs: ``own_error`` with nothing hidden, ``hidden_error`` without the
    chip's kernel curves (the same, where a source is left out), ``recalibrated_error`` after
    ``factor``, which multiplies predicted rates and divides predicted times. ``within`` is the
    share of runs between the ``TAILS`` of the others' errors. None where there are no others to
    learn from, and ``factor`` also for all together.
    """

    leak_groups: int
    own_error: float
    hidden_error: float
    recalibrated_error: float | None
    within: float | None
    factor: float | None


@dataclass(frozen=True, kw_only=True)
class Fold:
    """A metric with each source or chip left out in turn; ``overall`` has every run once."""

    overall: LeftOut
    parts: Mapping[str, LeftOut]


Folds = Mapping[Metric, Fold]
Parts = Mapping[str, Sequence[Run]]


def leave_one_source_out(found: Iterable[Outcome]) -> Folds:
    """Every source predicted with the factor and interval of the others."""
    seen = judged(found)
    return _folds(seen, seen, source_of)


def leave_one_chip_out(found: Iterable[Outcome]) -> Folds:
    """Every chip that has kernel curves predicted without them, the factor from other chips.

    Predicts the rows of those chips once more, which takes as long as the first time.
    """
    seen = judged(found)
    measured = [o.row for run in seen for o in run.outcomes if o.chip in measured_chips()]
    return _folds(judged(outcomes(measured, hide_own_curves=True)), seen, lambda run: run.chip)


def judged(found: Iterable[Outcome]) -> list[Run]:
    """The runs that say something about the model."""
    return [run for run in runs(scored(found)) if not _is_given(run)]


def source_of(run: Run) -> str:
    return run.source


def parts_of(members: Iterable[Run], part_of: Callable[[Run], str]) -> Parts:
    found: dict[str, list[Run]] = defaultdict(list)
    for run in members:
        found[part_of(run)].append(run)
    return found


def centre(parts: Parts) -> float:
    """Median over parts of their median oriented error: a part counts once, whatever its size."""
    return float(np.median([np.median([r.faster for r in part]) for part in parts.values()]))


def quantiles(errors: Iterable[tuple[float, float]], levels: Sequence[float]) -> list[float]:
    """Quantiles of (error, weight) pairs, each weight spread evenly about its error."""
    values, weights = (np.array(column) for column in zip(*sorted(errors), strict=True))
    places = (np.cumsum(weights) - weights / 2) / weights.sum()
    return [float(v) for v in np.interp(levels, places, values)]


def weighted_errors(members: Iterable[Run], shift: float = 0.0) -> list[tuple[float, float]]:
    """Oriented errors of all rows, plus ``shift``; the weights of a run add up to one."""
    return [(o.faster + shift, 1.0 / len(run.outcomes)) for run in members for o in run.outcomes]


def _is_given(run: Run) -> bool:
    return run.metric is Metric.ONLINE and all(at_given_rate(o.row) for o in run.outcomes)


def _folds(left: Sequence[Run], seen: Sequence[Run], part_of: Callable[[Run], str]) -> Folds:
    """``left`` runs are judged part by part, the others of ``seen`` teach."""
    found = {}
    for metric in Metric:
        mine = parts_of((run for run in left if run.metric is metric), part_of)
        if mine:
            found[metric] = _fold(mine, parts_of((r for r in seen if r.metric is metric), part_of))
    return found


def _fold(left: Parts, seen: Parts) -> Fold:
    trials = {name: _trial(runs, _without(seen, name)) for name, runs in left.items()}
    return Fold(
        overall=_left_out(left, seen, trials),
        parts={
            name: _left_out({name: left[name]}, seen, {name: trial})
            for name, trial in trials.items()
        },
    )


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """Errors of the runs left out and their shares inside the interval; both empty: no others."""

    errors: Sequence[float] = ()
    within: Sequence[float] = ()
    factor: float | None = None


def _trial(members: Sequence[Run], others: Parts) -> _Trial:
    if not others:
        return _Trial()
    learnt = centre(others)
    low, high = quantiles(weighted_errors(r for part in others.values() for r in part), TAILS)
    return _Trial(
        errors=[_recalibrated(run, learnt) for run in members],
        within=[float(np.mean([low <= o.faster <= high for o in r.outcomes])) for r in members],
        factor=float(np.exp(-learnt)),
    )


def _recalibrated(run: Run, learnt: float) -> float:
    """Mean absolute error of the run after every rate was divided by exp(learnt)."""
    turned = [o.log_error + (learnt if is_time(o.row) else -learnt) for o in run.outcomes]
    return float(np.mean(np.abs(np.expm1(turned))))


def _left_out(left: Parts, seen: Parts, trials: Mapping[str, _Trial]) -> LeftOut:
    """The parts named in ``trials`` taken together."""
    errors = [error for trial in trials.values() for error in trial.errors]
    within = [share for trial in trials.values() for share in trial.within]
    factors = [trial.factor for trial in trials.values()]
    return LeftOut(
        leak_groups=sum(len(left[name]) for name in trials),
        own_error=_median([run.error for name in trials for run in seen[name]]),
        hidden_error=_median([run.error for name in trials for run in left[name]]),
        recalibrated_error=_median(errors) if errors else None,
        within=float(np.mean(within)) if within else None,
        factor=factors[0] if len(factors) == 1 else None,
    )


def _without(parts: Parts, name: str) -> Parts:
    return {other: members for other, members in parts.items() if other != name}


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))
