from collections.abc import Callable
from typing import Any

import pytest

from penjing.errors import BadFile, Contradiction, PenjingError, UnknownName
from penjing.models.config import GroupedQuery, Indexer, Latent, ModelConfig
from penjing.models.huggingface import model_from_hf

Bundled = Callable[[str], Any]


def _grouped(config: ModelConfig) -> list[GroupedQuery]:
    attention = [layer.attention for layer in config.layers]
    return [a for a in attention if isinstance(a, GroupedQuery)]


def _windows(raw: dict[str, Any]) -> list[int | None]:
    return [a.window for a in _grouped(model_from_hf(raw, "Toy"))]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Llama-2-13B", GroupedQuery(num_heads=40, num_kv_heads=40, head_dim=128)),
        ("Llama-3.2-1B", GroupedQuery(num_heads=32, num_kv_heads=8, head_dim=64)),
        ("Mistral-7B", GroupedQuery(num_heads=32, num_kv_heads=8, head_dim=128, window=4096)),
        ("Mixtral-8x22B", GroupedQuery(num_heads=48, num_kv_heads=8, head_dim=128)),
        ("Qwen2.5-7B", GroupedQuery(num_heads=28, num_kv_heads=4, head_dim=128, qkv_bias=True)),
        ("Qwen3-32B", GroupedQuery(num_heads=64, num_kv_heads=8, head_dim=128, qk_norm=True)),
        ("Hy3", GroupedQuery(num_heads=64, num_kv_heads=8, head_dim=128, qk_norm=True)),
        (
            "GLM-4.6",
            GroupedQuery(num_heads=96, num_kv_heads=8, head_dim=128, qkv_bias=True, qk_norm=True),
        ),
        ("GLM-4.5-Air", GroupedQuery(num_heads=96, num_kv_heads=8, head_dim=128, qkv_bias=True)),
        (
            "GPT-OSS-20B",
            GroupedQuery(
                num_heads=64,
                num_kv_heads=8,
                head_dim=64,
                qkv_bias=True,
                out_bias=True,
                window=128,
                sinks=True,
            ),
        ),
    ],
)
def test_grouped_query_of_each_family(name: str, expected: GroupedQuery, bundled: Bundled) -> None:
    assert _grouped(model_from_hf(bundled(name), name))[0] == expected


def test_latent_of_each_family(bundled: Bundled) -> None:
    r1 = Latent(num_heads=128, q_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, value_dim=128)
    moonlight = Latent(
        num_heads=16, q_rank=None, kv_rank=512, nope_dim=128, rope_dim=64, value_dim=128
    )
    assert model_from_hf(bundled("DeepSeek-R1"), "R1").layers[0].attention == r1
    assert model_from_hf(bundled("Moonlight-16B-A3B"), "M").layers[9].attention == moonlight


def test_v32_scores_with_an_indexer_in_every_layer_and_the_draft(bundled: Bundled) -> None:
    config = model_from_hf(bundled("DeepSeek-V3.2"), "V3.2")
    attention = {layer.attention for layer in (*config.layers, *config.mtp)}
    (only,) = attention
    assert isinstance(only, Latent)
    assert only.indexer == Indexer(num_heads=64, head_dim=128, top_k=2048)


def test_a_window_not_in_force_is_no_window(bundled: Bundled) -> None:
    assert bundled("Qwen2.5-7B")["sliding_window"] == 131072
    assert set(_windows(bundled("Qwen2.5-7B"))) == {None}


def test_qwen_slides_from_max_window_layers_on(bundled: Bundled) -> None:
    keys = {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 20}
    assert _windows(bundled("Qwen2.5-7B") | keys) == [None] * 20 + [4096] * 8


def test_layer_types_go_before_the_pattern_of_the_family(bundled: Bundled) -> None:
    raw = bundled("GPT-OSS-20B")
    alternating = _windows(raw)
    assert alternating == [128, None] * 12
    assert _windows({k: v for k, v in raw.items() if k != "layer_types"}) == alternating
    types = ["full_attention"] * 23 + ["sliding_attention"]
    assert _windows(raw | {"layer_types": types}) == [None] * 23 + [128]


@pytest.mark.parametrize(
    ("name", "keys", "error", "match"),
    [
        ("Llama-3-8B", {"hidden_size": 4100}, Contradiction, "4100 does not divide into 32 heads"),
        ("Llama-3-8B", {"num_key_value_heads": 12}, Contradiction, "12 key-value heads"),
        ("Qwen3-8B", {"head_dim": None}, BadFile, "head_dim is missing"),
        ("Qwen3-8B", {"num_key_value_heads": None}, BadFile, "num_key_value_heads is missing"),
        ("GPT-OSS-20B", {"layer_types": ["full_attention"]}, Contradiction, "lists 1 layers"),
        ("GPT-OSS-20B", {"layer_types": ["linear_attention"] * 24}, UnknownName, "full_attention"),
        ("GPT-OSS-20B", {"attention_bias": None}, BadFile, "attention_bias is missing"),
        (
            "Qwen3-8B",
            {"layer_types": ["sliding_attention"] * 36},
            Contradiction,
            "no sliding_window is in force",
        ),
        ("Qwen3-30B-A3B", {"use_sliding_window": True}, UnknownName, "use_sliding_window"),
        ("DeepSeek-R1", {"num_key_value_heads": 1}, Contradiction, "num_key_value_heads is 1"),
        ("DeepSeek-R1", {"qk_head_dim": 128}, Contradiction, "add up to 192"),
        ("DeepSeek-R1", {"head_dim": 128}, Contradiction, "qk_rope_head_dim, which is 64"),
        ("DeepSeek-R1", {"rope_interleave": False}, UnknownName, "rope_interleave"),
        ("DeepSeek-R1", {"qk_rope_head_dim": 63}, Contradiction, "must be even"),
        ("DeepSeek-V3.2", {"q_lora_rank": None}, Contradiction, "give q_lora_rank"),
        ("DeepSeek-V3.2", {"layer_types": ["full_attention"]}, UnknownName, "indexed_attention"),
    ],
)
def test_what_does_not_hold_is_named(
    name: str, keys: dict[str, Any], error: type[PenjingError], match: str, bundled: Bundled
) -> None:
    with pytest.raises(error, match=match):
        model_from_hf(bundled(name) | keys, name)


def test_mistral_has_to_say_whether_it_slides(bundled: Bundled) -> None:
    raw = bundled("Mistral-7B")
    assert set(_windows(raw | {"sliding_window": None})) == {None}
    del raw["sliding_window"]
    with pytest.raises(BadFile, match="sliding_window is missing"):
        model_from_hf(raw, "Mistral")


def test_keys_that_newer_releases_write_for_latent_attention_agree(bundled: Bundled) -> None:
    keys = {"head_dim": 64, "qk_head_dim": 192, "rope_interleave": True}
    raw = bundled("DeepSeek-R1")
    assert model_from_hf(raw | keys, "R1") == model_from_hf(raw, "R1")
