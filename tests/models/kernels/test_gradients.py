"""Gradients written out are those of autograd through the formulas, at any shape."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from penjing.models.config import MoE, Router, Scoring
from penjing.models.kernels import gradients, reference
from penjing.models.kernels.gradients import Gradient, Gradients
from penjing.models.kernels.reference import Routing
from penjing.models.router import route

Case = tuple[Callable[..., Tensor], Gradient, list[Tensor]]


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def routing(tokens: int, experts: int, chosen: int) -> Routing:
    router = Router(scoring=Scoring.SOFTMAX, normalise=True)
    block = MoE(num_experts=experts, experts_per_token=chosen, expert_width=1, router=router)
    return route(drawn(tokens, experts), None, block)


def linear(t: int, n: int, i: int, o: int) -> Case:
    formula = partial(reference.linear, dtype=torch.float32)
    return formula, gradients.linear, [drawn(t, i), drawn(o, i), drawn(o), drawn(t, o)]


def heads(t: int, n: int, i: int, o: int) -> Case:
    return reference.heads, gradients.heads, [drawn(t, n, i), drawn(n, o, i)]


def absorb(t: int, n: int, i: int, o: int) -> Case:
    def formula(q: Tensor, w: Tensor) -> Tensor:
        return torch.cat((reference.heads_across(q[..., :i], w), q[..., i:]), -1)

    return formula, gradients.absorb, [drawn(t, n, i + 2), drawn(n, i, o)]


def experts(t: int, n: int, i: int, o: int) -> Case:
    where = routing(t, n + 2, 2)
    gradient = partial(gradients.experts, routing=where)
    return partial(reference.experts, routing=where), gradient, [drawn(t, i), drawn(n + 2, o, i)]


def experts_in_place(t: int, n: int, i: int, o: int) -> Case:
    where = routing(t, n + 1, 2).in_place
    gradient = partial(gradients.experts, routing=where)
    x_AI = drawn(2 * t, i)
    return partial(reference.experts, routing=where), gradient, [x_AI, drawn(n + 1, o, i)]


def combine(t: int, n: int, i: int, o: int) -> Case:
    where = routing(t, n + 2, 2)

    def formula(y: Tensor, weights: Tensor, base: Tensor) -> Tensor:
        return reference.combine(y, weights, where.places_TK, base)

    gradient = partial(gradients.combine, places_TK=where.places_TK)
    return formula, gradient, [drawn(2 * t, o), where.weights_TK, drawn(t, o)]


def rms_norm(t: int, n: int, i: int, o: int) -> Case:
    gradient = partial(gradients.rms_norm, eps=1e-5)
    return partial(reference.rms_norm, eps=1e-5), gradient, [drawn(t, n, i), drawn(i)]


def rope(t: int, n: int, i: int, o: int) -> Case:
    turns_PR, positions_T = drawn(t + 9, 2 * i), torch.arange(t) * 3 % (t + 9)
    given: dict[str, Any] = {"turns_PR": turns_PR, "positions_T": positions_T}
    given["interleaved"] = bool(n % 2)

    def gradient(grad: Tensor, needs: list[bool], x: Tensor) -> Gradients:
        return gradients.rope(grad, needs, **given)  # it needs no inputs

    return partial(reference.rope, **given), gradient, [drawn(t, n, 3 * i)]


def silu_mul(t: int, n: int, i: int, o: int) -> Case:
    return reference.silu_mul, gradients.silu_mul, [drawn(t, 2 * o) * 5]


def sigmoid(t: int, n: int, i: int, o: int) -> Case:
    return reference.sigmoid, gradients.sigmoid, [drawn(t, o) * 5]


def through(t: int, n: int, i: int, o: int) -> Case:
    return reference.log_sum_exp, gradients.through(reference.log_sum_exp), [drawn(t, o)]


CASES = [
    *(linear, heads, absorb, experts, experts_in_place, combine),
    *(rms_norm, rope, silu_mul, sigmoid, through),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@settings(max_examples=20, deadline=None)
@given(t=st.integers(1, 9), n=st.integers(1, 4), i=st.integers(1, 6), o=st.integers(1, 7))
def test_gradients_are_autograds(
    case: Callable[[int, int, int, int], Case], t: int, n: int, i: int, o: int
) -> None:
    formula, gradient, inputs = case(t, n, i, o)
    leaves = [one.detach().clone().requires_grad_() for one in inputs]
    out = formula(*leaves)
    grad = drawn(*out.shape, 1)[..., 0]
    wanted = torch.autograd.grad(out, leaves, grad)
    found = gradient(grad, [True] * len(inputs), *inputs)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES[:8], ids=lambda case: case.__name__)
def test_what_nobody_needs_is_not_computed(case: Callable[[int, int, int, int], Case]) -> None:
    _, gradient, inputs = case(4, 2, 3, 5)
    out = case(4, 2, 3, 5)[0](*inputs)
    assert all(one is None for one in gradient(out, [False] * len(inputs), *inputs))


def test_narrow_factors_have_narrow_gradients() -> None:
    x_TI, w_OI = drawn(3, 4).bfloat16(), drawn(5, 4).bfloat16()
    of_x, of_w, *_ = gradients.linear(drawn(3, 5), [True] * 4, x_TI, w_OI, None, None)
    assert [one.dtype for one in (of_x, of_w) if one is not None] == [torch.bfloat16] * 2


def test_rows_met_often_are_summed_in_one_order() -> None:
    """Indexing would add with atomics: on several threads, another sum each time."""
    rows_AD, places_A = drawn(60_000, 8), torch.arange(60_000) % 3
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 2, 2):
            torch.set_num_threads(threads)
            found.append(gradients.summed_rows(rows_AD, places_A, 3))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, found[0]) for one in found)
    torch.testing.assert_close(found[0][1], rows_AD[1::3].sum(0), rtol=1e-3, atol=1e-3)
