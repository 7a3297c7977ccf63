import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.cost.op import (
    Kind,
    Op,
    activation_bytes,
    attended_pairs,
    collective,
    decode_attention,
    decode_latent,
    distinct_experts,
    elementwise,
    gemm,
    grouped_gemm,
    prefill_attention,
    prefill_latent,
    wire_share,
)
from penjing.hardware.precision import Precision
from penjing.models.format import BF16, FP8, FP8_BLOCK, FP32, INT4, INT8, MXFP4, NVFP4

counts = st.integers(min_value=1, max_value=300)


@pytest.mark.parametrize(
    "op",
    [
        Op(name="x", kind=Kind.GEMM),
        gemm("x", 1, 1, 1),
        grouped_gemm("x", 1, 1, 1, 1),
        prefill_attention("x", 1, 1, 0, 1, 1, 1),
        decode_attention("x", 1, 1, 0, 1, 1, 1),
        prefill_latent("x", 1, 1, 0, 1, 1, 1),
        decode_latent("x", 1, 1, 0, 1, 1, 1),
        elementwise("x", 1),
        collective("x", Kind.SEND, 0.0, 1),
    ],
    ids=lambda op: op.kind,
)
def test_an_operator_is_called_once_and_alone_unless_said(op: Op) -> None:
    assert (op.calls, op.group, op.stride, op.copies, op.node_limit) == (1.0, 1, 1, 1.0, 0)
    assert op.message_bytes == 0.0


def test_a_product_by_hand() -> None:
    """3 x 7 times 7 x 5: 2mnk FLOPs, both operands read, the result written in 16 bits."""
    op = gemm("x", 3, 5, 7)
    assert op.flops == 2 * 3 * 5 * 7
    assert op.read_bytes == 2 * (7 * 5) + 2 * (3 * 7)
    assert op.write_bytes == 2 * (3 * 5)
    assert (op.kind, op.lane, op.compute) == (Kind.GEMM, "bf16", (Precision.BF16,))


def test_narrow_weights_are_read_as_stored() -> None:
    """DeepSeek's FP8: a byte and a 128 x 128th of a scale, and 8-bit activations beside them."""
    op = gemm("x", 3, 128, 256, FP8_BLOCK)
    assert op.read_bytes == 128 * 256 + 2 * 4 + 3 * 256
    assert op.write_bytes == 2 * 3 * 128
    assert op.compute[0] is Precision.FP8


@pytest.mark.parametrize(
    ("weights", "expected"),
    [(FP32, 2), (BF16, 2), (INT4, 2), (FP8, 1), (FP8_BLOCK, 1), (INT8, 1), (MXFP4, 1), (NVFP4, 1)],
)
def test_activations_are_narrow_where_the_product_is(weights: object, expected: int) -> None:
    assert activation_bytes(weights) == expected  # type: ignore[arg-type]


def test_experts_by_hand() -> None:
    """11 token-expert pairs over 4 experts of width 6: gate, up and down, 5 values a token."""
    op = grouped_gemm("x", 11, 4, 5, 6)
    assert op.flops == 2 * 11 * 5 * 6 * 3
    assert op.read_bytes == 2 * (4 * 3 * 5 * 6) + 2 * 11 * (5 + 6)
    assert op.write_bytes == 2 * 11 * (6 + 6 + 5)


def test_an_expert_layer_is_the_sum_of_its_products() -> None:
    """One expert is gate and up in one product, then down."""
    rows, width, inner = 8, 64, 32
    both = gemm("up", rows, 2 * inner, width), gemm("down", rows, width, inner)
    op = grouped_gemm("x", rows, 1, width, inner)
    assert op.flops == sum(o.flops for o in both)
    assert op.read_bytes == sum(o.read_bytes for o in both)
    assert op.write_bytes == sum(o.write_bytes for o in both)


def test_elementwise_moves_16_bit_values() -> None:
    op = elementwise("x", 10, reads=3.0, writes=2.0)
    assert (op.flops, op.read_bytes, op.write_bytes) == (0.0, 60.0, 40.0)
    copy = elementwise("x", 10)
    assert copy.read_bytes == copy.write_bytes == 20.0


@given(new=counts, cached=st.integers(min_value=0, max_value=300))
def test_pairs_of_a_causal_block_one_by_one(new: int, cached: int) -> None:
    assert attended_pairs(new, cached, None) == sum(cached + i + 1 for i in range(new))


@given(new=counts, cached=st.integers(min_value=0, max_value=300), window=counts)
def test_pairs_in_a_window_are_at_most_a_third_too_many(new: int, cached: int, window: int) -> None:
    """The block is taken as all causal or all window; worst where it is two windows long."""
    exact = sum(min(cached + i + 1, window) for i in range(new))
    assert exact <= attended_pairs(new, cached, window) <= exact * 4 / 3 + 1e-9


@pytest.mark.parametrize(("new", "cached"), [(5, 64), (64, 1000), (7, 0)])
def test_pairs_in_a_window_are_exact_where_it_covers_all_or_is_covered(
    new: int, cached: int
) -> None:
    exact = sum(min(cached + i + 1, 64) for i in range(new))
    assert attended_pairs(new, cached, 64) == exact


def test_prefill_attention_by_hand() -> None:
    """2 prompts of 3 new tokens on 4 cached: 5 + 6 + 7 pairs each, 8 heads of 16, 2 of keys."""
    op = prefill_attention("x", 2, 3, 4, 8, 2, 16)
    assert op.flops == 2 * 18 * 8 * (2 * 16 + 2 * 16)  # scores, then values
    queries, keys_values = 3 * 8 * 16, (3 + 4) * 2 * 2 * 16
    assert op.read_bytes == 2 * 2 * (queries + keys_values)
    assert op.write_bytes == 2 * 2 * (3 * 8 * 16)


def test_prefill_attention_in_a_window() -> None:
    plain = prefill_attention("x", 1, 1000, 0, 8, 2, 16)
    windowed = prefill_attention("x", 1, 1000, 0, 8, 2, 16, window=10)
    assert windowed.flops == 1000 * 10 * 8 * 4 * 16
    assert windowed.flops < plain.flops


def test_decode_attention_by_hand() -> None:
    """3 sequences of 100 cached tokens, 8 heads of 16, 2 of keys."""
    op = decode_attention("x", 3, 1, 100, 8, 2, 16)
    assert op.flops == 3 * 100 * 8 * (2 * 16 + 2 * 16)
    assert op.read_bytes == 2 * 3 * (100 * 2 * 2 * 16 + 8 * 16)
    assert op.write_bytes == 2 * 3 * 8 * 16


def test_decoding_in_a_window_sees_no_more_than_it() -> None:
    def seen(cached: int) -> tuple[float, float]:
        op = decode_attention("x", 3, 1, cached, 8, 2, 16, window=128)
        return float(op.flops), float(op.read_bytes)

    assert seen(128) == seen(10_000)
    assert seen(64) < seen(128)


def test_an_eight_bit_cache_halves_what_decoding_reads_but_not_what_it_multiplies() -> None:
    wide, narrow = (decode_attention("x", 1, 1, 1e6, 8, 2, 16, lane=f) for f in (BF16, FP8))
    assert narrow.read_bytes / wide.read_bytes == pytest.approx(0.5, rel=1e-4)
    assert narrow.flops == wide.flops
    assert narrow.compute == (Precision.BF16,)
    for make in (prefill_attention, decode_latent):
        assert make("x", 1, 8, 0, 8, 2, 16, lane=FP8).compute[0] is Precision.FP8
        assert make("x", 1, 8, 0, 8, 2, 16).compute == (Precision.BF16,)


def test_drafted_tokens_each_have_queries_and_outputs() -> None:
    """Three tokens a sequence: the cache is read once, all else happens three times."""
    grouped = [decode_attention("x", 2, n, 100, 8, 2, 16) for n in (1, 3)]
    latent = [decode_latent("x", 2, n, 100, 128, 512, 64) for n in (1, 3)]
    for (one, three), cache in ((grouped, 2 * 2 * 100 * 2 * 2 * 16), (latent, 2 * 2 * 100 * 576)):
        assert three.flops == 3 * one.flops
        assert three.write_bytes == 3 * one.write_bytes
        assert three.read_bytes - cache == 3 * (one.read_bytes - cache)


def test_drafted_tokens_share_one_reading_of_the_cache() -> None:
    one, four = (decode_attention("x", 2, new, 1e6, 8, 2, 16) for new in (1, 4))
    assert four.flops == 4 * one.flops
    assert four.read_bytes / one.read_bytes == pytest.approx(1.0, rel=1e-3)


def test_expanded_latent_by_hand() -> None:
    """2 prompts of 3 tokens on 4 cached: 18 pairs, 8 heads of 12 + 4 query and 10 value values."""
    op = prefill_latent("x", 2, 3, 4, 8, 16, 10)
    assert op.flops == 2 * 18 * 8 * (2 * 16 + 2 * 10)
    assert op.read_bytes == 2 * 2 * (3 * 8 * 16 + 7 * 8 * (16 + 10))
    assert op.write_bytes == 2 * 2 * (3 * 8 * 10)


def test_absorbed_latent_of_r1() -> None:
    """2 T N S (576 + 512) FLOPs: scores over latent and rope key, values over the latent alone."""
    op = decode_latent("x", 64, 1, 4096, 128, 512, 64)
    assert op.flops == 2 * 64 * 128 * 4096 * (576 + 512)
    assert op.read_bytes == 64 * 2 * (4096 * 576 + 128 * 576)
    assert op.write_bytes == 64 * 2 * (128 * 512)


def test_absorbed_latent_has_242_flops_a_cached_byte() -> None:
    """128 heads x 2 x 1,088 over 576 x 2 bytes, whatever the context; twice that in FP8."""
    for lane, expected in ((BF16, 241.8), (FP8, 483.6)):
        op = decode_latent("x", 1, 1, 1e9, 128, 512, 64, lane)
        assert op.flops / op.read_bytes == pytest.approx(expected, rel=1e-3)


def test_fewer_than_64_heads_cost_as_many_flops_as_64() -> None:
    """Tensor parallelism thins out the queries read, not the padded products."""
    full, split, least = (decode_latent("x", 1, 1, 4096, n, 512, 64) for n in (64, 16, 1))
    assert full.flops == split.flops == least.flops
    assert least.read_bytes < split.read_bytes < full.read_bytes
    assert decode_latent("x", 1, 1, 4096, 128, 512, 64).flops == 2 * full.flops


def test_one_token_touches_its_experts_and_many_touch_all() -> None:
    """DeepSeek-R1: 8 of 256."""
    assert distinct_experts(256, 8, 1) == pytest.approx(8)
    assert distinct_experts(256, 8, 10_000) == pytest.approx(256)
    assert distinct_experts(256, 8, 0) == 0
    # By hand for two tokens: the second finds each expert taken with probability 1/32.
    assert distinct_experts(256, 8, 2) == pytest.approx(8 + 8 * (1 - 1 / 32))


@given(
    experts=st.integers(min_value=2, max_value=512),
    share=st.floats(min_value=0.001, max_value=1.0),
    tokens=st.integers(min_value=1, max_value=5000),
)
def test_distinct_experts_stay_between_one_choice_and_all(
    experts: int, share: float, tokens: int
) -> None:
    chosen = share * experts
    touched = distinct_experts(experts, chosen, tokens)
    assert chosen * (1 - 1e-9) <= touched <= min(experts, chosen * tokens) * (1 + 1e-9)
    assert distinct_experts(experts, chosen, tokens + 1) >= touched * (1 - 1e-12)


def test_a_draw_touches_as_many_experts_as_foretold() -> None:
    """K different experts a token, even-handed: the mean of a thousand draws."""
    rng = np.random.default_rng(0)
    experts, chosen, tokens = 64, 6, 20
    touched = [
        len({e for _ in range(tokens) for e in rng.permutation(experts)[:chosen]})
        for _ in range(1000)
    ]
    assert np.mean(touched) == pytest.approx(distinct_experts(experts, chosen, tokens), rel=0.01)


def test_what_a_rank_puts_on_the_wire() -> None:
    """Ring all-reduce passes everything round twice, less a rank's own part; a send goes whole."""
    assert wire_share(Kind.ALL_REDUCE, 8) == 2 * 7 / 8
    assert wire_share(Kind.ALL_GATHER, 8) == 7 / 8
    assert wire_share(Kind.REDUCE_SCATTER, 8) == 7 / 8
    assert wire_share(Kind.ALL_TO_ALL, 8) == 7 / 8
    assert wire_share(Kind.SEND, 2) == 1.0


@pytest.mark.parametrize("kind", [k for k in Kind if k.is_communication and k is not Kind.SEND])
def test_a_rank_alone_puts_nothing_on_the_wire(kind: Kind) -> None:
    assert wire_share(kind, 1) == 0


def test_communication_is_what_carries_a_message() -> None:
    links = {Kind.ALL_REDUCE, Kind.ALL_GATHER, Kind.REDUCE_SCATTER, Kind.ALL_TO_ALL, Kind.SEND}
    assert {k for k in Kind if k.is_communication} == links
    op = collective("x", Kind.ALL_REDUCE, 100.0, 8, stride=2, calls=3.0)
    assert (op.message_bytes, op.group, op.stride, op.calls) == (100.0, 8, 2, 3.0)
    assert (op.flops, op.read_bytes, op.write_bytes) == (0.0, 0.0, 0.0)


@given(st.lists(st.integers(min_value=1, max_value=512), min_size=1, max_size=5))
def test_arrays_count_as_their_elements_do(sequences: list[int]) -> None:
    batch = np.asarray(sequences, dtype=float)
    together = decode_latent("x", batch, 1, 4096, 128, 512, 64)
    for i, alone in enumerate(decode_latent("x", b, 1, 4096, 128, 512, 64) for b in sequences):
        assert np.asarray(together.flops)[i] == alone.flops
        assert np.asarray(together.read_bytes)[i] == alone.read_bytes
