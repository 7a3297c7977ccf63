from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.cost import memory
from penjing.cost.layout import Layout
from penjing.cost.memory import (
    activation_bytes,
    attention_share,
    cache_bytes,
    cache_values,
    layer_bytes,
    layer_shares,
    usable_bytes,
    weight_bytes,
)
from penjing.models import cache, weights
from penjing.models.catalogue import load_model
from penjing.models.config import Dense, GroupedQuery, Latent, ModelConfig, WeightFormats
from penjing.models.format import BF16, FP8, Format
from penjing.models.parameters import attention_parameters, count_parameters

R1 = load_model("DeepSeek-R1")
LLAMA = load_model("Llama-3.1-8B")
OSS = load_model("GPT-OSS-120B")
GIB = 2.0**30
MODELS = ["DeepSeek-R1", "Kimi-K2", "Llama-3.1-8B", "Qwen3-30B-A3B", "GPT-OSS-120B", "GLM-4.5"]


def sixteen_bit(model: ModelConfig, layout: Layout) -> float:
    return weight_bytes(model, layout, WeightFormats())


def bytes_per_token(model: ModelConfig, layout: Layout, form: Format) -> float:
    return float(cache_bytes(model, layout, form, 1.0, 1.0))


def test_a_token_of_r1_takes_70272_bytes() -> None:
    """61 layers of 512 + 64 values in 16 bits: DeepSeek-V3 report, section 4.2."""
    assert bytes_per_token(R1, Layout(), BF16) == 70_272
    assert bytes_per_token(R1, Layout(), FP8) == 35_136


@pytest.mark.parametrize("layout", [Layout(tensor=8), Layout(data=16, expert=16)])
def test_a_latent_is_copied_on_every_rank(layout: Layout) -> None:
    assert bytes_per_token(R1, layout, BF16) == 70_272


@pytest.mark.parametrize(("tensor", "expected"), [(1, 131072), (2, 65536), (8, 16384), (32, 16384)])
def test_grouped_heads_are_split_until_each_rank_has_one(tensor: int, expected: int) -> None:
    """Llama-3.1-8B: 32 layers, 8 key-value heads of 128."""
    assert bytes_per_token(LLAMA, Layout(tensor=tensor), BF16) == expected


@pytest.mark.parametrize("name", MODELS)
def test_one_chip_caches_what_the_model_does(name: str) -> None:
    model = load_model(name)
    assert bytes_per_token(model, Layout(), BF16) == cache.cache_bytes_per_token(model, BF16)


def test_the_fullest_stage_has_the_longer_part() -> None:
    """61 layers on 4 stages: 16, 15, 15, 15."""
    assert bytes_per_token(R1, Layout(pipeline=4), BF16) == 16 * 576 * 2
    assert bytes_per_token(R1, Layout(pipeline=61), BF16) == 576 * 2
    assert cache_bytes(R1, Layout(pipeline=4), BF16, 2.0, 10.0) == 20 * 16 * 576 * 2


def test_windows_bound_the_cache_of_gpt_oss() -> None:
    """36 layers, 8 key-value heads of 64; every other layer keeps 128 tokens."""
    each = 2 * 8 * 64 * 2
    for tokens in (64.0, 128.0, 10_000.0):
        expected = 18 * each * min(tokens, 128.0) + 18 * each * tokens
        assert cache_bytes(OSS, Layout(), BF16, 1.0, tokens) == expected


@pytest.mark.parametrize("model", [R1, LLAMA])
def test_cache_without_windows_is_by_the_token(model: ModelConfig) -> None:
    per_token = bytes_per_token(model, Layout(), BF16)
    assert cache_bytes(model, Layout(), BF16, 5.0, 1000.0) == 5000 * per_token
    batches = np.array([1.0, 7.0])
    assert np.array_equal(
        cache_bytes(model, Layout(), BF16, batches, 10.0), batches * 10 * per_token
    )


def test_sparse_attention_caches_the_keys_of_its_scorer() -> None:
    """DeepSeek-V3.2: 128 values beside the 576."""
    sparse = load_model("DeepSeek-V3.2").layers[0].attention
    assert cache_values(sparse) == 576 + 128
    assert cache_values(LLAMA.layers[0].attention) == 2 * 8 * 128


def test_weights_of_r1_on_eight_chips_by_hand() -> None:
    """TP8 EP8 in its own FP8, MTP layer included: what is split, what is copied, what is wide."""
    fp8 = 1 + 4 / 128**2
    # Of 187 M attention parameters a layer, the down-projections are on every rank.
    down = 7168 * (1536 + 512 + 64)
    heads = 128 * (1536 * 192 + 512 * 256 + 128 * 7168) + 1536 + 512
    attention = 62 * (down + heads / 8) * fp8
    dense = (3 * 3 * 18432 * 7168 + 59 * 3 * 2048 * 7168) / 8 * fp8
    experts = 59 * 256 / 8 * 3 * 2048 * 7168 * fp8
    wide = 2 * (62 * 2 * 7168 + 59 * 256 * 7169)
    tables = 2 * 2 * 129280 * 7168 / 8
    expected = attention + dense + experts + wide + tables
    found = weight_bytes(R1, Layout(tensor=8, expert=8), R1.formats)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found / GIB == pytest.approx(80.6, abs=0.1)


@pytest.mark.parametrize("name", MODELS)
def test_one_chip_holds_the_checkpoint(name: str) -> None:
    """But for the final norm, and the projection and norms of the MTP layers."""
    model = load_model(name)
    whole = weights.weight_bytes(model) + weights.mtp_bytes(model)
    assert weight_bytes(model, Layout(), model.formats) == pytest.approx(whole, rel=0.001)


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "Llama-3-70B"])
@pytest.mark.parametrize("tensor", [2, 4, 8])
def test_tensor_ranks_add_up_where_nothing_is_copied(name: str, tensor: int) -> None:
    model = load_model(name)
    norms = 2.0 * 2 * model.width * len(model.layers)
    whole, share = (sixteen_bit(model, Layout(tensor=n)) - norms for n in (1, tensor))
    assert share * tensor == pytest.approx(whole)


def test_tensor_ranks_copy_down_projections_and_key_value_heads() -> None:
    latent, grouped = R1.layers[0].attention, LLAMA.layers[0].attention
    assert isinstance(latent, Latent)
    whole = attention_parameters(latent, 7168)
    assert attention_share(latent, 7168, 1) == whole
    for ranks in (2, 8):
        copies = (ranks - 1) * 7168 * 2112
        assert attention_share(latent, 7168, ranks) * ranks == pytest.approx(whole + copies)
    full_rank = replace(latent, q_rank=None)
    parameters = attention_parameters(full_rank, 7168)
    assert attention_share(full_rank, 7168, 1) == parameters
    assert attention_share(full_rank, 7168, 2) * 2 == parameters + 7168 * 576
    assert isinstance(grouped, GroupedQuery)
    one = 2 * 4096 * 128
    assert attention_share(grouped, 4096, 8) * 8 == attention_parameters(grouped, 4096)
    assert attention_share(grouped, 4096, 32) * 32 == (
        attention_parameters(grouped, 4096) + (32 - 8) * one
    )


def test_data_parallel_attention_copies_all_but_the_experts() -> None:
    spread, split = Layout(data=16, expert=16), Layout(data=16)
    layer = R1.layers[-1]
    one, many, halves = (layer_shares(layer, 7168, x) for x in (Layout(), spread, split))
    assert (many.attention, many.dense, many.wide) == (one.attention, one.dense, one.wide)
    assert many.experts == one.experts / 16 == halves.experts
    assert many.experts == 16 * 3 * 2048 * 7168


@pytest.mark.parametrize("expert", [1, 2, 4, 8, 16])
def test_experts_take_the_same_room_spread_or_split(expert: int) -> None:
    layout = Layout(tensor=8, data=2, expert=expert)
    assert layer_shares(R1.layers[-1], 7168, layout).experts == 256 * 3 * 2048 * 7168 / 16


def test_routers_and_norms_are_wide_whatever_the_format() -> None:
    layer = R1.layers[-1]
    narrow = WeightFormats(attention=FP8, dense=FP8, experts=FP8, embedding=FP8)
    wide, less = (layer_bytes(layer, 7168, Layout(), f) for f in (WeightFormats(), narrow))
    kept = 2 * (2 * 7168 + 256 * 7169)
    assert less - kept == pytest.approx((wide - kept) / 2)


def test_stages_share_layers_and_keep_the_tables_at_the_ends() -> None:
    """Llama-3.1-8B on two stages: half the layers and one table each."""
    table = 128256 * 4096 * 2
    whole = sixteen_bit(LLAMA, Layout())
    assert sixteen_bit(LLAMA, Layout(pipeline=2)) == pytest.approx(whole / 2)
    four = sixteen_bit(LLAMA, Layout(pipeline=4))
    assert four == pytest.approx((whole - 2 * table) / 4 + table)


def test_a_middle_stage_may_be_the_fullest() -> None:
    """R1's first layers have no experts, its last stage fewer layers."""
    stages = Layout(pipeline=16)
    layers = [*R1.layers, *R1.mtp]
    per_layer = {x: layer_bytes(x, 7168, stages, R1.formats) for x in set(layers)}
    # 62 layers on 16 stages: 14 of four, 2 of three; with a table the first has one with experts.
    fullest = 4 * per_layer[R1.layers[-1]]
    assert weight_bytes(R1, stages, R1.formats) == pytest.approx(fullest)
    assert fullest > sum(per_layer[x] for x in layers[:4]) + 129280 * 7168 * 2


def test_the_fuller_end_has_a_table() -> None:
    """Five layers on two stages: three and the embedding. A wide last layer: it and the head."""
    wide = replace(LLAMA.layers[0], feed_forward=Dense(width=100_000))
    table = 128256 * 4096 * 2
    for layers in (LLAMA.layers[:5], (*LLAMA.layers[:4], wide)):
        model = replace(LLAMA, layers=layers)
        per_layer = [layer_bytes(x, 4096, Layout(), WeightFormats()) for x in layers]
        expected = max(sum(per_layer[:3]), sum(per_layer[3:])) + table
        assert sixteen_bit(model, Layout(pipeline=2)) == expected


def test_dense_layers_have_no_experts() -> None:
    shares = layer_shares(LLAMA.layers[0], 4096, Layout(tensor=2))
    assert (shares.experts, shares.wide) == (0.0, 2 * 4096)
    assert shares.dense == 3 * 4096 * 14336 / 2


def test_tied_tables_are_held_once_on_one_chip() -> None:
    tied, untied = load_model("Qwen2.5-1.5B"), load_model("R1-Distill-Qwen-1.5B")
    table = 151936 * 1536 * 2
    assert sixteen_bit(untied, Layout()) - sixteen_bit(tied, Layout()) == table
    # On the first and the last stage both have one.
    assert sixteen_bit(tied, Layout(pipeline=2)) == sixteen_bit(untied, Layout(pipeline=2))


@given(
    tensor=st.sampled_from([1, 2, 4, 8]),
    data=st.sampled_from([1, 2, 4, 8]),
    pipeline=st.integers(min_value=1, max_value=16),
    name=st.sampled_from(MODELS),
)
def test_more_chips_never_hold_more_each(tensor: int, data: int, pipeline: int, name: str) -> None:
    model = load_model(name)
    layout = Layout(tensor=tensor, data=data, pipeline=pipeline)
    base = weight_bytes(model, layout, model.formats) * (1 + 1e-9)
    for more in (
        replace(layout, tensor=2 * tensor),
        replace(layout, data=2 * data),
        replace(layout, pipeline=2 * pipeline),
    ):
        assert weight_bytes(model, more, model.formats) <= base


@given(
    pipeline=st.integers(min_value=1, max_value=16),
    tensor=st.sampled_from([1, 2, 4, 8]),
    name=st.sampled_from(MODELS),
)
def test_all_chips_together_hold_the_model_at_least(pipeline: int, tensor: int, name: str) -> None:
    model = load_model(name)
    layout = Layout(tensor=tensor, pipeline=pipeline)
    whole = 2.0 * count_parameters(model).total
    assert sixteen_bit(model, layout) * layout.chips >= whole * (1 - 1e-4)


def test_usable_memory_leaves_room_for_the_runtime() -> None:
    """4 % and 2 GiB, assumed."""
    assert usable_bytes(96 * GIB) == pytest.approx((96 * 0.96 - 2) * GIB)
    assert (memory.RESERVED_SHARE, memory.RESERVED_BYTES) == (0.04, 2 * GIB)


def test_activations_by_hand() -> None:
    """Llama-3.1-8B, 1,000 tokens: residual and norms, gate, up and product, q k v and output."""
    values = 3 * 4096 + 3 * 14336 + (2 * 32 + 2 * 8) * 128
    logits = 128256 * 4 * 1000
    assert activation_bytes(LLAMA, Layout(), 1000.0) == 1000 * 2 * values + logits


def test_logits_are_kept_for_1024_tokens_at_most() -> None:
    few, more = (activation_bytes(LLAMA, Layout(), t) for t in (4096.0, 8192.0))
    values = 3 * 4096 + 3 * 14336 + (2 * 32 + 2 * 8) * 128
    assert more - few == 4096 * 2 * values


@pytest.mark.parametrize(
    ("layout", "split", "shared"),
    [
        (Layout(tensor=4), 4, 4),
        (Layout(tensor=4, expert=4), 1, 4),
        (Layout(data=8, expert=8), 1, 1),
    ],
)
def test_activations_of_experts_by_hand(layout: Layout, split: int, shared: int) -> None:
    """Moonlight: six experts of 1,408 a token, two shared ones; its first layer is narrower."""
    model = load_model("Moonlight-16B-A3B")
    inner = 3 * (6 * 1408 / split + 2816 / shared)
    heads = 16 * (2 * 192 + 2 * 128) / layout.tensor
    logits = 163840 * 4 * 1024
    dense = 3 * 11264 / layout.tensor
    values = 3 * 2048 + max(inner, dense) + heads
    assert activation_bytes(model, layout, 8192.0) == 8192 * 2 * values + logits


def test_the_widest_block_counts_whichever_it_is() -> None:
    """A dense layer wider than the experts, and the other way round."""
    for width in (1000, 100_000):
        dense = replace(R1.layers[0], feed_forward=Dense(width=width))
        model = replace(R1, layers=(dense, R1.layers[-1]))
        inner = 3 * max(width, 8 * 2048 + 2048)
        expected = 2 * (3 * 7168 + inner + 128 * (2 * 192 + 2 * 128))
        assert activation_bytes(model, Layout(), 1.0) - 129280 * 4 == expected


def test_activations_of_r1_by_hand() -> None:
    """The widest block is that of the experts, nine times 2,048 with the shared one."""
    inner = 3 * (8 * 2048 + 2048)
    heads = 128 * (2 * 192 + 2 * 128)
    per_token = 2 * (3 * 7168 + inner + heads)
    logits = 129280 * 4 * 1024
    assert activation_bytes(R1, Layout(), 8192.0) == 8192 * per_token + logits


@pytest.mark.parametrize("name", MODELS)
def test_tensor_ranks_share_inner_activations(name: str) -> None:
    model = load_model(name)
    one, eight = (activation_bytes(model, Layout(tensor=n), 8192.0) for n in (1, 8))
    assert eight < one
    assert eight > 8192 * 2 * 3 * model.width
