"""What a token adds to the objective: its ratio times its advantage, held within bounds."""

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from penjing.errors import BadQuantity
from penjing.train.segments import Segments


@dataclass(frozen=True, kw_only=True)
class Ppo:
    """min(rho A, clip(rho, 1 - low, 1 + high) A): PPO, arXiv 1707.06347, eq. 7.

    ``high`` above ``low`` is DAPO's clip-higher, arXiv 2503.14476, section 3.1. ``dual`` caps rho
    where A < 0: two-sided clipping, INTELLECT-2, arXiv 2505.07291, section 3.4 (delta, 4 there),
    or dual-clip PPO, arXiv 1912.09729, eq. 5.
    """

    low: float = 0.2
    high: float = 0.2
    dual: float | None = None

    def __post_init__(self) -> None:
        _check(low=self.low, high=self.high)
        if self.dual is not None and self.dual <= 1 + self.high:
            raise BadQuantity(
                f"dual is {self.dual}; it must be above 1 + high = {1 + self.high}, or it would "
                "cap what the clip lets through"
            )


@dataclass(frozen=True, kw_only=True)
class Cispo:
    """sg(clip(rho)) A log pi: no token's gradient is cut off; MiniMax-M1, arXiv 2506.13585, eq. 4.

    ``low`` None: no lower bound, as there; ScaleRL (arXiv 2510.13786) takes 1 + high = 5.
    """

    high: float = 4.0
    low: float | None = None

    def __post_init__(self) -> None:
        _check(low=self.low or 0.0, high=self.high)


@dataclass(frozen=True, kw_only=True)
class Dppo:
    """Tokens whose probability has moved far enough already drop out: DPPO, arXiv 2602.04879.

    Out: pi - pi_old > high where A > 0, < -low where A < 0 (the binary total variation). The rest
    count sg(min(rho, most)) A log pi.
    """

    low: float = 0.2
    high: float = 0.2
    most: float = 20.0

    def __post_init__(self) -> None:
        _check(low=self.low, high=self.high)


@dataclass(frozen=True, kw_only=True)
class Gmpo:
    """s A, where s is the geometric mean of a response's ratios: GMPO, arXiv 2507.20673, eq. 4.

    Each log rho is held within -low and high first, on the side where PPO would hold it.
    """

    low: float = 0.4
    high: float = 0.4

    def __post_init__(self) -> None:
        _check(low=self.low, high=self.high)


Clip = Ppo | Cispo | Dppo | Gmpo


@dataclass(frozen=True)
class Clipped:
    """``objective_T`` is to be maximised; ``is_clipped_T``: where the bounds took the gradient."""

    objective_T: Tensor
    is_clipped_T: Tensor


def clipped(
    log_ratio_T: Tensor,
    advantages_T: Tensor,
    logprobs_T: Tensor,
    old_T: Tensor,
    responses: Segments,
    clip: Clip,
) -> Clipped:
    """``logprobs_T`` are the learning policy's, with gradient; ``old_T`` are constants. All [T]."""
    match clip:
        case Ppo():
            return _ppo(log_ratio_T.exp(), advantages_T, clip)
        case Cispo(low=low, high=high):
            ratio_T = log_ratio_T.detach().exp()
            least = 0.0 if low is None else 1 - low
            bounded_T = ratio_T.clamp(least, 1 + high)
            is_clipped_T = bounded_T != ratio_T
            return Clipped(bounded_T * advantages_T * logprobs_T, is_clipped_T)
        case Dppo(low=low, high=high, most=most):
            moved_T = logprobs_T.detach().exp() - old_T.exp()
            too_far_T = torch.where(advantages_T > 0, moved_T > high, moved_T < -low)
            is_out_T = too_far_T & (advantages_T != 0)
            weight_T = log_ratio_T.detach().exp().clamp(max=most) * ~is_out_T
            return Clipped(weight_T * advantages_T * logprobs_T, is_out_T)
        case Gmpo(low=low, high=high):
            signs_T = advantages_T.sign()
            plain_T, held_T = signs_T * log_ratio_T, signs_T * log_ratio_T.clamp(-low, high)
            worse_T = signs_T * torch.minimum(plain_T, held_T)
            mean_T = responses.spread(responses.mean(worse_T))
            return Clipped(mean_T.exp() * advantages_T, held_T < plain_T)
        case _:
            assert_never(clip)


def _ppo(ratio_T: Tensor, advantages_T: Tensor, clip: Ppo) -> Clipped:
    bounded_T = ratio_T.clamp(1 - clip.low, 1 + clip.high)
    plain_T, held_T = ratio_T * advantages_T, bounded_T * advantages_T
    objective_T = torch.minimum(plain_T, held_T)
    is_clipped_T = held_T < plain_T
    if clip.dual is not None:
        least_T = clip.dual * advantages_T
        is_low_T = (advantages_T < 0) & (objective_T < least_T)
        objective_T = torch.where(is_low_T, least_T, objective_T)
        is_clipped_T = is_clipped_T | is_low_T
    return Clipped(objective_T, is_clipped_T)


def _check(**bounds: float) -> None:
    for name, value in bounds.items():
        if not value >= 0:
            raise BadQuantity(f"{name} is {value}; a bound of the ratio must be at least 0")
