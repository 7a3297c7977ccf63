from dataclasses import FrozenInstanceError

import pytest

from penjing.models.catalogue import load_model
from penjing.models.config import Dense, GroupedQuery, MoE


def test_layer_counts_keep_the_order_of_first_appearance() -> None:
    counts = load_model("DeepSeek-R1").layer_counts()
    assert [n for _, n in counts] == [3, 58]
    assert isinstance(counts[0][0].feed_forward, Dense)
    assert isinstance(counts[1][0].feed_forward, MoE)


def test_alternating_layers_count_as_two_kinds() -> None:
    counts = load_model("GPT-OSS-120B").layer_counts()
    attention = [layer.attention for layer, _ in counts]
    windows = [a.window for a in attention if isinstance(a, GroupedQuery)]
    assert windows == [128, None]
    assert [n for _, n in counts] == [18, 18]


def test_blocks_are_counted_apart_from_the_layers_they_share() -> None:
    """R1: one attention for all 61 layers; GPT-OSS: one mixture for both of its attentions."""
    r1, oss = load_model("DeepSeek-R1"), load_model("GPT-OSS-120B")
    assert [n for _, n in r1.attention_counts] == [61]
    assert [n for _, n in r1.feed_forward_counts] == [3, 58]
    assert [n for _, n in oss.attention_counts] == [18, 18]
    assert [n for _, n in oss.feed_forward_counts] == [36]


@pytest.mark.parametrize("name", ["DeepSeek-R1", "GPT-OSS-120B", "Qwen3-8B"])
def test_a_layer_is_the_kind_it_is_said_to_be(name: str) -> None:
    model = load_model(name)
    kinds = [layer for layer, _ in model.layer_counts()]
    assert tuple(kinds[k] for k in model.layer_kinds) == model.layers


def test_nothing_mutates_a_config() -> None:
    config = load_model("Qwen3-8B")
    with pytest.raises(FrozenInstanceError):
        config.width = 1  # type: ignore[misc]


def test_a_config_is_hashable_and_equal_by_value() -> None:
    assert hash(load_model("Llama-3-8B")) == hash(load_model("llama 3 8b"))
    assert load_model("Llama-3-8B") != load_model("Llama-3.1-8B")
