"""Each clip against objective and gradient worked out by hand."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadQuantity
from penjing.train.clip import Cispo, Clip, Clipped, Dppo, Gmpo, Ppo, clipped
from penjing.train.ratio import Ratio, log_ratios
from penjing.train.segments import Segments

OLD = math.log(0.25)


def one(ratio: float, advantage: float, clip: Clip) -> tuple[float, float, bool]:
    """Objective, its gradient by log pi, and whether it was clipped, of a single token."""
    objective, gradient, is_clipped = several([ratio], [advantage], clip)
    return objective[0], gradient[0], is_clipped[0]


def several(
    ratios: list[float], signs: list[float], clip: Clip, lengths: list[int] | None = None
) -> tuple[list[float], list[float], list[bool]]:
    old_T = torch.full((len(ratios),), OLD, dtype=torch.float64)
    new_T = (old_T + torch.tensor(ratios, dtype=torch.float64).log()).requires_grad_()
    advantages_T = torch.tensor(signs, dtype=torch.float64)
    responses = Segments.of_lengths(lengths or [1] * len(ratios))
    ratio_T = log_ratios(new_T, old_T, responses, Ratio.TOKEN)
    found: Clipped = clipped(ratio_T, advantages_T, new_T, old_T, responses, clip)
    found.objective_T.sum().backward()
    assert new_T.grad is not None
    return found.objective_T.tolist(), new_T.grad.tolist(), found.is_clipped_T.tolist()


PPO = Ppo(low=0.2, high=0.28)
TWO_SIDED = Ppo(low=0.2, high=0.28, dual=3.0)
R1_PAPER = Ppo(low=10.0, high=10.0)


@pytest.mark.parametrize(
    ("clip", "ratio", "advantage", "objective", "gradient"),
    [
        (PPO, 1.1, 2.0, 2.2, 2.2),
        (PPO, 1.5, 2.0, 2.56, 0.0),  # high enough already
        (PPO, 0.5, 2.0, 1.0, 1.0),  # to be raised again, whatever the bound
        (PPO, 0.5, -1.0, -0.8, 0.0),  # low enough already
        (PPO, 1.5, -1.0, -1.5, -1.5),
        (PPO, 9.0, -1.0, -9.0, -9.0),
        (TWO_SIDED, 9.0, -1.0, -3.0, 0.0),
        (TWO_SIDED, 2.9, -1.0, -2.9, -2.9),
        (TWO_SIDED, 1.5, 1.0, 1.28, 0.0),
        (R1_PAPER, 10.9, 1.0, 10.9, 10.9),  # DeepSeek-R1's epsilon: 1 - 10 never binds
        (R1_PAPER, 11.1, 1.0, 11.0, 0.0),
        (R1_PAPER, 1e-6, -1.0, -1e-6, -1e-6),
    ],
)
def test_ppo(clip: Ppo, ratio: float, advantage: float, objective: float, gradient: float) -> None:
    found = one(ratio, advantage, clip)
    assert found[:2] == pytest.approx((objective, gradient))
    assert found[2] is (gradient == 0)


@pytest.mark.parametrize(
    ("clip", "ratio", "weight"),
    [
        (Cispo(high=4.0), 2.0, 2.0),
        (Cispo(high=4.0), 7.0, 5.0),
        (Cispo(high=4.0), 0.1, 0.1),
        (Cispo(low=0.2, high=0.28), 0.1, 0.8),
    ],
)
def test_cispo_bounds_the_weight_and_keeps_the_gradient(
    clip: Cispo, ratio: float, weight: float
) -> None:
    for advantage in (1.5, -1.5):
        _, gradient, is_clipped = one(ratio, advantage, clip)
        assert gradient == pytest.approx(weight * advantage)
        assert is_clipped is (weight != ratio)


@pytest.mark.parametrize(
    ("ratio", "advantage", "weight"),
    [  # pi_old is 1/4
        (1.7, 1.0, 1.7),  # moved by 0.175
        (1.9, 1.0, 0.0),  # by 0.225
        (1.9, -1.0, 1.9),
        (0.1, -1.0, 0.0),  # by -0.225
        (0.1, 1.0, 0.1),
    ],
)
def test_dppo_drops_what_moved_far_enough(ratio: float, advantage: float, weight: float) -> None:
    _, gradient, is_clipped = one(ratio, advantage, Dppo(low=0.2, high=0.2))
    assert gradient == pytest.approx(weight * advantage)
    assert is_clipped is (weight == 0)


def test_dppo_bounds_the_weight_of_rare_tokens() -> None:
    _, gradient, _ = one(3.0, -1.0, Dppo(low=0.9, high=0.9, most=2.0))
    assert gradient == pytest.approx(-2.0)


def test_gmpo() -> None:
    """Ratios e and e^-1/10 with bounds of 0.4: the first counts as e^0.4."""
    ratios = [math.e, math.exp(-0.1)]
    objective, gradient, is_clipped = several(ratios, [2.0, 2.0], Gmpo(), [2])
    mean = math.exp((0.4 - 0.1) / 2)
    assert objective == pytest.approx([2 * mean] * 2)
    assert gradient == pytest.approx([0.0, 2 * mean])  # half for each of the two equal tokens
    assert is_clipped == [True, False]
    objective, gradient, is_clipped = several(ratios, [-2.0, -2.0], Gmpo(), [2])
    mean = math.exp((1 - 0.1) / 2)
    assert objective == pytest.approx([-2 * mean] * 2)
    assert gradient == pytest.approx([-2 * mean] * 2)
    assert is_clipped == [False, False]


@given(ratio=st.floats(0.01, 20), advantage=st.floats(-3, 3))
def test_ppo_never_promises_more_than_without_a_clip(ratio: float, advantage: float) -> None:
    objective, _, _ = one(ratio, advantage, PPO)
    assert objective <= ratio * advantage + 1e-9


@pytest.mark.parametrize("clip", [PPO, TWO_SIDED, Cispo(), Dppo(), Gmpo()], ids=repr)
def test_on_policy_all_clips_agree(clip: Clip) -> None:
    """That is REINFORCE: the gradient of A log pi."""
    for advantage in (1.5, 0.0, -2.0):
        _, gradient, is_clipped = one(1.0, advantage, clip)
        assert gradient == pytest.approx(advantage)
        assert not is_clipped


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (Ppo, {"low": -0.1}, "low is -0.1"),
        (Ppo, {"high": float("nan")}, "high is nan"),
        (Ppo, {"dual": 1.1}, "dual is 1.1; it must be above 1 \\+ high"),
        (Cispo, {"high": -1.0}, "high is -1.0"),
        (Dppo, {"low": -1.0}, "low is -1.0"),
        (Gmpo, {"low": -1.0}, "low is -1.0"),
    ],
)
def test_bounds_that_make_no_sense(kind: type, given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadQuantity, match=message):
        kind(**given)
