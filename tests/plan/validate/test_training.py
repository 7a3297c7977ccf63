"""Training rows: the same step in every unit that tables use."""

from collections.abc import Callable
from typing import Any

import pytest

from penjing.cost.layout import Layout
from penjing.cost.training_step import model_flops_per_token
from penjing.hardware.precision import Precision
from penjing.models.catalogue import load_model
from penjing.plan.validate.number import Unmapped
from penjing.plan.validate.row import Row
from penjing.plan.validate.setting import setting_of
from penjing.plan.validate.training import training, training_layout

Predict = Callable[..., float]
STATED = {
    "phase": "training-pretrain",
    "engine": "Megatron-LM",
    "parallelism": "TP2 PP1",
    "chips_total": "8",
    "input_len": "4096",
    "output_len": "",
    "concurrency_or_batch": "GBS 64 MBS 1",
    "metric_name": "step_time_s",
}


@pytest.fixture(scope="module")
def trained(row: Callable[..., Row]) -> Predict:
    def predicted(**changes: Any) -> float:
        return training(setting_of(row(**{**STATED, **changes})))

    return predicted


def test_one_step_in_every_unit(row: Callable[..., Row], trained: Predict) -> None:
    step_s = trained()
    chip = setting_of(row()).chip
    each = model_flops_per_token(load_model("Llama-3.1-8B"), 4096)
    total = 64 * 4096 / step_s
    assert trained(metric_name="tok_s_total_train") == pytest.approx(total)
    assert trained(metric_name="train_tok_s_per_gpu") == pytest.approx(total / 8)
    assert trained(metric_name="tflops") == pytest.approx(total / 8 * each / 1e12)
    peak = chip.flops_per_s(Precision.BF16)
    assert trained(metric_name="mfu") == pytest.approx(total / 8 * each / peak)
    hours = trained(metric_name="gpu_hours_per_T_tokens")
    assert hours == pytest.approx(1e12 / total * 8 / 3600)
    counted = trained(metric_name="gpu_hours", notes="15T tokens")
    assert counted == pytest.approx(15 * hours)


def test_the_stack_and_the_batch_count(trained: Predict) -> None:
    assert trained(engine="NVIDIA NeMo") < trained() < trained(engine="torchtitan")
    assert trained(concurrency_or_batch="GBS 128 MBS 1") > 1.8 * trained()


def test_micro_batches_a_rank_are_read_as_a_global_batch(trained: Predict) -> None:
    rounds = trained(concurrency_or_batch="16 micro-batches")  # four data ranks
    assert rounds == pytest.approx(trained())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"metric_name": "time_to_train_min"}, "time to train rests on the samples"),
        ({"metric_name": "gpu_hours"}, "number of tokens trained on not stated"),
        ({"metric_name": "smiles"}, "metric smiles is not predicted"),
        ({"parallelism": "TP3"}, "8 chips are not a multiple of the stated layout"),
        ({"concurrency_or_batch": "0 micro-batches"}, "micro-batches of 0 is below one"),
        (
            {"model": "DeepSeek-V3", "parallelism": "not in summary"},
            "no training layout fits",
        ),
        (
            {"parallelism": "not in summary", "concurrency_or_batch": ""},
            "global batch not stated",
        ),
    ],
)
def test_what_is_not_predicted(trained: Predict, changes: dict[str, str], reason: str) -> None:
    with pytest.raises(Unmapped, match=reason):
        trained(**changes)


def test_a_layout_that_is_not_stated_is_the_fastest_that_fits(trained: Predict) -> None:
    chosen = trained(parallelism="not in summary", concurrency_or_batch="GBS 64")
    stated = [trained(parallelism=text) for text in ("TP1", "TP2", "TP2 PP2", "TP8", "TP4 CP2")]
    assert chosen <= min(stated) * 1.001


def test_recomputing_costs_time(trained: Predict) -> None:
    assert trained(notes="full AC") > trained(notes="selective AC")


def test_degrees_as_tables_write_them() -> None:
    mixture = load_model("DeepSeek-V3")
    layout = training_layout("train [tp,cp,ep,pp,vpp]=[1,1,16,8,n/a]", 128, mixture)
    assert layout == Layout(data=16, pipeline=8, expert=16)
    assert training_layout("tp2 ep4", 8, load_model("Llama-3.1-8B")) == Layout(tensor=2, data=4)
