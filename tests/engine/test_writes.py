"""Weights that change behind the engine's back, as those of a policy in training do."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from penjing.engine.engine import Engine
from penjing.engine.sampling import Sampling
from penjing.engine.writes import Writes
from penjing.models.arithmetic import Arithmetic
from penjing.models.decoder import Decoder
from penjing.models.kernels.choice import choose_kernels
from penjing.models.packed import pack_documents

Made = Callable[..., Engine]

MODELS = [
    (kind, dtype) for kind in ("grouped", "latent") for dtype in (torch.float32, torch.bfloat16)
]

OPTIMIZERS: dict[str, dict[str, bool]] = {
    "plain": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}


def train(model: Decoder, *, foreach: bool = False, fused: bool = False) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, foreach=foreach, fused=fused)
    packed = pack_documents([list(range(20))])
    loss = -model.logprobs(packed, Arithmetic(choose_kernels(torch.device("cpu")))).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("how", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(("kind", "dtype"), MODELS)
def test_weights_that_an_optimizer_wrote_are_used_at_once(
    engine: Made,
    decoder: Callable[..., Decoder],
    kind: str,
    dtype: torch.dtype,
    how: dict[str, bool],
) -> None:
    model, prompt = decoder(kind, dtype), list(range(40))
    places = [parameter.data_ptr() for parameter in model.parameters()]
    once = Sampling(max_tokens=6, seed=1, ignore_eos=True)
    made = engine(model)
    (old,) = made.generate([prompt], once)
    assert made.generate([prompt], once)[0].num_cached == 32
    train(model, **how)
    (new,) = made.generate([prompt], once)
    assert (made.policy_version, new.policy_version, new.last_policy_version) == (1, 1, 1)
    assert new.num_cached == 0
    assert new.logprobs != old.logprobs
    assert (
        replace(new, policy_version=0, last_policy_version=0)
        == engine(model).generate([prompt], once)[0]
    )
    assert [parameter.data_ptr() for parameter in model.parameters()] == places
    assert made.generate([prompt], once)[0].num_cached == 32
    assert made.policy_version == 1


def weights() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(2)) for _ in range(3)]


@pytest.mark.parametrize("how", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_kind_of_step_is_noticed(how: dict[str, bool]) -> None:
    parameters = weights()
    writes = Writes(parameters)
    optimizer = torch.optim.AdamW(parameters[1:2], **how)  # type: ignore[arg-type]
    assert not writes.are_new()
    for _ in range(2):
        parameters[1].grad = torch.ones(2)
        optimizer.step()
        assert writes.are_new()
        assert writes.are_new()  # until it is seen
        writes.see()
        assert not writes.are_new()


def test_other_weights_are_of_no_concern() -> None:
    writes, (other, *_) = Writes(weights()), weights()
    other.grad = torch.ones(2)
    torch.optim.AdamW([other], fused=True).step()
    assert not writes.are_new()


def test_a_load_is_noticed() -> None:
    model = nn.Linear(2, 2)
    writes = Writes(model.parameters())
    model.load_state_dict(nn.Linear(2, 2).state_dict())
    assert writes.are_new()


def test_nobody_is_kept_alive_to_listen() -> None:
    parameters = weights()
    gone = weakref.ref(Writes(parameters))
    gc.collect()
    assert gone() is None
    parameters[0].grad = torch.ones(2)
    torch.optim.SGD(parameters).step()  # nobody listens, and nothing breaks


def test_only_writes_that_torch_cannot_see_have_to_be_told(
    engine: Made, decoder: Callable[..., Decoder]
) -> None:
    model, prompt = decoder(), list(range(40))
    made = engine(model)
    made.generate([prompt], Sampling(max_tokens=1))
    model.norm.data.mul_(2)
    made.note_new_weights()
    (told,) = made.generate([prompt], Sampling(max_tokens=1))
    assert (told.num_cached, told.policy_version) == (0, 1)
