from collections.abc import Iterable
from dataclasses import replace

import pytest

from penjing.cost.forward import draft_ops, forward_ops, head_ops
from penjing.cost.layout import Layout
from penjing.cost.op import Kind, Op
from penjing.cost.work import Numerics, Pass, Phase
from penjing.models.catalogue import load_model
from penjing.models.config import ModelConfig
from penjing.models.parameters import count_parameters

PRODUCTS = (Kind.GEMM, Kind.GROUPED_GEMM)
# One of each architecture: latent, latent without low-rank queries, sparse latent, grouped heads
# with biases, norms, windows and sinks, mixtures with and without shared experts, tied tables.
ARCHITECTURES = (
    "DeepSeek-R1",
    "DeepSeek-V2-Lite",
    "DeepSeek-V3.2",
    "Kimi-K2",
    "Llama-3.1-8B",
    "Llama-3.2-1B",
    "Qwen2.5-7B",
    "Qwen3-8B",
    "Qwen3-30B-A3B",
    "Qwen1.5-MoE-A2.7B",
    "Mixtral-8x7B",
    "GPT-OSS-120B",
    "GLM-4.5",
    "GPT-3-175B",
)
DECODE = Pass(phase=Phase.DECODE, sequences=32.0, new=1.0, cached=4096.0)
PREFILL = Pass(phase=Phase.PREFILL, sequences=1.0, new=4096.0)
TRAIN = Pass(phase=Phase.TRAIN, sequences=1.0, new=4096.0, logits=4096.0)


def flops(ops: Iterable[Op], *kinds: Kind) -> float:
    return sum(float(op.flops) * op.calls for op in ops if not kinds or op.kind in kinds)


def named(ops: Iterable[Op], name: str) -> Op:
    (found,) = (op for op in ops if op.name == name)
    return found


def forward(name: str, work: Pass, layout: Layout | None = None) -> list[Op]:
    return forward_ops(load_model(name), layout or Layout(), work, Numerics())


def multiplied(config: ModelConfig) -> int:
    """Active parameters less the embedding, of which a token only looks up a row."""
    count = count_parameters(config)
    return count.active - (0 if config.tied_embeddings else count.embedding)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_token_costs_two_flops_an_active_parameter(name: str, phase: Phase) -> None:
    """Norms, biases and the correction of the router are active too, but are no products."""
    ops = forward(name, Pass(phase=phase, sequences=1.0, new=1.0))
    assert flops(ops, *PRODUCTS) == pytest.approx(2.0 * multiplied(load_model(name)), rel=5e-4)


@pytest.mark.parametrize("name", ["DeepSeek-R1", "Llama-3.1-8B", "GPT-OSS-120B"])
def test_tokens_cost_alike_but_for_the_head(name: str) -> None:
    """A prompt of 4,096 goes through every layer 4,096 times and through the head once."""
    one, many = (forward(name, replace(PREFILL, new=n)) for n in (1.0, 4096.0))
    head = float(named(one, "head").flops)
    assert named(many, "head").flops == head
    body_of_one, body = (flops(ops, *PRODUCTS) - head for ops in (one, many))
    assert body == pytest.approx(4096 * body_of_one)


@pytest.mark.parametrize("work", [DECODE, PREFILL, TRAIN])
@pytest.mark.parametrize("name", ["Llama-3.1-8B", "Qwen3-8B", "GPT-3-175B"])
@pytest.mark.parametrize("tensor", [2, 8])
def test_tensor_ranks_of_a_dense_model_add_up_to_the_whole(
    name: str, work: Pass, tensor: int
) -> None:
    share = flops(forward(name, work, Layout(tensor=tensor)))
    assert share * tensor == pytest.approx(flops(forward(name, work)))


@pytest.mark.parametrize("layout", [Layout(tensor=8), Layout(tensor=8, expert=8)])
def test_tensor_ranks_of_r1_repeat_down_projections_and_routers_alone(layout: Layout) -> None:
    whole, share = forward("DeepSeek-R1", PREFILL), forward("DeepSeek-R1", PREFILL, layout)
    copied = sum(
        float(op.flops) * op.calls for op in whole if op.name in ("attention.down", "moe.router")
    )
    assert flops(share) * 8 == pytest.approx(flops(whole) + 7 * copied)
    assert copied / flops(whole) < 0.04


@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.DECODE])
@pytest.mark.parametrize("name", ["DeepSeek-R1", "Qwen3-30B-A3B", "Mixtral-8x7B"])
@pytest.mark.parametrize("expert", [1, 8])
def test_data_parallel_attention_ranks_add_up_to_the_whole(
    name: str, phase: Phase, expert: int
) -> None:
    """Eight ranks of 4 sequences do what one chip does for 32, wherever the experts are."""
    work = Pass(phase=phase, sequences=4.0, new=64.0, cached=1024.0)
    share = flops(forward(name, work, Layout(data=8, expert=expert)))
    assert share * 8 == pytest.approx(flops(forward(name, replace(work, sequences=32.0))))


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "DeepSeek-R1"])
def test_context_ranks_add_up_to_the_whole(name: str) -> None:
    cut = replace(TRAIN, new=1024.0, logits=1024.0)
    share = flops(forward(name, cut, Layout(context=4)))
    assert share * 4 == pytest.approx(flops(forward(name, TRAIN)))


def test_absorbed_and_expanded_r1_differ_in_the_core_alone() -> None:
    """The same products of weights either way; scores of 1,088 values a pair against 320."""
    prompt = Pass(phase=Phase.PREFILL, sequences=1.0, new=1.0, cached=0.0)
    expanded, absorbed = (
        forward("DeepSeek-R1", replace(prompt, phase=p)) for p in (Phase.PREFILL, Phase.DECODE)
    )
    assert flops(expanded, *PRODUCTS) == flops(absorbed, *PRODUCTS)
    long = replace(prompt, cached=4096.0)
    few, many = (
        flops(forward("DeepSeek-R1", replace(long, phase=p)), kind)
        for p, kind in (
            (Phase.PREFILL, Kind.PREFILL_LATENT),
            (Phase.DECODE, Kind.DECODE_LATENT),
        )
    )
    # The expanded form also counts the new token among those it sees.
    assert many / few == pytest.approx((576 + 512) / 320 * 4096 / 4097)


def test_every_layer_is_counted() -> None:
    """R1: 61 layers, of which 58 have experts."""
    calls: dict[str, float] = {}
    for op in forward("DeepSeek-R1", DECODE):
        calls[op.name] = calls.get(op.name, 0.0) + op.calls
    assert calls["attention.core"] == calls["attention.out"] == 61
    assert calls["moe.experts"] == calls["moe.router"] == 58
    assert calls["ffn.up"] == 3
    assert calls["norm"] == 2 * 61
    assert calls["embedding"] == calls["head"] == calls["head.norm"] == 1


def test_half_the_layers_of_gpt_oss_see_a_window() -> None:
    """36 layers: 18 see 128 tokens, 18 see all."""
    config = load_model("GPT-OSS-120B")
    cores = [op for op in forward("GPT-OSS-120B", DECODE) if op.name == "attention.core"]
    assert [op.calls for op in cores] == [18, 18]
    narrow, wide = sorted(float(op.flops) for op in cores)
    assert wide / narrow == 4096 / 128
    assert len(config.layers) == 36


@pytest.mark.parametrize("tensor", [2, 8])
def test_tensor_ranks_reduce_twice_a_layer_and_gather_the_logits(tensor: int) -> None:
    ops = forward("Llama-3.1-8B", DECODE, Layout(tensor=tensor))
    reduces = [op for op in ops if op.kind is Kind.ALL_REDUCE]
    assert sum(op.calls for op in reduces) == 2 * 32
    assert {op.message_bytes for op in reduces} == {32 * 4096 * 2}
    assert named(ops, "head.gather").message_bytes == 32 * 128256 * 2
    assert not any(op.kind.is_communication for op in forward("Llama-3.1-8B", DECODE))


@pytest.mark.parametrize("pipeline", [2, 4, 8])
def test_stages_hand_on_the_residual(pipeline: int) -> None:
    """p - 1 boundaries; each tensor rank sends its part to its neighbour a stage further."""
    layout = Layout(tensor=4, pipeline=pipeline)
    ops = forward("Llama-3.1-8B", PREFILL, layout)
    send = named(ops, "pipeline.send")
    assert (send.kind, send.stride) == (Kind.SEND, 4)
    assert (send.group, send.calls) == (pipeline, pipeline - 1)
    assert send.message_bytes * 4 == 4096 * 4096 * 2
    assert "pipeline.send" not in {op.name for op in forward("Llama-3.1-8B", PREFILL)}
    # All layers are listed whatever the stages: the sum is a token's latency.
    assert flops(ops) == flops(forward("Llama-3.1-8B", PREFILL, Layout(tensor=4)))


def test_a_draft_is_a_projection_a_layer_and_the_head() -> None:
    """DeepSeek-V3 report, eq. 21-23: 2D x D, one block with experts, the shared head."""
    config = load_model("DeepSeek-R1")
    ops = draft_ops(config, Layout(), Pass(phase=Phase.DECODE, sequences=1.0, new=1.0), Numerics())
    assert named(ops, "mtp.project").flops == 2 * 2 * 7168 * 7168
    assert named(ops, "moe.experts").calls == named(ops, "attention.core").calls == 1
    count = count_parameters(config)
    resting = (256 - 8) * 3 * 7168 * 2048
    active = count.mtp - resting + count.head
    assert flops(ops, *PRODUCTS) == pytest.approx(2 * active, rel=1e-3)


def test_norms_and_residuals_move_the_width_of_every_token() -> None:
    """32 tokens of 4,096: the embedding copies a row, a fused norm reads and writes two each."""
    ops = forward("Llama-3.1-8B", DECODE)
    for name, values in (("embedding", 1), ("head.norm", 1), ("norm", 2)):
        op = named(ops, name)
        assert op.read_bytes == op.write_bytes == values * 2 * 32 * 4096


@pytest.mark.parametrize("tensor", [2, 8])
def test_tensor_ranks_share_the_projection_of_a_draft(tensor: int) -> None:
    config = load_model("DeepSeek-R1")
    whole, share = (
        named(draft_ops(config, Layout(tensor=n), DECODE, Numerics()), "mtp.project").flops
        for n in (1, tensor)
    )
    assert share * tensor == whole


def test_a_draft_passes_one_layer_however_many_there_are() -> None:
    config = load_model("DeepSeek-R1")
    deeper = replace(config, mtp=config.mtp * 3)
    drafts = (draft_ops(c, Layout(), DECODE, Numerics()) for c in (config, deeper))
    one, three = (flops(ops) for ops in drafts)
    assert one == three


def test_a_draft_is_a_small_part_of_a_step() -> None:
    config = load_model("DeepSeek-R1")
    draft = draft_ops(config, Layout(), DECODE, Numerics())
    step = forward_ops(config, Layout(), DECODE, Numerics())
    # One layer and the head beside 61 layers and the head.
    assert 1 / 61 < flops(draft) / flops(step) < 3 / 61


def test_training_puts_every_position_through_head_and_loss() -> None:
    """Cross-entropy in fp32 over the vocabulary: four reads and two writes of 16 bits a logit."""
    config = load_model("Llama-3.1-8B")
    ops = head_ops(config, Layout(), TRAIN, Numerics())
    assert named(ops, "head").flops == 2 * 4096 * 128256 * 4096
    loss = named(ops, "loss")
    assert loss.read_bytes == 4 * 2 * 4096 * 128256
    assert loss.write_bytes == 2 * 2 * 4096 * 128256


def test_serving_has_no_loss_and_training_gathers_no_logits() -> None:
    config, layout = load_model("Llama-3.1-8B"), Layout(tensor=4)
    serving, training = (
        {op.name: op for op in head_ops(config, layout, w, Numerics())} for w in (DECODE, TRAIN)
    )
    assert "loss" not in serving
    assert "head.gather" in serving
    assert "head.gather" not in training
    assert training["loss"].read_bytes == 4 * 2 * 4096 * 128256 / 4


def test_decoding_takes_the_logits_of_every_drafted_token() -> None:
    config = load_model("DeepSeek-R1")
    one, three = (
        named(head_ops(config, Layout(), replace(DECODE, new=n, logits=n), Numerics()), "head")
        for n in (1.0, 3.0)
    )
    assert three.flops == 3 * one.flops
