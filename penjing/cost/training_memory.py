"""Bytes on the fullest chip, by kind, when training."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from penjing.cost.layout import Layout
from penjing.cost.memory import Shares, layer_shares, usable_bytes
from penjing.cost.training_setup import Recompute, TrainSetup, Zero
from penjing.hardware.chip import Chip
from penjing.models.config import Dense, GroupedQuery, Latent, Layer, ModelConfig, MoE


@dataclass(frozen=True, kw_only=True)
class TrainMemory:
    """Bytes on the fullest chip by kind; ``host_bytes`` are offloaded, for each chip."""

    weights_bytes: float
    gradients_bytes: float
    optimizer_bytes: float
    activations_bytes: float
    usable_bytes: float
    host_bytes: float = 0.0

    @property
    def total_bytes(self) -> float:
        return (
            self.weights_bytes
            + self.gradients_bytes
            + self.optimizer_bytes
            + self.activations_bytes
        )

    @property
    def shortfall_bytes(self) -> float:
        return max(0.0, self.total_bytes - self.usable_bytes)


@dataclass(frozen=True, kw_only=True)
class Held:
    """Parameters on the fullest chip before ZeRO: all but routed experts, routed experts."""

    dense: float
    experts: float

    @property
    def total(self) -> float:
        return self.dense + self.experts


@lru_cache(maxsize=1024)
def held_parameters(model: ModelConfig, layout: Layout) -> Held:
    """Shares of tensor, expert and pipeline parallelism; the table counts on the first stage."""
    shares = [
        (_layer_parameters(layer, model.width, layout), n) for layer, n in model.layer_counts()
    ]
    per_stage = -(-len(model.layers) // layout.pipeline)
    tables = model.vocab_size * model.width / layout.tensor
    tables *= 2 if layout.pipeline == 1 and not model.tied_embeddings else 1
    dense = _fullest(((s.attention + s.dense + s.wide, n) for s, n in shares), per_stage)
    experts = _fullest(((s.experts, n) for s, n in shares), per_stage)
    return Held(dense=dense + tables, experts=experts)


def _fullest(values: Iterable[tuple[float, int]], places: int) -> float:
    """Sum of the ``places`` largest values, each occurring so many times."""
    total = 0.0
    for value, count in sorted(values, reverse=True):
        taken = min(count, places)
        total, places = total + value * taken, places - taken
    return total


def train_memory(model: ModelConfig, setup: TrainSetup, chip: Chip) -> TrainMemory:
    """Mixed precision as in Megatron: bf16 weights, fp32 gradients, fp32 master and two moments."""
    held = held_parameters(model, setup.layout)
    trained = 0.0 if setup.adapters else 1.0
    optimizer = trained * 12.0 * state_parameters(held, setup, Zero.OPTIMIZER)
    return TrainMemory(
        weights_bytes=2.0 * state_parameters(held, setup, Zero.PARAMETERS),
        gradients_bytes=trained * 4.0 * state_parameters(held, setup, Zero.GRADIENTS),
        optimizer_bytes=0.0 if setup.offload else optimizer,
        activations_bytes=_kept_bytes(model, setup),
        usable_bytes=usable_bytes(chip.capacity_bytes),
        host_bytes=optimizer if setup.offload else 0.0,
    )


def recomputations(
    model: ModelConfig, setup: TrainSetup, chip: Chip, longest: int
) -> list[TrainSetup]:
    """Ways to recompute no more than a sequence of ``longest`` tokens needs to fit; may be none."""

    def fits(tried: TrainSetup) -> bool:
        return not train_memory(model, replace(tried, sequence=longest), chip).shortfall_bytes

    bare = replace(setup, recompute=Recompute.NONE)
    if fits(bare):
        return [bare]
    selective = replace(setup, recompute=Recompute.SELECTIVE)
    layers = -(-len(model.layers) // setup.layout.pipeline)
    full = [
        replace(setup, recompute=Recompute.FULL, recompute_share=count / layers)
        for count in range(1, layers + 1)
    ]
    first = bisect_left(full, True, key=fits)  # more recomputation never takes more memory
    return [selective] * fits(selective) + full[first : first + 1]


def state_parameters(held: Held, setup: TrainSetup, stage: Zero) -> float:
    """Parameters whose state a chip keeps: all it holds, or from ``stage`` on its share of them.

    Ranks that hold the same parameters share them: data and context ranks the dense ones, the
    copies of an expert its own.
    """
    if setup.zero < stage:
        return held.total
    ranks = setup.layout.data * setup.layout.context
    return held.dense / ranks + held.experts / setup.expert_copies


def _layer_parameters(layer: Layer, width: int, layout: Layout) -> Shares:
    """As when serving, but what is left of the stage beside ``expert`` copies whole experts."""
    held = layer_shares(layer, width, Layout(tensor=layout.tensor))
    experts = held.experts * layout.tensor / layout.expert
    return Shares(attention=held.attention, dense=held.dense, experts=experts, wide=held.wide)


def _kept_bytes(model: ModelConfig, setup: TrainSetup) -> float:
    """Activations alive at the worst moment: the first stage of 1F1B holds p micro-batches.

    Interleaving v virtual stages raises that by (p - 1) / (p v): arXiv 2205.05198, section 4.2.3.
    """
    layout = setup.layout
    tokens = setup.micro_batch * setup.sequence / layout.context / layout.tensor
    layers = model.layer_counts()
    total = sum(_layer_kept_values(layer, model.width, setup) * n for layer, n in layers)
    in_flight = min(setup.micro_batches, layout.pipeline)
    kept = total / layout.pipeline * in_flight
    if setup.virtual_stages > 1:
        kept *= 1.0 + (layout.pipeline - 1) / (layout.pipeline * setup.virtual_stages)
    if setup.recompute is Recompute.FULL:
        widest = max(_block_values(layer, model.width) for layer, _ in layers)
        kept += widest  # one layer is alive in full while it runs backward
    logits = 6.0 * tokens * model.vocab_size / (1 if layout.pipeline == 1 else in_flight)
    return tokens * 2.0 * kept + logits


def _layer_kept_values(layer: Layer, width: int, setup: TrainSetup) -> float:
    """16-bit values a token keeps for backward in one layer, summed over tensor ranks."""
    match setup.recompute:
        case Recompute.FULL:
            kept = 1.0 - setup.recompute_share
            return setup.recompute_share * width + kept * _block_values(layer, width)
        case Recompute.SELECTIVE:
            return _block_values(layer, width, activation=False)
        case Recompute.NONE:
            return _block_values(layer, width)


def _block_values(layer: Layer, width: int, *, activation: bool = True) -> float:
    """Inputs of every product and norm of the layer; ``activation`` adds the gated product."""
    values = 4.0 * width  # two norm inputs, two norm outputs
    match layer.attention:
        case GroupedQuery(num_heads=n, num_kv_heads=m, head_dim=h):
            values += (2.0 * n + 2.0 * m) * h
        case Latent(num_heads=n, q_rank=q, kv_rank=c, nope_dim=p, rope_dim=r, value_dim=v):
            values += 2.0 * ((q or 0) + c + r) + n * (2.0 * (p + r) + 2.0 * v)
    inner = 3.0 if activation else 2.0
    match layer.feed_forward:
        case Dense(width=f):
            values += inner * f
        case MoE(experts_per_token=k, expert_width=f, shared_width=s):
            values += inner * (k * f + s) + 2.0 * k * width
    return values
