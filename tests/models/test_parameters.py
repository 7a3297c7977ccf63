from functools import partial

import pytest

from penjing.models.catalogue import bundled_models, load_model
from penjing.models.config import (
    Dense,
    GroupedQuery,
    Indexer,
    Latent,
    MoE,
    Router,
    Scoring,
)
from penjing.models.parameters import (
    attention_parameters,
    chosen_parameters,
    count_parameters,
    expert_parameters,
    feed_forward_parameters,
    router_parameters,
)


def test_r1_as_its_makers_count_it() -> None:
    """DeepSeek-V3 report: 671 B; attention and expert sizes from the shapes of its section 4.2."""
    config = load_model("DeepSeek-R1")
    count = count_parameters(config)
    assert round(count.total / 1e9, 1) == 671.0
    assert round(count.active / 1e9, 1) == 37.6
    assert round(attention_parameters(config.layers[0].attention, config.width) / 1e6, 1) == 187.1
    experts = expert_parameters(config.layers[-1].feed_forward, config.width)
    assert experts == 256 * 3 * 7168 * 2048
    assert round(experts / 256 / 1e6, 2) == 44.04
    assert round(count.mtp / 1e9, 2) == 11.61


def test_gpt_oss_table() -> None:
    """gpt-oss model card, arXiv 2508.10925, table 1."""
    count = count_parameters(load_model("GPT-OSS-120B"))
    assert round((count.experts + count.router) / 1e9, 2) == 114.71
    assert round(count.attention / 1e9, 2) == 0.96
    assert round((count.embedding + count.head) / 1e9, 2) == 1.16
    assert round(count.total / 1e9, 2) == 116.83


def test_hy3_draft_layer() -> None:
    """README of Tencent-Hunyuan/Hy3: 3.8 B for the MTP layer."""
    assert round(count_parameters(load_model("Hy3")).mtp / 1e9, 1) == 3.8


@pytest.mark.parametrize("name", bundled_models())
def test_layers_add_up_to_the_total(name: str) -> None:
    config = load_model(name)
    count = count_parameters(config)
    layers = sum(
        attention_parameters(layer.attention, config.width)
        + feed_forward_parameters(layer.feed_forward, config.width)
        for layer in config.layers
    )
    assert count.total == layers + count.norms + count.embedding + count.head
    assert count.active == count.total - count.experts + count.chosen_experts


def test_grouped_query_by_hand() -> None:
    plain = GroupedQuery(num_heads=4, num_kv_heads=2, head_dim=8)
    base = 10 * 32 + 2 * 10 * 16 + 32 * 10
    assert attention_parameters(plain, 10) == base
    biased = GroupedQuery(num_heads=4, num_kv_heads=2, head_dim=8, qkv_bias=True, out_bias=True)
    assert attention_parameters(biased, 10) == base + (32 + 16 + 16) + 10
    fancy = GroupedQuery(num_heads=4, num_kv_heads=2, head_dim=8, qk_norm=True, sinks=True)
    assert attention_parameters(fancy, 10) == base + 2 * 8 + 4


def test_latent_by_hand() -> None:
    latent = partial(Latent, num_heads=4, kv_rank=6, nope_dim=8, rope_dim=2, value_dim=5)
    keys = 10 * (6 + 2) + 6 + 6 * 4 * (8 + 5) + 4 * 5 * 10
    full = latent(q_rank=None)
    assert attention_parameters(full, 10) == keys + 10 * 4 * 10
    low = latent(q_rank=3)
    queries = 10 * 3 + 3 + 3 * 4 * 10
    assert attention_parameters(low, 10) == keys + queries
    biased = latent(q_rank=3, bias=True)
    assert attention_parameters(biased, 10) == keys + queries + 3 + (6 + 2) + 10
    sparse = latent(q_rank=3, indexer=Indexer(num_heads=2, head_dim=4, top_k=9))
    scorer = 3 * 2 * 4 + 10 * 4 + 2 * 4 + 10 * 2
    assert attention_parameters(sparse, 10) == keys + queries + scorer


def test_feed_forward_by_hand() -> None:
    assert feed_forward_parameters(Dense(width=20), 10) == 3 * 20 * 10
    assert feed_forward_parameters(Dense(width=20, bias=True), 10) == 3 * 20 * 10 + 2 * 20 + 10
    gpt = Dense(width=40, gated=False, bias=True)
    assert feed_forward_parameters(gpt, 10) == 2 * 40 * 10 + 40 + 10


def test_experts_by_hand() -> None:
    router = Router(scoring=Scoring.SIGMOID, correction_bias=True, bias=True)
    block = MoE(
        num_experts=6,
        experts_per_token=2,
        expert_width=4,
        shared_width=8,
        shared_gate=True,
        bias=True,
        router=router,
    )
    expert = 3 * 4 * 10 + 2 * 4 + 10
    assert expert_parameters(block, 10) == 6 * expert
    assert chosen_parameters(block, 10) == 2 * expert
    assert router_parameters(block, 10) == 6 * (10 + 1 + 1)
    shared = 3 * 8 * 10 + 2 * 8 + 10 + 10
    assert feed_forward_parameters(block, 10) == 6 * expert + 6 * 12 + shared


def test_tied_embeddings_count_once() -> None:
    tied = count_parameters(load_model("Qwen2.5-1.5B"))
    untied = count_parameters(load_model("R1-Distill-Qwen-1.5B"))
    assert (tied.head, untied.head) == (0, 151936 * 1536)
    assert untied.total - tied.total == untied.head
