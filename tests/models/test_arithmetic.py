"""Each operation: forward by any kernels, backward as torch differentiates the formula."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from penjing.models.arithmetic import Arithmetic, Buffers
from penjing.models.config import MoE, Router, Scoring
from penjing.models.kernels import reference
from penjing.models.kernels.choice import Kernels, choose_kernels
from penjing.models.kernels.fast import FastKernels
from penjing.models.kernels.invariant import InvariantKernels
from penjing.models.kernels.reference import Heads, Routing, Spans
from penjing.models.packed import pack_documents
from penjing.models.router import route

CPU = torch.device("cpu")
KERNELS: dict[str, Callable[[], Kernels]] = {
    "chosen": lambda: choose_kernels(CPU),
    "invariant": InvariantKernels,
    "fast": FastKernels,
}
Operation = Callable[..., Tensor]

PACKED = pack_documents([[0] * 5, [0] * 4])
SPANS = Spans(spans_B3=PACKED.spans_B3, table_BP=PACKED.table_BP, page_size=PACKED.page_size)
HEADS = Heads(num_heads=4, num_kv_heads=2, key_dim=6, value_dim=3, value_at=12, scale=0.4)
LATENT = Heads(num_heads=4, num_kv_heads=1, key_dim=6, value_dim=5, value_at=0, scale=0.4, window=3)
TURNS = torch.randn(9, 4, generator=torch.Generator().manual_seed(3))


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def routing() -> Routing:
    block = MoE(
        num_experts=4,
        experts_per_token=2,
        expert_width=1,
        router=Router(scoring=Scoring.SOFTMAX, normalise=True),
    )
    return route(draw(9, 4), None, block)


ROUTING = routing()


def weighted(weights_TK: Tensor) -> Routing:
    return Routing(
        tokens_A=ROUTING.tokens_A,
        bounds_E1=ROUTING.bounds_E1,
        places_TK=ROUTING.places_TK,
        weights_TK=weights_TK,
    )


# Name: how ``Arithmetic`` is asked, the formula, and what goes in.
OPERATIONS: dict[str, tuple[Operation, Operation, Sequence[Tensor]]] = {
    "linear": (
        lambda a, x, w: a.linear("x", x, w),
        lambda x, w: x @ w.T,
        (draw(9, 7), draw(5, 7)),
    ),
    "linear with bias and residual": (
        lambda a, x, w, b, r: a.linear("x", x, w, b, r),
        lambda x, w, b, r: x @ w.T + b + r,
        (draw(9, 7), draw(5, 7), draw(5), draw(9, 5)),
    ),
    "heads": (
        lambda a, x, w: a.heads("x", x, w),
        lambda x, w: torch.stack([x[:, n] @ w[n].T for n in range(4)], 1),
        (draw(9, 4, 6), draw(4, 3, 6)),
    ),
    "absorb": (
        lambda a, q, w: a.absorb("x", q, w),
        lambda q, w: torch.stack(
            [torch.cat((q[:, n, :4] @ w[n], q[:, n, 4:]), -1) for n in range(4)], 1
        ),
        (draw(9, 4, 6), draw(4, 4, 8)),
    ),
    "experts": (
        lambda a, x, w: a.experts("x", x, w, ROUTING),
        lambda x, w: reference.experts(x, w, ROUTING),
        (draw(9, 7), draw(4, 5, 7)),
    ),
    "combine": (
        lambda a, y, w, base: a.combine("x", y, weighted(w), base),
        lambda y, w, base: base + (w[..., None] * y[ROUTING.places_TK.long()]).sum(1),
        (draw(18, 5), draw(9, 2), draw(9, 5)),
    ),
    "rms_norm": (
        lambda a, x, w: a.rms_norm("x", x, w, 1e-3),
        lambda x, w: x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * w,
        (draw(9, 7), draw(7)),
    ),
    "norm_heads": (
        lambda a, x, w: a.norm_heads(x, w, 1e-3),
        lambda x, w: x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * w,
        (draw(9, 4, 6), draw(6)),
    ),
    "rope": (
        lambda a, x: a.rope(x, TURNS, PACKED.positions_T, interleaved=False),
        lambda x: reference.rope(x, TURNS, PACKED.positions_T, False),
        (draw(9, 4, 6),),
    ),
    "rope, interleaved": (
        lambda a, x: a.rope(x, TURNS, PACKED.positions_T, interleaved=True),
        lambda x: reference.rope(x, TURNS, PACKED.positions_T, True),
        (draw(9, 4, 6),),
    ),
    "silu_mul": (
        lambda a, x: a.silu_mul("x", x),
        lambda x: torch.nn.functional.silu(x[:, :3]) * x[:, 3:],
        (draw(9, 6),),
    ),
    "sigmoid": (
        lambda a, x: a.sigmoid("x", x),
        lambda x: torch.sigmoid(x),
        (draw(9, 6),),
    ),
    "attend": (
        lambda a, q, kv: a.attend("x", q, kv, HEADS, SPANS),
        lambda q, kv: reference.attend(q, kv, HEADS, SPANS),
        (draw(9, 4, 6), draw(9, 18)),
    ),
    "attend to latents": (
        lambda a, q, kv: a.attend("x", q, kv, LATENT, SPANS),
        lambda q, kv: reference.attend(q, kv, LATENT, SPANS),
        (draw(9, 4, 6), draw(9, 6)),
    ),
    "log_sum_exp": (
        lambda a, x: a.log_sum_exp(x)[0],
        lambda x: x.logsumexp(-1),
        (draw(9, 7),),
    ),
    "join": (
        lambda a, x, y: a.join("x", x, y),
        lambda x, y: torch.cat((x, y), -1),
        (draw(9, 7), draw(9, 3)),
    ),
    "pick": (
        lambda a, table: a.pick("x", table, torch.tensor([2, 0, 2])),
        lambda table: table[[2, 0, 2]],
        (draw(4, 7),),
    ),
}


@pytest.fixture(params=KERNELS)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return KERNELS[request.param]()


@pytest.fixture
def chosen() -> Kernels:
    return choose_kernels(CPU)


@pytest.fixture(params=OPERATIONS)
def operation(request: pytest.FixtureRequest) -> tuple[Operation, Operation, Sequence[Tensor]]:
    return OPERATIONS[request.param]


def copies(tensors: Sequence[Tensor], *, learn: bool = False) -> list[Tensor]:
    return [t.clone().requires_grad_(learn) for t in tensors]


def test_values_and_gradients_are_those_of_the_formula(
    kernels: Kernels, operation: tuple[Operation, Operation, Sequence[Tensor]]
) -> None:
    ask, formula, given = operation
    ours, theirs = copies(given, learn=True), copies(given, learn=True)
    got, expected = ask(Arithmetic(kernels), *ours), formula(*theirs)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    into = draw(*got.shape)
    found = torch.autograd.grad(got, ours, into)
    for gradient, sought in zip(found, torch.autograd.grad(expected, theirs, into), strict=True):
        torch.testing.assert_close(gradient, sought, rtol=1e-4, atol=1e-5)


def test_a_gradient_moves_the_value_as_it_says(
    chosen: Kernels, operation: tuple[Operation, Operation, Sequence[Tensor]]
) -> None:
    """Against differences of the compiled forward pass itself, along one direction."""
    ask, _, given = operation
    arithmetic, learnt = Arithmetic(chosen), copies(given, learn=True)
    value = ask(arithmetic, *learnt)
    into = draw(*value.shape)
    slopes = torch.autograd.grad(value, learnt, into)
    step, ways = 1e-2, [draw(*t.shape, 1)[..., 0] for t in given]
    there, back = (
        (ask(arithmetic, *(t + s * w for t, w in zip(given, ways, strict=True))) * into).sum()
        for s in (step, -step)
    )
    predicted = sum(float((s * w).sum()) for s, w in zip(slopes, ways, strict=True))
    assert float(there - back) / (2 * step) == pytest.approx(predicted, rel=2e-2, abs=2e-2)


def test_training_and_serving_have_the_same_bits(
    kernels: Kernels, operation: tuple[Operation, Operation, Sequence[Tensor]]
) -> None:
    ask, _, given = operation
    trained = ask(Arithmetic(kernels), *copies(given, learn=True))
    served = ask(Arithmetic(kernels, Buffers(CPU)), *copies(given))
    assert torch.equal(trained.detach(), served)


def test_only_what_learns_gets_a_gradient(chosen: Kernels) -> None:
    x, w = draw(9, 7).requires_grad_(), draw(5, 7)
    out = Arithmetic(chosen).linear("x", x, w)
    assert out.requires_grad
    torch.autograd.grad(out.sum(), x)
    with torch.no_grad():
        assert not Arithmetic(chosen).linear("x", x, w).requires_grad


def test_inputs_stay_as_they_are_without_buffers(
    kernels: Kernels, operation: tuple[Operation, Operation, Sequence[Tensor]]
) -> None:
    """What turns and norms in place may do so only where nobody needs the values again."""
    ask, _, given = operation
    used = copies(given)
    ask(Arithmetic(kernels), *used)
    assert all(torch.equal(u, g) for u, g in zip(used, given, strict=True))


NAMED = [name for name in OPERATIONS if "rope" not in name and name[:4] not in ("norm", "log_")]


@pytest.mark.parametrize("name", NAMED)
def test_a_buffer_is_used_again(chosen: Kernels, name: str) -> None:
    ask, formula, given = OPERATIONS[name]
    buffers = Buffers(CPU)
    arithmetic = Arithmetic(chosen, buffers)
    first = ask(arithmetic, *given)
    held, where = buffers.num_bytes, first.data_ptr()
    first.fill_(torch.nan)
    second = ask(arithmetic, *given)
    assert second.data_ptr() == where
    assert buffers.num_bytes == held > 0
    torch.testing.assert_close(second, formula(*given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["rope", "rope, interleaved", "norm_heads"])
def test_with_buffers_rows_are_turned_and_normed_in_place(chosen: Kernels, name: str) -> None:
    ask, formula, given = OPERATIONS[name]
    used = copies(given)
    out = ask(Arithmetic(chosen, Buffers(CPU)), *used)
    assert out.data_ptr() == used[0].data_ptr()
    torch.testing.assert_close(used[0], formula(*given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in ("join", "pick")])
def test_no_gradient_can_be_had_from_buffers(chosen: Kernels, name: str) -> None:
    ask, _, given = OPERATIONS[name]
    with pytest.raises(AssertionError, match="a gradient needs results that stay"):
        ask(Arithmetic(chosen, Buffers(CPU)), *copies(given, learn=True))


def test_buffers_grow_to_the_largest_and_no_further() -> None:
    buffers = Buffers(CPU)
    assert buffers.num_bytes == 0
    buffers("a", (3, 4), torch.float32)
    assert buffers.num_bytes == 48
    large = buffers("a", (5, 8), torch.float32)
    assert buffers.num_bytes == 160
    small = buffers("a", (2, 3), torch.float32)
    assert small.shape == (2, 3)
    assert small.is_contiguous()
    assert small.data_ptr() == large.data_ptr()
    other = buffers("b", (5, 8), torch.float32)
    assert other.data_ptr() != large.data_ptr()
    assert buffers.num_bytes == 320


def test_a_buffer_of_another_dtype_is_another_one() -> None:
    buffers = Buffers(CPU)
    wide = buffers("a", (4,), torch.float32)
    narrow = buffers("a", (4,), torch.bfloat16)
    assert narrow.dtype is torch.bfloat16
    assert wide.data_ptr() != narrow.data_ptr()


def test_what_is_reserved_is_there() -> None:
    buffers = Buffers(CPU)
    buffers.reserve("a", 100, torch.float32)
    held = buffers("a", (10, 10), torch.float32)
    assert buffers.num_bytes == 400
    assert not held.any()


def test_products_may_be_wider_than_their_factors(chosen: Kernels) -> None:
    x, w = draw(9, 7).bfloat16(), draw(5, 7).bfloat16()
    out = Arithmetic(chosen).linear("x", x, w, dtype=torch.float32)
    assert out.dtype is torch.float32
    torch.testing.assert_close(out, x.float() @ w.float().T)


def test_the_best_of_equal_logits_is_the_first(kernels: Kernels) -> None:
    _, best = Arithmetic(kernels).log_sum_exp(torch.tensor([[0.0, 2, 2], [1, 0, 1]]))
    assert best.tolist() == [1, 0]
