"""Attention over padded batches: the formula that gradients go through.

The kernels' own results are kept; only the backward pass computes this, where one sequence at a
time would spend its time on starting operations. Sequences of like size share a batch. What pads it
repeats the sequence's last row: no query that counts sees it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from penjing.models.kernels.reference import Heads, Spans, keys_and_values

MOST_PADDING = 2.25  # pairs of query and key that a batch computes for one that a sequence has
MOST_TOKENS = 16_384  # keys of a batch, padding included


@dataclass(frozen=True)
class Size:
    """Of a sequence in ``spans``: its place there, its queries and its keys."""

    index: int
    queries: int
    keys: int


def attend(q_TNH: Tensor, kv_TW: Tensor, heads: Heads, spans: Spans) -> Tensor:
    """As ``reference.attend``. [T, N, value_dim]"""
    sizes = [Size(i, q, k) for i, (_, q, k) in enumerate(spans.spans_B3.tolist()) if q]
    k_TMH, v_TMH = keys_and_values(kv_TW, heads)
    parts: list[Tensor] = []
    order_T = torch.empty(q_TNH.shape[0], dtype=torch.int64)
    filled = 0
    for batch in batches(sizes):
        most = Size(-1, max(one.queries for one in batch), max(one.keys for one in batch))
        index_B = torch.tensor([one.index for one in batch])
        firsts_B, queries_B, keys_B = spans.spans_B3[index_B].long().unbind(1)
        at_Q = torch.arange(most.queries)
        own_BQ = firsts_B[:, None] + torch.minimum(at_Q, queries_B[:, None] - 1)
        at_BS = torch.minimum(torch.arange(most.keys), keys_B[:, None] - 1)
        pages_BS = spans.table_BP.cpu()[index_B].gather(1, at_BS // spans.page_size)
        seen_BS = pages_BS + at_BS % spans.page_size
        q_BQNH, k_BSMH, v_BSMV = _rows(q_TNH, own_BQ), _rows(k_TMH, seen_BS), _rows(v_TMH, seen_BS)
        out_BQNV = _attend(q_BQNH, k_BSMH, v_BSMV, queries_B, keys_B, heads)
        is_own_BQ = at_Q < queries_B[:, None]
        places_BQ = filled + torch.arange(own_BQ.numel()).view_as(own_BQ)
        order_T[own_BQ[is_own_BQ]] = places_BQ[is_own_BQ]
        parts.append(out_BQNV.flatten(0, 1))
        filled += own_BQ.numel()
    if not parts:
        return q_TNH.new_zeros(0, heads.num_heads, heads.value_dim)
    return _rows(torch.cat(parts), order_T).to(q_TNH.dtype)


def batches(sizes: Sequence[Size]) -> Iterator[Sequence[Size]]:
    """Longest first, cut where a sequence would be mostly padding."""
    batch: list[Size] = []
    queries = keys = 0
    for size in sorted(sizes, key=lambda one: (-one.queries, -one.keys, one.index)):
        wide, long = max(queries, size.queries), max(keys, size.keys)
        is_full = long * (len(batch) + 1) > MOST_TOKENS
        least = min((one.queries * one.keys for one in (*batch[-1:], size)), default=1)
        if batch and (is_full or wide * long > MOST_PADDING * least):
            yield batch
            batch, wide, long = [], size.queries, size.keys
        batch.append(size)
        queries, keys = wide, long
    if batch:
        yield batch


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """x[index], with a gradient that is summed in one order, and soon."""
    found: Tensor = F.embedding(index.to(x.device), x.flatten(1)).unflatten(-1, x.shape[1:])
    return found


def _attend(
    q_BQNH: Tensor, k_BSMH: Tensor, v_BSMV: Tensor, queries_B: Tensor, keys_B: Tensor, heads: Heads
) -> Tensor:
    """Of each sequence the last queries over all its keys, in fp32. [B, Q, N, V]"""
    queries, keys = q_BQNH.shape[1], k_BSMH.shape[1]
    older_B = keys_B - queries_B
    is_plain = not bool(older_B.any()) and (heads.window is None or heads.window >= keys)
    seen_BQS = None if is_plain else _seen(older_B, keys_B, queries, keys, heads.window)
    out_BNQV = F.scaled_dot_product_attention(
        q_BQNH.float().transpose(1, 2),
        k_BSMH.float().transpose(1, 2),
        v_BSMV.float().transpose(1, 2),
        attn_mask=None if seen_BQS is None else seen_BQS[:, None].to(q_BQNH.device),
        is_causal=is_plain,
        scale=heads.scale,
        enable_gqa=heads.num_heads != heads.num_kv_heads,
    )
    return out_BNQV.transpose(1, 2)


def _seen(older_B: Tensor, keys_B: Tensor, queries: int, keys: int, window: int | None) -> Tensor:
    """Whether each query sees each key; ``older_B`` keys come before the first query. [B, Q, S]"""
    at_1Q1 = torch.arange(queries)[None, :, None]
    last_BQ1 = torch.minimum(older_B[:, None, None] + at_1Q1, keys_B[:, None, None] - 1)
    key_S = torch.arange(keys)
    seen_BQS = key_S <= last_BQ1
    return seen_BQS if window is None else seen_BQS & (key_S > last_BQ1 - window)
