"""Reinforcement-learning rows: whole steps, and rows that time the trainer alone."""

from collections.abc import Callable
from typing import Any

import pytest

from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.reinforcement import reinforcement
from penjing.plan.validate.row import Row
from penjing.plan.validate.setting import setting_of
from penjing.plan.validate.training import training

Predict = Callable[..., float]
STATED = {
    "phase": "training-rl",
    "engine": "NeMo-RL (Megatron-Core + vLLM)",
    "parallelism": "On policy; gen [TP,PP]=[1,1]; train [TP,CP,EP,PP,VPP]=[1,1,1,1,n/a]",
    "chips_total": "8",
    "input_len": "avg total seq 1,000",
    "output_len": "",
    "concurrency_or_batch": "G-GBS 512 T-GBS 512",
    "metric_name": "step_time_s",
    "notes": "max 4,096",
}


@pytest.fixture(scope="module")
def stepped(row: Callable[..., Row]) -> Predict:
    def predicted(**changes: Any) -> float:
        return reinforcement(setting_of(row(**{**STATED, **changes})))

    return predicted


def test_the_rate_is_all_tokens_of_the_step_over_its_time(stepped: Predict) -> None:
    rate = stepped(metric_name="tok_s_per_gpu")
    assert rate == pytest.approx(512 * 1000 / stepped() / 8)


def test_generation_and_training_apart_overlap_on_half_the_chips_each(stepped: Predict) -> None:
    apart = STATED["parallelism"].replace("On", "Off")
    twice = stepped(parallelism=apart, chips_total="16", nodes="2")
    assert 0.7 * stepped() < twice < stepped()  # generation alone is three quarters of the step
    assert stepped(parallelism=apart) > twice


def test_a_lower_limit_on_the_longest_answer_shortens_the_step(stepped: Predict) -> None:
    assert stepped(notes="max 1,500") < stepped(notes="max 8,192")


def test_a_row_of_the_trainer_alone_is_a_training_row(row: Callable[..., Row]) -> None:
    setting = setting_of(row(**{**STATED, "notes": "trainer only", "metric_name": "mfu"}))
    assert reinforcement(setting) == training(setting)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"input_len": "1000"}, "response lengths or layout"),
        ({"parallelism": "colocate sync"}, "response lengths or layout"),
        ({"parallelism": "gen [TP,PP]=?"}, "generation layout or batch not stated"),
        ({"concurrency_or_batch": "512"}, "generation layout or batch not stated"),
        ({"input_len": "avg total seq 0"}, "sequence length of 0 is below one"),
        ({"metric_name": "rollout_time_s"}, "metric rollout_time_s is not predicted"),
    ],
)
def test_what_is_not_predicted(stepped: Predict, changes: dict[str, str], reason: str) -> None:
    with pytest.raises(Unmapped, match=reason):
        stepped(**changes)
