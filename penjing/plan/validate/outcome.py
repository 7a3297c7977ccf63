"""A row beside its prediction."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from penjing.cost.efficiency import efficiency_of
from penjing.cost.interval import Metric, Spread, interval_of
from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.predict import predict
from penjing.plan.validate.row import Row
from penjing.plan.validate.setting import chip_of


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``predicted``, ``low`` and ``high`` are in the row's metric and unit; None: not predicted.

    ``reason`` says why not. ``chip`` is the name in the catalogue, empty where the row's is none;
    ``derived`` where that chip has no kernel curves of its own.
    """

    row: Row
    metric: Metric | None
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    chip: str = ""
    derived: bool = False

    @property
    def log_error(self) -> float:
        """ln(predicted / measured)."""
        assert self.predicted is not None
        return math.log(self.predicted / self.row.value)

    @property
    def error(self) -> float:
        """Signed relative error: 0.1 is ten per cent above what was measured."""
        assert self.predicted is not None
        return self.predicted / self.row.value - 1.0

    @property
    def faster(self) -> float:
        """The log error with its sign turned so that above zero is predicted too fast."""
        return -self.log_error if is_time(self.row) else self.log_error

    @property
    def within(self) -> bool:
        """Whether the interval holds what was measured."""
        assert self.low is not None
        assert self.high is not None
        return self.low <= self.row.value <= self.high


def is_time(row: Row) -> bool:
    """Whether less is better: seconds and chip-hours, unlike rates, FLOP/s and utilisation."""
    name = row.metric_name
    return name.endswith(("_ms", "_us", "time_s", "_min")) or name.startswith("gpu_hours")


def metric_of(row: Row) -> Metric:
    """What a row measures; raises ``Unmapped`` for kernels and unknown phases.

    Tokens a second for one user is a time between tokens, upside down.
    """
    match row.phase:
        case "serving-online" | "serving-offline":
            if row.metric_name in ("tpot_ms", "output_tok_s_per_user"):
                return Metric.TPOT
            if row.metric_name == "ttft_ms":
                return Metric.TTFT
            return Metric.ONLINE if row.phase == "serving-online" else Metric.OFFLINE
        case "decode-only":
            prompts = row.metric_name.startswith(("input", "total"))
            return Metric.PREFILL if prompts else Metric.DECODE
        case "prefill-only":
            return Metric.PREFILL
        case "training-pretrain" | "training-finetune":
            return Metric.PRETRAINING
        case "training-rl":
            return Metric.RL
        case phase:
            raise Unmapped(f"phase {phase!r} is not modelled end to end")


def outcomes(rows: Iterable[Row], *, hide_own_curves: bool = False) -> list[Outcome]:
    """One for every row, in order; ``hide_own_curves`` as in ``predict``."""
    return [_outcome(row, hide_own_curves) for row in rows]


def _outcome(row: Row, hide_own_curves: bool) -> Outcome:
    metric = _metric_or_none(row)
    try:
        predicted = predict(row, hide_own_curves=hide_own_curves)
        chip = chip_of(row)
    except Unmapped as unmapped:
        return Outcome(row=row, metric=metric, reason=str(unmapped))
    assert metric is not None, f"predicted, but of what? {row.phase}"
    derived = hide_own_curves or efficiency_of(chip).is_derived
    spread = _spread(row, metric, derived)
    return Outcome(
        row=row,
        metric=metric,
        predicted=predicted,
        low=predicted * spread.low,
        high=predicted * spread.high,
        chip=chip.name,
        derived=derived,
    )


def _metric_or_none(row: Row) -> Metric | None:
    try:
        return metric_of(row)
    except Unmapped:
        return None


def _spread(row: Row, metric: Metric, derived: bool) -> Spread:
    spread = interval_of(metric, derived=derived)
    return spread if is_time(row) == metric.is_time else spread.inverse()
