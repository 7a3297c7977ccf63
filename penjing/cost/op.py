"""An operator of a pass: what it multiplies, reads, writes and sends on one chip.

The constructors below are the only place where a kernel's shape becomes FLOPs and bytes; the
efficiency curves were fitted with these same counts, so a count and its curve belong together.
Quantities may be arrays: every array of one pass runs over the same axis (batch sizes, say).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from penjing.hardware.precision import Precision
from penjing.models.format import BF16, Format

Quantity = float | NDArray[np.float64]


class Kind(StrEnum):
    """Families of kernels that share an efficiency curve."""

    GEMM = "gemm"
    GROUPED_GEMM = "grouped-gemm"
    PREFILL_ATTENTION = "prefill-attention"
    DECODE_ATTENTION = "decode-attention"
    PREFILL_LATENT = "prefill-latent"  # MLA with keys and values expanded
    DECODE_LATENT = "decode-latent"  # MLA absorbed: all heads share the latent cache
    ELEMENTWISE = "elementwise"
    ALL_REDUCE = "all-reduce"
    ALL_GATHER = "all-gather"
    REDUCE_SCATTER = "reduce-scatter"
    ALL_TO_ALL = "all-to-all"
    SEND = "send"

    @property
    def is_communication(self) -> bool:
        return self in _COMMUNICATION


_COMMUNICATION = frozenset(
    (Kind.ALL_REDUCE, Kind.ALL_GATHER, Kind.REDUCE_SCATTER, Kind.ALL_TO_ALL, Kind.SEND)
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Op:
    """One operator on the slowest chip; ``calls`` of it happen in a pass.

    ``lane`` names the number format of the operand that decides the kernel (weights for a
    product, cache for attention). A collective has ``message_bytes`` (the full tensor, or what
    one rank sends in an all-to-all) and the ``group`` of ranks it runs over, ``stride`` apart in
    rank order. An all-to-all of tokens sends ``copies`` of each; with a ``node_limit`` a token
    crosses to a node once, and to so many nodes at most.
    """

    name: str
    kind: Kind
    lane: str = "bf16"
    compute: tuple[Precision, ...] = (Precision.BF16,)
    flops: Quantity = 0.0
    read_bytes: Quantity = 0.0
    write_bytes: Quantity = 0.0
    message_bytes: Quantity = 0.0
    group: int = 1
    stride: int = 1
    copies: float = 1.0
    node_limit: int = 0
    calls: float = 1.0


def gemm(
    name: str, m: Quantity, n: Quantity, k: Quantity, weights: Format = BF16, calls: float = 1.0
) -> Op:
    """``m x k`` activations times ``k x n`` weights; 2mnk FLOPs."""
    return Op(
        name=name,
        kind=Kind.GEMM,
        lane=weights.name,
        compute=weights.compute,
        flops=2.0 * m * n * k,
        read_bytes=n * k * weights.bytes_per_value + m * k * activation_bytes(weights),
        write_bytes=m * n * 2.0,
        calls=calls,
    )


def grouped_gemm(
    name: str,
    rows: Quantity,
    experts: Quantity,
    width: Quantity,
    inner: Quantity,
    weights: Format = BF16,
    calls: float = 1.0,
) -> Op:
    """Gated experts, up and down: ``rows`` token-expert pairs over ``experts`` distinct ones."""
    return Op(
        name=name,
        kind=Kind.GROUPED_GEMM,
        lane=weights.name,
        compute=weights.compute,
        flops=6.0 * rows * width * inner,
        read_bytes=experts * 3.0 * width * inner * weights.bytes_per_value
        + rows * (width + inner) * activation_bytes(weights),
        write_bytes=rows * (2.0 * inner + width) * 2.0,
        calls=calls,
    )


def activation_bytes(weights: Format) -> float:
    """Bytes of an activation beside such weights: 8-bit products read 8-bit activations."""
    narrow = weights.compute[0] in (Precision.FP8, Precision.INT8, Precision.FP4)
    return 1.0 if narrow else 2.0


def prefill_attention(
    name: str,
    sequences: Quantity,
    new: Quantity,
    cached: Quantity,
    heads: Quantity,
    kv_heads: Quantity,
    head_dim: Quantity,
    window: int | None = None,
    lane: Format = BF16,
    calls: float = 1.0,
) -> Op:
    """Causal attention of ``new`` tokens over themselves and ``cached`` ones, per sequence."""
    pairs = sequences * attended_pairs(new, cached, window)
    return Op(
        name=name,
        kind=Kind.PREFILL_ATTENTION,
        lane=lane.name,
        compute=_attention_compute(lane),
        flops=4.0 * pairs * heads * head_dim,
        read_bytes=sequences
        * head_dim
        * (new * heads * 2.0 + (new + cached) * 2 * kv_heads * lane.bytes_per_value),
        write_bytes=sequences * new * heads * head_dim * 2.0,
        calls=calls,
    )


def decode_attention(
    name: str,
    sequences: Quantity,
    new: Quantity,
    cached: Quantity,
    heads: Quantity,
    kv_heads: Quantity,
    head_dim: Quantity,
    window: int | None = None,
    lane: Format = BF16,
    calls: float = 1.0,
) -> Op:
    """``new`` query tokens (1 without speculation) over each sequence's cache."""
    seen = cached if window is None else np.minimum(cached, window)
    return Op(
        name=name,
        kind=Kind.DECODE_ATTENTION,
        lane=lane.name,
        compute=(Precision.BF16,),
        flops=4.0 * sequences * new * heads * seen * head_dim,
        read_bytes=sequences
        * head_dim
        * (seen * 2 * kv_heads * lane.bytes_per_value + new * heads * 2.0),
        write_bytes=sequences * new * heads * head_dim * 2.0,
        calls=calls,
    )


def prefill_latent(
    name: str,
    sequences: Quantity,
    new: Quantity,
    cached: Quantity,
    heads: Quantity,
    qk_dim: Quantity,
    value_dim: Quantity,
    window: int | None = None,
    lane: Format = BF16,
    calls: float = 1.0,
) -> Op:
    """MLA with expanded keys (``qk_dim`` = nope + rope) and values: the form for many queries."""
    pairs = sequences * attended_pairs(new, cached, window)
    per_token = heads * (qk_dim + value_dim)
    return Op(
        name=name,
        kind=Kind.PREFILL_LATENT,
        lane=lane.name,
        compute=_attention_compute(lane),
        flops=2.0 * pairs * per_token,
        read_bytes=sequences * (new * heads * qk_dim + (new + cached) * per_token) * 2.0,
        write_bytes=sequences * new * heads * value_dim * 2.0,
        calls=calls,
    )


def decode_latent(
    name: str,
    sequences: Quantity,
    new: Quantity,
    cached: Quantity,
    heads: Quantity,
    latent_dim: Quantity,
    rope_dim: Quantity,
    lane: Format = BF16,
    calls: float = 1.0,
) -> Op:
    """Absorbed MLA: every head scores the same ``latent_dim + rope_dim`` cached values.

    The kernels on Hopper pad fewer than 64 heads to 64: measured on H20-3e, 1 to 64 local heads
    cost the same, so tensor parallelism gains nothing there.
    """
    padded = np.maximum(heads, 64.0)
    cached_dim = latent_dim + rope_dim
    return Op(
        name=name,
        kind=Kind.DECODE_LATENT,
        lane=lane.name,
        compute=_attention_compute(lane),
        flops=2.0 * sequences * new * padded * cached * (cached_dim + latent_dim),
        read_bytes=sequences
        * (cached * cached_dim * lane.bytes_per_value + new * heads * cached_dim * 2.0),
        write_bytes=sequences * new * heads * latent_dim * 2.0,
        calls=calls,
    )


def elementwise(
    name: str, values: Quantity, reads: float = 1.0, writes: float = 1.0, calls: float = 1.0
) -> Op:
    """A memory-bound kernel: each of ``values`` positions moves so many 16-bit values."""
    return Op(
        name=name,
        kind=Kind.ELEMENTWISE,
        read_bytes=values * (2.0 * reads),
        write_bytes=values * (2.0 * writes),
        calls=calls,
    )


def collective(
    name: str,
    kind: Kind,
    message_bytes: Quantity,
    group: int,
    stride: int = 1,
    calls: float = 1.0,
) -> Op:
    """A collective over ``group`` ranks that lie ``stride`` apart."""
    return Op(
        name=name, kind=kind, message_bytes=message_bytes, group=group, stride=stride, calls=calls
    )


def attended_pairs(new: Quantity, cached: Quantity, window: int | None) -> Quantity:
    """Query-key pairs of a causal block: a query sees the cache, itself and what precedes it."""
    pairs = new * (cached + (new + 1) / 2)
    return pairs if window is None else np.minimum(pairs, new * float(window))


def distinct_experts(experts: Quantity, per_token: Quantity, tokens: Quantity) -> Quantity:
    """Expected number of experts that ``tokens`` even-handed choices touch at least once."""
    return experts * (1.0 - (1.0 - per_token / experts) ** tokens)


def wire_share(kind: Kind, ranks: int) -> float:
    """Bytes each rank puts on the wire for every byte of the message (ring and direct forms)."""
    others = (ranks - 1) / ranks
    return {Kind.ALL_REDUCE: 2 * others, Kind.SEND: 1.0}.get(kind, others)


def _attention_compute(lane: Format) -> tuple[Precision, ...]:
    return (Precision.FP8, Precision.BF16) if lane.bytes_per_value < 2 else (Precision.BF16,)
