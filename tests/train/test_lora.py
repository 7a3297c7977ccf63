"""Low-rank adaptation: the paper's gradients, merged weights, and nothing else that moves."""

import gc
import math
import weakref
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from penjing.engine.engine import Engine
from penjing.engine.gap import measure_gap
from penjing.engine.sampling import Sampling
from penjing.errors import BadQuantity, Contradiction
from penjing.models.arithmetic import Arithmetic
from penjing.models.decoder import Decoder
from penjing.models.kernels.choice import choose_kernels
from penjing.train.learner import Learner
from penjing.train.lora import Adapter, Factors, LoraConfig, LoraOptimizer, Target, find_targets
from penjing.train.optimizer import AdamW
from penjing.train.scores import Document, scores
from tests.engine.conftest import KINDS

PLAIN = AdamW(max_norm=0.0)
ALL = LoraConfig(rank=3, alpha=5.0, experts=True)


def documents(seed: int = 2, count: int = 3, length: int = 9) -> list[Document]:
    drawn = torch.randint(0, 60, (count, length), generator=torch.Generator().manual_seed(seed))
    learnt = (False, False) + (True,) * (length - 2)
    return [Document(ids=tuple(row), is_learnt=learnt) for row in drawn.tolist()]


class Loss(nn.Module):
    """The mean cross entropy, as ``Learner`` has it, but of weights that may be anybody's."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, texts: list[Document]) -> Tensor:
        arithmetic = Arithmetic(choose_kernels(torch.device("cpu")))
        return -scores(self.decoder, texts, arithmetic).logprobs_X.mean()


def stirred(lora: LoraOptimizer, seed: int = 4) -> LoraOptimizer:
    """With a B that is not zero."""
    drawn = torch.Generator().manual_seed(seed)
    lora.adopt(
        {
            name: Factors(a_RI=f.a_RI, b_OR=torch.randn(f.b_OR.shape, generator=drawn) * 0.1)
            for name, f in lora.factors().items()
        }
    )
    return lora


def learner(model: Decoder, lora: LoraOptimizer) -> Learner:
    return Learner(model, cast(Any, lora), max_tokens=20, balance=0.0)


def weights(model: Decoder) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


class Reference:
    """The same adapters as autograd and torch have them: W0 + s B A is part of the graph."""

    def __init__(self, base: dict[str, Tensor], lora: LoraOptimizer, adam: AdamW) -> None:
        self._base, self._adapters, self._scale = base, lora.adapters, lora.config.scale
        self.a = {n: x.a_ERI.detach().clone().requires_grad_() for n, x in self._adapters.items()}
        self.b = {n: x.b_EOR.detach().clone().requires_grad_() for n, x in self._adapters.items()}
        self._norm = adam.max_norm
        self._factors = (*self.a.values(), *self.b.values())
        self._adam = torch.optim.AdamW(
            self._factors, betas=(adam.beta1, adam.beta2), weight_decay=adam.weight_decay
        )

    def weights(self) -> dict[str, Tensor]:
        found = dict(self._base)
        for name, one in self._adapters.items():
            added = torch.zeros_like(found[one.target.parameter])
            added = added if one.target.is_routed else added[None]
            first, last = one.target.rows or (0, added.shape[1])
            pad = (0, 0, first, added.shape[1] - last)
            delta = torch.einsum("eor,eri->eoi", self.b[name], self.a[name]) * self._scale
            delta = nn.functional.pad(delta, pad)
            whole = found[one.target.parameter]
            found[one.target.parameter] = whole + (delta if one.target.is_routed else delta[0])
        return found

    def backward(self, model: Decoder, texts: list[Document]) -> float:
        held = {f"decoder.{name}": w for name, w in self.weights().items()}
        loss: Tensor = functional_call(Loss(model), held, (texts,))
        loss.backward()
        return loss.item()

    def step(self, rate: float) -> None:
        if self._norm:
            nn.utils.clip_grad_norm_(self._factors, self._norm)
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        self._adam.zero_grad()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_gradients_are_those_of_autograd_through_the_product(
    decoder: Callable[..., Decoder], kind: str
) -> None:
    model = decoder(kind)
    base = weights(model)
    lora = stirred(LoraOptimizer(model, ALL, PLAIN))
    reference = Reference(base, lora, PLAIN)
    for seed in (2, 3):  # the second adds to the first
        reference.backward(decoder(kind), documents(seed))
        Loss(model)(documents(seed)).backward()
    for name, one in lora.adapters.items():
        for mine, theirs in ((one.a_ERI, reference.a[name]), (one.b_EOR, reference.b[name])):
            assert mine.grad is not None
            assert theirs.grad is not None
            assert theirs.grad.abs().max() > 0
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("adam", [AdamW(weight_decay=0.1), AdamW(max_norm=0.02, beta2=0.95)])
def test_steps_are_those_of_torch_on_the_factors(
    decoder: Callable[..., Decoder], adam: AdamW
) -> None:
    model = decoder("latent")
    base = weights(model)
    lora = stirred(LoraOptimizer(model, ALL, adam))
    reference = Reference(base, lora, adam)
    for step in range(4):
        loss = reference.backward(decoder("latent"), documents(step))
        reference.step(1e-2)
        report = learner(model, lora).learn(documents(step), 1e-2)
        assert report.loss == pytest.approx(loss, rel=1e-5)
    for name, whole in reference.weights().items():
        torch.testing.assert_close(model.get_parameter(name).detach(), whole, rtol=0, atol=2e-4)


def test_nothing_but_the_adapted_rows_moves(decoder: Callable[..., Decoder]) -> None:
    model = decoder()
    before = weights(model)
    config = LoraConfig(rank=2, alpha=4.0, targets=("v_proj", "down_proj"))
    lora = LoraOptimizer(model, config, PLAIN)
    for _ in range(2):
        learner(model, lora).learn(documents(), 1e-2)
    values = slice(4 * 8 + 2 * 8, None)  # behind 4 heads of queries and 2 of keys
    for name, p in model.named_parameters():
        moved = (p.detach() != before[name]).nonzero()
        if name.endswith("attention.qkv"):
            assert set(moved[:, 0].tolist()) == set(range(len(p))[values])
        else:
            assert bool(len(moved)) == name.endswith(".down"), name


def test_no_gradient_of_a_matrix_outlives_its_contraction(
    decoder: Callable[..., Decoder],
) -> None:
    model = decoder("latent")
    lora = LoraOptimizer(model, ALL, PLAIN)
    met: list[int] = []

    def count(_: Tensor) -> None:
        met.append(sum(q.grad is not None for q in model.parameters()))

    for p in model.parameters():
        if p.requires_grad:
            p.register_post_accumulate_grad_hook(count)
    Loss(model)(documents()).backward()
    assert met == [0] * len({one.target.parameter for one in lora.adapters.values()})


def test_state_is_as_large_as_the_rank(decoder: Callable[..., Decoder]) -> None:
    model = decoder("routed")
    lora = LoraOptimizer(model, ALL, PLAIN)
    learner(model, lora).learn(documents(), 1e-3)
    targets = find_targets(model.config, ALL)
    sizes = sum(len(t.modules) * sum(t.shape) for t in targets)
    held = sum(t.numel() for t in lora.state().values())
    assert held == 3 * ALL.rank * sizes + 2 * len(targets) + 32  # steps, and a digest


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_rounded_from_the_base_anew(
    decoder: Callable[..., Decoder], dtype: torch.dtype
) -> None:
    model = decoder("grouped", dtype)
    before = weights(model)
    lora = stirred(LoraOptimizer(model, ALL, PLAIN))
    name = "layers.1.feed_forward.down"
    down = lora.adapters[f"{name}.down_proj"]
    exact = before[name].double() + 5 / 3 * (down.b_EOR[0].double() @ down.a_ERI[0].double())
    unit = {torch.float32: 0.0, torch.bfloat16: 2.0**-8}[dtype]
    error = (model.get_parameter(name).double() - exact).abs()
    assert (error <= unit * exact.abs() + 1e-6).all()  # one rounding, of a sum in fp32
    lora.adopt({n: Factors(a_RI=f.a_RI, b_OR=f.b_OR * 0) for n, f in lora.factors().items()})
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())


def test_the_base_is_kept_as_narrow_as_it_came(decoder: Callable[..., Decoder]) -> None:
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        model = decoder()
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(p.to(dtype))
        before = weights(model)
        lora = LoraOptimizer(model, ALL, PLAIN)
        for one in lora.adapters.values():
            assert one.base_EOI.dtype is dtype
            here = one.target.part(before[one.target.parameter])
            assert torch.equal(one.base_EOI.float(), here)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["grouped", "latent"])
def test_the_engine_samples_from_the_new_weights_without_a_gap(
    engine: Callable[..., Engine], kind: str, dtype: torch.dtype
) -> None:
    made = engine(kind, dtype)
    asked = Sampling(n=2, seed=1, max_tokens=8)
    first = made.generate([[1, 2, 3]], asked)
    lora = LoraOptimizer(made.decoder, ALL, PLAIN)
    for _ in range(3):
        learner(made.decoder, lora).learn(documents(), 3e-2)
    done = made.generate([[1, 2, 3]], asked)
    assert all((one.policy_version, one.num_cached) == (1, 0) for one in done)
    assert [one.logprobs for one in first] != [one.logprobs for one in done]
    gap = measure_gap(made.decoder, done)
    assert (gap.largest, gap.num_different) == (0.0, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stop", [0, 2])
def test_a_state_goes_on_where_it_stood(
    decoder: Callable[..., Decoder], dtype: torch.dtype, stop: int
) -> None:
    adam = AdamW(weight_decay=0.1)
    whole = decoder("latent", dtype)
    lora = LoraOptimizer(whole, ALL, adam, seed=6)
    stopped: dict[str, Tensor] = {}
    for step in range(4):
        if step == stop:
            stopped = {n: t.clone() for n, t in lora.state().items()}
        learner(whole, lora).learn(documents(step), 1e-2)
    again = decoder("latent", dtype)
    resumed = LoraOptimizer(again, ALL, adam, seed=7)
    resumed.load(stopped)
    for step in range(stop, 4):
        learner(again, resumed).learn(documents(step), 1e-2)
    assert all(torch.equal(whole.get_parameter(n), p) for n, p in again.named_parameters())
    assert lora.state().keys() == resumed.state().keys()
    assert all(torch.equal(t, resumed.state()[n]) for n, t in lora.state().items())


@pytest.mark.parametrize("name", ["layers.1.attention.out", "norm"])
def test_a_state_of_another_base_is_refused(decoder: Callable[..., Decoder], name: str) -> None:
    state = LoraOptimizer(decoder(), ALL, PLAIN).state()
    other = decoder()
    with torch.no_grad():
        other.get_parameter(name).view(-1)[3] += 1e-3
    with pytest.raises(Contradiction, match="not the one that its snapshot was taken of"):
        LoraOptimizer(other, ALL, PLAIN).load(state)


def test_what_snapshots_may_leave_out(decoder: Callable[..., Decoder]) -> None:
    model = decoder("latent")
    names = {name for name, _ in model.named_parameters()}
    kept = names - LoraOptimizer(model, ALL, PLAIN).recovered
    assert kept == {"layers.1.feed_forward.correction_bias"}


def test_a_gradient_that_is_no_number_changes_nothing(decoder: Callable[..., Decoder]) -> None:
    model = decoder()
    lora = stirred(LoraOptimizer(model, ALL, AdamW()))
    before = {n: t.clone() for n, t in lora.state().items()}
    held = weights(model)
    Loss(model)(documents()).backward()
    first = next(iter(lora.adapters.values()))
    assert first.a_ERI.grad is not None
    first.a_ERI.grad[0, 0, 0] = math.nan
    assert math.isnan(lora.step(1.0))
    assert lora.step(1.0) == 0.0  # nothing left
    kept = {n: t for n, t in lora.state().items() if n in before}
    assert all(torch.equal(before[n], kept[n]) for n in before)
    assert all(torch.equal(held[n], p) for n, p in model.named_parameters())


def test_the_norm_is_of_the_factors_gradients(decoder: Callable[..., Decoder]) -> None:
    model = decoder()
    lora = stirred(LoraOptimizer(model, ALL, AdamW(max_norm=0.5, beta1=0.0)))
    Loss(model)(documents()).backward()
    factors = [f for one in lora.adapters.values() for f in (one.a_ERI, one.b_EOR)]
    gradients = torch.cat([f.grad.flatten() for f in factors if f.grad is not None])
    norm = lora.step(1e-3)
    assert norm == pytest.approx(gradients.norm().item(), rel=1e-5)
    assert norm > 0.5
    moments = torch.cat([t.flatten() for n, t in lora.state().items() if n.startswith("exp_avg.")])
    assert moments.norm().item() == pytest.approx(0.5, rel=1e-5)


def test_the_beginning_is_the_base_and_hangs_on_the_seed_alone(
    decoder: Callable[..., Decoder],
) -> None:
    model = decoder("routed")
    before = weights(model)
    factors = LoraOptimizer(model, ALL, PLAIN, seed=1).factors()
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())
    assert not any(one.b_OR.any() for one in factors.values())
    drawn = torch.cat([one.a_RI.flatten() * one.a_RI.shape[1] ** 0.5 for one in factors.values()])
    assert 0.99 < drawn.abs().max() <= 1
    assert drawn.square().mean().item() == pytest.approx(1 / 3, rel=0.02)  # uniform
    assert len({one.a_RI.sum().item() for one in factors.values()}) == len(factors)
    few = LoraOptimizer(
        decoder("routed"), LoraConfig(rank=3, alpha=1, targets=("k_proj",)), PLAIN, 1
    )
    assert all(torch.equal(f.a_RI, factors[n].a_RI) for n, f in few.factors().items())
    other = LoraOptimizer(decoder("routed"), ALL, PLAIN, seed=2).factors()
    assert not any(torch.equal(f.a_RI, factors[n].a_RI) for n, f in other.items())


def test_memory_comes_back(decoder: Callable[..., Decoder]) -> None:
    model = decoder()
    lora = LoraOptimizer(model, ALL, PLAIN)
    learner(model, lora).learn(documents(), 1e-3)
    gone = [weakref.ref(one) for one in (lora, *lora.adapters.values())]
    del lora
    gc.collect()
    assert not any(one() for one in gone)
    Loss(model)(documents()).backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


SIZE = st.integers(1, 9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3), st.tuples(SIZE, SIZE), st.tuples(SIZE, SIZE), SIZE, st.booleans())
def test_contraction_for_any_shape(
    count: int, around: tuple[int, int], shape: tuple[int, int], rank: int, rslora: bool
) -> None:
    """Gradients of any linear loss of W are those through the product; ``count`` 0: no experts."""
    drawn = torch.Generator().manual_seed(5)
    above, below = (size // 3 for size in around)
    rows, columns = above + shape[0] + below, shape[1]
    whole = (count, rows, columns) if count else (rows, columns)
    base, slope = torch.randn(whole, generator=drawn), torch.randn(whole, generator=drawn)
    parameter = nn.Parameter(base.clone())
    target = Target(
        parameter="p",
        rows=(above, above + shape[0]) if above + below else None,
        kind="x",
        modules=tuple(f"{e}.x" for e in range(max(count, 1))),
        is_routed=bool(count),
        shape=shape,
    )
    config = LoraConfig(rank=rank, alpha=2.0, rslora=rslora)
    one = Adapter(target, parameter, config, seed=5)
    with torch.no_grad():
        one.b_EOR.copy_(torch.randn(one.b_EOR.shape, generator=drawn))
    one.merge(parameter)
    one.take(slope)
    a_ERI, b_EOR = (x.detach().requires_grad_() for x in (one.a_ERI, one.b_EOR))
    added = 2.0 / (rank**0.5 if rslora else rank) * b_EOR @ a_ERI
    part = slice(above, above + shape[0])
    torch.testing.assert_close(
        parameter.detach()[..., part, :].reshape(added.shape),
        base[..., part, :].reshape(added.shape) + added.detach(),
    )
    outside = [x for x in range(rows) if x not in range(rows)[part]]
    assert torch.equal(parameter.detach()[..., outside, :], base[..., outside, :])
    (added * slope[..., part, :].reshape(added.shape)).sum().backward()
    for mine, theirs in ((one.a_ERI, a_ERI), (one.b_EOR, b_EOR)):
        assert mine.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rank": 0, "alpha": 1.0}, "rank is 0"),
        ({"rank": 1, "alpha": 0.0}, "alpha is 0.0"),
        ({"rank": 1, "alpha": math.inf}, "alpha is inf"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadQuantity, match=message):
        LoraConfig(**given)
