from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from penjing.models.config import MoE, Router, Scoring
from penjing.models.router import choose, route

V3 = Router(
    scoring=Scoring.SIGMOID,
    num_groups=4,
    top_groups=2,
    group_score="top2-sum",
    normalise=True,
    scale=2.5,
    correction_bias=True,
)
BLOCK = MoE(num_experts=16, experts_per_token=4, expert_width=8, router=V3)
ROUTERS = {
    "V3": V3,
    "no groups": replace(V3, num_groups=1, top_groups=1),
    "not normalised": replace(V3, normalise=False),
    "V2": Router(scoring=Scoring.SOFTMAX, num_groups=4, top_groups=2, scale=16.0),
    "Qwen3": Router(scoring=Scoring.SOFTMAX, normalise=True),
    "Mixtral": Router(scoring=Scoring.TOP_K_SOFTMAX),
}


def by_hand(logits: list[float], bias: list[float], block: MoE) -> dict[int, float]:
    """Weights by expert, of one token, in the words of DeepSeek-V3's report, section 2.1.2."""
    router, values = block.router, torch.tensor(logits, dtype=torch.float64)
    scores = {
        Scoring.SIGMOID: values.sigmoid(),
        Scoring.SOFTMAX: values.softmax(-1),
        Scoring.TOP_K_SOFTMAX: values,
    }[router.scoring].tolist()
    ranks = [s + b for s, b in zip(scores, bias, strict=True)]
    size = block.num_experts // router.num_groups
    groups = [range(g * size, (g + 1) * size) for g in range(router.num_groups)]
    best = 2 if router.group_score == "top2-sum" else 1
    groups.sort(key=lambda g: -sum(sorted((ranks[e] for e in g), reverse=True)[:best]))
    allowed = [e for group in groups[: router.top_groups] for e in group]
    chosen = sorted(allowed, key=lambda e: -ranks[e])[: block.experts_per_token]
    weights = {e: scores[e] for e in chosen}
    if router.scoring is Scoring.TOP_K_SOFTMAX:
        softened = torch.tensor(list(weights.values()), dtype=torch.float64).softmax(-1).tolist()
        weights = dict(zip(weights, softened, strict=True))
    total = sum(weights.values()) if router.normalise else 1.0
    return {e: w / total * router.scale for e, w in weights.items()}


def chosen(logits_TE: Tensor, bias_E: Tensor | None, block: MoE) -> list[dict[int, float]]:
    weights_TK, experts_TK = choose(logits_TE, bias_E, block)
    return [
        dict(zip(experts, weights, strict=True))
        for experts, weights in zip(experts_TK.tolist(), weights_TK.tolist(), strict=True)
    ]


@pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS)
@given(seed=st.integers(0, 10**6))
def test_choices_and_weights_are_those_by_hand(router: Router, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, 16, generator=draw) * 2
    bias = torch.randn(16, generator=draw) * 0.3 * router.correction_bias
    block = replace(BLOCK, router=router)
    found = chosen(logits, bias if router.correction_bias else None, block)
    for row, logits_E in zip(found, logits.tolist(), strict=True):
        expected = by_hand(logits_E, bias.tolist(), block)
        assert list(row) == sorted(expected)  # ascending
        assert row == pytest.approx({e: expected[e] for e in sorted(expected)}, rel=1e-4)


def test_a_golden_choice() -> None:
    """Groups {0, 1}, {2, 3}, {4, 5}, the best two of them; two experts, weights scaled to 2.5."""
    block = MoE(
        num_experts=6,
        experts_per_token=2,
        expert_width=1,
        router=replace(V3, num_groups=3, top_groups=2),
    )
    # The two best of each group sum to 1.0, 1.15 and 0.9.
    scores = torch.tensor([[0.9, 0.1, 0.6, 0.55, 0.5, 0.4]])
    (found,) = chosen(scores.logit(), torch.zeros(6), block)
    assert found == pytest.approx({0: 2.5 * 0.9 / 1.5, 2: 2.5 * 0.6 / 1.5})
    # A bias lifts expert 5, and its group with it, and does not show in its weight.
    (found,) = chosen(scores.logit(), torch.tensor([0.0, 0, 0, 0, 0, 1.0]), block)
    assert found == pytest.approx({2: 2.5 * 0.6 / 1.0, 5: 2.5 * 0.4 / 1.0})


def test_a_limit_to_groups_leaves_the_best_expert_out() -> None:
    """Expert 0 is best, but the others of its group are the worst of all."""
    logits = torch.tensor([[3.0, -9, -9, -9] + [2.0] * 4 + [2.0] * 4 + [-9.0] * 4])
    limited = replace(BLOCK, router=replace(V3, num_groups=4))
    free = replace(BLOCK, router=replace(V3, num_groups=1, top_groups=1))
    assert 0 not in chosen(logits, torch.zeros(16), limited)[0]
    assert 0 in chosen(logits, torch.zeros(16), free)[0]


def test_the_bias_chooses_and_does_not_weigh() -> None:
    logits = torch.zeros(1, 16)
    bias = torch.zeros(16)
    bias[[3, 7, 8, 9]] = 100.0
    (found,) = chosen(logits, bias, replace(BLOCK, router=ROUTERS["no groups"]))
    assert found == pytest.approx(dict.fromkeys((3, 7, 8, 9), 2.5 / 4))


def test_ties_go_to_four_different_experts_whatever_the_batch() -> None:
    for router in ROUTERS.values():
        bias = torch.zeros(16) if router.correction_bias else None
        block = replace(BLOCK, router=router)
        (alone,) = chosen(torch.zeros(1, 16), bias, block)
        assert len(alone) == 4
        for num_tokens in (2, 3, 200):
            assert chosen(torch.zeros(num_tokens, 16), bias, block) == [alone] * num_tokens


@pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS)
@pytest.mark.parametrize("num_experts", [8, 12, 20, 64])
def test_a_token_chooses_alike_in_any_batch(router: Router, num_experts: int) -> None:
    """To the bit of its weights, however its scores lie in vectors."""
    block = replace(BLOCK, num_experts=num_experts, experts_per_token=2, router=router)
    logits = torch.randn(300, num_experts, generator=torch.Generator().manual_seed(1)) * 3
    bias = torch.zeros(num_experts) if router.correction_bias else None
    together = choose(logits, bias, block)
    for part in (*torch.split(torch.arange(300), 1), torch.arange(7, 100)):
        for one, all_of_them in zip(choose(logits[part], bias, block), together, strict=True):
            assert torch.equal(one, all_of_them[part])


@given(st.integers(1, 40), st.integers(0, 10**6))
def test_places_are_a_permutation_sorted_by_expert(num_tokens: int, seed: int) -> None:
    logits = torch.randn(num_tokens, 16, generator=torch.Generator().manual_seed(seed))
    weights_TK, experts_TK = choose(logits, torch.zeros(16), BLOCK)
    routing = route(logits, torch.zeros(16), BLOCK)
    bounds = routing.bounds_E1.tolist()
    assert (bounds[0], bounds[-1], bounds) == (0, num_tokens * 4, sorted(bounds))
    assert sorted(routing.places_TK.flatten().tolist()) == list(range(num_tokens * 4))
    for token in range(num_tokens):
        for k in range(4):
            place = int(routing.places_TK[token, k])
            expert = int(experts_TK[token, k])
            assert bounds[expert] <= place < bounds[expert + 1]
            assert routing.tokens_A[place] == token
    assert torch.equal(routing.weights_TK, weights_TK)


def test_kernels_get_the_integers_they_read() -> None:
    routing = route(torch.randn(5, 16), torch.zeros(16), BLOCK)
    for tensor in (routing.tokens_A, routing.bounds_E1, routing.places_TK):
        assert tensor.dtype is torch.int32
        assert tensor.is_contiguous()
    assert routing.weights_TK.dtype is torch.float32
    assert routing.weights_TK.is_contiguous()


def test_logits_learn_through_the_weights_alone() -> None:
    """Experts that were not chosen get nothing, and neither does the bias."""
    logits = torch.randn(2, 16, requires_grad=True)
    bias = torch.zeros(16, requires_grad=True)
    weights_TK, experts_TK = choose(logits, bias, replace(BLOCK, router=ROUTERS["not normalised"]))
    of_logits, of_bias = torch.autograd.grad(weights_TK.sum(), (logits, bias), allow_unused=True)
    taken = torch.zeros(2, 16, dtype=torch.bool).scatter_(1, experts_TK, True)
    assert (of_logits[taken] > 0).all()
    assert not of_logits[~taken].any()
    assert of_bias is None
