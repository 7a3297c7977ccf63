"""Torch's own kernels, whatever they do with a batch: the mode to compare with, and for GPUs.

Results may move in their last bits with the company a request is in; ``Engine.gap`` measures by
how much.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from penjing.models.kernels import reference
from penjing.models.kernels.invariant import InvariantKernels
from penjing.models.kernels.reference import Heads, Routing, Spans, keys_and_values, visible


class FastKernels(InvariantKernels):
    """What differs from the invariant ones: products take the batch as it is, attention is SDPA."""

    digest = f"torch-{torch.__version__}-fast"

    def linear(
        self,
        x_TI: Tensor,
        w_OI: Tensor,
        bias_O: Tensor | None,
        residual_TO: Tensor | None,
        out: Tensor,
    ) -> None:
        out.copy_(reference.linear(x_TI, w_OI, bias_O, residual_TO, out.dtype))

    def heads(self, x_TNI: Tensor, w_NOI: Tensor, out: Tensor) -> None:
        out.copy_(reference.heads(x_TNI, w_NOI))

    def heads_across(self, x_TNI: Tensor, w_NIO: Tensor, out: Tensor) -> None:
        out.copy_(reference.heads_across(x_TNI, w_NIO))

    def experts(self, x_TI: Tensor, w_EOI: Tensor, routing: Routing, out: Tensor) -> None:
        out.copy_(reference.experts(x_TI, w_EOI, routing))

    def attend(
        self, q_TNH: Tensor, kv_SW: Tensor, heads: Heads, spans: Spans, out_TNV: Tensor
    ) -> None:
        for first, queries, rows in spans:
            k_SMH, v_SMH = keys_and_values(kv_SW[rows.to(kv_SW.device)], heads)
            part = slice(first, first + queries)
            mask = visible(queries, len(rows), heads.window).to(q_TNH.device)
            out_TNV[part] = F.scaled_dot_product_attention(
                q_TNH[part].transpose(0, 1)[None],
                k_SMH.transpose(0, 1)[None],
                v_SMH.transpose(0, 1)[None],
                attn_mask=mask,
                scale=heads.scale,
                enable_gqa=heads.num_kv_heads != heads.num_heads,
            )[0].transpose(0, 1)

    def log_sum_exp(self, logits_TV: Tensor, out_T: Tensor, best_T: Tensor) -> None:
        out_T.copy_(reference.log_sum_exp(logits_TV))
        best_T.copy_(logits_TV.argmax(-1))
