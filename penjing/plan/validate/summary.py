"""Outcomes in groups: how far off, to which side, how often inside the interval.

Rows of one run lean the same way, so a run counts once for each metric: the errors of its rows
are averaged first. Rows that are ambiguous (trust C) are left out, single kernels count apart.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from penjing.cost.interval import Metric
from penjing.cost.load import Arrivals
from penjing.plan.validate import labels
from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.outcome import Outcome
from penjing.plan.validate.row import Row

AMBIGUOUS = "C"  # the trust of rows whose meaning is not clear


@dataclass(frozen=True, kw_only=True)
class Run:
    """The predicted rows of one run (one leak group) and metric: what counts once."""

    name: str
    metric: Metric
    outcomes: tuple[Outcome, ...]

    @property
    def source(self) -> str:
        return self.outcomes[0].row.source_key

    @property
    def chip(self) -> str:
        return self.outcomes[0].chip

    @property
    def error(self) -> float:
        """Mean over the rows of |predicted / measured - 1|."""
        return float(np.mean([abs(o.error) for o in self.outcomes]))

    @property
    def faster(self) -> float:
        """Mean over the rows of the log error, above zero where predicted too fast."""
        return float(np.mean([o.faster for o in self.outcomes]))

    @property
    def within(self) -> float:
        """Share of the rows whose interval holds what was measured."""
        return float(np.mean([o.within for o in self.outcomes]))


@dataclass(frozen=True, kw_only=True)
class Score:
    """Errors as fractions over runs; None where nothing was predicted.

    ``bias`` is the median signed error, above zero where predicted too fast;
    ``interval_coverage`` the share of runs inside their intervals.
    """

    rows: int
    mapped: int
    leak_groups: int
    median_error: float | None = None
    mean_error: float | None = None
    bias: float | None = None
    p90_error: float | None = None
    interval_coverage: float | None = None

    @property
    def coverage(self) -> float | None:
        """Share of the rows that have a prediction."""
        return self.mapped / self.rows if self.rows else None


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """A group as a whole, and by metric."""

    total: Score
    by_metric: Mapping[str, Score]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Rows of a file: ``scored`` leaves out ``kernels`` and the ``ambiguous``."""

    rows: int
    kernels: int
    ambiguous: int
    scored: int
    mapped: int  # of the scored

    @property
    def share(self) -> float | None:
        """Of the scored rows, those that have a prediction."""
        return self.mapped / self.scored if self.scored else None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything ``penjing validate`` says but the rows; groups in falling order of rows."""

    coverage: Coverage
    headline: Mapping[str, Score]
    by_metric: Mapping[str, Score]
    by_chip_family: Mapping[str, Breakdown]
    by_model_family: Mapping[str, Breakdown]
    by_source: Mapping[str, Breakdown]
    by_engine: Mapping[str, Breakdown]
    unmapped: Mapping[str, int]  # over all rows of the file, the most frequent reason first
    worst: Sequence[Run]  # runs from the largest log error down


def summarise(outcomes: Sequence[Outcome]) -> Summary:
    """Group and score; an empty file has empty groups."""
    kept = scored(outcomes)
    reasons = Counter(o.reason for o in outcomes if o.predicted is None)
    return Summary(
        coverage=Coverage(
            rows=len(outcomes),
            kernels=sum(_is_kernel(o) for o in outcomes),
            ambiguous=sum(o.row.trust == AMBIGUOUS and not _is_kernel(o) for o in outcomes),
            scored=len(kept),
            mapped=sum(o.predicted is not None for o in kept),
        ),
        headline={name: score(o for o in kept if test(o)) for name, test in _HEADLINE.items()},
        by_metric=_by_metric(kept),
        by_chip_family=_broken_down(kept, lambda row: row.chip_family),
        by_model_family=_broken_down(kept, lambda row: row.model_family),
        by_source=_broken_down(kept, lambda row: row.source_key),
        by_engine=_broken_down(kept, lambda row: row.engine),
        unmapped=dict(reasons.most_common()),
        worst=sorted(runs(kept), key=lambda run: -abs(run.faster)),
    )


def scored(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those that count: end to end, and clear about what was measured."""
    return [o for o in outcomes if o.row.trust != AMBIGUOUS and not _is_kernel(o)]


def runs(outcomes: Iterable[Outcome]) -> list[Run]:
    """Predicted outcomes by leak group and metric; a row that names no group is its own."""
    found: dict[tuple[str, Metric], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.predicted is not None and outcome.metric is not None:
            name = outcome.row.leak_group or outcome.row.id
            found[name, outcome.metric].append(outcome)
    return [
        Run(name=name, metric=metric, outcomes=tuple(members))
        for (name, metric), members in found.items()
    ]


def score(outcomes: Iterable[Outcome]) -> Score:
    """Errors over the runs of ``outcomes``, each run once."""
    members = list(outcomes)
    each = runs(members)
    counts = Score(
        rows=len(members),
        mapped=sum(o.predicted is not None for o in members),
        leak_groups=len(each),
    )
    if not each:
        return counts
    errors = [run.error for run in each]
    return Score(
        rows=counts.rows,
        mapped=counts.mapped,
        leak_groups=counts.leak_groups,
        median_error=float(np.median(errors)),
        mean_error=float(np.mean(errors)),
        bias=float(np.expm1(np.median([run.faster for run in each]))),
        p90_error=float(np.quantile(errors, 0.9)),
        interval_coverage=float(np.mean([run.within for run in each])),
    )


def at_given_rate(row: Row) -> bool:
    """Whether requests came at a rate that the row states: its throughput is then that rate."""
    if row.phase != "serving-online":
        return False
    try:
        return isinstance(labels.load_of(row, 1), Arrivals)
    except Unmapped:
        return False


def _is_kernel(outcome: Outcome) -> bool:
    return outcome.row.phase == "kernel"


def _is_throughput(outcome: Outcome) -> bool:
    return outcome.metric in (Metric.OFFLINE, Metric.ONLINE)


_HEADLINE: Mapping[str, Callable[[Outcome], bool]] = {
    "serving throughput": _is_throughput,
    "serving throughput, saturated": lambda o: _is_throughput(o) and not at_given_rate(o.row),
    "serving throughput, at a given rate": lambda o: _is_throughput(o) and at_given_rate(o.row),
    "TPOT": lambda o: o.metric is Metric.TPOT,
    "TTFT": lambda o: o.metric is Metric.TTFT,
    "pretraining throughput": lambda o: o.row.phase == "training-pretrain",
}


def _by_metric(outcomes: Sequence[Outcome]) -> dict[str, Score]:
    found = {m: [o for o in outcomes if o.metric is m] for m in Metric}
    return {m.value: score(members) for m, members in found.items() if members}


def _broken_down(outcomes: Sequence[Outcome], label: Callable[[Row], str]) -> dict[str, Breakdown]:
    found: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        found[label(outcome.row) or "not stated"].append(outcome)
    return {
        name: Breakdown(total=score(members), by_metric=_by_metric(members))
        for name, members in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    }
