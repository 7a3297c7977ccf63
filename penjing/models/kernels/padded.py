"""Attention over whole documents in padded batches: the formula that gradients go through.

The kernels' own results are kept; only the backward pass computes this, where one document at a
time would spend its time on starting operations. Documents of like length share a batch, padded at
their ends, where no causal query looks.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from penjing.models.kernels.reference import Heads, Spans, keys_and_values, visible

MOST_PADDING = 1.5  # the longest of a batch over the shortest
MOST_TOKENS = 16_384  # of a batch, padding included


def are_whole(spans: Spans) -> bool:
    """Whether each sequence's keys are its own rows of this pass, in order."""
    firsts_B, queries_B, keys_B = spans.spans_B3.unbind(1)
    if spans.table_BP.shape[1] != 1 or not bool((keys_B.long() <= spans.page_size).all()):
        return False
    is_own = spans.table_BP[:, 0].to(firsts_B.device) == firsts_B
    return bool((queries_B == keys_B).all() and is_own.all())


def attend_whole(q_TNH: Tensor, kv_TW: Tensor, heads: Heads, spans: Spans) -> Tensor:
    """As ``reference.attend``, for spans that ``are_whole``. [T, N, value_dim]"""
    sizes = [(first, count) for first, count, _ in spans.spans_B3.tolist() if count]
    k_TMH, v_TMH = keys_and_values(kv_TW, heads)
    parts, places = [], []
    for batch in batches(sizes):
        rows_X, slots_X = _places(batch, q_TNH.device)
        parts.append(_attend(q_TNH, k_TMH, v_TMH, rows_X, slots_X, batch, heads))
        places.append(rows_X)
    if not parts:
        return q_TNH.new_zeros(0, heads.num_heads, heads.value_dim)
    order_T = torch.cat(places).argsort()
    return torch.cat(parts).index_select(0, order_T).to(q_TNH.dtype)


def batches(sizes: Sequence[tuple[int, int]]) -> Iterator[Sequence[tuple[int, int]]]:
    """(first row, rows) of documents, longest first, cut where one would be mostly padding."""
    batch: list[tuple[int, int]] = []
    for first, count in sorted(sizes, key=lambda size: (-size[1], size[0])):
        longest = batch[0][1] if batch else count
        is_full = longest * (len(batch) + 1) > MOST_TOKENS
        if batch and (is_full or longest > MOST_PADDING * count):
            yield batch
            batch = []
        batch.append((first, count))
    if batch:
        yield batch


def _places(batch: Sequence[tuple[int, int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """The rows of a batch's documents, and where they go in it. [X]"""
    longest = batch[0][1]
    rows = [torch.arange(first, first + count) for first, count in batch]
    slots = [torch.arange(i * longest, i * longest + c) for i, (_, c) in enumerate(batch)]
    return torch.cat(rows).to(device), torch.cat(slots).to(device)


def _attend(
    q_TNH: Tensor,
    k_TMH: Tensor,
    v_TMH: Tensor,
    rows_X: Tensor,
    slots_X: Tensor,
    batch: Sequence[tuple[int, int]],
    heads: Heads,
) -> Tensor:
    """Of the rows, in their order. [X, N, value_dim], fp32"""
    count, longest = len(batch), batch[0][1]

    def batched(x_TNH: Tensor) -> Tensor:
        x_XY = x_TNH.float().flatten(1).index_select(0, rows_X)
        zeros_PY = x_XY.new_zeros(count * longest, x_XY.shape[1])
        x_BSNH = zeros_PY.index_copy(0, slots_X, x_XY).unflatten(0, (count, longest))
        x_BNSH: Tensor = x_BSNH.unflatten(2, x_TNH.shape[1:]).transpose(1, 2)
        return x_BNSH

    has_window = heads.window is not None and heads.window < longest
    seen_SS = visible(longest, longest, heads.window).to(q_TNH.device) if has_window else None
    out_BNSV = F.scaled_dot_product_attention(
        batched(q_TNH),
        batched(k_TMH),
        batched(v_TMH),
        attn_mask=seen_SS,
        is_causal=seen_SS is None,
        scale=heads.scale,
        enable_gqa=heads.num_heads != heads.num_kv_heads,
    )
    out_XNV: Tensor = out_BNSV.transpose(1, 2).flatten(0, 1).index_select(0, slots_X)
    return out_XNV
