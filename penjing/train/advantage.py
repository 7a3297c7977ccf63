"""How much better a response is than its siblings: from rewards to advantages.

Advantages are constants of the loss; no gradient passes through them. Standard deviations divide by
n - 1, as in TRL and verl. A group whose rewards are all equal gets exact zeros.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import assert_never

import torch
from torch import Tensor

from penjing.train.segments import Segments


class Advantage(StrEnum):
    """r: reward; mean, std: of the response's group, where nothing else is said."""

    GRPO = "grpo"  # (r - mean) / std: DeepSeekMath, arXiv 2402.03300, section 4.1.2
    DR_GRPO = "dr_grpo"  # r - mean: Dr. GRPO, arXiv 2503.20783, section 3.2
    RLOO = "rloo"  # r - mean of the others: arXiv 2402.14740, section 2.2
    # r - mean, then whitened over the batch: REINFORCE++, arXiv 2501.03262, "baseline" variant
    REINFORCE_BASELINE = "reinforce_baseline"
    BATCH_STD = "batch_std"  # (r - mean) / std of the batch's rewards: Lite PPO, arXiv 2508.08221
    MAX_RL = "max_rl"  # (r - mean) / mean: prime-rl's max_rl; for rewards that are not negative
    # each part of the reward as in GRPO, weighted, then whitened: GDPO, arXiv 2601.05242
    GDPO = "gdpo"


def advantages(
    parts: Mapping[str, Tensor],
    weights: Mapping[str, float],
    groups: Segments,
    kind: Advantage,
    *,
    epsilon: float = 1e-6,
) -> Tensor:
    """[B] from each part of the reward, [B], by name; a response without weight has none.

    ``epsilon`` is added to what is divided by; TRL takes 1e-4, verl 1e-6.
    """
    rewards_B = sum_of(parts, weights)
    centred_B = _centred(rewards_B, groups)
    match kind:
        case Advantage.GRPO:
            return _by_std(rewards_B, groups, epsilon)
        case Advantage.DR_GRPO:
            return centred_B
        case Advantage.RLOO:
            sizes_B = groups.spread(groups.sizes_B).to(centred_B.dtype)
            return centred_B * sizes_B / (sizes_B - 1).clamp(min=1)
        case Advantage.REINFORCE_BASELINE:
            return _whitened(centred_B, epsilon)
        case Advantage.BATCH_STD:
            return centred_B / (_std(rewards_B) + epsilon)
        case Advantage.MAX_RL:
            return centred_B / (groups.spread(groups.mean(rewards_B)) + epsilon)
        case Advantage.GDPO:
            by_part = {name: _by_std(part, groups, epsilon) for name, part in parts.items()}
            return _whitened(sum_of(by_part, weights), epsilon)
        case _:
            assert_never(kind)


def sum_of(parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum, in the order of the names: it must not hang on how a mapping was built."""
    assert parts.keys() == weights.keys()
    return torch.stack([weights[name] * parts[name] for name in sorted(parts)]).sum(0)


def has_signal(rewards_B: Tensor, groups: Segments) -> Tensor:
    """Of each group, whether its rewards differ: DAPO drops those where none does. [groups]"""
    high = rewards_B.new_full((groups.count,), -torch.inf)
    low = rewards_B.new_full((groups.count,), torch.inf)
    high = high.scatter_reduce(0, groups.index_T, rewards_B, "amax")
    low = low.scatter_reduce(0, groups.index_T, rewards_B, "amin")
    return high > low


def _centred(rewards_B: Tensor, groups: Segments) -> Tensor:
    """The mean of equal rewards may be off by a rounding, which a small divisor would blow up."""
    centred_B = rewards_B - groups.spread(groups.mean(rewards_B))
    return centred_B * groups.spread(has_signal(rewards_B, groups))


def _by_std(rewards_B: Tensor, groups: Segments, epsilon: float) -> Tensor:
    centred_B = _centred(rewards_B, groups)
    others = (groups.sizes_B - 1).clamp(min=1).to(rewards_B.dtype)
    std = (groups.sum(centred_B**2) / others).sqrt()
    return centred_B / (groups.spread(std) + epsilon)


def _whitened(values_B: Tensor, epsilon: float) -> Tensor:
    return (values_B - values_B.mean()) / (_std(values_B) + epsilon)


def _std(values_B: Tensor) -> Tensor:
    return values_B.std() if len(values_B) > 1 else values_B.new_zeros(())
