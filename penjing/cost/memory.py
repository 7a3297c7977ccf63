"""Bytes on the fullest chip, by kind, when serving.

Shares follow the layout exactly: what tensor ranks copy (MLA's down-projections, norms, routers)
is counted whole, what they split is divided. docs/cost-model.md has the table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from penjing.cost.layout import Layout
from penjing.cost.op import Quantity
from penjing.models.config import (
    Attention,
    Dense,
    FeedForward,
    GroupedQuery,
    Latent,
    Layer,
    ModelConfig,
    MoE,
    WeightFormats,
)
from penjing.models.format import Format
from penjing.models.parameters import (
    attention_parameters,
    feed_forward_parameters,
)

# What a driver and a runtime keep for themselves: context, graphs, collective buffers. Assumed:
# vLLM and SGLang leave 5-10 % of the device to it, MLPerf submissions about 5 %.
RESERVED_SHARE = 0.04
RESERVED_BYTES = 2.0 * 2**30


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Parameters one chip holds of one layer, by storage class."""

    attention: float
    dense: float
    experts: float
    wide: float  # norms, routers: 16 bits whatever the format


def usable_bytes(capacity_bytes: float) -> float:
    """What is left of device memory for weights, cache and activations."""
    return capacity_bytes * (1 - RESERVED_SHARE) - RESERVED_BYTES


def weight_bytes(model: ModelConfig, layout: Layout, formats: WeightFormats) -> float:
    """Weights on the fullest chip: the largest pipeline stage, and embedding or head with it."""

    def held_bytes(layer: Layer) -> float:
        return layer_bytes(layer, model.width, layout, formats)

    drafts = [held_bytes(layer) for layer in model.mtp]
    stages = _stages([*_per_layer(model, held_bytes), *drafts], layout.pipeline)
    table = model.vocab_size * model.width / layout.tensor * formats.embedding.bytes_per_value
    if layout.pipeline == 1:
        return stages[0] + table * (1 if model.tied_embeddings else 2)
    return max(max(stages[0], stages[-1]) + table, *stages)


def layer_bytes(layer: Layer, width: int, layout: Layout, formats: WeightFormats) -> float:
    """One layer's weights on one chip."""
    held = layer_shares(layer, width, layout)
    return (
        held.attention * formats.attention.bytes_per_value
        + held.dense * formats.dense.bytes_per_value
        + held.experts * formats.experts.bytes_per_value
        + held.wide * 2.0
    )


def layer_shares(layer: Layer, width: int, layout: Layout) -> Shares:
    """Parameters of one layer on one chip, by class."""
    attention = attention_share(layer.attention, width, layout.tensor)
    match layer.feed_forward:
        case Dense():
            inner = feed_forward_parameters(layer.feed_forward, width) / layout.tensor
            return Shares(attention=attention, dense=inner, experts=0.0, wide=2.0 * width)
        case MoE() as moe:
            shared = 3.0 * width * moe.shared_width
            router = float(moe.num_experts * (width + 1))
            routed = feed_forward_parameters(moe, width) - shared - router
            return Shares(
                attention=attention,
                dense=shared / layout.tensor,
                experts=routed / (layout.expert * layout.expert_tensor),
                wide=2.0 * width + router,
            )
        case _:
            assert_never(layer.feed_forward)


def attention_share(attention: Attention, width: int, tensor: int) -> float:
    """Attention parameters on one of ``tensor`` ranks: heads are split, the rest is copied."""
    whole = float(attention_parameters(attention, width))
    match attention:
        case GroupedQuery(num_kv_heads=m, head_dim=h):
            one = 2.0 * width * h  # key and value projection of one head
            return (whole - one * m) / tensor + one * max(1.0, m / tensor)
        case Latent(q_rank=q, kv_rank=c, rope_dim=r):
            copied = 0.0 if tensor == 1 else float(width * ((q or 0) + c + r))
            return (whole - copied) / tensor + copied
        case _:
            assert_never(attention)


def cache_bytes(
    model: ModelConfig, layout: Layout, cache: Format, sequences: Quantity, tokens: float
) -> Quantity:
    """Cache of ``sequences`` of ``tokens`` each on the fullest chip.

    Tensor ranks split grouped heads until each has one; a latent is copied on every rank. Windowed
    layers keep only the last part.
    """

    def kept_bytes(layer: Layer) -> float:
        each = cache_values(layer.attention, layout.tensor) * cache.bytes_per_value
        return each * min(tokens, _window(layer.attention))

    return sequences * max(_stages(_per_layer(model, kept_bytes), layout.pipeline))


def cache_values(attention: Attention, tensor: int = 1) -> float:
    """Values one token keeps in one layer on one of ``tensor`` ranks."""
    match attention:
        case GroupedQuery(num_kv_heads=m, head_dim=h):
            return 2.0 * max(1.0, m / tensor) * h
        case Latent(kv_rank=c, rope_dim=r, indexer=indexer):
            return float(c + r + (indexer.head_dim if indexer else 0))
        case _:
            assert_never(attention)


def activation_bytes(model: ModelConfig, layout: Layout, tokens: float) -> float:
    """Peak of a serving pass over ``tokens``: residual, one block's inner values, logits.

    Buffers are reused from layer to layer, so the widest block counts once.
    """
    inner = max(_inner_values(layer.feed_forward, layout) for layer, _ in model.layer_counts())
    heads = max(_projected_values(layer.attention, layout) for layer, _ in model.layer_counts())
    logits = model.vocab_size * 4.0 * min(tokens, 1024.0)
    return tokens * 2.0 * (3 * model.width + inner + heads) + logits


def _inner_values(block: FeedForward, layout: Layout) -> float:
    match block:
        case Dense(width=f):
            return 3.0 * f / layout.tensor
        case MoE(experts_per_token=k, expert_width=f, shared_width=s):
            return 3.0 * (k * f / layout.expert_tensor + s / layout.tensor)
        case _:
            assert_never(block)


def _projected_values(attention: Attention, layout: Layout) -> float:
    match attention:
        case GroupedQuery(num_heads=n, num_kv_heads=m, head_dim=h):
            return (2.0 * n + 2.0 * m) * h / layout.tensor
        case Latent(num_heads=n, nope_dim=p, rope_dim=r, value_dim=v):
            return n * (2.0 * (p + r) + 2.0 * v) / layout.tensor
        case _:
            assert_never(attention)


def _window(attention: Attention) -> float:
    """Tokens that a layer keeps of one sequence."""
    match attention:
        case GroupedQuery(window=window):
            return float("inf") if window is None else float(window)
        case Latent():
            return float("inf")
        case _:
            assert_never(attention)


def _per_layer(model: ModelConfig, value: Callable[[Layer], float]) -> list[float]:
    """``value`` of each layer, worked out once for each kind."""
    values = [value(layer) for layer, _ in model.layer_counts()]
    return [values[kind] for kind in model.layer_kinds]


def _stages(per_layer: list[float], pipeline: int) -> list[float]:
    """Sums over pipeline stages of near-equal length, longer ones first."""
    short, extra = divmod(len(per_layer), pipeline)
    sums, start = [], 0
    for stage in range(pipeline):
        stop = start + short + (1 if stage < extra else 0)
        sums.append(sum(per_layer[start:stop]))
        start = stop
    return sums
