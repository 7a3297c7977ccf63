"""Correction for an engine whose probabilities are not the trainer's.

w is pi_train / pi_rollout of a sampled token, both of the weights that sampled it. With exact
numerics it is 1 to the last bit, and nothing here changes anything.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from torch import Tensor

from penjing.errors import BadQuantity
from penjing.train.segments import Segments


class Level(StrEnum):
    TOKEN = "token"  # w of each token
    SEQUENCE = "sequence"  # the product of w over a response, for all its tokens


class Bound(StrEnum):
    TRUNCATE = "truncate"  # min(w, most): truncated importance sampling
    MASK = "mask"  # w within [least, most], else 0: masked importance sampling, IcePop


@dataclass(frozen=True, kw_only=True)
class Correction:
    """Truncated: Yao et al., "Your efficient RL framework secretly brings you off-policy RL
    training", 2025 (2 there). Masked: arXiv 2510.18855, section 3 (0.5 and 5 there).

    ``least`` is of a mask only.
    """

    level: Level = Level.TOKEN
    bound: Bound = Bound.TRUNCATE
    least: float = 0.0
    most: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1 <= self.most:
            raise BadQuantity(
                f"least {self.least} and most {self.most} do not enclose 1, so that a policy which "
                "is exact would be corrected; give least at most 1 and most at least 1"
            )


def corrections(
    old_T: Tensor, rollout_T: Tensor, responses: Segments, correction: Correction
) -> Tensor:
    """A constant factor for each token's loss, from log-probabilities. [T]"""
    log_w_T = old_T - rollout_T
    if correction.level is Level.SEQUENCE:
        log_w_T = responses.spread(responses.sum(log_w_T))
    w_T = log_w_T.exp()
    match correction.bound:
        case Bound.TRUNCATE:
            return w_T.clamp(max=correction.most)
        case Bound.MASK:
            return w_T * ((w_T >= correction.least) & (w_T <= correction.most))
        case _:
            assert_never(correction.bound)
