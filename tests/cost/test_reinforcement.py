from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.cost.layout import Layout
from penjing.cost.load import Burst, serve
from penjing.cost.memory import weight_bytes
from penjing.cost.network import NETWORK_EFFICIENCY
from penjing.cost.reinforcement import (
    GrpoSetup,
    GrpoStep,
    grpo_step,
    handover_s,
    rollout_s,
    whole_batch,
)
from penjing.cost.roofline import Bound
from penjing.cost.serving import Instance, Traffic
from penjing.cost.training_setup import TrainSetup
from penjing.cost.training_step import train_step

MakeInstance = Callable[..., Instance]
TRAINING = TrainSetup(layout=Layout(data=8), sequence=1024, global_batch=8)


@pytest.fixture(scope="module")
def plain(small: Instance) -> GrpoSetup:
    """64 prompts of 8 answers on eight chips that roll out and train in turn."""
    return GrpoSetup(
        prompts=64,
        group=8,
        traffic=Traffic(input_tokens=128, output_tokens=896, varied=True, longest_output=4096),
        rollout=small,
        replicas=8,
        training=TRAINING,
        trainer=replace(small.hardware, node_chips=8),
    )


def step_of(setup: GrpoSetup) -> GrpoStep:
    return grpo_step(setup.rollout.model, setup)


def test_parts_add_up_on_one_set_of_chips(plain: GrpoSetup) -> None:
    found = step_of(plain)
    parts = (
        found.rollout_s,
        found.reward_s,
        found.logprob_s,
        found.update_s,
        found.handover_s,
    )
    assert all(part > 0 for part in parts)
    assert found.step_s == pytest.approx(sum(parts))


def test_apart_the_slower_side_decides(plain: GrpoSetup) -> None:
    found = step_of(replace(plain, apart=True))
    rollout, train = found.rollout_s + found.reward_s, found.logprob_s + found.update_s
    assert found.step_s == max(rollout, train) + found.handover_s
    together = step_of(plain)
    assert (together.rollout_s, together.update_s) == (found.rollout_s, found.update_s)
    assert found.step_s < together.step_s


def test_apart_by_hand() -> None:
    """4 s of generation against 7 s of training, one to hand the weights over."""
    step = GrpoStep(
        rollout_s=3.0, reward_s=1.0, logprob_s=2.0, update_s=5.0, handover_s=1.0, apart=True
    )
    assert step.step_s == 8.0
    assert replace(step, apart=False).step_s == 12.0


def test_rollout_lasts_as_long_as_a_burst_on_each_engine(plain: GrpoSetup) -> None:
    """512 answers on 8 engines: 64 each."""
    seen = serve(plain.rollout, plain.traffic, Burst(requests=64))
    found = rollout_s(plain.rollout, plain.traffic, 512, 8)
    assert found == pytest.approx(64 * 896 / seen.output_tokens_per_s)
    assert step_of(plain).rollout_s == found


def test_fewer_answers_than_engines_leave_some_idle(plain: GrpoSetup) -> None:
    alone = rollout_s(plain.rollout, plain.traffic, 1, 1)
    assert rollout_s(plain.rollout, plain.traffic, 4, 8) == pytest.approx(alone)


@settings(deadline=None, max_examples=30)
@given(
    prompts=st.integers(min_value=1, max_value=2000),
    more=st.integers(min_value=1, max_value=2000),
    apart=st.booleans(),
)
def test_more_prompts_are_never_faster(
    plain: GrpoSetup, prompts: int, more: int, apart: bool
) -> None:
    few, many = (
        step_of(replace(plain, prompts=n, apart=apart)).step_s for n in (prompts, prompts + more)
    )
    assert many >= few * (1 - 1e-6)


@settings(deadline=None, max_examples=20)
@given(replicas=st.integers(min_value=1, max_value=64))
def test_more_engines_are_never_slower(plain: GrpoSetup, replicas: int) -> None:
    one, two = (rollout_s(plain.rollout, plain.traffic, 512, n) for n in (replicas, 2 * replicas))
    assert two <= one * (1 + 1e-6)


def test_the_longest_answers_hold_up_the_rollout(plain: GrpoSetup) -> None:
    equal = replace(plain.traffic, varied=False)
    assert rollout_s(plain.rollout, plain.traffic, 512, 8) > (
        1.5 * rollout_s(plain.rollout, equal, 512, 8)
    )


def test_the_update_trains_on_every_token(plain: GrpoSetup) -> None:
    """512 answers of 1,024 tokens with their prompts fill 512 sequences of 1,024."""
    assert whole_batch(plain).global_batch == 512
    shorter = replace(plain, training=replace(TRAINING, sequence=4096))
    assert whole_batch(shorter).global_batch == 128
    expected = train_step(plain.rollout.model, whole_batch(plain), plain.trainer).step_s
    assert step_of(plain).update_s == expected


@given(prompts=st.integers(min_value=1, max_value=500), sequence=st.sampled_from([512, 1024, 8192]))
def test_the_batch_of_an_update_divides_over_its_ranks(
    plain: GrpoSetup, prompts: int, sequence: int
) -> None:
    training = replace(TRAINING, sequence=sequence, micro_batch=2)
    batch = whole_batch(replace(plain, prompts=prompts, training=training))
    assert batch.micro_batches >= 1  # raises where it does not divide
    tokens = prompts * 8 * 1024
    assert abs(batch.global_batch * sequence - tokens) <= 16 * sequence


def test_each_further_pass_over_the_tokens_costs_a_forward(plain: GrpoSetup) -> None:
    none, one, two = (step_of(replace(plain, forwards=n)) for n in (0, 1, 2))
    forward = train_step(plain.rollout.model, whole_batch(plain), plain.trainer).forward_s
    assert none.logprob_s == 0.0
    assert one.logprob_s == forward
    assert two.logprob_s == 2 * forward


def test_rewards_hide_behind_the_rollout_but_for_the_last(plain: GrpoSetup) -> None:
    found = step_of(plain)
    assert found.reward_s == plain.reward_s
    slow = replace(plain, reward_s=60.0, reward_workers=1)
    assert step_of(slow).reward_s == pytest.approx(60.0 + 512 * 60.0 - found.rollout_s)


def test_handover_carries_every_chips_shard_over_the_network(r1: Instance) -> None:
    """R1 on 16 H20: 57 GiB a chip at 200 Gb/s, nine tenths of it reached."""
    shard = weight_bytes(r1.model, r1.layout, r1.numerics.weights)
    assert handover_s(r1.model, r1) == pytest.approx(shard / (25e9 * NETWORK_EFFICIENCY))
    fast = replace(r1, hardware=r1.hardware.scaled(Bound.LINK, 4.0))
    assert handover_s(r1.model, fast) == pytest.approx(handover_s(r1.model, r1) / 4)


def test_smaller_shards_are_handed_over_sooner(make_instance: MakeInstance) -> None:
    one, eight = (make_instance("Llama-3.1-8B", layout=Layout(tensor=n)) for n in (1, 8))
    ratio = handover_s(one.model, one) / handover_s(eight.model, eight)
    assert ratio == pytest.approx(8, rel=0.01)


def test_without_a_network_weights_go_over_the_fabric_or_stay(small: Instance) -> None:
    shard = weight_bytes(small.model, small.layout, small.numerics.weights)
    chip = replace(small.hardware.chip, network=None)
    near = replace(small, hardware=replace(small.hardware, chip=chip))
    assert handover_s(small.model, near) == pytest.approx(shard / (450e9 * NETWORK_EFFICIENCY))
    alone = replace(small, hardware=replace(small.hardware, chip=replace(chip, fabric=None)))
    assert handover_s(small.model, alone) == shard / chip.bandwidth_bytes_per_s


def test_answers_are_prompts_times_group(plain: GrpoSetup) -> None:
    assert plain.responses == 512


def test_one_set_of_chips_and_one_pass_for_the_old_policy_unless_said(plain: GrpoSetup) -> None:
    assert not plain.apart
    assert plain.forwards == 1
    step = GrpoStep(rollout_s=4.0, reward_s=0.0, logprob_s=0.0, update_s=4.0, handover_s=0.0)
    assert step.step_s == 8.0
