from collections.abc import Callable
from typing import Any

import pytest

from penjing.errors import BadFile, BadQuantity, Contradiction, PenjingError, UnknownName
from penjing.models.config import Dense, FeedForward, ModelConfig, MoE, Router, Scoring
from penjing.models.huggingface import model_from_hf

Bundled = Callable[[str], Any]


def _blocks(config: ModelConfig) -> list[FeedForward]:
    return [layer.feed_forward for layer in config.layers]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "DeepSeek-R1",
            MoE(
                num_experts=256,
                experts_per_token=8,
                expert_width=2048,
                shared_width=2048,
                router=Router(
                    scoring=Scoring.SIGMOID,
                    num_groups=8,
                    top_groups=4,
                    group_score="top2-sum",
                    normalise=True,
                    scale=2.5,
                    correction_bias=True,
                ),
            ),
        ),
        (
            "DeepSeek-V2",
            MoE(
                num_experts=160,
                experts_per_token=6,
                expert_width=1536,
                shared_width=3072,
                router=Router(scoring=Scoring.SOFTMAX, num_groups=8, top_groups=3, scale=16.0),
            ),
        ),
        (
            "DeepSeek-V2-Lite",
            MoE(
                num_experts=64,
                experts_per_token=6,
                expert_width=1408,
                shared_width=2816,
                router=Router(scoring=Scoring.SOFTMAX),
            ),
        ),
        (
            "Hy3",
            MoE(
                num_experts=192,
                experts_per_token=8,
                expert_width=1536,
                shared_width=1536,
                router=Router(
                    scoring=Scoring.SIGMOID, normalise=True, scale=2.826, correction_bias=True
                ),
            ),
        ),
        (
            "Qwen3-235B-A22B",
            MoE(
                num_experts=128,
                experts_per_token=8,
                expert_width=1536,
                router=Router(scoring=Scoring.SOFTMAX, normalise=True),
            ),
        ),
        (
            "Qwen1.5-MoE-A2.7B",
            MoE(
                num_experts=60,
                experts_per_token=4,
                expert_width=1408,
                shared_width=5632,
                shared_gate=True,
                router=Router(scoring=Scoring.SOFTMAX),
            ),
        ),
        (
            "Mixtral-8x7B",
            MoE(
                num_experts=8,
                experts_per_token=2,
                expert_width=14336,
                router=Router(scoring=Scoring.TOP_K_SOFTMAX),
            ),
        ),
        (
            "GPT-OSS-120B",
            MoE(
                num_experts=128,
                experts_per_token=4,
                expert_width=2880,
                bias=True,
                router=Router(scoring=Scoring.TOP_K_SOFTMAX, bias=True),
            ),
        ),
    ],
)
def test_experts_of_each_family(name: str, expected: MoE, bundled: Bundled) -> None:
    assert _blocks(model_from_hf(bundled(name), name))[-1] == expected


@pytest.mark.parametrize(
    ("name", "dense", "routed"),
    [
        ("DeepSeek-R1", 3, 58),
        ("Kimi-K2", 1, 60),
        ("GLM-4.5", 3, 89),
        ("Hy3", 1, 79),
        ("Qwen3-30B-A3B", 0, 48),
        ("Qwen2.5-7B", 28, 0),
    ],
)
def test_how_many_layers_are_dense(name: str, dense: int, routed: int, bundled: Bundled) -> None:
    blocks = _blocks(model_from_hf(bundled(name), name))
    assert sum(isinstance(b, Dense) for b in blocks) == dense
    assert [isinstance(b, MoE) for b in blocks] == [False] * dense + [True] * routed


def test_mlp_layer_types_say_the_same_in_another_way(bundled: Bundled) -> None:
    raw = bundled("DeepSeek-R1")
    types = {"mlp_layer_types": ["dense"] * 3 + ["sparse"] * 58}
    plain = model_from_hf(raw, "R1")
    assert model_from_hf(raw | types, "R1") == plain
    assert model_from_hf(raw | types | {"first_k_dense_replace": None}, "R1") == plain
    with pytest.raises(Contradiction, match="first_k_dense_replace 4 disagree"):
        model_from_hf(raw | types | {"first_k_dense_replace": 4}, "R1")


def test_qwen_routes_every_nth_layer_but_the_listed_ones(bundled: Bundled) -> None:
    keys = {"decoder_sparse_step": 2, "mlp_only_layers": [1]}
    blocks = _blocks(model_from_hf(bundled("Qwen3-30B-A3B") | keys, "Toy"))
    assert [i for i, b in enumerate(blocks) if isinstance(b, MoE)] == list(range(3, 48, 2))


@pytest.mark.parametrize("key", ["num_experts", "num_local_experts"])
def test_experts_count_in_either_spelling(key: str, bundled: Bundled) -> None:
    raw = bundled("Mixtral-8x7B")
    renamed = {k: v for k, v in raw.items() if k != "num_local_experts"} | {key: 8}
    assert model_from_hf(renamed, "M") == model_from_hf(raw, "M")


@pytest.mark.parametrize(
    ("name", "keys", "error", "match"),
    [
        ("Mixtral-8x7B", {"num_experts_per_tok": 9}, Contradiction, "9 experts, but there are 8"),
        ("DeepSeek-R1", {"n_group": 7}, Contradiction, "256 experts do not divide into n_group 7"),
        ("DeepSeek-R1", {"topk_group": 9}, Contradiction, "topk_group 9 is more than n_group 8"),
        (
            "DeepSeek-R1",
            {"n_group": 64, "topk_group": 1},
            Contradiction,
            "8 experts, but the 1 groups it may choose from hold 4",
        ),
        ("DeepSeek-R1", {"n_group": 256, "topk_group": 8}, Contradiction, "two best experts"),
        ("DeepSeek-R1", {"first_k_dense_replace": 62}, Contradiction, "more than the 61 layers"),
        ("DeepSeek-R1", {"first_k_dense_replace": -1}, BadQuantity, "first_k_dense_replace"),
        ("DeepSeek-R1", {"moe_layer_freq": 2}, UnknownName, "moe_layer_freq"),
        ("DeepSeek-R1", {"scoring_func": "softmax"}, UnknownName, "sigmoid"),
        ("DeepSeek-R1", {"topk_method": "greedy"}, UnknownName, "noaux_tc"),
        ("DeepSeek-R1", {"n_routed_experts": None}, BadFile, "n_routed_experts is missing"),
        ("DeepSeek-R1", {"mlp_layer_types": ["dense"]}, Contradiction, "disagree"),
        ("DeepSeek-V2", {"scoring_func": "sigmoid"}, UnknownName, "softmax"),
        ("DeepSeek-V2", {"topk_method": "noaux_tc"}, UnknownName, "group_limited_greedy"),
        ("DeepSeek-V2", {"norm_topk_prob": True}, Contradiction, "not both"),
        ("Hy3", {"mlp_layer_types": ["wide"] * 80}, Contradiction, "disagree"),
        ("Hy3", {"expert_hidden_dim": 1024}, Contradiction, "expert_hidden_dim"),
        ("GPT-OSS-20B", {"experts_per_token": 2}, Contradiction, "experts_per_token"),
    ],
)
def test_what_does_not_hold_is_named(
    name: str, keys: dict[str, Any], error: type[PenjingError], match: str, bundled: Bundled
) -> None:
    with pytest.raises(error, match=match):
        model_from_hf(bundled(name) | keys, name)


def test_mlp_layer_types_are_checked_alone(bundled: Bundled) -> None:
    raw = bundled("Hy3") | {"first_k_dense_replace": None}
    with pytest.raises(UnknownName, match="mlp_layer_types"):
        model_from_hf(raw | {"mlp_layer_types": ["wide"] * 80}, "Hy3")
    with pytest.raises(Contradiction, match="lists 79 layers"):
        model_from_hf(raw | {"mlp_layer_types": ["sparse"] * 79}, "Hy3")
    with pytest.raises(BadFile, match="first_k_dense_replace is missing"):
        model_from_hf(raw, "Hy3")
