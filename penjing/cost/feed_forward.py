"""Operators of feed-forward blocks, dense and mixture of experts, as one chip sees them."""

from typing import assert_never

from penjing.cost.layout import Layout
from penjing.cost.op import (
    Kind,
    Op,
    Quantity,
    collective,
    distinct_experts,
    elementwise,
    gemm,
    grouped_gemm,
)
from penjing.cost.work import Numerics, Pass, Phase
from penjing.models.config import Dense, FeedForward, MoE
from penjing.models.format import FP32


def feed_forward_ops(
    block: FeedForward, width: int, layout: Layout, work: Pass, numerics: Numerics, calls: float
) -> list[Op]:
    """The block with its collectives: its output is whole on every rank that needs it."""
    match block:
        case Dense():
            ops = _gated("ffn", block.width, block.gated, width, layout, work, numerics, calls)
            return ops + _reduce("ffn", width, layout, work, calls)
        case MoE():
            return _mixture(block, width, layout, work, numerics, calls)
        case _:
            assert_never(block)


def _gated(
    name: str,
    inner: int,
    gated: bool,
    width: int,
    layout: Layout,
    work: Pass,
    numerics: Numerics,
    calls: float,
) -> list[Op]:
    """A dense block whose width is split over the tensor ranks."""
    weights, t, f = numerics.weights.dense, work.tokens, inner / layout.tensor
    return [
        gemm(f"{name}.up", t, (2 if gated else 1) * f, width, weights, calls),
        elementwise(f"{name}.activation", t * f, reads=2.0 if gated else 1.0, calls=calls),
        gemm(f"{name}.down", t, width, f, weights, calls),
    ]


def _reduce(name: str, width: int, layout: Layout, work: Pass, calls: float) -> list[Op]:
    if layout.tensor == 1:
        return []
    message = work.tokens * width * 2.0
    kind = Kind.ALL_REDUCE
    return [collective(f"{name}.all_reduce", kind, message, layout.tensor, calls=calls)]


def _mixture(
    moe: MoE, width: int, layout: Layout, work: Pass, numerics: Numerics, calls: float
) -> list[Op]:
    t = work.tokens
    ops = [
        gemm("moe.router", t, moe.num_experts, width, FP32, calls),
        elementwise("moe.top_k", t * moe.num_experts, calls=2 * calls),
        *_experts(moe, width, layout, t, numerics, calls),
        elementwise("moe.sum", t * width * moe.experts_per_token / layout.tensor, calls=calls),
    ]
    if moe.shared_width:
        ops += _gated("moe.shared", moe.shared_width, True, width, layout, work, numerics, calls)
    if layout.data * layout.context > 1:
        ops += _exchange(moe, width, layout, work, calls)
    return ops + _reduce("moe", width, layout, work, calls)


def _experts(
    moe: MoE, width: int, layout: Layout, tokens: Quantity, numerics: Numerics, calls: float
) -> list[Op]:
    """Routed experts of the busiest rank: the tokens of all attention ranks meet here."""
    everyone = tokens * layout.data * layout.context
    local = moe.num_experts / layout.expert
    uneven = numerics.imbalance if layout.expert > 1 else 1.0
    rows = everyone * moe.experts_per_token / layout.expert * uneven
    touched = distinct_experts(local, moe.experts_per_token / layout.expert, everyone)
    inner = moe.expert_width / layout.expert_tensor
    weights = numerics.weights.experts
    return [grouped_gemm("moe.experts", rows, touched, width, inner, weights, calls)]


def _exchange(moe: MoE, width: int, layout: Layout, work: Pass, calls: float) -> list[Op]:
    """Tokens travel to their experts and back.

    Dispatch carries 8-bit values and combine 16-bit ones (DeepSeek-V3 report, section 3.3.3);
    training dispatches in 16 bits. Without expert parallelism every token goes everywhere.
    """
    if layout.expert == 1:
        whole = work.tokens * layout.data * layout.context * width * 2.0
        return [
            collective(name, kind, whole, layout.data, layout.tensor, calls)
            for name, kind in (
                ("moe.gather", Kind.ALL_GATHER),
                ("moe.scatter", Kind.REDUCE_SCATTER),
            )
        ]
    copies = work.tokens / layout.tensor * moe.experts_per_token * width
    dispatch_bytes = 2.0 if work.phase is Phase.TRAIN else 1.0
    # Decoding kernels send every copy by itself; the others cross to a node only once.
    limit = min(
        moe.router.top_groups if moe.router.num_groups > 1 else 2**30, moe.experts_per_token
    )
    return [
        Op(
            name=name,
            kind=Kind.ALL_TO_ALL,
            message_bytes=copies * value_bytes,
            copies=moe.experts_per_token,
            node_limit=0 if work.phase is Phase.DECODE else limit,
            group=layout.stage_chips,
            calls=calls,
        )
        for name, value_bytes in (("moe.dispatch", dispatch_bytes), ("moe.combine", 2.0))
    ]
