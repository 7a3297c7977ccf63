from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from penjing.models.arithmetic import Arithmetic
from penjing.models.config import (
    Dense,
    FeedForward,
    GroupedQuery,
    Layer,
    ModelConfig,
    MoE,
    Rope,
    Router,
    Scoring,
)
from penjing.models.feed_forward import DenseBlock, MoEBlock, make_feed_forward
from penjing.models.kernels.choice import choose_kernels
from penjing.models.packed import pack_documents
from penjing.models.router import choose
from penjing.models.run import Run

CPU = torch.device("cpu")
V3 = Router(
    scoring=Scoring.SIGMOID,
    num_groups=2,
    top_groups=1,
    group_score="top2-sum",
    normalise=True,
    scale=2.5,
    correction_bias=True,
)
MOE = MoE(num_experts=6, experts_per_token=2, expert_width=10, shared_width=14, router=V3)
BLOCKS: dict[str, FeedForward] = {
    "dense": Dense(width=30),
    "V3": MOE,
    "nothing shared": replace(MOE, shared_width=0),
    "Qwen3": replace(MOE, shared_width=0, router=Router(scoring=Scoring.SOFTMAX, normalise=True)),
    "one expert a token": replace(MOE, experts_per_token=1, router=replace(V3, num_groups=1)),
}
ROUTED = [name for name, block in BLOCKS.items() if isinstance(block, MoE)]


def drawn(block: FeedForward, dtype: torch.dtype = torch.float32) -> DenseBlock | MoEBlock:
    attention = GroupedQuery(num_heads=1, num_kv_heads=1, head_dim=2)
    config = ModelConfig(
        name="tiny",
        model_type="tiny",
        width=20,
        vocab_size=8,
        layers=(Layer(attention=attention, feed_forward=block),),
        rope=Rope(theta=100.0, dim=2),
        norm_eps=1e-6,
        max_positions=8,
    )
    module = make_feed_forward(block, config, dtype, CPU)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.4)
    return module


def run() -> Run:
    return Run(
        packed=pack_documents([[0] * 40]),
        arithmetic=Arithmetic(choose_kernels(CPU)),
        turns_PR=torch.empty(0, 0),
    )


def rows(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    x, residual = torch.randn(2, 40, 20, generator=torch.Generator().manual_seed(1)).to(dtype)
    return x, residual


def gated(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    gate, up = (gate_up @ x).chunk(2)
    return down @ (F.silu(gate) * up)


def by_hand(module: DenseBlock | MoEBlock, block: FeedForward, x: Tensor) -> Tensor:
    """Of one token: its experts one after another."""
    if isinstance(module, DenseBlock) or not isinstance(block, MoE):
        assert isinstance(module, DenseBlock)
        return gated(x, module.gate_up, module.down)
    (weights,), (experts,) = choose((module.router @ x)[None], module.correction_bias, block)
    total = torch.zeros_like(x)
    for weight, e in zip(weights, experts.tolist(), strict=True):
        total = total + weight * gated(x, module.gate_up[e], module.down[e])
    if module.shared is not None:
        total = total + gated(x, module.shared.gate_up, module.shared.down)
    return total


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_is_the_sum_by_hand(name: str) -> None:
    module, (x_TD, residual_TD) = drawn(BLOCKS[name]), rows()
    with torch.no_grad():
        got = module(x_TD, residual_TD, run())
        expected = torch.stack([by_hand(module, BLOCKS[name], x) for x in x_TD])
    torch.testing.assert_close(got, residual_TD + expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_are_those_of_the_sum_by_hand(name: str) -> None:
    """Through experts, shared expert, router and weights, back to the tokens."""
    module, (x_TD, residual_TD) = drawn(BLOCKS[name]), rows()
    x_TD.requires_grad_()
    residual_TD.requires_grad_()
    learnt = {n: p for n, p in module.named_parameters() if n != "correction_bias"}
    into = torch.randn(x_TD.shape, generator=torch.Generator().manual_seed(3))
    sought = [x_TD, residual_TD, *learnt.values()]
    ours = torch.autograd.grad(module(x_TD, residual_TD, run()), sought, into)
    by_token = torch.stack([by_hand(module, BLOCKS[name], x) for x in x_TD]) + residual_TD
    theirs = torch.autograd.grad(by_token, sought, into)
    constant = name == "one expert a token"  # a weight divided by itself teaches no router
    for at, got, expected in zip(("x", "residual", *learnt), ours, theirs, strict=True):
        assert got.any() or (constant and at == "router")
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ROUTED)
def test_experts_that_nobody_goes_to_learn_nothing(name: str) -> None:
    module, (x_TD, _) = drawn(BLOCKS[name]), rows()
    assert isinstance(module, MoEBlock)
    few = x_TD[:1]
    out = module(few, torch.zeros_like(few), run())
    gate_up, down, router = torch.autograd.grad(
        out.square().sum(), [module.gate_up, module.down, module.router]
    )
    bounds = module.routing(few, run()).bounds_E1.diff().bool()
    for gradient in (gate_up, down):
        assert gradient[bounds].flatten(1).any(1).all()
        assert not gradient[~bounds].any()
    constant = name == "one expert a token"
    assert router.abs().max() < 1e-6 if constant else router.any()


def test_the_router_of_bf16_weights_works_in_fp32() -> None:
    """The logits are not rounded before they are compared."""
    narrow, (x_TD, _) = drawn(MOE, torch.bfloat16), rows(torch.bfloat16)
    assert isinstance(narrow, MoEBlock)
    assert narrow.router.dtype is torch.bfloat16
    assert narrow.correction_bias is not None
    assert narrow.correction_bias.dtype is torch.float32
    logits = x_TD.float() @ narrow.router.float().T
    weights_TK, _ = choose(logits, narrow.correction_bias, MOE)
    found = narrow.routing(x_TD, run()).weights_TK
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, weights_TK, rtol=1e-5, atol=1e-6)


def test_a_token_goes_its_way_whoever_comes_along() -> None:
    """Bit for bit, though experts then have other numbers of rows."""
    module, (x_TD, residual_TD) = drawn(MOE), rows()
    with torch.no_grad():
        together = module(x_TD, residual_TD, run())
        for token in range(0, 40, 7):
            part = slice(token, token + 1)
            assert torch.equal(module(x_TD[part], residual_TD[part], run()), together[part])
