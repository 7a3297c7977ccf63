"""The importance ratio between the policy that learns and the one that sampled."""

from enum import StrEnum
from typing import assert_never

from torch import Tensor

from penjing.train.segments import Segments


class Ratio(StrEnum):
    """rho: exp(log pi - log pi_old) of a token."""

    TOKEN = "token"  # rho: PPO, GRPO
    # the geometric mean of rho over a response, for all its tokens: GSPO, arXiv 2507.18071, eq. 7
    SEQUENCE = "sequence"


def log_ratios(logprobs_T: Tensor, old_T: Tensor, responses: Segments, kind: Ratio) -> Tensor:
    """The logarithm of each token's ratio; gradients pass through ``logprobs_T``. [T]"""
    differences_T = logprobs_T - old_T
    match kind:
        case Ratio.TOKEN:
            return differences_T
        case Ratio.SEQUENCE:
            return responses.spread(responses.mean(differences_T))
        case _:
            assert_never(kind)
