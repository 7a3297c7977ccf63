import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.cost.layout import Layout
from penjing.cost.training_setup import STACKS, Recompute, TrainSetup, Zero, stack_named
from penjing.errors import Contradiction, UnknownName

degrees = st.sampled_from([1, 2, 4, 8])


def test_a_pipeline_works_through_its_share_of_the_batch() -> None:
    """DeepSeek-V3: 15,360 sequences over 128 pipelines, one at a time."""
    setup = TrainSetup(
        layout=Layout(data=128, expert=64, pipeline=16), sequence=4096, global_batch=15360
    )
    assert setup.micro_batches == 120


@given(data=degrees, micro=degrees, rounds=st.integers(min_value=1, max_value=100))
def test_micro_batches_use_up_the_global_batch(data: int, micro: int, rounds: int) -> None:
    setup = TrainSetup(
        layout=Layout(data=data, tensor=2),
        sequence=128,
        global_batch=data * micro * rounds,
        micro_batch=micro,
    )
    assert setup.micro_batches == rounds


def test_a_batch_that_does_not_divide_is_a_contradiction() -> None:
    setup = TrainSetup(layout=Layout(data=6), sequence=128, global_batch=32, micro_batch=2)
    with pytest.raises(Contradiction) as caught:
        _ = setup.micro_batches
    assert str(caught.value) == (
        "global batch 32 is not a multiple of 6 data ranks x micro-batch 2"
    )


@pytest.mark.parametrize(
    ("layout", "copies"),
    [
        (Layout(data=128, expert=64, pipeline=16), 2),  # DeepSeek-V3
        (Layout(data=8), 8),
        (Layout(data=8, expert=8), 1),
        (Layout(tensor=4, data=4, expert=8), 2),
        (Layout(context=2, data=4, expert=4), 2),
    ],
)
def test_data_ranks_beside_the_expert_ranks_hold_copies(layout: Layout, copies: int) -> None:
    assert TrainSetup(layout=layout, sequence=1, global_batch=8).expert_copies == copies


def test_zero_stages_build_on_each_other() -> None:
    assert list(Zero) == [Zero.NONE, Zero.OPTIMIZER, Zero.GRADIENTS, Zero.PARAMETERS]
    assert sorted(Zero) == list(Zero)


def test_recompute_goes_from_least_to_most() -> None:
    """The planner tries them in this order and stops at the first that fits."""
    assert list(Recompute) == [Recompute.NONE, Recompute.SELECTIVE, Recompute.FULL]


def test_a_plain_setup_trains_the_whole_model_and_recomputes_nothing() -> None:
    plain = TrainSetup(layout=Layout(), sequence=1, global_batch=1)
    assert plain.recompute is Recompute.NONE
    assert not plain.adapters
    assert not plain.offload
    assert (plain.micro_batch, plain.virtual_stages, plain.recompute_share) == (1, 1, 1.0)
    assert plain.stack is STACKS["megatron"]


@pytest.mark.parametrize("name", ["tuned", "Megatron", "FSDP"])
def test_stacks_are_found_however_they_are_written(name: str) -> None:
    assert stack_named(name).name == name.lower()


def test_an_unknown_stack_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown training stack 'megatrn'; nearest: megatron"):
        stack_named("megatrn")


def test_stacks_stretch_kernels_and_hide_at_most_all_of_the_exchange() -> None:
    for name, stack in STACKS.items():
        assert stack.name == name
        assert stack.kernel_factor >= 1
        assert 0 <= stack.exchange_overlap <= 1
        assert 0 <= stack.moe_layer_s < 0.1
    hides = {name for name, stack in STACKS.items() if stack.exchange_overlap > 0}
    assert hides == {"tuned"}
    assert (
        STACKS["tuned"].kernel_factor
        < STACKS["megatron"].kernel_factor
        < STACKS["fsdp"].kernel_factor
    )
