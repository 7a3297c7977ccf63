"""Exact parameter counts from the shapes, as ``numel`` over the modules would give them."""

from dataclasses import dataclass
from typing import assert_never

from penjing.models.config import (
    Attention,
    Dense,
    FeedForward,
    GroupedQuery,
    Indexer,
    Latent,
    Layer,
    ModelConfig,
    MoE,
)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """How many parameters a model has, by what they are for.

    ``attention`` holds the norms inside it (of heads and of latents), ``norms`` those between
    blocks. ``head`` is 0 where it is tied to the embedding. ``mtp`` is apart: it drafts, and a
    forward pass without speculation never touches it.
    """

    attention: int
    dense: int  # dense blocks and shared experts
    experts: int  # routed experts
    chosen_experts: int  # those of them that one token goes to
    router: int
    norms: int
    embedding: int  # token table and learnt positions
    head: int
    mtp: int

    @property
    def total(self) -> int:
        """All but ``mtp``: 671.0 B for DeepSeek-R1."""
        return self.active - self.chosen_experts + self.experts

    @property
    def active(self) -> int:
        """What one token uses, embedding and head each counted whole: 37.6 B for DeepSeek-R1.

        Whole, because so count DeepSeek, Qwen and Mistral; a step reads one row of the embedding a
        token. OpenAI leaves the embedding out: ``active - embedding``.
        """
        body = self.attention + self.dense + self.chosen_experts + self.router + self.norms
        return body + self.embedding + self.head


def count_parameters(config: ModelConfig) -> Parameters:
    """Layers, final norm, embedding and head; the layers of ``mtp`` under that name."""
    counts = config.layer_counts()
    norm = norm_parameters(config)
    return Parameters(
        attention=sum(n * attention_parameters(x.attention, config.width) for x, n in counts),
        dense=sum(n * dense_parameters(x.feed_forward, config.width) for x, n in counts),
        experts=sum(n * expert_parameters(x.feed_forward, config.width) for x, n in counts),
        chosen_experts=sum(n * chosen_parameters(x.feed_forward, config.width) for x, n in counts),
        router=sum(n * router_parameters(x.feed_forward, config.width) for x, n in counts),
        norms=(2 * len(config.layers) + 1) * norm,
        embedding=(config.vocab_size + config.learned_positions) * config.width,
        head=0 if config.tied_embeddings else config.vocab_size * config.width,
        mtp=sum(mtp_parameters(layer, config) for layer in config.mtp),
    )


def norm_parameters(config: ModelConfig) -> int:
    """One norm over the width; LayerNorm has a bias beside its weight."""
    match config.norm:
        case "rms":
            return config.width
        case "layer":
            return 2 * config.width
        case _:
            assert_never(config.norm)


def mtp_parameters(layer: Layer, config: ModelConfig) -> int:
    """A prediction layer with its own projection and norms; embedding and head are shared."""
    block = attention_parameters(layer.attention, config.width)
    block += feed_forward_parameters(layer.feed_forward, config.width)
    return block + 2 * config.width**2 + 5 * norm_parameters(config)


def attention_parameters(attention: Attention, width: int) -> int:
    """Everything in one attention block: projections, biases, inner norms, sinks, indexer."""
    match attention:
        case GroupedQuery():
            return _grouped_query(attention, width)
        case Latent():
            return _latent(attention, width)
        case _:
            assert_never(attention)


def feed_forward_parameters(block: FeedForward, width: int) -> int:
    """Everything in one feed-forward block, router included."""
    routed = expert_parameters(block, width) + router_parameters(block, width)
    return dense_parameters(block, width) + routed


def dense_parameters(block: FeedForward, width: int) -> int:
    """What every token goes through: the dense block, or the shared experts and their gate."""
    match block:
        case Dense(width=inner, gated=gated, bias=bias):
            return _mlp(inner, width, gated=gated, bias=bias)
        case MoE(shared_width=0):
            return 0
        case MoE(shared_width=inner, shared_gate=gate, bias=bias):
            return _mlp(inner, width, gated=True, bias=bias) + (width if gate else 0)
        case _:
            assert_never(block)


def expert_parameters(block: FeedForward, width: int) -> int:
    """All routed experts of one block."""
    match block:
        case Dense():
            return 0
        case MoE(num_experts=experts):
            return experts * _expert(block, width)
        case _:
            assert_never(block)


def chosen_parameters(block: FeedForward, width: int) -> int:
    """The routed experts of one block that a token goes to."""
    match block:
        case Dense():
            return 0
        case MoE(experts_per_token=chosen):
            return chosen * _expert(block, width)
        case _:
            assert_never(block)


def router_parameters(block: FeedForward, width: int) -> int:
    """Gate, its bias, and the correction bias."""
    match block:
        case Dense():
            return 0
        case MoE(num_experts=experts, router=router):
            return experts * (width + router.bias + router.correction_bias)
        case _:
            assert_never(block)


def _expert(block: MoE, width: int) -> int:
    return _mlp(block.expert_width, width, gated=True, bias=block.bias)


def _mlp(inner: int, width: int, *, gated: bool, bias: bool) -> int:
    into = 2 if gated else 1
    return (into + 1) * inner * width + (into * inner + width if bias else 0)


def _grouped_query(attention: GroupedQuery, width: int) -> int:
    queries = attention.num_heads * attention.head_dim
    cached = 2 * attention.num_kv_heads * attention.head_dim
    count = width * (queries + cached) + queries * width
    count += queries + cached if attention.qkv_bias else 0
    count += width if attention.out_bias else 0
    count += 2 * attention.head_dim if attention.qk_norm else 0
    return count + (attention.num_heads if attention.sinks else 0)


def _latent(attention: Latent, width: int) -> int:
    """Biases, where there are any, sit on the projections into the latents and on the output."""
    heads = attention.num_heads
    queries = heads * (attention.nope_dim + attention.rope_dim)
    latent = attention.kv_rank + attention.rope_dim
    count = width * latent + attention.kv_rank
    count += attention.kv_rank * heads * (attention.nope_dim + attention.value_dim)
    count += heads * attention.value_dim * width
    count += latent + width if attention.bias else 0
    if attention.q_rank is None:
        return count + width * queries
    count += attention.q_rank * (width + queries + 1 + attention.bias)
    return count + (
        _indexer(attention.indexer, attention.q_rank, width) if attention.indexer else 0
    )


def _indexer(indexer: Indexer, q_rank: int, width: int) -> int:
    """Queries from their latent, one key with a LayerNorm, and a weight for each head."""
    queries = q_rank * indexer.num_heads * indexer.head_dim
    return queries + (width + 2) * indexer.head_dim + width * indexer.num_heads
