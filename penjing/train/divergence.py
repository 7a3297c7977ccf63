"""How far the policy is from its reference, estimated from sampled tokens."""

from enum import StrEnum
from typing import assert_never

from torch import Tensor


class Divergence(StrEnum):
    """d: log pi - log pi_ref of a token. Schulman, "Approximating KL divergence", 2020."""

    K1 = "k1"  # d; in a loss its gradient is zero on average: it belongs into the reward
    K2 = "k2"  # d^2 / 2; its gradient is that of the KL on policy
    K3 = "k3"  # exp(-d) + d - 1: GRPO, arXiv 2402.03300, eq. 4
    CORRECTED = "corrected"  # rho k3: unbiased off policy too; DeepSeek-V3.2, arXiv 2512.02556


def divergence(
    logprobs_T: Tensor, reference_T: Tensor, log_ratio_T: Tensor, kind: Divergence
) -> Tensor:
    """Of each token, in nats, with gradient; ``log_ratio_T`` is for ``CORRECTED`` only. [T]"""
    difference_T = logprobs_T - reference_T
    match kind:
        case Divergence.K1:
            return difference_T
        case Divergence.K2:
            return difference_T**2 / 2
        case Divergence.K3:
            return _k3(difference_T)
        case Divergence.CORRECTED:
            return log_ratio_T.exp() * _k3(difference_T)
        case _:
            assert_never(kind)


def _k3(difference_T: Tensor) -> Tensor:
    return (-difference_T).expm1() + difference_T
