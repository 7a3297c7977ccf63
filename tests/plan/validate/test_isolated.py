"""Rows that time decoding or prefilling alone."""

from collections.abc import Callable
from typing import Any

import pytest

from penjing.plan.validate.isolated import decoding, prefilling
from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.row import Row
from penjing.plan.validate.setting import setting_of

Predict = Callable[..., float]


@pytest.fixture(scope="module")
def decoded(row: Callable[..., Row]) -> Predict:
    def predicted(**changes: Any) -> float:
        return decoding(setting_of(row(phase="decode-only", **changes)))

    return predicted


@pytest.fixture(scope="module")
def prefilled(row: Callable[..., Row]) -> Predict:
    def predicted(**changes: Any) -> float:
        return prefilling(setting_of(row(phase="prefill-only", **changes)))

    return predicted


def test_a_batch_gives_a_token_each_in_every_step(decoded: Predict) -> None:
    step_ms = decoded(metric_name="tpot_ms")
    assert decoded() == pytest.approx(32 / (step_ms / 1e3))


def test_a_batch_for_each_chip_is_spread_over_replicas(decoded: Predict) -> None:
    one = decoded(concurrency_or_batch="16 per GPU")
    four = decoded(concurrency_or_batch="16 per GPU", chips_total="4")
    assert four == pytest.approx(4 * one)


def test_without_a_batch_the_stated_limit_is_filled(decoded: Predict) -> None:
    words = {"concurrency_or_batch": "", "notes": "TPOT <= 20 ms"}
    assert decoded(**words, metric_name="tpot_ms") == pytest.approx(20.0, rel=1e-6)
    with pytest.raises(Unmapped, match="batch size not stated"):
        decoded(concurrency_or_batch="")


def test_a_limit_that_the_model_cannot_keep_is_taken_a_quarter_above_its_best(
    decoded: Predict,
) -> None:
    alone_ms = decoded(metric_name="tpot_ms", concurrency_or_batch="1")
    words = {"concurrency_or_batch": "", "notes": "TPOT < 1 ms"}
    assert decoded(**words, metric_name="tpot_ms") == pytest.approx(1.25 * alone_ms)


def test_the_first_token_is_not_part_of_decoding(decoded: Predict) -> None:
    with pytest.raises(Unmapped, match="only decodes"):
        decoded(metric_name="ttft_ms")


def test_prompt_tokens_of_a_decode_row_are_prefilled(decoded: Predict, prefilled: Predict) -> None:
    name = "input_tok_s_total"
    assert decoded(metric_name=name) == prefilled(metric_name=name)


def test_rates_of_prefill_by_chip_node_and_all(prefilled: Predict) -> None:
    total, chip, node = (
        prefilled(metric_name=f"input_tok_s_{part}", chips_total="16", nodes="2")
        for part in ("total", "per_gpu", "per_node")
    )
    assert total == pytest.approx(16 * chip)
    assert node == pytest.approx(8 * chip)


def test_prompts_that_come_together_wait_for_each_other(prefilled: Predict) -> None:
    waits = [
        prefilled(metric_name="ttft_ms", input_len="4096", concurrency_or_batch=n)
        for n in ("1", "2", "8")
    ]
    assert waits[0] < waits[1] < waits[2]
    assert waits[2] == pytest.approx(waits[1] * (4 + 1) / 2)  # four passes of two prompts


def test_one_short_prompt_does_not_fill_the_chip(prefilled: Predict) -> None:
    words = {"metric_name": "input_tok_s_total", "input_len": "128"}
    assert prefilled(**words, concurrency_or_batch="1") < prefilled(
        **words, concurrency_or_batch="max throughput"
    )


def test_a_lone_prompt_does_not_fill_a_pipeline(prefilled: Predict) -> None:
    """It passes one stage after the other; many fill all stages but for the first and last."""
    words = {"metric_name": "input_tok_s_total", "input_len": "8192", "chips_total": "4"}
    one, two, many = (
        prefilled(**words, parallelism="pp4", concurrency_or_batch=n) for n in ("1", "2", "4000")
    )
    full = prefilled(**words, parallelism="pp4", concurrency_or_batch="max throughput")
    assert full == pytest.approx(4 * one)
    assert two == pytest.approx(one * 2 / (1 + 1 / 4))
    assert many == pytest.approx(full, rel=1e-3)


def test_other_metrics_are_refused(prefilled: Predict) -> None:
    with pytest.raises(Unmapped, match="metric req_s is not predicted for prefill-only"):
        prefilled(metric_name="req_s")
