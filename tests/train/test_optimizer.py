"""AdamW by hand, masters of narrow weights, and a state that goes on where it stood."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from penjing.errors import BadQuantity
from penjing.train.optimizer import AdamW, Optimizer

PLAIN = AdamW(max_norm=0.0)


def parameters(dtype: torch.dtype = torch.float32) -> dict[str, nn.Parameter]:
    drawn = torch.Generator().manual_seed(3)
    shapes = {"b": (3, 2), "a": (4,)}
    return {n: nn.Parameter(torch.randn(s, generator=drawn).to(dtype)) for n, s in shapes.items()}


def give(held: dict[str, nn.Parameter], step: int, scale: float = 1.0) -> None:
    for place, p in enumerate(held.values()):
        drawn = torch.Generator().manual_seed(17 * step + place)
        p.grad = (scale * torch.randn(p.shape, generator=drawn)).to(p.dtype)


def test_one_step_by_hand() -> None:
    """The first update is rate x sign of the gradient, and the decay is of the weight itself."""
    p = nn.Parameter(torch.tensor([1.0, -2.0]))
    p.grad = torch.tensor([0.5, -3.0])
    optimizer = Optimizer({"p": p}, AdamW(weight_decay=0.1, max_norm=0.0, epsilon=0.0))
    assert optimizer.step(0.01) == pytest.approx(9.25**0.5)
    assert p.tolist() == pytest.approx([1 - 0.001 - 0.01, -2 + 0.002 + 0.01])
    assert p.grad is None


def test_gradients_are_scaled_to_the_norm() -> None:
    held = parameters()
    give(held, 1, scale=100.0)
    before = {n: p.grad.clone() for n, p in held.items() if p.grad is not None}
    optimizer = Optimizer(held, AdamW(max_norm=2.0, beta1=0.0))
    norm = optimizer.step(1e-3)
    moment = optimizer.state()["exp_avg.a"]
    torch.testing.assert_close(moment, before["a"] * 2 / norm)


def test_a_gradient_that_is_no_number_changes_nothing() -> None:
    held = parameters()
    before = {n: p.detach().clone() for n, p in held.items()}
    optimizer = Optimizer(held, PLAIN)
    give(held, 1)
    assert held["a"].grad is not None
    held["a"].grad[0] = float("nan")
    assert optimizer.step(1.0) != optimizer.step(1.0)  # NaN, then nothing left: 0
    assert all(torch.equal(before[n], p) for n, p in held.items())
    assert not any(key.startswith("exp") for key in optimizer.state())


def test_small_updates_of_narrow_weights_add_up() -> None:
    p = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    optimizer = Optimizer({"p": p}, AdamW(max_norm=0.0))
    for _ in range(40):
        p.grad = torch.ones(1, dtype=torch.bfloat16)
        optimizer.step(1e-4)
    assert p.dtype is torch.bfloat16
    assert p.item() == pytest.approx(1 - 40e-4, abs=2e-3)
    assert p.item() != 1.0


def test_whoever_holds_the_weights_sees_each_step() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        held = parameters(dtype)
        versions = [p._version for p in held.values()]
        optimizer = Optimizer(held, PLAIN)
        give(held, 1)
        optimizer.step(1e-3)
        assert all(p._version > v for p, v in zip(held.values(), versions, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_state_goes_on_where_it_stood(dtype: torch.dtype) -> None:
    whole = parameters(dtype)
    optimizer = Optimizer(whole, AdamW(weight_decay=0.1))
    stopped: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}
    for step in range(6):
        if step == 3:
            stopped = {n: t.clone() for n, t in optimizer.state().items()}
            weights = {n: p.detach().clone() for n, p in whole.items()}
        give(whole, step)
        optimizer.step(1e-2)
    again = {n: nn.Parameter(t) for n, t in weights.items()}
    resumed = Optimizer(again, AdamW(weight_decay=0.1))
    resumed.load(stopped)
    for step in range(3, 6):
        give(again, step)
        resumed.step(1e-2)
    assert all(torch.equal(whole[n], again[n]) for n in whole)
    assert optimizer.state().keys() == resumed.state().keys()
    assert all(torch.equal(t, resumed.state()[n]) for n, t in optimizer.state().items())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"beta1": 1.0}, "beta1 is 1.0"),
        ({"epsilon": -1.0}, "epsilon is -1.0"),
        ({"max_norm": float("nan")}, "max_norm is nan"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadQuantity, match=message):
        AdamW(**given)
