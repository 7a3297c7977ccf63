"""Each advantage against its formula on numbers worked out by hand, and what must never change."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from penjing.train.advantage import Advantage, advantages, has_signal, sum_of
from penjing.train.segments import Segments

GROUPS = Segments.of_lengths([4, 2])
REWARDS = [1.0, 0.0, 0.0, 1.0, 3.0, 1.0]
KINDS = sorted(Advantage)


def of(
    rewards: list[float], kind: Advantage, groups: Segments = GROUPS, epsilon: float = 1e-15
) -> Tensor:
    reward_B = torch.tensor(rewards, dtype=torch.float64)
    return advantages({"accuracy": reward_B}, {"accuracy": 1.0}, groups, kind, epsilon=epsilon)


# Means 1/2 and 2; standard deviations sqrt(1/3) and sqrt(2); of all six sqrt(6/5).
CENTRED = [0.5, -0.5, -0.5, 0.5, 1.0, -1.0]
BY_HAND = {
    Advantage.GRPO: [c * s for c, s in zip(CENTRED, [3**0.5] * 4 + [0.5**0.5] * 2, strict=True)],
    Advantage.DR_GRPO: CENTRED,
    Advantage.RLOO: [c * s for c, s in zip(CENTRED, [4 / 3] * 4 + [2] * 2, strict=True)],
    Advantage.REINFORCE_BASELINE: [c / math.sqrt(3 / 5) for c in CENTRED],
    Advantage.BATCH_STD: [c / math.sqrt(6 / 5) for c in CENTRED],
    Advantage.MAX_RL: [1, -1, -1, 1, 0.5, -0.5],
}


@pytest.mark.parametrize("kind", sorted(BY_HAND))
def test_by_hand(kind: Advantage) -> None:
    assert of(REWARDS, kind).tolist() == pytest.approx(BY_HAND[kind], abs=1e-12)


def test_gdpo_normalises_each_part_before_they_are_added() -> None:
    """Rewards (1, 0) and (0, 1) have one sum, which GRPO cannot tell apart: GDPO's example."""
    groups = Segments.of_lengths([4])
    parts = {
        "accuracy": torch.tensor([1.0, 0, 0, 0], dtype=torch.float64),
        "format": torch.tensor([0.0, 1, 1, 0], dtype=torch.float64),
    }
    weights = {"accuracy": 1.0, "format": 0.5}
    found_B = advantages(parts, weights, groups, Advantage.GDPO, epsilon=0.0)
    # (1, 0, 0, 0): mean 1/4, std 1/2. (0, 1, 1, 0): mean 1/2, std sqrt(1/3).
    root = 3**0.5
    added = [1.5 - root / 4, -0.5 + root / 4, -0.5 + root / 4, -0.5 - root / 4]
    std = math.sqrt(sum(a * a for a in added) / 3)
    assert found_B.tolist() == pytest.approx([a / std for a in added], abs=1e-12)
    assert found_B[0] > found_B[1] > found_B[3]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_rewards_teach_nothing(kind: Advantage) -> None:
    """A third cannot be held exactly: the rounding of a mean must not become an advantage."""
    assert of([0.1] * 3, kind, Segments.of_lengths([3])).tolist() == [0] * 3
    assert of([1 / 3] * 4 + [0.1, 0.1], kind).tolist() == [0] * 6


@pytest.mark.parametrize("kind", sorted(set(Advantage) - {Advantage.GDPO, Advantage.MAX_RL}))
@given(shift=st.integers(-8, 8))
def test_what_a_whole_group_earns_more_changes_nothing(kind: Advantage, shift: int) -> None:
    if kind is Advantage.BATCH_STD:
        shift = 0 if shift % 2 else shift  # it scales by all rewards, so shift all of them
        moved = [r + shift for r in REWARDS]
    else:
        moved = [r + shift for r in REWARDS[:4]] + REWARDS[4:]
    assert of(moved, kind).tolist() == pytest.approx(of(REWARDS, kind).tolist(), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_one_response_alone_has_no_siblings_to_beat(kind: Advantage) -> None:
    assert of([1.0], kind, Segments.of_lengths([1])).tolist() == [0]


def test_signal() -> None:
    rewards_B = torch.tensor([1.0, 1, 1, 0, 2, 2])
    assert has_signal(rewards_B, GROUPS).tolist() == [True, False]


def test_parts_are_added_in_one_order() -> None:
    parts = {"b": torch.tensor([0.1]), "a": torch.tensor([0.2]), "c": torch.tensor([0.3])}
    weights = {"c": 0.7, "a": 0.1, "b": 0.3}
    turned = dict(reversed(parts.items()))
    assert torch.equal(sum_of(parts, weights), sum_of(turned, weights))
    assert sum_of(parts, weights).item() == pytest.approx(0.03 + 0.02 + 0.21)
