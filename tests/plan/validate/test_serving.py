"""Rows of whole serving runs."""

from collections.abc import Callable
from typing import Any

import pytest

from penjing.cost.serving import Traffic
from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.row import Row
from penjing.plan.validate.serving import best_layout, serving
from penjing.plan.validate.setting import setting_of

MakeRow = Callable[..., Row]


@pytest.fixture(scope="module")
def served(row: MakeRow) -> Callable[..., float]:
    """The prediction of a serving row, changed as asked."""

    def predicted(**changes: Any) -> float:
        return serving(setting_of(row(**changes)))

    return predicted


def test_more_clients_get_more_together_and_each_waits_longer(
    served: Callable[..., float],
) -> None:
    rates = [served(concurrency_or_batch=str(n)) for n in (1, 16, 128)]
    waits = [served(concurrency_or_batch=str(n), metric_name="tpot_ms") for n in (1, 16, 128)]
    assert rates == sorted(rates)
    assert waits == sorted(waits)
    assert rates[2] > 10 * rates[0]


def test_throughput_under_a_slow_rate_is_that_rate(served: Callable[..., float]) -> None:
    rate = served(concurrency_or_batch="Poisson target_qps 2")
    assert rate == pytest.approx(2 * 200)


def test_two_replicas_give_twice_the_tokens_of_one(served: Callable[..., float]) -> None:
    one = served(concurrency_or_batch="max throughput")
    two = served(concurrency_or_batch="max throughput", chips_total="2")
    assert two == pytest.approx(2 * one)


def test_an_offline_batch_pays_for_whole_passes_of_prefill(served: Callable[..., float]) -> None:
    # 8 prompts of 1,000 tokens a pass: 32 fill four passes, 25 leave most of the fourth empty.
    steady = [served(concurrency_or_batch=n) for n in ("32", "25")]
    offline = [served(phase="serving-offline", concurrency_or_batch=n) for n in ("32", "25")]
    assert offline[0] == pytest.approx(steady[0])
    assert offline[1] < 0.98 * steady[1]


def test_a_known_latency_limit_caps_the_batch(served: Callable[..., float]) -> None:
    words = {"concurrency_or_batch": "max throughput", "metric_name": "tpot_ms"}
    free = served(**words)
    capped = served(**words, notes="TPOT <= 20 ms")
    assert capped <= 20.2 < free


def test_disaggregated_runs_need_clients(served: Callable[..., float]) -> None:
    words = {"parallelism": "1P1D each tp1", "chips_total": "2"}
    assert served(**words) > 0
    with pytest.raises(Unmapped, match="disaggregated run without a stated number of clients"):
        served(**words, concurrency_or_batch="max throughput")


def test_a_layout_is_chosen_where_none_is_stated(row: MakeRow) -> None:
    traffic = Traffic(input_tokens=1000.0, output_tokens=200.0)
    large = row(model="Llama-3.1-70B", chips_total="8", parallelism="not stated")
    layout = best_layout(setting_of(large), traffic)
    assert layout.chips in (2, 4, 8)
    assert layout.data == 1


def test_what_does_not_fit_has_no_layout(served: Callable[..., float]) -> None:
    with pytest.raises(Unmapped, match="no layout fits the stated chips"):
        served(model="DeepSeek-R1", precision_weights="FP8", parallelism="not stated")


def test_hidden_curves_change_a_run_whose_layout_is_chosen(row: MakeRow) -> None:
    made = row(chip="H20", parallelism="not stated", concurrency_or_batch="max throughput")
    own, hidden = (serving(setting_of(made, hide_own_curves=h)) for h in (False, True))
    assert own != hidden
