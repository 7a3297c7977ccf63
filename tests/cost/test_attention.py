from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.cost.attention import attention_ops
from penjing.cost.layout import Layout
from penjing.cost.op import Kind, Op
from penjing.cost.work import Numerics, Pass, Phase
from penjing.models.catalogue import load_model
from penjing.models.config import Attention, GroupedQuery, Indexer, Latent, WeightFormats
from penjing.models.format import FP8, FP8_BLOCK
from penjing.models.parameters import attention_parameters

GROUPED = GroupedQuery(num_heads=32, num_kv_heads=8, head_dim=128)  # Llama-3.1-8B
LATENT = Latent(  # DeepSeek-R1
    num_heads=128, q_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, value_dim=128
)
SPARSE = replace(LATENT, indexer=Indexer(num_heads=64, head_dim=128, top_k=2048))  # V3.2
WIDTH = {GROUPED: 4096, LATENT: 7168, SPARSE: 7168}

DECODE = Pass(phase=Phase.DECODE, sequences=16.0, new=1.0, cached=4096.0)
PREFILL = Pass(phase=Phase.PREFILL, sequences=2.0, new=1024.0, cached=512.0)
TRAIN = Pass(phase=Phase.TRAIN, sequences=1.0, new=4096.0)


def ops_of(
    attention: Attention,
    work: Pass,
    layout: Layout | None = None,
    numerics: Numerics | None = None,
) -> dict[str, Op]:
    width = WIDTH.get(attention, 1024)
    ops = attention_ops(
        attention, width, layout or Layout(), work, numerics or Numerics(), calls=1.0
    )
    named = {op.name: op for op in ops}
    assert len(named) == len(ops)
    return named


def flops(ops: dict[str, Op], *, core: bool = True) -> float:
    return sum(float(op.flops) * op.calls for n, op in ops.items() if core or n != "attention.core")


def test_grouped_query_by_hand() -> None:
    """16 tokens on 4,096 cached: 32 heads of 128, 8 key-value heads, width 4,096."""
    ops = ops_of(GROUPED, DECODE)
    assert list(ops) == ["attention.qkv", "attention.rope", "attention.core", "attention.out"]
    assert ops["attention.qkv"].flops == 2 * 16 * (32 + 16) * 128 * 4096
    assert ops["attention.core"].flops == 16 * 4096 * 32 * 4 * 128
    assert ops["attention.core"].read_bytes == 2 * 16 * 128 * (4096 * 16 + 32)
    assert ops["attention.out"].flops == 2 * 16 * 4096 * 4096


def test_latent_by_hand() -> None:
    """R1, 16 tokens on 4,096 cached, absorbed: DeepSeek-V2 report, section 2.1."""
    ops = ops_of(LATENT, DECODE)
    assert ops["attention.down"].flops == 2 * 16 * (1536 + 512 + 64) * 7168
    assert ops["attention.q"].flops == 2 * 16 * 128 * (128 + 64) * 1536
    assert ops["attention.absorb"].flops == 2 * 16 * 128 * 512 * 128
    assert ops["attention.core"].flops == 2 * 16 * 128 * 4096 * (576 + 512)
    assert ops["attention.expand"].flops == 2 * 16 * 128 * 128 * 512
    assert ops["attention.out"].flops == 2 * 16 * 7168 * 128 * 128


def test_r1_core_costs_as_much_as_its_weights_at_4096() -> None:
    """61 layers of 1.14 GFLOP are 69.6 GFLOP a token, beside 2 x 37 B of the weights."""
    core = ops_of(LATENT, DECODE)["attention.core"]
    assert float(core.flops) / 16 * 61 == pytest.approx(69.6e9, rel=0.001)


@pytest.mark.parametrize("attention", [GROUPED, LATENT])
@pytest.mark.parametrize("work", [DECODE, replace(PREFILL, cached=0.0), TRAIN])
def test_projections_do_two_flops_a_parameter_and_token(attention: Attention, work: Pass) -> None:
    """Absorbed or expanded, the up-projections are multiplied once; norms are no products."""
    ops = ops_of(attention, work)
    expected = 2.0 * attention_parameters(attention, WIDTH[attention]) * float(work.tokens)
    assert flops(ops, core=False) == pytest.approx(expected, rel=1e-4)


def test_expanding_a_cached_prefix_costs_its_up_projection_again() -> None:
    fresh, cached = (ops_of(LATENT, replace(PREFILL, cached=c)) for c in (0.0, 512.0))
    ratio = cached["attention.kv_up"].flops / fresh["attention.kv_up"].flops
    assert ratio == (1024 + 512) / 1024
    others = [n for n in fresh if n not in ("attention.kv_up", "attention.core")]
    assert all(fresh[n].flops == cached[n].flops for n in others)


def test_expanded_prefill_multiplies_less_than_absorbed_would() -> None:
    """320 values a pair and head instead of 1,088, but every cached token is expanded."""
    expanded = ops_of(LATENT, replace(PREFILL, cached=0.0))["attention.core"]
    pairs = 2 * 1024 * 1025 / 2
    assert expanded.kind is Kind.PREFILL_LATENT
    assert expanded.flops == 2 * pairs * 128 * (192 + 128)
    assert expanded.flops / (2 * pairs * 128 * (576 + 512)) == pytest.approx(0.294, abs=0.001)


@pytest.mark.parametrize("attention", [GROUPED, LATENT])
def test_the_phase_chooses_the_kernel(attention: Attention) -> None:
    kinds = {w.phase: ops_of(attention, w)["attention.core"].kind for w in (DECODE, PREFILL, TRAIN)}
    latent = isinstance(attention, Latent)
    assert kinds == {
        Phase.DECODE: Kind.DECODE_LATENT if latent else Kind.DECODE_ATTENTION,
        Phase.PREFILL: Kind.PREFILL_LATENT if latent else Kind.PREFILL_ATTENTION,
        Phase.TRAIN: Kind.PREFILL_LATENT if latent else Kind.PREFILL_ATTENTION,
    }


@pytest.mark.parametrize("work", [DECODE, PREFILL])
@pytest.mark.parametrize("tensor", [2, 4, 8])
def test_tensor_ranks_share_grouped_heads(work: Pass, tensor: int) -> None:
    whole, share = ops_of(GROUPED, work), ops_of(GROUPED, work, Layout(tensor=tensor))
    for name, op in whole.items():
        assert share[name].flops * tensor == op.flops


@pytest.mark.parametrize("work", [DECODE, PREFILL])
def test_key_value_heads_fewer_than_ranks_are_copied(work: Pass) -> None:
    """8 key-value heads on 16 and 32 ranks: one on each, however many ranks there are."""
    sixteen, more = (ops_of(GROUPED, work, Layout(tensor=n)) for n in (16, 32))
    t = float(work.tokens)
    assert sixteen["attention.qkv"].flops == 2 * t * (2 + 2) * 128 * 4096
    assert more["attention.qkv"].flops == 2 * t * (1 + 2) * 128 * 4096
    assert more["attention.core"].flops * 2 == sixteen["attention.core"].flops


@pytest.mark.parametrize("tensor", [2, 8, 16])
def test_tensor_ranks_share_latent_heads_but_not_the_down_projections(tensor: int) -> None:
    whole, share = (ops_of(LATENT, PREFILL, Layout(tensor=n)) for n in (1, tensor))
    split = ("attention.q", "attention.kv_up", "attention.core", "attention.out")
    for name in split:
        assert share[name].flops * tensor == whole[name].flops
    assert share["attention.down"].flops == whole["attention.down"].flops


def test_tensor_ranks_below_64_heads_gain_nothing_in_the_absorbed_core() -> None:
    two, sixteen = (
        ops_of(LATENT, DECODE, Layout(tensor=n))["attention.core"].flops for n in (2, 16)
    )
    assert two == sixteen


def test_full_rank_queries_have_one_projection() -> None:
    """Moonlight and V2-Lite: the query comes straight from the residual."""
    ops = ops_of(replace(LATENT, q_rank=None), DECODE)
    assert "attention.down" not in ops
    assert ops["attention.q"].flops == 2 * 16 * (128 * 192 + 576) * 1024


def test_rotary_embedding_and_norms_pass_over_queries_and_keys() -> None:
    """Sixteen tokens; values count with the keys, and of a latent what is cached."""
    grouped = ops_of(GROUPED, DECODE, Layout(tensor=2))["attention.rope"]
    assert grouped.read_bytes == grouped.write_bytes == 2 * 16 * (16 + 2 * 4) * 128
    latent = ops_of(LATENT, DECODE, Layout(tensor=2))
    assert latent["attention.rope"].read_bytes == 2 * 16 * (64 * 192 + 576)
    assert latent["attention.norm"].read_bytes == 2 * 16 * (1536 + 576)


def test_norms_of_queries_and_keys_are_another_pass_over_them() -> None:
    plain, normed = ops_of(GROUPED, DECODE), ops_of(replace(GROUPED, qk_norm=True), DECODE)
    assert normed["attention.rope"].calls == 2 * plain["attention.rope"].calls


def test_a_window_bounds_the_core() -> None:
    windowed = replace(GROUPED, window=128)
    near, far = (
        ops_of(windowed, replace(DECODE, cached=c))["attention.core"] for c in (128.0, 1e5)
    )
    assert near.flops == far.flops
    assert near.read_bytes == far.read_bytes


@given(cached=st.floats(min_value=1, max_value=1e6))
def test_sparse_attention_reads_no_more_than_top_k(cached: float) -> None:
    """Its scorer sees every cached token, in FP8; the core only those chosen."""
    work = replace(DECODE, cached=cached)
    dense, sparse = ops_of(LATENT, work), ops_of(SPARSE, work)
    core = ops_of(LATENT, replace(work, cached=min(cached, 2048.0)))["attention.core"]
    assert sparse["attention.core"].flops == core.flops <= dense["attention.core"].flops
    score = sparse["indexer.score"]
    # One product: 64 heads of 128 against one key of 128 bytes a cached token.
    assert score.flops == pytest.approx(2 * 16 * 64 * 128 * cached)
    assert score.read_bytes == pytest.approx(16 * (128 * cached + 32 * 128 * 2))
    assert score.lane == FP8.name


def test_the_projections_of_the_scorer() -> None:
    """V3.2: 64 heads of 128 from the query latent in FP8, one key and 64 weights in 16 bits."""
    ops = ops_of(SPARSE, DECODE)
    assert ops["indexer.q"].flops == 2 * 16 * 64 * 128 * 1536
    assert ops["indexer.k"].flops == 2 * 16 * (128 + 64) * 7168
    assert (ops["indexer.q"].lane, ops["indexer.k"].lane) == ("fp8", "bf16")
    assert ops["indexer.top_k"].read_bytes == 2 * 16 * 4096
    full_rank = ops_of(replace(SPARSE, q_rank=None), DECODE)
    assert full_rank["indexer.q"].flops == 2 * 16 * 64 * 128 * 1024  # from the residual


def test_dense_attention_has_no_scorer() -> None:
    assert not any(name.startswith("indexer") for name in ops_of(LATENT, DECODE))


def test_projections_take_the_format_of_the_weights_and_the_core_that_of_the_cache() -> None:
    numerics = Numerics(weights=WeightFormats(attention=FP8_BLOCK), cache=FP8)
    ops = ops_of(LATENT, PREFILL, numerics=numerics)
    assert {ops[n].lane for n in ("attention.down", "attention.q", "attention.out")} == {
        "fp8-block"
    }
    assert ops["attention.core"].lane == "fp8"
    # Absorbed weights are derived at load time and stay wide.
    assert ops_of(LATENT, DECODE, numerics=numerics)["attention.absorb"].lane == "bf16"


@pytest.mark.parametrize("attention", [GROUPED, LATENT])
def test_context_ranks_share_the_pairs_evenly(attention: Attention) -> None:
    """A sequence of 4,096 on four chips: each has a quarter of the tokens and of the pairs."""
    cut = replace(TRAIN, new=1024.0)
    whole, share = ops_of(attention, TRAIN), ops_of(attention, cut, Layout(context=4))
    assert share["attention.core"].flops * 4 == whole["attention.core"].flops
    assert share["attention.out"].flops * 4 == whole["attention.out"].flops


def test_context_ranks_gather_keys_and_values() -> None:
    """16 bits of each key and value of the whole sequence; of a latent, that alone."""
    layout = Layout(tensor=2, context=4)
    cut = replace(TRAIN, new=1024.0)
    grouped = ops_of(GROUPED, cut, layout)["attention.gather"]
    assert grouped.message_bytes == 2 * 4096 * 2 * (8 / 2) * 128
    assert (grouped.kind, grouped.group, grouped.stride) == (Kind.ALL_GATHER, 4, 2)
    assert ops_of(LATENT, cut, layout)["attention.gather"].message_bytes == 2 * 4096 * 576
    assert "attention.gather" not in ops_of(GROUPED, TRAIN)


def test_every_operator_is_called_once_a_layer() -> None:
    model = load_model("Qwen3-8B")
    ops = attention_ops(model.layers[0].attention, model.width, Layout(), DECODE, Numerics(), 36.0)
    calls = {op.name: op.calls for op in ops}
    assert calls.pop("attention.rope") == 72.0  # normed and rotated
    assert set(calls.values()) == {36.0}
