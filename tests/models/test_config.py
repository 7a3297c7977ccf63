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


def test_nothing_mutates_a_config() -> None:
    config = load_model("Qwen3-8B")
    with pytest.raises(FrozenInstanceError):
        config.width = 1  # type: ignore[misc]


def test_a_config_is_hashable_and_equal_by_value() -> None:
    assert hash(load_model("Llama-3-8B")) == hash(load_model("llama 3 8b"))
    assert load_model("Llama-3-8B") != load_model("Llama-3.1-8B")
