"""AdamW, on fp32 masters of weights that may be narrower."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from penjing.errors import BadQuantity

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Decoupled weight decay, arXiv 1711.05101, by torch. ``max_norm`` 0: gradients as they are."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    max_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise BadQuantity(f"{name} is {getattr(self, name)}; it must be from 0 to below 1")
        for name in ("epsilon", "weight_decay", "max_norm"):
            if not getattr(self, name) >= 0:
                raise BadQuantity(f"{name} is {getattr(self, name)}; it must be at least 0")


class Optimizer:
    """Writes into the parameters themselves, so that whoever generates from them sees it.

    Adding a small update to a weight of 8 bits of mantissa mostly leaves it as it was: weights in
    bf16 have a master in fp32 that takes the updates, and are rounded from it.
    """

    recovered: frozenset[str] = frozenset()  # see ``LoraOptimizer``

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: AdamW) -> None:
        self._parameters = {n: p for n, p in sorted(parameters.items()) if p.requires_grad}
        self._masters = {
            name: p if p.dtype is torch.float32 else nn.Parameter(p.detach().float())
            for name, p in self._parameters.items()
        }
        self._max_norm = config.max_norm
        held = list(self._masters.values()) or [nn.Parameter(torch.empty(0))]  # torch wants one
        self._adam = torch.optim.AdamW(
            held,
            lr=0.0,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def step(self, rate: float) -> float:
        """One update from the gradients that the parameters have; returns their norm.

        A norm that is not finite changes nothing: the caller sees it and decides.
        """
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        norm = _norm(gradients)
        if torch.isfinite(norm):
            self._clip(gradients, norm)
            for group in self._adam.param_groups:
                group["lr"] = rate
            self._lend_gradients()
            self._adam.step()
            self._round()
            for p in self._parameters.values():
                increment_version(p)  # fused kernels write past the counter that readers watch
        self.forget_gradients()
        return norm.item()

    def forget_gradients(self) -> None:
        for p in (*self._parameters.values(), *self._masters.values()):
            p.grad = None

    def state(self) -> dict[str, Tensor]:
        """Copies of nothing: the tensors of masters and moments by name, and the steps taken."""
        found: dict[str, Tensor] = {}
        for name, master in self._masters.items():
            if master is not self._parameters[name]:
                found[f"master.{name}"] = master.detach()
            for key, value in sorted(self._adam.state[master].items()):
                found[f"{key}.{name}"] = value
        return found

    def load(self, state: Mapping[str, Tensor]) -> None:
        """What ``state`` gave, of an optimizer of the same parameters."""
        for name, master in self._masters.items():
            if master is not self._parameters[name]:
                with torch.no_grad():
                    master.copy_(state[f"master.{name}"])
            moments = {key: state[f"{key}.{name}"] for key in _MOMENTS if f"{key}.{name}" in state}
            if moments:
                self._adam.state[master] = {k: v.clone() for k, v in moments.items()}

    def _clip(self, gradients: list[Tensor], norm: Tensor) -> None:
        if self._max_norm and norm > self._max_norm:
            for gradient in gradients:
                gradient.mul_(self._max_norm / norm)

    def _lend_gradients(self) -> None:
        for name, master in self._masters.items():
            p = self._parameters[name]
            if master is not p and p.grad is not None:
                master.grad = p.grad.float()

    @torch.no_grad()
    def _round(self) -> None:
        for name, master in self._masters.items():
            if master is not self._parameters[name]:
                self._parameters[name].copy_(master)


def _norm(gradients: list[Tensor]) -> Tensor:
    """Of all together, in fp32."""
    if not gradients:
        return torch.zeros(())
    norms = [torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in gradients]
    whole: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return whole
