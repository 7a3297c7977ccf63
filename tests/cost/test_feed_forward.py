from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.cost.feed_forward import feed_forward_ops
from penjing.cost.layout import Layout
from penjing.cost.op import Kind, Op
from penjing.cost.work import Numerics, Pass, Phase
from penjing.models.config import Dense, FeedForward, MoE, Router, Scoring, WeightFormats
from penjing.models.format import FP8, FP8_BLOCK
from penjing.models.parameters import chosen_parameters, dense_parameters

WIDTH = 7168
DENSE = Dense(width=18432)  # the first layers of DeepSeek-R1, and the others
EXPERTS = MoE(
    num_experts=256,
    experts_per_token=8,
    expert_width=2048,
    shared_width=2048,
    router=Router(scoring=Scoring.SIGMOID, num_groups=8, top_groups=4),
)
PLAIN = replace(EXPERTS, shared_width=0, router=Router(scoring=Scoring.SOFTMAX))
DECODE = Pass(phase=Phase.DECODE, sequences=32.0, new=1.0, cached=4096.0)
PREFILL = Pass(phase=Phase.PREFILL, sequences=2.0, new=1024.0)
TRAIN = Pass(phase=Phase.TRAIN, sequences=1.0, new=4096.0)


def ops_of(
    block: FeedForward,
    work: Pass,
    layout: Layout | None = None,
    numerics: Numerics | None = None,
    width: int = WIDTH,
) -> dict[str, Op]:
    ops = feed_forward_ops(block, width, layout or Layout(), work, numerics or Numerics(), 1.0)
    named = {op.name: op for op in ops}
    assert len(named) == len(ops)
    return named


def test_a_dense_block_by_hand() -> None:
    ops = ops_of(DENSE, DECODE)
    assert list(ops) == ["ffn.up", "ffn.activation", "ffn.down"]
    assert ops["ffn.up"].flops == 2 * 32 * 2 * 18432 * 7168
    assert ops["ffn.down"].flops == 2 * 32 * 18432 * 7168
    assert ops["ffn.activation"].read_bytes == 2 * 2 * 32 * 18432


def test_a_block_without_a_gate_has_half_the_up_projection() -> None:
    """GPT-3."""
    plain = ops_of(replace(DENSE, gated=False), DECODE)
    gated = ops_of(DENSE, DECODE)
    assert plain["ffn.up"].flops * 2 == gated["ffn.up"].flops
    assert plain["ffn.activation"].read_bytes * 2 == gated["ffn.activation"].read_bytes


@pytest.mark.parametrize("block", [DENSE, EXPERTS, PLAIN])
def test_products_do_two_flops_a_chosen_parameter_and_token(block: FeedForward) -> None:
    ops = ops_of(block, PREFILL)
    products = (Kind.GEMM, Kind.GROUPED_GEMM)
    done = sum(float(op.flops) for op in ops.values() if op.kind in products)
    router = 256 * WIDTH if isinstance(block, MoE) else 0
    chosen = chosen_parameters(block, WIDTH) + dense_parameters(block, WIDTH) + router
    assert done == 2.0 * chosen * PREFILL.tokens


@pytest.mark.parametrize("tensor", [2, 4, 8])
def test_tensor_ranks_share_a_dense_block_and_reduce(tensor: int) -> None:
    whole, share = ops_of(DENSE, DECODE), ops_of(DENSE, DECODE, Layout(tensor=tensor))
    for name, op in whole.items():
        assert share[name].flops * tensor == op.flops
    reduce = share["ffn.all_reduce"]
    assert (reduce.kind, reduce.group, reduce.stride) == (Kind.ALL_REDUCE, tensor, 1)
    assert reduce.message_bytes == 32 * WIDTH * 2
    assert "ffn.all_reduce" not in whole


def test_the_router_is_whole_on_every_rank_and_wide() -> None:
    numerics = Numerics(weights=WeightFormats(dense=FP8, experts=FP8))
    for layout in (Layout(), Layout(tensor=8), Layout(data=16, expert=16)):
        router = ops_of(EXPERTS, DECODE, layout, numerics)["moe.router"]
        assert router.flops == 2 * 32 * 256 * WIDTH
        assert router.lane == "fp32"


def test_formats_of_experts_and_of_the_shared_block_differ() -> None:
    numerics = Numerics(weights=WeightFormats(dense=FP8, experts=FP8_BLOCK))
    ops = ops_of(EXPERTS, DECODE, numerics=numerics)
    assert ops["moe.experts"].lane == "fp8-block"
    assert ops["moe.shared.up"].lane == ops["moe.shared.down"].lane == "fp8"


def test_experts_by_hand() -> None:
    """32 tokens of R1 on one chip: 256 pairs over the experts that they are expected to touch."""
    op = ops_of(EXPERTS, DECODE)["moe.experts"]
    assert op.flops == 6 * (32 * 8) * 7168 * 2048
    touched = 256 * (1 - (1 - 8 / 256) ** 32)
    read = touched * 3 * 7168 * 2048 * 2 + 256 * (7168 + 2048) * 2
    assert op.read_bytes == pytest.approx(read)


def test_few_tokens_read_few_experts() -> None:
    one = ops_of(EXPERTS, replace(DECODE, sequences=1.0))["moe.experts"]
    many = ops_of(EXPERTS, replace(DECODE, sequences=4096.0))["moe.experts"]
    expert = 3 * 7168 * 2048 * 2
    assert one.read_bytes == pytest.approx(8 * expert, rel=0.001)
    rows = 4096 * 8 * (7168 + 2048) * 2
    assert float(many.read_bytes) - rows == pytest.approx(256 * expert, rel=0.001)


@given(
    data=st.sampled_from([1, 2, 4, 8, 16]),
    tensor=st.sampled_from([1, 2, 4, 8]),
    log_expert=st.integers(min_value=0, max_value=7),
    sequences=st.integers(min_value=1, max_value=512),
)
def test_no_expert_row_is_lost_or_done_twice(
    data: int, tensor: int, log_expert: int, sequences: int
) -> None:
    """Over all chips of a stage the experts do every token of every attention rank once."""
    expert = min(2**log_expert, data * tensor)
    layout = Layout(data=data, tensor=tensor, expert=expert)
    work = replace(DECODE, sequences=float(sequences))
    op = ops_of(EXPERTS, work, layout)["moe.experts"]
    everyone = sequences * data * 8
    assert float(op.flops) * layout.chips == pytest.approx(6 * everyone * 7168 * 2048)


@given(tokens=st.integers(min_value=1, max_value=100_000))
def test_spread_experts_read_at_most_their_own(tokens: int) -> None:
    layout = Layout(data=16, expert=16)
    work = replace(DECODE, sequences=float(tokens))
    op = ops_of(EXPERTS, work, layout)["moe.experts"]
    rows = tokens * 16 * 8 / 16 * (7168 + 2048) * 2
    assert float(op.read_bytes) - rows <= 16 * 3 * 7168 * 2048 * 2 * (1 + 1e-9)


def test_uneven_experts_slow_the_busiest_rank_only_where_they_are_spread() -> None:
    even, uneven = Numerics(), Numerics(imbalance=1.25)
    spread, pair, split = Layout(data=16, expert=16), Layout(data=2, expert=2), Layout(tensor=16)
    for layout, factor in ((spread, 1.25), (pair, 1.25), (split, 1.0)):
        before, after = (ops_of(EXPERTS, DECODE, layout, n)["moe.experts"] for n in (even, uneven))
        assert after.flops == pytest.approx(float(before.flops) * factor)


def test_no_exchange_where_all_tokens_are_at_hand() -> None:
    for layout in (Layout(), Layout(tensor=8), Layout(tensor=8, expert=8)):
        assert not {"moe.dispatch", "moe.combine", "moe.gather"} & set(
            ops_of(EXPERTS, DECODE, layout)
        )


@pytest.mark.parametrize("layout", [Layout(data=2, expert=2), Layout(context=2, expert=2)])
def test_two_ranks_exchange_already(layout: Layout) -> None:
    work = replace(TRAIN, new=4096.0 / layout.context)
    assert ops_of(EXPERTS, work, layout)["moe.dispatch"].group == 2


@pytest.mark.parametrize("expert", [1, 4])
def test_context_ranks_bring_their_tokens_as_data_ranks_do(expert: int) -> None:
    data, context = (
        ops_of(EXPERTS, TRAIN, layout)
        for layout in (Layout(data=4, expert=expert), Layout(context=4, expert=expert))
    )
    assert data["moe.experts"].flops == context["moe.experts"].flops
    if expert == 1:
        gathered = {"moe.gather", "moe.scatter"}
        assert all(context[n].message_bytes == 4 * 4096 * WIDTH * 2 for n in gathered)


def test_routing_passes_over_the_scores_and_summing_over_the_copies() -> None:
    """Scores twice; the eight outputs of a token are read once, a part on each tensor rank."""
    ops = ops_of(EXPERTS, DECODE, Layout(tensor=2))
    assert ops["moe.top_k"].read_bytes == 2 * 32 * 256
    assert ops["moe.top_k"].calls == 2
    assert ops["moe.sum"].read_bytes == 2 * 32 * 8 * WIDTH / 2


def test_dispatch_in_eight_bits_and_combine_in_sixteen() -> None:
    """DeepSeek-V3 report, section 3.3.3; a token and its eight copies."""
    ops = ops_of(EXPERTS, DECODE, Layout(data=16, expert=16))
    dispatch, combine = ops["moe.dispatch"], ops["moe.combine"]
    assert dispatch.message_bytes == 32 * 8 * WIDTH
    assert combine.message_bytes == 2 * dispatch.message_bytes
    for op in (dispatch, combine):
        assert (op.kind, op.group, op.copies) == (Kind.ALL_TO_ALL, 16, 8)


def test_training_dispatches_in_sixteen_bits() -> None:
    ops = ops_of(EXPERTS, TRAIN, Layout(data=16, expert=16))
    assert ops["moe.dispatch"].message_bytes == ops["moe.combine"].message_bytes


def test_tensor_ranks_of_an_attention_rank_send_a_part_of_its_tokens_each() -> None:
    ops = ops_of(EXPERTS, DECODE, Layout(tensor=4, data=4, expert=16))
    assert ops["moe.dispatch"].message_bytes == 32 / 4 * 8 * WIDTH


def test_decoding_sends_each_copy_and_prefill_crosses_to_four_nodes_at_most() -> None:
    """R1 routes to 4 groups of 8: DeepSeek-V3 report, section 2.1.2."""
    layout = Layout(data=64, expert=64)
    assert ops_of(EXPERTS, DECODE, layout)["moe.dispatch"].node_limit == 0
    assert ops_of(EXPERTS, PREFILL, layout)["moe.dispatch"].node_limit == 4
    assert ops_of(EXPERTS, TRAIN, layout)["moe.combine"].node_limit == 4
    assert ops_of(PLAIN, PREFILL, layout)["moe.dispatch"].node_limit == 8  # a copy each, at most
    two = replace(EXPERTS, router=Router(scoring=Scoring.SIGMOID, num_groups=2, top_groups=1))
    assert ops_of(two, PREFILL, layout)["moe.dispatch"].node_limit == 1


def test_experts_split_in_width_see_the_tokens_of_every_rank() -> None:
    """Without expert parallelism: gather all tokens, do all, scatter the sums."""
    ops = ops_of(EXPERTS, DECODE, Layout(tensor=2, data=8))
    for name, kind in (("moe.gather", Kind.ALL_GATHER), ("moe.scatter", Kind.REDUCE_SCATTER)):
        assert ops[name].kind is kind
        assert ops[name].message_bytes == 32 * 8 * WIDTH * 2
        assert (ops[name].group, ops[name].stride) == (8, 2)


def test_a_mixture_reduces_over_its_tensor_ranks() -> None:
    ops = ops_of(EXPERTS, DECODE, Layout(tensor=8, expert=8))
    assert ops["moe.all_reduce"].group == 8
    assert ops["moe.shared.up"].flops * 8 == ops_of(EXPERTS, DECODE)["moe.shared.up"].flops


def test_no_shared_block_no_operators_of_it() -> None:
    assert not any("shared" in name for name in ops_of(PLAIN, DECODE))
