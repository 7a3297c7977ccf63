"""Bytes that training holds at its fullest, from the config alone.

What autograd keeps of a token is counted operation by operation, as ``penjing/models`` computes
them; ``tests/train/test_footprint.py`` holds the count to what torch really keeps.
"""

from dataclasses import dataclass
from typing import assert_never

from penjing.models.config import (
    Attention,
    Dense,
    FeedForward,
    GroupedQuery,
    Latent,
    Layer,
    ModelConfig,
    MoE,
)
from penjing.models.kernels.padded import MOST_TOKENS
from penjing.models.parameters import count_parameters
from penjing.train.lora import LoraConfig, find_targets
from penjing.train.scores import LOGIT_VALUES

WIDE = 4  # bytes of fp32: logits, masters, moments
# Tensors of the widest kind that a backward pass has beside what was kept: of rows of logits
# (their gradient, the softmax, the two that autograd adds up), and of the inner rows of a block.
_LOGIT_COPIES = 4
_INNER_COPIES = 6
_PAIR_COPIES = 4  # of scores of a query and a key, where attention is computed again


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The largest piece of a step: all its tokens, those of them that are learnt, and the most
    tokens of a document."""

    tokens: int
    learnt: int
    longest: int


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes by kind. ``engine``: cache and buffers of rollouts; ``base``: before any model.

    ``frozen``: what an adapter keeps of the matrices that it adapts.
    """

    base: float = 0.0
    weights: float
    gradients: float
    optimizer: float
    reference: float = 0.0
    frozen: float = 0.0
    activations: float
    engine: float = 0.0

    @property
    def total(self) -> float:
        kinds = (self.weights, self.gradients, self.optimizer, self.reference, self.frozen)
        return self.base + sum(kinds) + self.activations + self.engine


def training_footprint(
    config: ModelConfig,
    batch: Batch,
    *,
    value_bytes: int = WIDE,
    recompute: bool = False,
    has_reference: bool = False,
    adapter: LoraConfig | None = None,
) -> Footprint:
    """``value_bytes`` of a weight and an activation. All weights learn, or an adapter.

    Weights narrower than fp32 have masters of it; AdamW has two moments: 16 bytes a parameter in
    all for bf16 with fp32 masters, as for fp32 (Rajbhandari et al., arXiv 1910.02054, 3.1).
    """
    weights = float(count_parameters(config).total) * value_bytes
    activations = activation_bytes(config, batch, value_bytes, recompute=recompute)
    reference = weights if has_reference else 0.0
    if adapter is None:
        masters = WIDE if value_bytes < WIDE else 0
        return Footprint(
            weights=weights,
            gradients=weights,
            optimizer=weights / value_bytes * (2 * WIDE + masters),
            reference=reference,
            activations=activations,
        )
    sizes = [target.num_values(adapter.rank) for target in find_targets(config, adapter)]
    factors = sum(values for _, values in sizes) * WIDE
    largest = max(matrix for matrix, _ in sizes) * value_bytes  # one gradient at a time
    return Footprint(
        weights=weights,
        gradients=factors + largest,
        optimizer=3 * factors,  # the factors and their moments
        reference=reference,
        frozen=sum(matrix for matrix, _ in sizes) * value_bytes,
        activations=activations,
    )


def activation_bytes(
    config: ModelConfig, batch: Batch, value_bytes: int = WIDE, *, recompute: bool = False
) -> float:
    """At their most: the forward pass kept, and the beginning of the backward pass beside it."""
    layers = [layer_bytes(layer, config.width, value_bytes) for layer in config.layers]
    inner = max(_inner_values(layer.feed_forward) for layer in config.layers) * value_bytes
    kept = sum(layers)
    if recompute:  # what goes into each layer, and all of one layer at a time
        kept = len(layers) * config.width * value_bytes + max(layers)
    rows = min(batch.learnt, LOGIT_VALUES // config.vocab_size)
    head = batch.learnt * 2 * config.width * value_bytes + rows * config.vocab_size * WIDE
    heads = max(layer.attention.num_heads for layer in config.layers)
    pairs = min(batch.tokens, MOST_TOKENS) * batch.longest * heads * WIDE
    beside = max(
        rows * config.vocab_size * WIDE * _LOGIT_COPIES,
        batch.tokens * inner * _INNER_COPIES + pairs * _PAIR_COPIES,
    )
    return batch.tokens * kept + head + beside


def layer_bytes(layer: Layer, width: int, value_bytes: int) -> float:
    """That one token leaves for the backward pass."""
    values = _attention_values(layer.attention, width)
    router = 0.0
    if isinstance(layer.feed_forward, MoE):
        block = layer.feed_forward
        router = block.num_experts * WIDE + 36.0 * block.experts_per_token
    return (values + _feed_forward_values(layer.feed_forward, width)) * value_bytes + router


def _attention_values(attention: Attention, width: int) -> float:
    """The residual and its norm, what the products take, queries and keys as they attend."""
    match attention:
        case GroupedQuery(num_heads=n, num_kv_heads=m, head_dim=h):
            normed = (n + 2 * m) * h if attention.qk_norm else 0
            return 2 * width + normed + (n + 2 * m) * h + n * h
        case Latent(num_heads=n, kv_rank=c, rope_dim=r):
            rank = attention.q_rank or 0
            query = attention.nope_dim + r
            down = (rank or n * query) + c + r
            values = down + rank + n * query + n * (c + r) + (c + r) + n * c
            return 2 * width + values + n * attention.value_dim
        case _:
            assert_never(attention)


def _feed_forward_values(block: FeedForward, width: int) -> float:
    """The residual and its norm; gate, up and their product; of experts each row."""
    match block:
        case Dense(width=inner):
            return 2 * width + 3 * inner
        case MoE():
            shared = 3 * block.shared_width + width if block.shared_width else 0
            return 2 * width + shared + block.experts_per_token * (3 * block.expert_width + width)
        case _:
            assert_never(block)


def _inner_values(block: FeedForward) -> float:
    match block:
        case Dense(width=inner):
            return inner
        case MoE():
            return max(block.shared_width, block.experts_per_token * block.expert_width)
        case _:
            assert_never(block)
