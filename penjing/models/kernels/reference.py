"""Each operation as a formula in torch: what the kernels are tested against and differentiate by.

Every function takes rows and returns rows; a result depends on its own row alone in exact
arithmetic. docs/notation.md has the letters.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Heads:
    """How an attention's rows are cut: key head ``m`` serves ``num_heads / num_kv_heads`` queries.

    A row of the cache holds the keys of all heads, and the values from ``value_at`` on; in latent
    attention (one shared head) the value is the front of the key, ``value_at`` 0.
    """

    num_heads: int  # N
    num_kv_heads: int  # M
    key_dim: int
    value_dim: int
    value_at: int
    scale: float
    window: int | None = None


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Where each sequence's queries and keys are: see ``Packed``."""

    spans_B3: Tensor
    table_BP: Tensor
    page_size: int

    def __iter__(self) -> Iterator[tuple[int, int, Tensor]]:
        """First query row, number of queries, and the rows of all keys, of each sequence."""
        for (first, queries, keys), pages in zip(
            self.spans_B3.tolist(), self.table_BP, strict=True
        ):
            positions = torch.arange(keys)
            yield first, queries, pages[positions // self.page_size] + positions % self.page_size


@dataclass(frozen=True, kw_only=True)
class Routing:
    """Which expert each token goes to, sorted by expert.

    Places ``bounds_E1[e]`` to ``bounds_E1[e + 1]`` belong to expert ``e``; place ``i`` takes token
    ``tokens_A[i]``; token ``t`` finds its results at ``places_TK[t]`` and weighs them by
    ``weights_TK[t]``. A = T x K.
    """

    tokens_A: Tensor  # int32
    bounds_E1: Tensor  # int32
    places_TK: Tensor  # int32
    weights_TK: Tensor  # float32

    @property
    def in_place(self) -> "Routing":
        """For rows that are in their places already."""
        return replace(
            self,
            tokens_A=torch.arange(
                len(self.tokens_A), dtype=torch.int32, device=self.tokens_A.device
            ),
        )


def linear(
    x_TI: Tensor,
    w_OI: Tensor,
    bias_O: Tensor | None,
    residual_TO: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """x @ w.T + bias + residual; a ``dtype`` wider than the factors is that of the product."""
    y_TO = F.linear(x_TI.to(dtype), w_OI.to(dtype), None if bias_O is None else bias_O.to(dtype))
    return y_TO if residual_TO is None else y_TO + residual_TO


def heads(x_TNI: Tensor, w_NOI: Tensor) -> Tensor:
    """For each head x @ w.T."""
    return torch.einsum("tni,noi->tno", x_TNI, w_NOI)


def heads_across(x_TNI: Tensor, w_NIO: Tensor) -> Tensor:
    """For each head x @ w."""
    return torch.einsum("tni,nio->tno", x_TNI, w_NIO)


def experts(x_TI: Tensor, w_EOI: Tensor, routing: Routing) -> Tensor:
    """Rows in places of ``routing``: each token's row times the weights of the place's expert."""
    rows_AI = x_TI[routing.tokens_A.long()]
    bounds = routing.bounds_E1.tolist()
    parts = [
        F.linear(rows_AI[bounds[e] : bounds[e + 1]], w_EOI[e])
        for e in range(len(bounds) - 1)
        if bounds[e + 1] > bounds[e]
    ]
    return torch.cat(parts) if parts else rows_AI.new_empty(0, w_EOI.shape[1])


def combine(y_AD: Tensor, weights_TK: Tensor, places_TK: Tensor, base_TD: Tensor) -> Tensor:
    """base + each token's weighted results, summed in fp32 in the order of its experts."""
    total_TD = base_TD.float()
    for k in range(weights_TK.shape[1]):
        total_TD = total_TD + weights_TK[:, k, None] * y_AD[places_TK[:, k].long()].float()
    return total_TD.to(base_TD.dtype)


def rms_norm(x_TD: Tensor, w_D: Tensor, eps: float) -> Tensor:
    """x / rms(x) in fp32, rounded, times w: arXiv 1910.07467 with the roundings of Llama's code."""
    wide = x_TD.float()
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return normed.to(x_TD.dtype) * w_D


def rope(x_TND: Tensor, turns_PR: Tensor, positions_T: Tensor, interleaved: bool) -> Tensor:
    """Turns the last R values of each head, in pairs (i, i + R/2), or (2i, 2i + 1): 2104.09864.

    ``turns_PR`` has, for every position, R/2 cosines and then R/2 sines.
    """
    width = turns_PR.shape[1]
    kept, turned = x_TND[..., :-width], x_TND[..., -width:].float()
    cosine, sine = turns_PR[positions_T][:, None].chunk(2, -1)
    a, b = (turned[..., ::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    pair = (a * cosine - b * sine, b * cosine + a * sine)
    out = torch.stack(pair, -1).flatten(-2) if interleaved else torch.cat(pair, -1)
    return torch.cat((kept, out.to(x_TND.dtype)), -1)


def silu_mul(x_TF: Tensor) -> Tensor:
    """silu(gate) * up of rows that hold gate, then up."""
    gate, up = x_TF.float().chunk(2, -1)
    return (gate * sigmoid(gate) * up).to(x_TF.dtype)


def sigmoid(x: Tensor) -> Tensor:
    """By way of exp, whose bits do not depend on where a value lies in memory.

    Those of ``torch.sigmoid`` and ``silu`` do on a CPU: what a vector leaves over goes by another
    formula. Below -80 the result is 2e-35, so that the gradient stays a number.
    """
    return 1 / (1 + (-x).clamp(max=80.0).exp())


def attend(q_TNH: Tensor, kv_SW: Tensor, heads: Heads, spans: Spans) -> Tensor:
    """softmax(scale q k) v of each sequence, causal and within the window. [T, N, value_dim]"""
    out = [
        _attend_one(q_TNH[first : first + queries], kv_SW[rows.to(kv_SW.device)], heads)
        for first, queries, rows in spans
    ]
    return torch.cat(out)


def _attend_one(q_QNH: Tensor, kv_SW: Tensor, heads: Heads) -> Tensor:
    k_SMH, v_SMH = keys_and_values(kv_SW, heads)
    group = heads.num_heads // heads.num_kv_heads
    q_QMGH = q_QNH.float().unflatten(1, (heads.num_kv_heads, group))
    scores = torch.einsum("qmgh,smh->mgqs", q_QMGH, k_SMH.float()) * heads.scale
    seen_QS = visible(len(q_QNH), len(kv_SW), heads.window).to(q_QNH.device)
    weights = scores.masked_fill(~seen_QS, -torch.inf).softmax(-1)
    return torch.einsum("mgqs,smv->qmgv", weights, v_SMH.float()).flatten(1, 2).to(q_QNH.dtype)


def keys_and_values(kv_SW: Tensor, heads: Heads) -> tuple[Tensor, Tensor]:
    """Rows of a cache as keys [S, M, key_dim] and values [S, M, value_dim]."""
    m, h, v = heads.num_kv_heads, heads.key_dim, heads.value_dim
    values = kv_SW[:, heads.value_at : heads.value_at + m * v]
    return kv_SW[:, : m * h].unflatten(1, (m, h)), values.unflatten(1, (m, v))


def visible(queries: int, keys: int, window: int | None) -> Tensor:
    """Which of ``keys`` each of the last ``queries`` positions may see."""
    position = torch.arange(keys - queries, keys)[:, None]
    key = torch.arange(keys)[None, :]
    seen = key <= position
    return seen if window is None else seen & (key > position - window)


def log_sum_exp(logits_TV: Tensor) -> Tensor:
    """In fp32, of each row."""
    return torch.logsumexp(logits_TV.float(), -1)
