"""Low-rank adaptation, LoRA, arXiv 2106.09685: few values learn, and whole matrices run.

The decoder always holds the merged W = W0 + s B A, rounded to its dtype, so engine and training
forward run as they ever do and agree to the bit. Autograd gives dL/dW of one matrix after another,
and each is contracted at once: dL/dA = s B' dL/dW and dL/dB = s dL/dW A', the chain rule of the
merged product. So no more than one parameter's gradient is held, and optimizer state is O(rank).
"""

import math
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor, nn

from penjing.errors import BadFile, BadQuantity, Contradiction, UnknownName
from penjing.evaluate.generator import sample_seed
from penjing.models.config import ModelConfig
from penjing.models.decoder import Decoder
from penjing.models.tensor_names import tensor_places
from penjing.train.optimizer import AdamW

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_BASE = "base_sha256"


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """``targets`` are names of linear layers, as ``q_proj``; none: all but routed experts.

    ``experts`` adapts each routed expert too. ``rslora`` scales by alpha / sqrt(rank), arXiv
    2312.03732, instead of alpha / rank. Raises ``BadQuantity``.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = ()
    experts: bool = False
    rslora: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise BadQuantity(f"rank is {self.rank}; it must be at least 1, and 8 to 64 is usual")
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise BadQuantity(f"alpha is {self.alpha}; it must be above 0, and 32 is usual")

    @property
    def scale(self) -> float:
        """s, of B A."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Matrices of one shape in one parameter: one, or one of each routed expert.

    ``modules`` are their names in a checkpoint; ``rows`` is None where they are all of it.
    """

    parameter: str
    rows: tuple[int, int] | None
    kind: str  # the last word of ``modules``
    modules: tuple[str, ...]
    is_routed: bool
    shape: tuple[int, int]  # of one matrix: [O, I]

    @property
    def name(self) -> str:
        return f"{self.parameter}.{self.kind}"

    def num_values(self, rank: int) -> tuple[int, int]:
        """Of the matrices, and of their factors."""
        rows, columns = self.shape
        count = len(self.modules)
        return count * rows * columns, count * rank * (rows + columns)

    def part(self, whole: Tensor) -> Tensor:
        """Of the parameter, or of what is shaped as it is: a view. [E, O, I]"""
        rows = whole if self.rows is None else whole[..., self.rows[0] : self.rows[1], :]
        return rows if self.is_routed else rows[None]


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Of one matrix: what is added to it is s B A."""

    a_RI: Tensor
    b_OR: Tensor


def find_targets(model: ModelConfig, config: LoraConfig) -> tuple[Target, ...]:
    """In layer order; prediction layers and routers are never adapted.

    Raises ``UnknownName`` for a target that the model has not, ``Contradiction`` for experts with
    one of ``gate_proj`` and ``up_proj`` alone: no file format has such an adapter.
    """
    found = _linear_layers(model, experts=config.experts)
    known = {one.kind for one in found}
    hint = "of routed experts with experts = true" if not config.experts else ""
    for kind in config.targets:
        if kind not in known:
            raise UnknownName("linear layer", kind, known, hint)
    if config.experts and len({"gate_proj", "up_proj"}.intersection(config.targets)) == 1:
        raise Contradiction("experts are adapted in gate_proj and up_proj together: name both")
    return tuple(one for one in found if not config.targets or one.kind in config.targets)


def _linear_layers(model: ModelConfig, *, experts: bool) -> list[Target]:
    groups: dict[tuple[str, str], Target] = {}
    for name, place in tensor_places(model).items():
        module, _, what = name.rpartition(".")
        is_matrix = what == "weight" and len(place.shape) == 2
        in_layer = place.parameter.startswith("layers.")
        is_routed = place.index is not None
        if not (is_matrix and in_layer) or place.parameter.endswith(".router"):
            continue
        if is_routed and not experts:
            continue
        kind = module.rpartition(".")[2]
        before = groups.get((place.parameter, kind))
        groups[place.parameter, kind] = Target(
            parameter=place.parameter,
            rows=place.rows,
            kind=kind,
            modules=(*(before.modules if before else ()), module),
            is_routed=is_routed,
            shape=(place.shape[0], place.shape[1]),
        )
    return list(groups.values())


class Adapter:
    """The factors of a target, fp32, with what they have of gradients, and the frozen W0."""

    def __init__(self, target: Target, parameter: nn.Parameter, config: LoraConfig, seed: int):
        """A is uniform within 1 / sqrt(I) and B zero: section 4.1, and the authors' code."""
        self.target, self._scale = target, config.scale
        rows, columns = target.shape
        drawn = [_uniform((config.rank, columns), seed, module) for module in target.modules]
        self.a_ERI = nn.Parameter(torch.stack(drawn).to(parameter.device))
        self.b_EOR = nn.Parameter(self.a_ERI.new_zeros(len(drawn), rows, config.rank))
        self.base_EOI = _narrowest(target.part(parameter.detach()))

    @torch.no_grad()
    def take(self, gradient: Tensor) -> None:
        """Adds what ``gradient``, of the parameter, is for A and B."""
        grad_EOI = self.target.part(gradient).float()
        _add(self.a_ERI, torch.bmm(self.b_EOR.mT, grad_EOI).mul_(self._scale))
        _add(self.b_EOR, torch.bmm(grad_EOI, self.a_ERI.mT).mul_(self._scale))

    @torch.no_grad()
    def merge(self, parameter: nn.Parameter) -> None:
        """Writes W0 + s B A, computed in fp32, into its place."""
        base_EOI = self.base_EOI.float()
        merged_EOI = torch.baddbmm(base_EOI, self.b_EOR, self.a_ERI, alpha=self._scale)
        self.target.part(parameter.detach()).copy_(merged_EOI)  # torch counts the write: see Writes

    def factors(self) -> dict[str, Factors]:
        """Of each matrix by its name in a checkpoint; not copied."""
        pairs = zip(self.a_ERI.detach(), self.b_EOR.detach(), strict=True)
        found = (Factors(a_RI=a, b_OR=b) for a, b in pairs)
        return dict(zip(self.target.modules, found, strict=True))


class LoraOptimizer:
    """AdamW on the factors; in all else as ``Optimizer``, and in its place.

    Whatever is not adapted is frozen. Each step rewrites the merged weights from W0, so roundings
    do not add up. While it lives, backward passes feed it and leave no ``grad``: one at a time for
    a decoder, which is left merged and otherwise frozen. Raises what ``find_targets`` raises.
    """

    def __init__(self, decoder: Decoder, config: LoraConfig, adam: AdamW, seed: int = 0) -> None:
        self.config, self.model = config, decoder.config
        self._parameters = dict(decoder.named_parameters())
        self.adapters = {
            target.name: Adapter(target, self._parameters[target.parameter], config, seed)
            for target in find_targets(decoder.config, config)
        }
        self._freeze()
        self._max_norm = adam.max_norm
        self._adam = torch.optim.AdamW(
            self._factors().values(),
            lr=0.0,
            betas=(adam.beta1, adam.beta2),
            eps=adam.epsilon,
            weight_decay=adam.weight_decay,
            fused=True,
        )
        self._base = b""

    @property
    def recovered(self) -> frozenset[str]:
        """Parameters that a stage's start and ``state`` give back, so that no snapshot needs them.

        The others are biases of experts, which move with their loads and without a gradient.
        """
        return frozenset(n for n in self._parameters if not n.endswith(".correction_bias"))

    def step(self, rate: float) -> float:
        """One update from what backward passes left since the last; returns the gradients' norm.

        Of A and B, in fp32. One that is not finite changes nothing: the caller sees it and decides.
        """
        gradients = [f.grad for f in self._factors().values() if f.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if torch.isfinite(norm):
            if self._max_norm and norm > self._max_norm:
                torch._foreach_mul_(gradients, self._max_norm / norm)
            for group in self._adam.param_groups:
                group["lr"] = rate
            self._adam.step()
            self._merge()
        self.forget_gradients()
        return norm.item()

    def forget_gradients(self) -> None:
        for one in (*self._parameters.values(), *self._factors().values()):
            one.grad = None

    def factors(self) -> dict[str, Factors]:
        """Of each adapted matrix by its name in a checkpoint; not copied."""
        return {name: f for a in self.adapters.values() for name, f in a.factors().items()}

    @torch.no_grad()
    def adopt(self, factors: Mapping[str, Factors]) -> None:
        """Begins from those of another adapter. Raises ``BadFile``: not of the same matrices."""
        own = self.factors()
        if own.keys() != factors.keys():
            other = min(own.keys() ^ factors.keys())
            lacks = "the adapter lacks" if other in own else "the adapter has"
            raise BadFile(f"{lacks} {other}; it must adapt what the model's targets are")
        for name, mine in own.items():
            given = factors[name]
            for what, to, of in (("A", mine.a_RI, given.a_RI), ("B", mine.b_OR, given.b_OR)):
                if to.shape != of.shape:
                    raise BadFile(
                        f"{what} of {name} has shape {[*of.shape]} in the adapter, but "
                        f"{[*to.shape]} with rank {self.config.rank} on this model"
                    )
                to.copy_(of)
        self._merge()

    def state(self) -> dict[str, Tensor]:
        """Copies of nothing: factors and moments by name, and a digest of the frozen weights."""
        found = {_BASE: torch.tensor(list(self._digest()), dtype=torch.uint8)}
        for name, factor in self._factors().items():
            found[name] = factor.detach()
            for key, value in sorted(self._adam.state[factor].items()):
                found[f"{key}.{name}"] = value
        return found

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """What ``state`` gave, of an optimizer on the same weights; else ``Contradiction``."""
        if bytes(state[_BASE].tolist()) != self._digest():
            raise Contradiction(
                "the model that this stage starts from is not the one that its snapshot was taken "
                "of; give that model back its place, or begin in another folder"
            )
        for name, factor in self._factors().items():
            factor.copy_(state[name])
            moments = {key: state[f"{key}.{name}"] for key in _MOMENTS if f"{key}.{name}" in state}
            if moments:
                self._adam.state[factor] = {k: v.clone() for k, v in moments.items()}
        self._merge()

    def _freeze(self) -> None:
        """Only adapted parameters have gradients, and none keeps its own."""
        by_parameter: dict[str, list[Adapter]] = {}
        for one in self.adapters.values():
            by_parameter.setdefault(one.target.parameter, []).append(one)
        for name, p in self._parameters.items():
            adapters = by_parameter.get(name, [])
            p.requires_grad_(bool(adapters))
            if adapters:
                hook = p.register_post_accumulate_grad_hook(_contraction(adapters))
                weakref.finalize(self, hook.remove)  # W0 must not stay for as long as the decoder

    def _factors(self) -> dict[str, nn.Parameter]:
        pairs = ((n, one.a_ERI, one.b_EOR) for n, one in self.adapters.items())
        return {key: f for n, a, b in pairs for key, f in ((f"a.{n}", a), (f"b.{n}", b))}

    def _merge(self) -> None:
        for one in self.adapters.values():
            one.merge(self._parameters[one.target.parameter])

    def _digest(self) -> bytes:
        """SHA-256 of W0 and of all parameters that are frozen."""
        if not self._base:
            adapted = {one.target.parameter for one in self.adapters.values()}
            frozen = {n: self._parameters[n] for n in self.recovered - adapted}
            bases = {n: one.base_EOI for n, one in self.adapters.items()}
            self._base = _digest_of(sorted({**frozen, **bases}.items()))
        return self._base


def _contraction(adapters: Sequence[Adapter]) -> Callable[[Tensor], None]:
    """Holds adapters only: what holds its own parameter is never given back."""

    def contract(parameter: Tensor) -> None:
        assert parameter.grad is not None
        for one in adapters:
            one.take(parameter.grad)
        parameter.grad = None

    return contract


def _add(factor: nn.Parameter, gradient: Tensor) -> None:
    factor.grad = gradient if factor.grad is None else factor.grad.add_(gradient)


def _uniform(shape: tuple[int, int], seed: int, module: str) -> Tensor:
    """The same for a module, whatever else is adapted."""
    drawn = torch.Generator().manual_seed(sample_seed(seed, module, 0))
    bound = shape[1] ** -0.5
    return torch.rand(shape, generator=drawn).mul_(2 * bound).sub_(bound)


def _narrowest(weights: Tensor) -> Tensor:
    """A copy, in 16 bits where that loses nothing, as of a checkpoint that was stored in them."""
    for dtype in (torch.bfloat16, torch.float16):
        narrow = weights.to(dtype, copy=True)
        if torch.equal(narrow.to(weights.dtype), weights):
            return narrow
    return weights.clone()


def _digest_of(tensors: Iterable[tuple[str, Tensor]]) -> bytes:
    found = sha256()
    for name, tensor in tensors:
        found.update(f"{name} {tensor.dtype} {[*tensor.shape]}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        found.update(flat.view(torch.uint8).numpy().data)
    return found.digest()
