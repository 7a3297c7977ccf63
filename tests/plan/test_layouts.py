from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.cost.layout import Layout
from penjing.hardware.chip import Chip
from penjing.models.catalogue import load_model
from penjing.models.config import GroupedQuery, ModelConfig, MoE
from penjing.plan.layouts import (
    MOST_STAGES,
    has_experts,
    instance_sizes,
    serving_layouts,
    tensor_degrees,
)

MODELS = (
    "DeepSeek-R1",
    "Moonlight-16B-A3B",
    "Qwen3-30B-A3B",
    "GPT-OSS-20B",
    "R1-Distill-Qwen-7B",
    "Qwen2.5-0.5B",
    "Llama-3.2-1B",
)


def layouts(model: str | ModelConfig, chips: int, node: int) -> list[Layout]:
    config = load_model(model) if isinstance(model, str) else model
    return list(serving_layouts(config, chips, node))


def moe_blocks(model: ModelConfig) -> set[MoE]:
    return {x.feed_forward for x in model.layers if isinstance(x.feed_forward, MoE)}


@settings(deadline=None)
@given(
    name=st.sampled_from(MODELS),
    chips=st.integers(min_value=1, max_value=96),
    node=st.sampled_from([1, 2, 4, 6, 8, 72]),
)
def test_what_every_layout_keeps(name: str, chips: int, node: int) -> None:
    model = load_model(name)
    found = layouts(model, chips, node)
    assert len(found) == len(set(found))
    assert Layout() in found
    for layout in found:
        assert layout.chips <= chips
        assert chips % layout.chips == 0 or layout.chips & (layout.chips - 1) == 0
        assert layout.tensor <= node
        assert all(x.attention.num_heads % layout.tensor == 0 for x in model.layers)
        assert layout.pipeline <= min(MOST_STAGES, len(model.layers))
        assert layout.context == 1
        assert layout.expert in (1, layout.stage_chips)
        for block in moe_blocks(model):
            assert block.num_experts % layout.expert == 0
            assert block.expert_width % layout.expert_tensor == 0


@pytest.mark.parametrize("chips", [1, 3, 6, 8, 12, 16])
def test_a_dense_model_has_no_data_or_expert_ranks(chips: int) -> None:
    """Copies of a dense model are instances of their own."""
    found = layouts("R1-Distill-Qwen-7B", chips, 8)
    assert {(x.data, x.expert) for x in found} == {(1, 1)}
    assert {x.chips for x in found} <= set(instance_sizes(chips))


def every_degree(chips: int) -> Iterator[tuple[int, int, int, int]]:
    degrees = range(1, chips + 1)
    yield from product(degrees, degrees, degrees, degrees)


@pytest.mark.parametrize(("chips", "node"), [(4, 4), (6, 8), (8, 4), (12, 8)])
def test_nothing_is_left_out(chips: int, node: int) -> None:
    """Against every product of degrees, with the shape of Qwen3-30B-A3B: 32 query and 4 key-value
    heads, 48 layers, 128 experts of width 768.
    """
    expected = set()
    for tensor, data, expert, pipeline in every_degree(chips):
        stage = tensor * data
        size = stage * pipeline
        if size > chips or (chips % size and size not in (1, 2, 4, 8)):
            continue
        heads = 32 % tensor == 0 and (4 % tensor == 0 or tensor % 4 == 0)
        experts = 128 % expert == 0 and expert == stage
        widths = 768 % stage == 0 and expert == 1
        if tensor <= node and heads and (experts or widths):
            expected.add(Layout(tensor=tensor, data=data, expert=expert, pipeline=pipeline))
    assert set(layouts("Qwen3-30B-A3B", chips, node)) == expected


@pytest.mark.parametrize(
    ("chips", "sizes"),
    [
        (1, [1]),
        (3, [1, 2, 3]),
        (6, [1, 2, 3, 4, 6]),
        (7, [1, 2, 4, 7]),
        (8, [1, 2, 4, 8]),
        (12, [1, 2, 3, 4, 6, 8, 12]),
    ],
)
def test_an_instance_takes_a_divisor_or_a_power_of_two(chips: int, sizes: list[int]) -> None:
    assert instance_sizes(chips) == sizes
    assert sorted({x.chips for x in layouts("Qwen3-30B-A3B", chips, 8)}) == sizes


def test_heads_are_split_evenly_or_copied_evenly() -> None:
    # 28 query heads on 4 key-value heads; 12 on 2; 128 latent heads, which share one latent.
    assert tensor_degrees(load_model("R1-Distill-Qwen-7B"), 8) == [1, 2, 4]
    assert tensor_degrees(load_model("R1-Distill-Qwen-1.5B"), 12) == [1, 2, 4, 6, 12]
    assert tensor_degrees(load_model("DeepSeek-R1"), 8) == [1, 2, 4, 8]
    assert tensor_degrees(load_model("Qwen2.5-0.5B"), 16) == [1, 2, 14]


def test_heads_that_differ_between_layers_all_count() -> None:
    model = load_model("Llama-3.2-1B")
    first = model.layers[0]
    assert isinstance(first.attention, GroupedQuery)
    odd = replace(first, attention=replace(first.attention, num_heads=30, num_kv_heads=6))
    mixed = replace(model, layers=(odd, *model.layers[1:]))
    assert tensor_degrees(model, 8) == [1, 2, 4, 8]
    assert tensor_degrees(mixed, 8) == [1, 2]


def test_a_pipeline_is_no_deeper_than_the_model_or_sixteen() -> None:
    model = load_model("Llama-3.2-1B")
    shallow = replace(model, layers=model.layers[:3])
    assert {x.pipeline for x in layouts(shallow, 8, 8)} == {1, 2}
    assert max(x.pipeline for x in layouts("DeepSeek-R1", 64, 8)) == MOST_STAGES == 16


def test_tensor_ranks_stay_inside_the_node(chip: Callable[[str], Chip]) -> None:
    assert max(x.tensor for x in layouts("DeepSeek-R1", 64, chip("H20").node_chips)) == 8
    assert max(x.tensor for x in layouts("DeepSeek-R1", 64, 72)) == 64
    assert {x.tensor for x in layouts("DeepSeek-R1", 16, 1)} == {1}


@pytest.mark.parametrize("name", MODELS)
def test_experts_are_known_from_the_layers(name: str) -> None:
    assert has_experts(load_model(name)) == bool(moe_blocks(load_model(name)))
