"""Operators of the backward pass, from those of the forward pass that they undo.

A product becomes two of its size: the gradients of its input and of its weights. Attention computes
its scores again and then four products, five where forward has two (FlashAttention-2, arXiv
2307.08691, section 3.1). Elementwise work moves twice the values; collectives are repeated once.
"""

from collections.abc import Iterable
from dataclasses import replace

from penjing.cost.op import Kind, Op

_CALLS = {
    Kind.GEMM: 2.0,
    Kind.GROUPED_GEMM: 2.0,
    Kind.PREFILL_ATTENTION: 2.5,
    Kind.PREFILL_LATENT: 2.5,
    Kind.ELEMENTWISE: 2.0,
}
_PRODUCTS = (Kind.GEMM, Kind.GROUPED_GEMM)


def backward_ops(forward: Iterable[Op], *, adapters: bool = False) -> list[Op]:
    """The operators of backward, under the names of the forward ones.

    With ``adapters`` alone trained, a product has no gradient of its weights.
    """
    return [replace(op, calls=op.calls * backward_calls(op, adapters=adapters)) for op in forward]


def backward_calls(op: Op, *, adapters: bool = False) -> float:
    """How often backward does the like of ``op`` for each time that forward does it."""
    return 1.0 if adapters and op.kind in _PRODUCTS else _CALLS.get(op.kind, 1.0)
