"""The loss of a policy: the parts of this room put together, and what to watch while it falls.

loss = sum over tokens of weight x (-(correction x objective) + beta x divergence + penalty)

so that a batch may be computed in any number of pieces: every weight is of the whole batch.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from penjing.errors import BadQuantity, Contradiction
from penjing.train.clip import Clip, Ppo, clipped
from penjing.train.correction import Correction, corrections
from penjing.train.covariance import ClipCov, EntropyGuard, KlCov, covariances, drawn, highest
from penjing.train.divergence import Divergence, divergence
from penjing.train.ratio import Ratio, log_ratios
from penjing.train.segments import Segments


@dataclass(frozen=True, kw_only=True)
class PolicyLoss:
    """``kl`` beta; ``entropy_bonus`` alpha, times the entropy of each token's distribution.

    Raises ``BadQuantity`` and ``Contradiction``.
    """

    ratio: Ratio = Ratio.TOKEN
    clip: Clip = field(default_factory=Ppo)
    correction: Correction | None = None
    divergence: Divergence = Divergence.K3
    kl: float = 0.0
    entropy_guard: EntropyGuard | None = None
    entropy_bonus: float = 0.0

    def __post_init__(self) -> None:
        if not self.kl >= 0:
            raise BadQuantity(f"kl is {self.kl}; it must be at least 0, which switches it off")
        if self.ratio is not Ratio.TOKEN and not isinstance(self.clip, Ppo):
            raise Contradiction(
                f"the ratio {self.ratio} is one for a whole response, which only the clip ppo "
                "takes; choose ppo, or the ratio token"
            )


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """The sampled tokens of whole responses, one behind the other. All [T], in nats.

    ``logprobs_T`` has the gradient. ``old_T`` is the trainer's own figure before the first update,
    ``rollout_T`` the engine's. ``weights_T`` are those of ``token_weights``.
    """

    responses: Segments
    logprobs_T: Tensor
    old_T: Tensor
    rollout_T: Tensor
    advantages_T: Tensor
    weights_T: Tensor
    reference_T: Tensor | None = None
    entropy_T: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Loss:
    """``value`` has the gradient; the rest are sums and extremes of this piece of the batch."""

    value: Tensor
    num_tokens: int
    num_clipped: int
    sum_divergence: float  # k3 between the old policy and this one
    least_ratio: float
    most_ratio: float


def policy_loss(
    tokens: Tokens, config: PolicyLoss, generator: torch.Generator | None = None
) -> Loss:
    """``generator`` draws for ``ClipCov``, and is needed for nothing else."""
    logprobs_T, old_T, responses = tokens.logprobs_T, tokens.old_T, tokens.responses
    log_ratio_T = log_ratios(logprobs_T, old_T, responses, config.ratio)
    found = clipped(log_ratio_T, tokens.advantages_T, logprobs_T, old_T, responses, config.clip)
    objective_T = found.objective_T
    if config.correction is not None:
        factor_T = corrections(old_T, tokens.rollout_T, responses, config.correction)
        objective_T = factor_T * objective_T
    costs_T = _guarded(-objective_T, tokens, config.entropy_guard, generator)
    if config.kl:
        assert tokens.reference_T is not None, "a divergence needs a reference"
        costs_T = costs_T + config.kl * divergence(
            logprobs_T, tokens.reference_T, log_ratio_T, config.divergence
        )
    if config.entropy_bonus:
        assert tokens.entropy_T is not None, "a bonus on entropy needs the entropy"
        costs_T = costs_T - config.entropy_bonus * tokens.entropy_T
    return _loss((tokens.weights_T * costs_T).sum(), tokens, log_ratio_T, found.is_clipped_T)


def _guarded(
    costs_T: Tensor,
    tokens: Tokens,
    guard: EntropyGuard | None,
    generator: torch.Generator | None,
) -> Tensor:
    if guard is None:
        return costs_T
    covariances_T = covariances(tokens.logprobs_T, tokens.advantages_T)
    match guard:
        case KlCov(coefficient=coefficient):
            moved_T = (tokens.logprobs_T - tokens.old_T).abs()
            return costs_T + coefficient * moved_T * highest(covariances_T, guard)
        case ClipCov():
            assert generator is not None, "tokens are drawn by a generator that a run can resume"
            return torch.where(drawn(covariances_T, guard, generator), costs_T.detach(), costs_T)


def _loss(value: Tensor, tokens: Tokens, log_ratio_T: Tensor, is_clipped_T: Tensor) -> Loss:
    with torch.no_grad():
        ratio_T = log_ratio_T.exp()
        moved_T = divergence(tokens.logprobs_T, tokens.old_T, log_ratio_T, Divergence.K3)
        is_empty = not len(ratio_T)
        return Loss(
            value=value,
            num_tokens=len(ratio_T),
            num_clipped=int(is_clipped_T.sum()),
            sum_divergence=float(moved_T.sum()),
            least_ratio=1.0 if is_empty else float(ratio_T.min()),
            most_ratio=1.0 if is_empty else float(ratio_T.max()),
        )
