"""Sources and chips left out, with numbers worked out by hand."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from penjing.cost.interval import Metric
from penjing.plan.validate.folds import (
    leave_one_chip_out,
    leave_one_source_out,
    quantiles,
    weighted_errors,
)
from penjing.plan.validate.outcome import Outcome, outcomes
from penjing.plan.validate.predict import predict
from penjing.plan.validate.row import read_rows
from penjing.plan.validate.summary import runs

MakeOutcome = Callable[..., Outcome]


@pytest.fixture(scope="module")
def three(outcome: MakeOutcome) -> list[Outcome]:
    """Sources a and b are predicted twice too fast, c as measured."""
    return [
        outcome(2.0, source_key="a", leak_group="a1"),
        outcome(2.0, source_key="a", leak_group="a2"),
        outcome(2.0, source_key="b", leak_group="b1"),
        outcome(1.0, source_key="c", leak_group="c1"),
    ]


def test_a_source_is_recalibrated_by_the_others_only(three: list[Outcome]) -> None:
    fold = leave_one_source_out(three)[Metric.OFFLINE]
    # Without c the centre is 2; without a or b it lies halfway, in logs, between 2 and 1.
    assert fold.parts["c"].factor == pytest.approx(1 / 2)
    assert fold.parts["c"].recalibrated_error == pytest.approx(0.5)
    assert fold.parts["a"].factor == pytest.approx(1 / math.sqrt(2))
    assert fold.parts["a"].recalibrated_error == pytest.approx(math.sqrt(2) - 1)
    assert (fold.parts["a"].leak_groups, fold.parts["a"].own_error) == (2, 1.0)


def test_all_together_have_every_run_once(three: list[Outcome]) -> None:
    overall = leave_one_source_out(three)[Metric.OFFLINE].overall
    assert overall.leak_groups == 4
    assert overall.own_error == overall.hidden_error == pytest.approx(1.0)
    assert overall.recalibrated_error == pytest.approx(math.sqrt(2) - 1)
    assert overall.factor is None


def test_the_interval_is_that_of_the_others(three: list[Outcome]) -> None:
    parts = leave_one_source_out(three)[Metric.OFFLINE].parts
    assert parts["c"].within == 0.0  # all others are at 2
    assert parts["a"].within == 1.0  # between b at 2 and c at 1


def test_times_are_divided_where_rates_are_multiplied(outcome: MakeOutcome) -> None:
    halves = [outcome(0.5, metric=Metric.TPOT, source_key=s, leak_group=s) for s in ("a", "b", "c")]
    part = leave_one_source_out(halves)[Metric.TPOT].parts["a"]
    assert part.factor == pytest.approx(0.5)  # of the rate: predicted twice too fast
    assert part.own_error == pytest.approx(0.5)
    assert part.recalibrated_error == pytest.approx(0.0, abs=1e-12)


def test_a_single_source_has_nothing_to_learn_from(outcome: MakeOutcome) -> None:
    fold = leave_one_source_out([outcome(1.5)])[Metric.OFFLINE]
    assert fold.overall.own_error == pytest.approx(0.5)
    assert fold.overall.recalibrated_error is fold.overall.within is None


def test_what_is_given_or_ambiguous_teaches_nothing(
    three: list[Outcome], outcome: MakeOutcome
) -> None:
    given = outcome(
        9.0,
        metric=Metric.ONLINE,
        phase="serving-online",
        source_key="d",
        concurrency_or_batch="Poisson target_qps 2",
    )
    ambiguous = outcome(9.0, trust="C", source_key="e", leak_group="e1")
    assert leave_one_source_out([*three, given, ambiguous]) == leave_one_source_out(three)


def test_quantiles_weigh_a_run_once(outcome: MakeOutcome) -> None:
    many = [outcome(1.0, leak_group="many") for _ in range(9)]
    one = outcome(math.e, leak_group="one")
    errors = weighted_errors(runs([*many, one]))
    assert sum(weight for _, weight in errors) == pytest.approx(2.0)
    # Half the weight lies at 0 and half at 1: the last of the nine ends at 17/36, the one at 3/4.
    assert quantiles(errors, (0.1, 17 / 36, 0.75, 0.9)) == pytest.approx([0.0, 0.0, 1.0, 1.0])
    assert quantiles(errors, (0.5,))[0] == pytest.approx((1 / 2 - 17 / 36) / (3 / 4 - 17 / 36))


def test_a_chip_left_out_is_predicted_without_its_curves(measurements: Path) -> None:
    found = outcomes(read_rows(measurements))
    folds = leave_one_chip_out(found)
    (prefilled,) = (o for o in found if o.row.id == "rtp-llm-h800-57d24ac017")
    part = folds[Metric.PREFILL].parts["H800 SXM"]
    hidden = predict(prefilled.row, hide_own_curves=True)
    assert part.own_error == pytest.approx(abs(prefilled.error))
    assert part.hidden_error == pytest.approx(abs(hidden / prefilled.row.value - 1))
    assert part.factor is not None
    assert part.recalibrated_error == pytest.approx(
        abs(hidden * part.factor / prefilled.row.value - 1)
    )
    # A chip without curves of its own teaches, and is not judged.
    assert "Ascend 910B2" in {o.chip for o in found}
    assert not any("Ascend 910B2" in fold.parts for fold in folds.values())
