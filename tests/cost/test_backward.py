from collections.abc import Iterable

import pytest

from penjing.cost.backward import backward_calls, backward_ops
from penjing.cost.forward import forward_ops
from penjing.cost.layout import Layout
from penjing.cost.op import Kind, Op
from penjing.cost.roofline import Hardware, time_ops, total_seconds
from penjing.cost.training_setup import TrainSetup, TrainStack
from penjing.cost.training_step import micro_batch_timings, train_step
from penjing.cost.work import Numerics, Pass, Phase
from penjing.hardware.catalogue import load_catalogue
from penjing.models.catalogue import load_model

MODELS = ["Llama-3.1-8B", "DeepSeek-V3", "GPT-OSS-120B"]
ATTENTION = (Kind.PREFILL_ATTENTION, Kind.PREFILL_LATENT)
PRODUCTS = (Kind.GEMM, Kind.GROUPED_GEMM)


def forward(name: str, layout: Layout | None = None) -> list[Op]:
    work = Pass(phase=Phase.TRAIN, sequences=1.0, new=4096.0, logits=4096.0)
    return forward_ops(load_model(name), layout or Layout(), work, Numerics())


def flops(ops: Iterable[Op], *kinds: Kind) -> float:
    return sum(float(op.flops) * op.calls for op in ops if op.kind in kinds)


@pytest.mark.parametrize("name", MODELS)
def test_products_have_two_gradients_and_attention_five_halves(name: str) -> None:
    ahead = forward(name)
    back = backward_ops(ahead)
    assert [op.name for op in back] == [op.name for op in ahead]
    assert flops(back, *PRODUCTS) == pytest.approx(2 * flops(ahead, *PRODUCTS))
    assert flops(back, *ATTENTION) == pytest.approx(2.5 * flops(ahead, *ATTENTION))


def test_every_collective_is_repeated_once() -> None:
    ahead = forward("DeepSeek-V3", Layout(tensor=2, data=8, expert=16, pipeline=4))
    sent = [op for op in ahead if op.kind.is_communication]
    assert {op.kind for op in sent} == {Kind.ALL_REDUCE, Kind.ALL_TO_ALL, Kind.SEND}
    again = [op for op in backward_ops(ahead) if op.kind.is_communication]
    assert [(op.name, op.message_bytes, op.calls) for op in again] == [
        (op.name, op.message_bytes, op.calls) for op in sent
    ]


def test_adapters_have_no_gradient_of_the_weights() -> None:
    ahead = forward("Llama-3.1-8B")
    back = backward_ops(ahead, adapters=True)
    assert flops(back, *PRODUCTS) == pytest.approx(flops(ahead, *PRODUCTS))
    assert flops(back, *ATTENTION) == pytest.approx(2.5 * flops(ahead, *ATTENTION))


def test_elementwise_work_moves_twice_the_values() -> None:
    norm = next(op for op in forward("Llama-3.1-8B") if op.name == "norm")
    assert backward_calls(norm) == backward_calls(norm, adapters=True) == 2.0


@pytest.mark.parametrize("adapters", [False, True])
def test_a_step_goes_back_through_just_these(adapters: bool) -> None:
    """But for adding up the gradients, which adapters leave out."""
    bare = TrainStack(name="x", kernel_factor=1.0, exchange_overlap=0.0, moe_layer_s=0.0)
    setup = TrainSetup(
        layout=Layout(), sequence=4096, global_batch=1, adapters=adapters, stack=bare
    )
    model, chip = load_model("Llama-3.1-8B"), load_catalogue().find("H800").chip
    hardware = Hardware.of(chip, 1)
    ahead = [t.op for t in micro_batch_timings(model, setup, hardware)]
    listed = float(total_seconds(time_ops(backward_ops(ahead, adapters=adapters), hardware)))
    found = train_step(model, setup, hardware).backward_s
    if adapters:
        assert found == pytest.approx(listed)
    else:
        assert found > listed
