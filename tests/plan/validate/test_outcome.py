"""A row beside its prediction: errors with a sign, intervals in the row's own unit."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from penjing.cost.interval import Metric, interval_of
from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.outcome import Outcome, is_time, metric_of, outcomes
from penjing.plan.validate.predict import predict
from penjing.plan.validate.row import Row, read_rows

MakeRow = Callable[..., Row]
MakeOutcome = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("phase", "name", "metric"),
    [
        ("serving-offline", "output_tok_s_total", Metric.OFFLINE),
        ("serving-online", "req_s", Metric.ONLINE),
        ("serving-online", "tpot_ms", Metric.TPOT),
        ("serving-online", "output_tok_s_per_user", Metric.TPOT),
        ("serving-offline", "ttft_ms", Metric.TTFT),
        ("decode-only", "tpot_ms", Metric.DECODE),
        ("decode-only", "input_tok_s_total", Metric.PREFILL),
        ("prefill-only", "ttft_ms", Metric.PREFILL),
        ("training-pretrain", "mfu", Metric.PRETRAINING),
        ("training-finetune", "tflops", Metric.PRETRAINING),
        ("training-rl", "step_time_s", Metric.RL),
    ],
)
def test_what_a_row_measures(row: MakeRow, phase: str, name: str, metric: Metric) -> None:
    assert metric_of(row(phase=phase, metric_name=name)) is metric


@pytest.mark.parametrize("phase", ["kernel", "singing"])
def test_other_phases_measure_nothing_end_to_end(row: MakeRow, phase: str) -> None:
    with pytest.raises(Unmapped, match=phase):
        metric_of(row(phase=phase))


@pytest.mark.parametrize(
    ("name", "less_is_better"),
    [
        ("tpot_ms", True),
        ("step_time_s", True),
        ("gpu_hours", True),
        ("gpu_hours_per_T_tokens", True),
        ("time_to_train_min", True),
        ("output_tok_s_total", False),
        ("tok_s_per_gpu", False),
        ("req_s", False),
        ("mfu", False),
    ],
)
def test_which_metrics_are_times(row: MakeRow, name: str, less_is_better: bool) -> None:
    assert is_time(row(metric_name=name)) is less_is_better


def test_an_error_has_a_sign_and_a_direction(outcome: MakeOutcome) -> None:
    rate = outcome(2.0)
    assert (rate.error, rate.log_error, rate.faster) == (1.0, math.log(2), math.log(2))
    time = outcome(2.0, metric=Metric.TPOT)
    assert (time.error, time.log_error, time.faster) == (1.0, math.log(2), -math.log(2))


def test_the_interval_is_in_the_unit_of_the_row(row: MakeRow) -> None:
    spread = interval_of(Metric.ONLINE, derived=False)
    (rate,) = outcomes([row()])
    assert rate.predicted is not None
    assert rate.low == pytest.approx(spread.low * rate.predicted)
    assert rate.high == pytest.approx(spread.high * rate.predicted)


def test_rates_and_times_of_one_metric_have_reciprocal_intervals(row: MakeRow) -> None:
    spread = interval_of(Metric.TPOT, derived=False)
    time, rate = outcomes([row(metric_name=n) for n in ("tpot_ms", "output_tok_s_per_user")])
    assert time.predicted is not None
    assert time.low == pytest.approx(spread.low * time.predicted)
    assert rate.predicted is not None
    assert rate.low == pytest.approx(rate.predicted / spread.high)
    assert rate.high == pytest.approx(rate.predicted / spread.low)


def test_a_chip_without_curves_has_the_intervals_of_derived_ones(row: MakeRow) -> None:
    own, hidden = outcomes([row()])[0], outcomes([row()], hide_own_curves=True)[0]
    assert (own.chip, own.derived, hidden.derived) == ("H100 SXM", False, True)
    (relative,) = outcomes([row(chip="MI300X")])
    spread = interval_of(Metric.ONLINE, derived=True)
    assert relative.derived
    assert relative.predicted is not None
    assert relative.low == pytest.approx(spread.low * relative.predicted)


def test_every_row_has_an_outcome_in_order(measurements: Path) -> None:
    rows = read_rows(measurements)
    found = outcomes(rows)
    assert [o.row for o in found] == rows
    for one in found:
        assert (one.predicted is None) == bool(one.reason)
        if one.predicted is not None:
            assert one.predicted == predict(one.row)
            assert one.low is not None
            assert one.high is not None
            assert 0 < one.low < one.high < math.inf
