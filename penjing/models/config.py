"""The shape of a model: one closed union for every family, read by cost and modules alike.

Letters in comments are those of docs/notation.md. No torch here: planning reads this file.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Literal

from penjing.models.format import BF16, Format


@dataclass(frozen=True, kw_only=True)
class Yarn:
    """YaRN, arXiv 2309.00071; ``mscale`` and ``mscale_all_dim`` as in DeepSeek-V2's code."""

    factor: float
    original_positions: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    attention_factor: float | None = None
    truncate: bool = True


@dataclass(frozen=True, kw_only=True)
class Llama3Scaling:
    """Frequency-banded scaling of Llama 3.1."""

    factor: float
    original_positions: int
    low_freq_factor: float
    high_freq_factor: float


@dataclass(frozen=True, kw_only=True)
class LinearScaling:
    """Positions divided by ``factor``."""

    factor: float


RopeScaling = Yarn | Llama3Scaling | LinearScaling


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary embedding over the first ``dim`` values of a head."""

    theta: float
    dim: int  # R
    scaling: RopeScaling | None = None


@dataclass(frozen=True, kw_only=True)
class GroupedQuery:
    """Grouped-query attention; multi-head where ``num_kv_heads == num_heads``."""

    num_heads: int  # N
    num_kv_heads: int
    head_dim: int  # H
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: bool = False  # RMSNorm over each head of q and k, as in Qwen3
    window: int | None = None  # tokens a query may look back; None: all
    sinks: bool = False  # one learnt logit a head, as in gpt-oss


@dataclass(frozen=True, kw_only=True)
class Indexer:
    """DeepSeek sparse attention: a small scorer picks ``top_k`` cached tokens for each query."""

    num_heads: int
    head_dim: int
    top_k: int


@dataclass(frozen=True, kw_only=True)
class Latent:
    """Multi-head latent attention: DeepSeek-V2 report, section 2.1."""

    num_heads: int  # N
    q_rank: int | None  # None: full-rank queries (Moonlight, V2-Lite)
    kv_rank: int  # C; with the rope key the only thing cached
    nope_dim: int
    rope_dim: int  # R; one key shared by all heads
    value_dim: int
    bias: bool = False
    indexer: Indexer | None = None


Attention = GroupedQuery | Latent


@dataclass(frozen=True, kw_only=True)
class Dense:
    """Gated feed-forward: down(act(gate(x)) * up(x)); ``gated`` false drops the gate (GPT-3)."""

    width: int  # F
    gated: bool = True
    bias: bool = False


class Scoring(StrEnum):
    """How router logits become scores."""

    SOFTMAX = "softmax"  # over all experts, then top-k
    SIGMOID = "sigmoid"
    TOP_K_SOFTMAX = "top-k-softmax"  # top-k first, softmax over the chosen (Mixtral, gpt-oss)


@dataclass(frozen=True, kw_only=True)
class Router:
    """Which experts a token goes to, and with what weight."""

    scoring: Scoring
    num_groups: int = 1
    top_groups: int = 1
    group_score: Literal["max", "top2-sum"] = "max"  # V2 takes the max, V3 the two best
    normalise: bool = False  # divide the chosen scores by their sum
    scale: float = 1.0
    correction_bias: bool = False  # V3: added for choosing, not for weighing
    bias: bool = False


@dataclass(frozen=True, kw_only=True)
class MoE:
    """Routed experts of width ``expert_width`` and, beside them, one shared dense block."""

    num_experts: int  # E
    experts_per_token: int  # K
    expert_width: int  # F
    shared_width: int = 0  # F of the shared experts together; 0: none
    shared_gate: bool = False  # the shared output is scaled by a learnt sigmoid (Qwen1.5-MoE)
    bias: bool = False
    router: Router


FeedForward = Dense | MoE


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One decoder block, pre-norm."""

    attention: Attention
    feed_forward: FeedForward


@dataclass(frozen=True, kw_only=True)
class WeightFormats:
    """Storage of each class of weights; norms and routers are always wide."""

    attention: Format = BF16
    dense: Format = BF16  # dense and shared feed-forward
    experts: Format = BF16  # routed experts
    embedding: Format = BF16  # embedding and output head


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A decoder-only language model.

    ``mtp`` holds the multi-token-prediction layers (DeepSeek-V3 report, section 2.2); each also
    has a 2D x D projection and three norms (of its two inputs and before the head), and shares
    embedding and head.
    """

    name: str
    model_type: str
    width: int  # D
    vocab_size: int  # V
    layers: tuple[Layer, ...]  # L
    mtp: tuple[Layer, ...] = ()
    tied_embeddings: bool = False
    learned_positions: int = 0  # rows of a learnt position table; 0: none (GPT-3 has 2048)
    rope: Rope | None
    norm: Literal["rms", "layer"] = "rms"  # "layer" also subtracts the mean and has a bias (GPT-3)
    norm_eps: float
    max_positions: int
    activation: Literal["silu", "gelu", "swiglu-oss"] = "silu"
    formats: WeightFormats = WeightFormats()

    def __hash__(self) -> int:
        return hash(self.name)  # of all layers it would take longer than what a cache saves

    def layer_counts(self) -> list[tuple[Layer, int]]:
        """Distinct layers with how often each occurs, in order of first appearance."""
        return list(self._layer_counts)

    @cached_property
    def _layer_counts(self) -> tuple[tuple[Layer, int], ...]:
        """Counted once: every priced pass asks, and hashing all layers is not free."""
        return tuple(Counter(self.layers).items())

    @cached_property
    def attention_counts(self) -> tuple[tuple[Attention, int], ...]:
        """Distinct attention blocks with how often each occurs."""
        return tuple(Counter(layer.attention for layer in self.layers).items())

    @cached_property
    def feed_forward_counts(self) -> tuple[tuple[FeedForward, int], ...]:
        """Distinct feed-forward blocks with how often each occurs."""
        return tuple(Counter(layer.feed_forward for layer in self.layers).items())

    @cached_property
    def layer_kinds(self) -> tuple[int, ...]:
        """For each of ``layers`` its place among the distinct ones of ``layer_counts``."""
        places = {layer: place for place, (layer, _) in enumerate(self._layer_counts)}
        return tuple(places[layer] for layer in self.layers)
