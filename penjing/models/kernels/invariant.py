"""The operations in torch, held to one rule: no row's bits depend on the rows beside it.

Matrix products see a fixed number of rows where their order of summation depends on that number,
and attention takes keys in blocks by position. docs/decisions.md has what was measured.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from penjing.models.kernels import reference
from penjing.models.kernels.reference import Heads, Routing, Spans, keys_and_values, visible

_CPU_ROWS = 16  # below 4 rows in fp32 and 2 in bf16, oneDNN and MKL sum in another order
_CPU_WIDTH = 16  # at other widths, the sum also depends on where in a tile the row lies
_GPU_ROWS = 128  # a GPU's library chooses its tiles by the number of rows: always give it this many
_QUERIES = 16
_KEYS = 64


class InvariantKernels:
    """Torch on any device; each method writes into ``out``."""

    digest = f"torch-{torch.__version__}-invariant"

    def linear(
        self,
        x_TI: Tensor,
        w_OI: Tensor,
        bias_O: Tensor | None,
        residual_TO: Tensor | None,
        out: Tensor,
    ) -> None:
        x_TI, w_OI = x_TI.to(out.dtype), w_OI.to(out.dtype)
        bias_O = None if bias_O is None else bias_O.to(out.dtype)
        y_TO = by_fixed_rows(partial(_product, w_OI=w_OI, bias_O=bias_O), x_TI)
        out.copy_(y_TO if residual_TO is None else y_TO + residual_TO)

    def heads(self, x_TNI: Tensor, w_NOI: Tensor, out: Tensor) -> None:
        for n in range(x_TNI.shape[1]):
            out[:, n] = by_fixed_rows(partial(_product, w_OI=w_NOI[n]), x_TNI[:, n])

    def heads_across(self, x_TNI: Tensor, w_NIO: Tensor, out: Tensor) -> None:
        for n in range(x_TNI.shape[1]):
            out[:, n] = by_fixed_rows(partial(_product, w_OI=w_NIO[n].T), x_TNI[:, n])

    def experts(self, x_TI: Tensor, w_EOI: Tensor, routing: Routing, out: Tensor) -> None:
        bounds = routing.bounds_E1.tolist()
        rows_AI = x_TI[routing.tokens_A.long()]
        for e, (start, stop) in enumerate(pairwise(bounds)):
            if stop > start:
                product = partial(_product, w_OI=w_EOI[e])
                out[start:stop] = by_fixed_rows(product, rows_AI[start:stop])

    def combine(
        self, y_AD: Tensor, weights_TK: Tensor, places_TK: Tensor, base_TD: Tensor, out: Tensor
    ) -> None:
        out.copy_(reference.combine(y_AD, weights_TK, places_TK, base_TD))

    def rms_norm(self, x_TD: Tensor, w_D: Tensor, eps: float, out: Tensor) -> None:
        out.copy_(reference.rms_norm(x_TD, w_D, eps))

    def norm_heads(self, x_TNH: Tensor, w_H: Tensor, eps: float, out: Tensor) -> None:
        out.copy_(reference.rms_norm(x_TNH, w_H, eps))

    def rope(self, x_TND: Tensor, turns_PR: Tensor, positions_T: Tensor, interleaved: bool) -> None:
        x_TND.copy_(reference.rope(x_TND, turns_PR, positions_T, interleaved))

    def silu_mul(self, x_TF: Tensor, out: Tensor) -> None:
        out.copy_(reference.silu_mul(x_TF))

    def sigmoid(self, x: Tensor, out: Tensor) -> None:
        out.copy_(reference.sigmoid(x))

    def attend(
        self, q_TNH: Tensor, kv_SW: Tensor, heads: Heads, spans: Spans, out_TNV: Tensor
    ) -> None:
        for first, queries, rows in spans:
            k_SMH, v_SMH = keys_and_values(kv_SW[rows.to(kv_SW.device)], heads)
            for start in range(0, queries, _QUERIES):
                stop = min(start + _QUERIES, queries)
                end = len(rows) - queries + stop
                part = slice(first + start, first + stop)
                out_TNV[part] = _blockwise(q_TNH[part], k_SMH[:end], v_SMH[:end], heads)

    def log_sum_exp(self, logits_TV: Tensor, out_T: Tensor, best_T: Tensor) -> None:
        for row, logits_V in enumerate(logits_TV):
            out_T[row] = reference.log_sum_exp(logits_V[None])[0]
            best_T[row] = logits_V.argmax()


def by_fixed_rows(product: Callable[[Tensor], Tensor], x_TI: Tensor) -> Tensor:
    """``product`` of rows padded to what keeps its order of summation the same for any T."""
    rows = len(x_TI)
    if x_TI.device.type == "cpu":
        return product(_padded(x_TI, _CPU_ROWS))[:rows]
    parts = [product(_padded(part, _GPU_ROWS)) for part in x_TI.split(_GPU_ROWS)]
    return torch.cat(parts)[:rows]


def _product(x_TI: Tensor, w_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """x @ w.T + bias, of widths as the library adds them up alike: those of models already are."""
    outer, inner = (-width % _CPU_WIDTH for width in w_OI.shape)
    if x_TI.device.type != "cpu" or not (outer or inner):
        return F.linear(x_TI, w_OI, bias_O)
    bias_O = None if bias_O is None else F.pad(bias_O, (0, outer))
    y_TO = F.linear(F.pad(x_TI, (0, inner)), F.pad(w_OI, (0, inner, 0, outer)), bias_O)
    return y_TO[:, : w_OI.shape[0]]


def _padded(x_TI: Tensor, rows: int) -> Tensor:
    missing = rows - x_TI.shape[0]
    return F.pad(x_TI, (0, 0, 0, missing)) if missing > 0 else x_TI


def _blockwise(q_QNH: Tensor, k_SMH: Tensor, v_SMH: Tensor, heads: Heads) -> Tensor:
    """Softmax carried from block to block of keys (arXiv 1805.02867), tiles always full."""
    queries, keys, m = q_QNH.shape[0], k_SMH.shape[0], heads.num_kv_heads
    wide = q_QNH.float().unflatten(1, (m, -1)).transpose(0, 1)  # [M, Q, G, H]
    key_pad, value_pad = -heads.key_dim % _CPU_WIDTH, -heads.value_dim % _CPU_WIDTH
    q_MXH = F.pad(wide, (0, key_pad, 0, 0, 0, _QUERIES - queries)).flatten(1, 2)
    seen_QS = F.pad(visible(queries, keys, heads.window).to(q_QNH.device), (0, _KEYS))
    seen_QS = F.pad(seen_QS, (0, 0, 0, _QUERIES - queries))
    group = heads.num_heads // m
    most = q_MXH.new_full((*q_MXH.shape[:2], 1), -torch.inf)
    total, sums = torch.zeros_like(most), torch.zeros_like(most)
    for start in range(0, keys, _KEYS):
        k_MKH = _full(k_SMH[start : start + _KEYS], key_pad)
        v_MKV = _full(v_SMH[start : start + _KEYS], value_pad)
        seen = seen_QS[:, start : start + _KEYS].repeat_interleave(group, 0)
        scores = (q_MXH @ k_MKH.transpose(1, 2) * heads.scale).masked_fill(~seen, -torch.inf)
        now = torch.maximum(most, scores.amax(-1, keepdim=True))
        anchor = now.masked_fill(now == -torch.inf, 0.0)  # nothing seen yet
        weights, fade = (scores - anchor).exp(), (most - anchor).exp()
        total = total * fade + weights.sum(-1, keepdim=True)
        sums = sums * fade + weights @ v_MKV
        most = now
    out = (sums / total).unflatten(1, (_QUERIES, group))[:, :queries, :, : heads.value_dim]
    rows_QNV: Tensor = out.transpose(0, 1).flatten(1, 2).to(q_QNH.dtype)
    return rows_QNV


def _full(block_KMH: Tensor, wider: int) -> Tensor:
    """[M, _KEYS, H + wider] in fp32, zeros behind the last key and the last value of each."""
    wide = block_KMH.float().transpose(0, 1)
    return F.pad(wide, (0, wider, 0, _KEYS - block_KMH.shape[0]))
