"""Operators of attention, for every variant of the union, as one chip sees them."""

from typing import assert_never

import numpy as np

from penjing.cost.layout import Layout
from penjing.cost.op import (
    Kind,
    Op,
    Quantity,
    collective,
    decode_attention,
    decode_latent,
    elementwise,
    gemm,
    prefill_attention,
    prefill_latent,
)
from penjing.cost.work import Numerics, Pass, Phase
from penjing.models.config import Attention, GroupedQuery, Indexer, Latent
from penjing.models.format import FP8


def attention_ops(
    attention: Attention,
    width: int,
    layout: Layout,
    work: Pass,
    numerics: Numerics,
    calls: float,
) -> list[Op]:
    """Projections, core and output of one attention block, without the closing all-reduce."""
    match attention:
        case GroupedQuery():
            return _grouped_query(attention, width, layout, work, numerics, calls)
        case Latent():
            return _latent(attention, width, layout, work, numerics, calls)
        case _:
            assert_never(attention)


def _grouped_query(
    attention: GroupedQuery,
    width: int,
    layout: Layout,
    work: Pass,
    numerics: Numerics,
    calls: float,
) -> list[Op]:
    weights, t, h = numerics.weights.attention, work.tokens, attention.head_dim
    n = attention.num_heads / layout.tensor
    m = max(1.0, attention.num_kv_heads / layout.tensor)  # fewer heads than ranks: copies
    core = decode_attention if work.phase is Phase.DECODE else prefill_attention
    rope_calls = calls * (2 if attention.qk_norm else 1)
    return [
        gemm("attention.qkv", t, (n + 2 * m) * h, width, weights, calls),
        elementwise("attention.rope", t * (n + 2 * m) * h, calls=rope_calls),
        *_context_gather(t * 2 * m * h, layout, calls),
        core(
            "attention.core",
            work.sequences / layout.context,
            work.new * layout.context,
            work.cached,
            n,
            m,
            h,
            attention.window,
            numerics.cache,
            calls,
        ),
        gemm("attention.out", t, width, n * h, weights, calls),
    ]


def _context_gather(values: Quantity, layout: Layout, calls: float) -> list[Op]:
    """Keys and values of the other cuts of the sequence, under context parallelism."""
    if layout.context == 1:
        return []
    message = values * layout.context * 2.0
    return [
        collective(
            "attention.gather",
            Kind.ALL_GATHER,
            message,
            layout.context,
            stride=layout.tensor,
            calls=calls,
        )
    ]


def _latent(
    attention: Latent, width: int, layout: Layout, work: Pass, numerics: Numerics, calls: float
) -> list[Op]:
    """DeepSeek-V2 report, eq. 9-19. The down-projections are small and copied on every rank."""
    weights, t, n = numerics.weights.attention, work.tokens, attention.num_heads / layout.tensor
    query_dim = n * (attention.nope_dim + attention.rope_dim)
    cached_dim = attention.kv_rank + attention.rope_dim
    ops = []
    if attention.q_rank is None:
        ops.append(gemm("attention.q", t, query_dim + cached_dim, width, weights, calls))
    else:
        ops += [
            gemm("attention.down", t, attention.q_rank + cached_dim, width, weights, calls),
            elementwise("attention.norm", t * (attention.q_rank + cached_dim), calls=calls),
            gemm("attention.q", t, query_dim, attention.q_rank, weights, calls),
        ]
    ops.append(elementwise("attention.rope", t * (query_dim + cached_dim), calls=calls))
    if attention.indexer is not None:
        ops += _indexer(attention, attention.indexer, width, work, calls)
    absorbed = work.phase is Phase.DECODE
    ops += (_absorbed if absorbed else _expanded)(attention, n, layout, work, numerics, calls)
    return [*ops, gemm("attention.out", t, width, n * attention.value_dim, weights, calls)]


def _absorbed(
    attention: Latent, n: float, layout: Layout, work: Pass, numerics: Numerics, calls: float
) -> list[Op]:
    """The up-projections of keys and values move to the query and output side."""
    c, t = attention.kv_rank, work.tokens
    return [
        gemm("attention.absorb", t, n * c, attention.nope_dim, calls=calls),
        decode_latent(
            "attention.core",
            work.sequences,
            work.new,
            _attended(attention, work.cached),
            n,
            c,
            attention.rope_dim,
            numerics.cache,
            calls,
        ),
        gemm("attention.expand", t, n * attention.value_dim, c, calls=calls),
    ]


def _expanded(
    attention: Latent, n: float, layout: Layout, work: Pass, numerics: Numerics, calls: float
) -> list[Op]:
    """Keys and values are expanded for all tokens of the pass and, chunked, of the cache."""
    up = n * (attention.nope_dim + attention.value_dim)
    rows = work.sequences * (work.new + work.cached)
    new = work.new * layout.context
    return [
        gemm("attention.kv_up", rows, up, attention.kv_rank, numerics.weights.attention, calls),
        *_context_gather(work.tokens * (attention.kv_rank + attention.rope_dim), layout, calls),
        prefill_latent(
            "attention.core",
            work.sequences / layout.context,
            new,
            work.cached,
            n,
            attention.nope_dim + attention.rope_dim,
            attention.value_dim,
            attention.indexer.top_k if attention.indexer else None,
            numerics.cache,
            calls,
        ),
    ]


def _attended(attention: Latent, cached: Quantity) -> Quantity:
    if attention.indexer is None:
        return cached
    return np.minimum(cached, float(attention.indexer.top_k))


def _indexer(attention: Latent, indexer: Indexer, width: int, work: Pass, calls: float) -> list[Op]:
    """DeepSeek-V3.2 report, eq. 1: every query scores every cached token in FP8, then top-k."""
    t, heads, dim = work.tokens, indexer.num_heads, indexer.head_dim
    scorer = decode_attention if work.phase is Phase.DECODE else prefill_attention
    return [
        gemm("indexer.q", t, heads * dim, attention.q_rank or width, FP8, calls),
        gemm("indexer.k", t, dim + heads, width, calls=calls),
        # One product (no values): half of an attention with a single shared key head.
        scorer(
            "indexer.score",
            work.sequences,
            work.new,
            work.cached,
            heads / 2,
            0.5,
            dim,
            lane=FP8,
            calls=calls,
        ),
        elementwise("indexer.top_k", t * work.cached, calls=calls),
    ]
