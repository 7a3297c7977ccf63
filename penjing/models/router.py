"""From router logits to experts and their weights."""

from collections.abc import Callable
from typing import assert_never

import torch
from torch import Tensor

from penjing.models.config import MoE, Router, Scoring
from penjing.models.kernels import reference
from penjing.models.kernels.reference import Routing

_NONZERO = 1e-20  # the reference adds it to a sum that sigmoid scores could leave at zero


Sigmoid = Callable[[Tensor], Tensor]


def route(
    logits_TE: Tensor, bias_E: Tensor | None, block: MoE, sigmoid: Sigmoid = reference.sigmoid
) -> Routing:
    """Experts of each token in ascending order, so that sums over them have one order."""
    weights_TK, experts_TK = choose(logits_TE, bias_E, block, sigmoid)
    order_A = experts_TK.flatten().argsort(stable=True)
    places_TK = torch.empty_like(order_A)
    places_TK[order_A] = torch.arange(len(order_A), device=order_A.device)
    counts_E = torch.bincount(experts_TK.flatten(), minlength=block.num_experts)
    bounds_E1 = torch.zeros(block.num_experts + 1, dtype=torch.int32, device=order_A.device)
    bounds_E1[1:] = counts_E.cumsum(0)
    return Routing(
        tokens_A=(order_A // block.experts_per_token).int(),
        bounds_E1=bounds_E1,
        places_TK=places_TK.view(experts_TK.shape).int(),
        weights_TK=weights_TK,
    )


def choose(
    logits_TE: Tensor, bias_E: Tensor | None, block: MoE, sigmoid: Sigmoid = reference.sigmoid
) -> tuple[Tensor, Tensor]:
    """Weights [T, K] in fp32 and experts [T, K]: DeepSeek-V3 report, section 2.1.2.

    The correction bias and the limit to groups decide who is chosen, never with what weight.
    """
    router, k = block.router, block.experts_per_token
    scores_TE = _scores(logits_TE, router.scoring, sigmoid)
    ranked_TE = scores_TE.detach() if bias_E is None else scores_TE.detach() + bias_E
    if router.num_groups > 1:
        ranked_TE = ranked_TE.masked_fill(~_in_best_groups(ranked_TE, router), -torch.inf)
    experts_TK = ranked_TE.topk(k, -1, sorted=False).indices.sort(-1).values
    weights_TK = scores_TE.gather(-1, experts_TK)
    if router.scoring is Scoring.TOP_K_SOFTMAX:
        weights_TK = weights_TK.softmax(-1)
    if router.normalise:
        total = weights_TK.sum(-1, keepdim=True)
        weights_TK = weights_TK / (total + _NONZERO if bias_E is not None else total)
    return (weights_TK * router.scale).contiguous(), experts_TK


def _scores(logits_TE: Tensor, scoring: Scoring, sigmoid: Sigmoid) -> Tensor:
    match scoring:
        case Scoring.SIGMOID:
            return sigmoid(logits_TE)
        case Scoring.SOFTMAX:
            return logits_TE.softmax(-1)
        case Scoring.TOP_K_SOFTMAX:
            return logits_TE
        case _:
            assert_never(scoring)


def _in_best_groups(ranked_TE: Tensor, router: Router) -> Tensor:
    """Which experts belong to the groups that rank first."""
    groups = ranked_TE.unflatten(-1, (router.num_groups, -1))
    match router.group_score:
        case "max":
            rank = groups.amax(-1)
        case "top2-sum":
            rank = groups.topk(2, -1).values.sum(-1)
        case _:
            assert_never(router.group_score)
    best = rank.topk(router.top_groups, -1, sorted=False).indices
    chosen = torch.zeros_like(rank, dtype=torch.bool).scatter_(-1, best, True)
    return chosen[..., None].expand_as(groups).flatten(-2)
