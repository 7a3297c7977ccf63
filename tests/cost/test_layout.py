import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.cost.layout import Layout
from penjing.errors import Contradiction

degrees = st.integers(min_value=1, max_value=16)


def test_chips_of_a_stage_and_of_all() -> None:
    layout = Layout(tensor=4, data=8, pipeline=2, context=2)
    assert layout.stage_chips == 4 * 8 * 2
    assert layout.chips == 4 * 8 * 2 * 2


@pytest.mark.parametrize(
    ("layout", "split"),
    [
        (Layout(tensor=8), 8),  # every expert on every chip, an eighth of its width
        (Layout(tensor=8, expert=8), 1),  # whole experts
        (Layout(data=16, expert=16), 1),
        (Layout(tensor=8, data=2, expert=8), 2),
        (Layout(tensor=8, pipeline=4, expert=2), 4),  # a stage at a time
    ],
)
def test_what_expert_parallelism_leaves_splits_the_width(layout: Layout, split: int) -> None:
    assert layout.expert_tensor == split


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        (Layout(), "1 chip"),
        (Layout(tensor=8, expert=8), "TP8 EP8"),
        (Layout(data=16, expert=16), "DP16 EP16"),
        (Layout(tensor=2, data=4, expert=8, pipeline=4, context=2), "TP2 DP4 EP8 CP2 PP4"),
    ],
)
def test_a_layout_reads_as_people_write_it(layout: Layout, text: str) -> None:
    assert str(layout) == text


@pytest.mark.parametrize("name", ["tensor", "data", "expert", "pipeline", "context"])
def test_no_degree_is_below_one(name: str) -> None:
    with pytest.raises(Contradiction, match=f"^layout: {name} must be at least 1, not 0$"):
        Layout(**{name: 0})


def test_expert_ranks_divide_a_stage() -> None:
    with pytest.raises(Contradiction, match="3 expert ranks do not divide the 8 chips of a pipe"):
        Layout(tensor=8, expert=3)
    with pytest.raises(Contradiction, match="16 expert ranks do not divide the 8 chips"):
        Layout(tensor=8, expert=16, pipeline=2)  # stages do not share experts


@given(tensor=degrees, data=degrees, context=degrees, pipeline=degrees, draw=st.data())
def test_experts_and_their_splits_fill_a_stage(
    tensor: int, data: int, context: int, pipeline: int, draw: st.DataObject
) -> None:
    stage = tensor * data * context
    expert = draw.draw(st.sampled_from([d for d in range(1, stage + 1) if stage % d == 0]))
    layout = Layout(tensor=tensor, data=data, context=context, pipeline=pipeline, expert=expert)
    assert layout.expert * layout.expert_tensor == layout.stage_chips
    assert layout.chips == layout.stage_chips * layout.pipeline
