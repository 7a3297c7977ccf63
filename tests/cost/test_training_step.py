from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.cost.layout import Layout
from penjing.cost.network import collective_seconds
from penjing.cost.op import Kind, collective
from penjing.cost.roofline import Bound, Hardware, Timing
from penjing.cost.training_memory import held_parameters
from penjing.cost.training_setup import STACKS, Recompute, TrainSetup, TrainStack, Zero
from penjing.cost.training_step import (
    DATA_OVERLAP,
    TrainStep,
    micro_batch_timings,
    model_flops_per_token,
    train_step,
)
from penjing.cost.work import Numerics
from penjing.errors import Contradiction
from penjing.hardware.catalogue import load_catalogue
from penjing.models.catalogue import load_model
from penjing.models.config import ModelConfig
from penjing.models.parameters import count_parameters

CHIP = load_catalogue().find("H800 SXM").chip
LLAMA = load_model("Llama-3.1-8B")
SMALL = load_model("Llama-3.2-1B")
MIXTRAL = load_model("Mixtral-8x7B")
QWEN = load_model("Qwen3-30B-A3B")
V3 = load_model("DeepSeek-V3")
PLAIN = TrainSetup(layout=Layout(data=8), sequence=4096, global_batch=64)


def hardware(chips: int) -> Hardware:
    return Hardware.of(CHIP, chips)


def step_of(setup: TrainSetup, model: ModelConfig = LLAMA) -> TrainStep:
    return train_step(model, setup, hardware(setup.layout.chips))


def stack_with(exchange_overlap: float = 0.0, moe_layer_s: float = 0.0) -> TrainStack:
    return TrainStack(
        name="x", kernel_factor=1.0, exchange_overlap=exchange_overlap, moe_layer_s=moe_layer_s
    )


def seconds(timings: Iterable[Timing], *kinds: Kind) -> float:
    return sum(float(t.seconds) for t in timings if not kinds or t.op.kind in kinds)


def test_v3_trained_in_2664000_h800_hours() -> None:
    """DeepSeek-V3 report, table 1: 14.8 T tokens on 2,048 H800, pipelines of 16, 64 expert ranks.

    15,360 sequences of 4,096 a step (section 4.2), in FP8. The report recomputes norms and
    up-projections; here it is all or the attention core, and only all fits.
    """
    setup = TrainSetup(
        layout=Layout(data=128, expert=64, pipeline=16),
        sequence=4096,
        global_batch=15360,
        recompute=Recompute.FULL,
        numerics=Numerics(weights=V3.formats),
        stack=STACKS["tuned"],
    )
    tokens_per_s = 15360 * 4096 / train_step(V3, setup, hardware(2048)).step_s
    hours = 14.8e12 / tokens_per_s * 2048 / 3600
    assert hours == pytest.approx(2.664e6, rel=0.25)


def test_v3_takes_250_gflops_a_token() -> None:
    """Insights into DeepSeek-V3, arXiv 2505.09343, table 2: at 4,096 tokens, causal attention."""
    assert model_flops_per_token(V3, 4096) == pytest.approx(250e9, rel=0.01)


def test_gpt3_takes_what_megatron_counts() -> None:
    """arXiv 2104.04473, section 5.1: 72 l h^2 (1 + s/6h + V/12lh) a token without recompute.

    It counts every pair of tokens, so the causal half is s/12h.
    """
    layers, h, s, v = 96, 12288, 2048, load_model("GPT-3-175B").vocab_size
    expected = 72 * layers * h**2 * (1 + s / (12 * h) + v / (12 * layers * h))
    found = model_flops_per_token(load_model("GPT-3-175B"), s)
    assert found == pytest.approx(expected, rel=0.001)


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "Qwen3-30B-A3B", "DeepSeek-V3"])
def test_short_sequences_take_six_flops_an_active_parameter(name: str) -> None:
    model = load_model(name)
    count = count_parameters(model)
    assert model_flops_per_token(model, 1.0) == pytest.approx(
        6.0 * (count.active - count.embedding), rel=0.01
    )


def test_a_step_is_the_sum_of_its_parts() -> None:
    found = step_of(replace(PLAIN, layout=Layout(data=2, pipeline=4), recompute=Recompute.FULL))
    parts = (
        found.forward_s,
        found.backward_s,
        found.recompute_s,
        found.bubble_s,
        found.data_parallel_s,
        found.optimizer_s,
    )
    assert all(part > 0 for part in parts)
    assert found.step_s == sum(parts)


@given(
    stages=st.sampled_from([1, 2, 4, 8, 16]),
    virtual=st.integers(min_value=1, max_value=4),
    rounds=st.integers(min_value=1, max_value=64),
)
@settings(deadline=None, max_examples=30)
def test_a_pipeline_waits_for_p_minus_1_over_m_v_of_its_work(
    stages: int, virtual: int, rounds: int
) -> None:
    """arXiv 2104.04473, section 2.2."""
    setup = TrainSetup(
        layout=Layout(pipeline=stages),
        sequence=2048,
        global_batch=rounds,
        virtual_stages=virtual,
        recompute=Recompute.FULL,
    )
    found = step_of(setup, SMALL)
    busy = found.forward_s + found.backward_s + found.recompute_s
    assert found.bubble_s / busy == pytest.approx((stages - 1) / (rounds * virtual))


def test_stages_share_the_layers() -> None:
    """But for what is sent between them, four stages take a quarter each."""
    whole, four = (
        step_of(replace(PLAIN, layout=Layout(data=2, pipeline=p), global_batch=16)) for p in (1, 4)
    )
    send = seconds(four.timings, Kind.SEND) * 8
    assert four.forward_s == pytest.approx((whole.forward_s + send) / 4)


def test_forward_by_hand() -> None:
    """Kernels stretched by the stack, collectives not, times 8 micro-batches."""
    setup = replace(PLAIN, layout=Layout(data=4, tensor=2), global_batch=32)
    found = step_of(setup)
    links = seconds(found.timings, *(k for k in Kind if k.is_communication))
    kernels = seconds(found.timings) - links
    assert links > 0
    assert found.forward_s == pytest.approx(8 * (kernels * setup.stack.kernel_factor + links))


@pytest.mark.parametrize("model", [LLAMA, V3], ids=lambda m: m.name)
def test_backward_by_hand(model: ModelConfig) -> None:
    """Products twice, attention five halves (arXiv 2307.08691, section 3.1), gradients added up."""
    setup = replace(PLAIN, layout=Layout(), global_batch=1, stack=stack_with())
    found = train_step(model, setup, hardware(1))
    attention = seconds(found.timings, Kind.PREFILL_ATTENTION, Kind.PREFILL_LATENT)
    others = seconds(found.timings) - attention
    gradients = held_parameters(model, setup.layout).total * 8 / CHIP.bandwidth_bytes_per_s
    assert found.backward_s == pytest.approx(2 * others + 2.5 * attention + gradients)


def test_collectives_are_repeated_once_in_backward() -> None:
    setup = replace(PLAIN, layout=Layout(tensor=8), global_batch=1, stack=stack_with())
    found = train_step(LLAMA, setup, hardware(8))
    attention = seconds(found.timings, Kind.PREFILL_ATTENTION)
    links = seconds(found.timings, *(k for k in Kind if k.is_communication))
    others = seconds(found.timings) - attention - links
    gradients = held_parameters(LLAMA, setup.layout).total * 8 / CHIP.bandwidth_bytes_per_s
    assert found.backward_s == pytest.approx(2 * others + 2.5 * attention + links + gradients)


@pytest.mark.parametrize("model", [LLAMA, V3], ids=lambda m: m.name)
def test_context_ranks_have_a_part_of_a_sequence_each(model: ModelConfig) -> None:
    def rows(context: int) -> float:
        setup = replace(PLAIN, layout=Layout(context=context))
        timings = micro_batch_timings(model, setup, hardware(context))
        return sum(float(t.op.flops) for t in timings if t.op.name == "attention.out")

    assert rows(4) * 4 == rows(1)


def test_sequences_of_a_micro_batch_go_together() -> None:
    one, two = (
        micro_batch_timings(LLAMA, replace(PLAIN, micro_batch=n), hardware(8)) for n in (1, 2)
    )
    assert sum(float(t.op.flops) * t.op.calls for t in two) == (
        2 * sum(float(t.op.flops) * t.op.calls for t in one)
    )


def test_recompute_costs_time_in_order() -> None:
    none, some, full = (step_of(replace(PLAIN, recompute=r)) for r in Recompute)
    assert none.recompute_s == 0.0
    core = seconds(some.timings, Kind.PREFILL_ATTENTION) * PLAIN.stack.kernel_factor
    assert some.recompute_s == pytest.approx(8 * core)
    assert 0.9 * full.forward_s < full.recompute_s < full.forward_s  # all but head and loss
    assert none.step_s < some.step_s < full.step_s
    assert none.forward_s == full.forward_s


def test_the_core_of_latent_attention_is_what_selective_recomputation_repeats() -> None:
    setup = replace(PLAIN, layout=Layout(), global_batch=1, recompute=Recompute.SELECTIVE)
    found = train_step(V3, replace(setup, stack=stack_with()), hardware(1))
    assert found.recompute_s == pytest.approx(seconds(found.timings, Kind.PREFILL_LATENT))


@pytest.mark.parametrize(("zero", "gathers"), [(Zero.GRADIENTS, 1), (Zero.PARAMETERS, 2 * 8)])
def test_data_parallel_traffic_hides_but_for_a_tenth(zero: Zero, gathers: int) -> None:
    """Reduce fp32 gradients once; gather bf16 weights once, or for every pass where sharded."""
    held = held_parameters(LLAMA, PLAIN.layout).total
    reduce, gather = (
        float(collective_seconds(collective("x", kind, size * held, 8), hardware(8).topology))
        for kind, size in ((Kind.REDUCE_SCATTER, 4.0), (Kind.ALL_GATHER, 2.0))
    )
    found = step_of(replace(PLAIN, zero=zero)).data_parallel_s
    assert found == pytest.approx((1 - DATA_OVERLAP) * (reduce + gathers * gather))
    assert step_of(replace(PLAIN, zero=zero, layout=Layout())).data_parallel_s == 0.0


def test_copies_of_an_expert_talk_over_the_network() -> None:
    """Experts fill the node of eight, so each of the two copies lies in a node of its own."""
    setup = TrainSetup(
        layout=Layout(data=16, expert=8), sequence=4096, global_batch=16, zero=Zero.GRADIENTS
    )
    held, found = held_parameters(MIXTRAL, setup.layout), train_step(MIXTRAL, setup, hardware(16))
    whole = 0.0
    for kind, size in ((Kind.REDUCE_SCATTER, 4.0), (Kind.ALL_GATHER, 2.0)):
        for share, ranks, stride in ((held.dense, 16, 1), (held.experts, 2, 8)):
            op = collective("x", kind, size * share, ranks, stride)
            whole += float(collective_seconds(op, hardware(16).topology))
    hidden = DATA_OVERLAP * min(whole, found.backward_s)
    assert found.data_parallel_s == pytest.approx(whole - hidden)


@pytest.mark.parametrize(("data", "chips"), [(8, 16), (4, 8)])
def test_stages_lie_a_whole_stage_apart(data: int, chips: int) -> None:
    """Two stages of eight data ranks fill a node each, two of four share one."""
    setup = replace(PLAIN, layout=Layout(data=data, pipeline=2))
    timings = micro_batch_timings(LLAMA, setup, hardware(chips))
    send = next(t for t in timings if t.op.kind is Kind.SEND)
    assert send.op.stride == data
    assert send.seconds == pytest.approx(collective_seconds(send.op, hardware(chips).topology))


def test_a_short_backward_hides_less() -> None:
    short = replace(PLAIN, sequence=128, global_batch=8)
    long = step_of(PLAIN)
    assert step_of(short).data_parallel_s > 2 * long.data_parallel_s


def test_zero_shares_the_optimizer() -> None:
    alone, shared = (
        step_of(replace(PLAIN, zero=z)).optimizer_s for z in (Zero.NONE, Zero.OPTIMIZER)
    )
    held = held_parameters(LLAMA, PLAIN.layout).total
    assert alone == pytest.approx(30 * held / CHIP.bandwidth_bytes_per_s)
    assert shared == pytest.approx(alone / 8)


def test_offload_costs_time() -> None:
    """PCIe for gradients and weights, and host memory that is far slower than HBM."""
    here, there = (step_of(replace(PLAIN, offload=o)) for o in (False, True))
    assert there.optimizer_s > 20 * here.optimizer_s
    assert there.step_s - here.step_s == pytest.approx(there.optimizer_s - here.optimizer_s)
    share = held_parameters(LLAMA, PLAIN.layout).total / 8
    assert there.optimizer_s == pytest.approx(share * (6 / 25e9 + 30 / 60e9))


def test_an_offloaded_optimizer_updates_what_memory_says_it_keeps() -> None:
    setup = TrainSetup(
        layout=Layout(data=16, expert=16), sequence=4096, global_batch=16, offload=True
    )
    experts = held_parameters(QWEN, setup.layout).experts
    assert step_of(setup, QWEN).optimizer_s >= experts * 30 / 60e9


def test_a_tuned_stack_hides_the_expert_exchange() -> None:
    """By the share that its schedule can, and no further than there are kernels to hide behind."""
    setup = TrainSetup(layout=Layout(data=16, expert=8), sequence=4096, global_batch=16)
    timings = micro_batch_timings(MIXTRAL, setup, hardware(16))
    exchange = seconds(timings, Kind.ALL_TO_ALL)
    assert exchange > 0
    stacks = (stack_with(exchange_overlap=o) for o in (0.0, 0.5))
    shown, hidden = (step_of(replace(setup, stack=s), MIXTRAL).forward_s for s in stacks)
    assert shown - hidden == pytest.approx(0.5 * exchange)


def test_routing_waits_for_the_host_however_short_the_kernels() -> None:
    """A third of the time a layer is forward, the rest backward; dense layers have none."""
    slow = replace(PLAIN, stack=stack_with(moe_layer_s=1.0))
    found = step_of(slow, MIXTRAL)
    assert found.forward_s == pytest.approx(8 * 32 / 3)
    assert found.backward_s == pytest.approx(8 * 32 * 2 / 3, rel=0.1)  # gradients on top
    assert step_of(slow).forward_s == step_of(replace(PLAIN, stack=stack_with())).forward_s


def test_recomputing_a_part_of_the_layers_costs_that_part() -> None:
    half, whole = (
        step_of(replace(PLAIN, recompute=Recompute.FULL, recompute_share=s)).recompute_s
        for s in (0.5, 1.0)
    )
    assert half == pytest.approx(whole / 2)


def test_adapters_have_one_gradient_of_a_product_and_nothing_to_reduce() -> None:
    """LoRA, arXiv 2106.09685: that of its input; its own parameters are too few to count."""
    whole, adapters = (step_of(replace(PLAIN, adapters=a)) for a in (False, True))
    assert adapters.forward_s == whole.forward_s
    products = seconds(whole.timings, Kind.GEMM) * PLAIN.stack.kernel_factor
    gradients = held_parameters(LLAMA, PLAIN.layout).total * 8 / CHIP.bandwidth_bytes_per_s
    assert whole.backward_s - adapters.backward_s == pytest.approx(8 * (products + gradients))
    assert adapters.optimizer_s == adapters.data_parallel_s == 0.0


def test_adapters_beside_experts_have_one_gradient_of_a_product() -> None:
    setup = replace(PLAIN, layout=Layout(), global_batch=1, stack=stack_with(), adapters=True)
    found = train_step(MIXTRAL, setup, hardware(1))
    products = seconds(found.timings, Kind.GEMM, Kind.GROUPED_GEMM)
    attention = seconds(found.timings, Kind.PREFILL_ATTENTION)
    others = seconds(found.timings) - products - attention
    assert found.backward_s == pytest.approx(products + 2.5 * attention + 2 * others)


def test_stacks_differ_in_how_fast_they_are() -> None:
    steps = [step_of(replace(PLAIN, stack=STACKS[n])).step_s for n in ("tuned", "megatron", "fsdp")]
    assert steps == sorted(steps)
    assert len(set(steps)) == 3


def test_a_batch_that_does_not_divide_is_a_contradiction() -> None:
    with pytest.raises(Contradiction, match="global batch 60 is not a multiple of 8 data ranks"):
        step_of(replace(PLAIN, global_batch=60))


def test_timings_may_be_given() -> None:
    timings = micro_batch_timings(LLAMA, PLAIN, hardware(8))
    assert train_step(LLAMA, PLAIN, hardware(8), timings).step_s == step_of(PLAIN).step_s


def test_experts_meet_the_tokens_of_their_own_group_alone() -> None:
    """Sixteen data ranks in two groups of eight: each group exchanges among itself."""
    setup = TrainSetup(layout=Layout(data=16, expert=8), sequence=4096, global_batch=16)
    groups = {t.op.group for t in micro_batch_timings(MIXTRAL, setup, hardware(16))}
    assert groups == {1, 8}


@pytest.mark.parametrize(
    ("layout", "tokens", "exchange"),
    [
        (Layout(data=16, expert=8), 8 * 4096, {8}),  # of eight attention ranks
        (Layout(tensor=4, data=4, expert=8), 2 * 4096, {8}),  # of two, with four chips each
        (Layout(tensor=2, context=2, data=4, expert=8), 2 * 4096, {8}),
        (Layout(tensor=8, data=2, expert=8), 4096, set()),
        (Layout(tensor=8, data=2, expert=4), 4096, set()),
    ],
)
def test_the_experts_of_a_group_do_its_tokens(
    layout: Layout, tokens: int, exchange: set[int]
) -> None:
    """Mixtral: two experts of 176 M a token, over the chips of the group."""
    setup = replace(PLAIN, layout=layout, global_batch=16)
    timings = micro_batch_timings(MIXTRAL, setup, hardware(16))
    (experts,) = (t.op for t in timings if t.op.name == "moe.experts")
    assert experts.flops == 6 * tokens * 2 / 8 * 4096 * 14336
    assert {t.op.group for t in timings if t.op.kind is Kind.ALL_TO_ALL} == exchange


@settings(deadline=None, max_examples=25)
@given(
    bound=st.sampled_from([Bound.COMPUTE, Bound.BANDWIDTH, Bound.LINK]),
    factor=st.floats(min_value=1.0, max_value=20.0),
    layout=st.sampled_from(
        [Layout(data=16), Layout(tensor=8, data=2), Layout(data=4, pipeline=4), Layout(context=16)]
    ),
    recompute=st.sampled_from(Recompute),
)
def test_better_hardware_never_trains_slower(
    bound: Bound, factor: float, layout: Layout, recompute: Recompute
) -> None:
    setup = replace(PLAIN, layout=layout, recompute=recompute)
    base = hardware(16)
    before = train_step(SMALL, setup, base).step_s
    assert train_step(SMALL, setup, base.scaled(bound, factor)).step_s <= before * (1 + 1e-12)


@settings(deadline=None, max_examples=25)
@given(rounds=st.integers(min_value=1, max_value=64), more=st.integers(min_value=1, max_value=8))
def test_larger_batches_take_longer_and_a_token_no_more(rounds: int, more: int) -> None:
    """The optimizer, the bubble and what is exposed are paid once a step."""
    layout = Layout(data=4, pipeline=4)
    few, many = (
        train_step(SMALL, replace(PLAIN, layout=layout, global_batch=4 * n), hardware(16)).step_s
        for n in (rounds, rounds * more)
    )
    assert few <= many * (1 + 1e-12)
    assert many / more <= few * (1 + 1e-12)
