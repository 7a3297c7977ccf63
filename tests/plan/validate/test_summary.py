"""Errors over runs, with numbers worked out by hand."""

import math
from collections.abc import Callable

import pytest

from penjing.cost.interval import Metric
from penjing.plan.validate.outcome import Outcome
from penjing.plan.validate.row import Row
from penjing.plan.validate.summary import at_given_rate, runs, score, summarise

MakeOutcome = Callable[..., Outcome]


def test_a_run_counts_once_whatever_its_rows(outcome: MakeOutcome) -> None:
    members = [
        outcome(1.1, leak_group="a"),
        outcome(1.3, leak_group="a", within=False),
        outcome(0.5, leak_group="b"),
        outcome(None, leak_group="c"),
    ]
    found = score(members)
    assert (found.rows, found.mapped, found.leak_groups) == (4, 3, 2)
    # Run a is off by (10 + 30) / 2 = 20 %, run b by 50 %.
    assert found.median_error == pytest.approx(0.35)
    assert found.mean_error == pytest.approx(0.35)  # by row it would be 30 %
    assert found.p90_error == pytest.approx(0.2 + 0.9 * 0.3)
    logs = (math.log(1.1) + math.log(1.3)) / 2, math.log(0.5)
    assert found.bias == pytest.approx(math.exp(sum(logs) / 2) - 1)
    assert found.interval_coverage == pytest.approx((0.5 + 1) / 2)
    assert found.coverage == 0.75


def test_bias_is_above_zero_where_predicted_too_fast(outcome: MakeOutcome) -> None:
    rate = score([outcome(1.5)])
    time = score([outcome(1.5, metric=Metric.TPOT)])
    assert rate.bias == pytest.approx(0.5)
    assert time.bias == pytest.approx(1 / 1.5 - 1)
    assert time.median_error == pytest.approx(0.5)


def test_a_step_time_and_a_rate_of_one_run_lean_the_same_way(outcome: MakeOutcome) -> None:
    pair = [
        outcome(0.5, metric=Metric.RL, metric_name="step_time_s"),
        outcome(2.0, metric=Metric.RL, metric_name="tok_s_per_gpu"),
    ]
    assert score(pair).bias == pytest.approx(1.0)  # unturned, the two would cancel


def test_a_run_counts_once_for_each_metric(outcome: MakeOutcome) -> None:
    pair = [outcome(1.0), outcome(1.0, metric=Metric.TPOT)]
    assert [run.metric for run in runs(pair)] == [Metric.OFFLINE, Metric.TPOT]
    assert summarise(pair).by_source["lab"].total.leak_groups == 2
    assert summarise(pair).by_source["lab"].by_metric["tpot"].leak_groups == 1


def test_rows_that_name_no_run_are_runs_of_their_own(outcome: MakeOutcome) -> None:
    members = [outcome(1.0, leak_group="", id=name) for name in ("x", "y")]
    assert [run.name for run in runs(members)] == ["x", "y"]


def test_the_ambiguous_and_kernels_are_left_out(outcome: MakeOutcome) -> None:
    kernel = Outcome(row=outcome(1.0, phase="kernel").row, metric=None, reason="kernel")
    found = summarise([outcome(1.1), outcome(9.0, trust="C"), kernel, outcome(None)])
    coverage = found.coverage
    assert (coverage.rows, coverage.kernels, coverage.ambiguous) == (4, 1, 1)
    assert (coverage.scored, coverage.mapped, coverage.share) == (2, 1, 0.5)
    assert found.headline["serving throughput"].median_error == pytest.approx(0.1)
    assert found.by_metric["offline-throughput"].rows == 2
    assert found.unmapped == {"kernel": 1, "no such chip": 1}


def test_throughput_at_a_given_rate_is_told_apart(outcome: MakeOutcome) -> None:
    given = {"phase": "serving-online", "metric": Metric.ONLINE, "leak_group": "b"}
    found = summarise(
        [outcome(1.4), outcome(1.0, **given, concurrency_or_batch="Poisson target_qps 2")]
    ).headline
    assert found["serving throughput"].leak_groups == 2
    assert found["serving throughput, saturated"].median_error == pytest.approx(0.4)
    assert found["serving throughput, at a given rate"].median_error == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("phase", "load", "given"),
    [
        ("serving-online", "1000 prompts @ 16 qps", True),
        ("serving-online", "64", False),
        ("serving-online", "who knows", False),
        ("serving-offline", "1000 prompts @ 16 qps", False),
    ],
)
def test_whose_throughput_is_given(
    row: Callable[..., Row], phase: str, load: str, given: bool
) -> None:
    assert at_given_rate(row(phase=phase, concurrency_or_batch=load)) is given


def test_fine_tuning_is_no_pretraining(outcome: MakeOutcome) -> None:
    tuned = outcome(1.2, metric=Metric.PRETRAINING, phase="training-finetune")
    found = summarise([tuned])
    assert found.headline["pretraining throughput"].rows == 0
    assert found.by_metric["pretraining"].rows == 1


def test_groups_come_in_falling_order_of_rows(outcome: MakeOutcome) -> None:
    members = [outcome(1.0, engine=e, leak_group=str(n)) for n, e in enumerate(["x", "", "y", "y"])]
    assert list(summarise(members).by_engine) == ["y", "not stated", "x"]


def test_the_worst_run_is_the_farthest_off_by_ratio(outcome: MakeOutcome) -> None:
    fast, slow = outcome(3.0, leak_group="fast"), outcome(0.2, leak_group="slow")
    assert [run.name for run in summarise([fast, slow]).worst] == ["slow", "fast"]


def test_no_rows_have_no_errors() -> None:
    found = summarise([])
    assert found.coverage.share is None
    assert found.headline["TPOT"].median_error is None
    assert (found.by_metric, found.by_source, found.unmapped, list(found.worst)) == ({}, {}, {}, [])
