"""Against the collapse of entropy: hold back the few tokens that drive it.

Entropy falls where a token's log-probability and its advantage rise together (arXiv 2505.22617,
section 3), and few tokens have most of that covariance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from penjing.errors import BadQuantity


@dataclass(frozen=True, kw_only=True)
class KlCov:
    """The ``share`` of tokens with the highest covariance get a penalty: eq. 13 and 14 there.

    It is ``coefficient`` |log pi - log pi_old|, as in the authors' code.
    """

    share: float = 2e-4
    coefficient: float = 1.0

    def __post_init__(self) -> None:
        _check_share(self.share)


@dataclass(frozen=True, kw_only=True)
class ClipCov:
    """A ``share`` of the tokens, drawn from those with a covariance between ``low`` and ``high``,
    loses its gradient: eq. 11 and 12 there."""

    share: float = 2e-4
    low: float = 1.0
    high: float = 5.0

    def __post_init__(self) -> None:
        _check_share(self.share)


EntropyGuard = KlCov | ClipCov


def covariances(logprobs_T: Tensor, advantages_T: Tensor) -> Tensor:
    """(A - mean A) (log pi - mean log pi) of each token: eq. 10 there. Without gradient. [T]"""
    logprobs_T = logprobs_T.detach()
    return (advantages_T - advantages_T.mean()) * (logprobs_T - logprobs_T.mean())


def highest(covariances_T: Tensor, guard: KlCov) -> Tensor:
    """Which tokens to punish: at least one. [T], bool"""
    count = max(1, int(guard.share * len(covariances_T)))
    chosen_T = torch.zeros_like(covariances_T, dtype=torch.bool)
    chosen_T[covariances_T.topk(min(count, len(covariances_T))).indices] = True
    return chosen_T


def drawn(covariances_T: Tensor, guard: ClipCov, generator: torch.Generator) -> Tensor:
    """Which tokens to hold: at least one where any is within the bounds. [T], bool"""
    (within,) = torch.where((covariances_T > guard.low) & (covariances_T < guard.high))
    count = max(1, int(guard.share * len(covariances_T)))
    order = torch.randperm(len(within), generator=generator)
    chosen_T = torch.zeros_like(covariances_T, dtype=torch.bool)
    chosen_T[within[order[:count]]] = True
    return chosen_T


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise BadQuantity(f"share is {share}; it must be above 0 and at most 1")
