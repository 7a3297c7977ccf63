"""The operations on the compiled kernels: tensors in, pointers down, nothing else."""

import torch
from torch import Tensor

from penjing.models.kernels.native import Native
from penjing.models.kernels.reference import Heads, Routing, Spans


class NativeKernels:
    """Each method writes into ``out``; all tensors are on the CPU, in fp32 or bf16."""

    def __init__(self, native: Native) -> None:
        self._native = native
        self.digest = native.digest

    def linear(
        self,
        x_TI: Tensor,
        w_OI: Tensor,
        bias_O: Tensor | None,
        residual_TO: Tensor | None,
        out: Tensor,
    ) -> None:
        self._native.linear(
            _wide(x_TI),
            _wide(out),
            x_TI.data_ptr(),
            x_TI.stride(0),
            w_OI.data_ptr(),
            None if bias_O is None else bias_O.data_ptr(),
            None if residual_TO is None else residual_TO.data_ptr(),
            out.data_ptr(),
            out.stride(0),
            x_TI.shape[0],
            w_OI.shape[0],
            w_OI.shape[1],
            torch.get_num_threads(),
        )

    def heads(self, x_TNI: Tensor, w_NOI: Tensor, out: Tensor) -> None:
        self._native.heads(*_head_arguments(x_TNI, w_NOI, out, w_NOI.shape[1]))

    def heads_across(self, x_TNI: Tensor, w_NIO: Tensor, out: Tensor) -> None:
        self._native.heads_across(*_head_arguments(x_TNI, w_NIO, out, w_NIO.shape[2]))

    def experts(self, x_TI: Tensor, w_EOI: Tensor, routing: Routing, out: Tensor) -> None:
        self._native.experts(
            _wide(x_TI),
            x_TI.data_ptr(),
            x_TI.shape[0],
            routing.tokens_A.data_ptr(),
            routing.bounds_E1.data_ptr(),
            w_EOI.data_ptr(),
            out.data_ptr(),
            *w_EOI.shape,
            torch.get_num_threads(),
        )

    def combine(
        self, y_AD: Tensor, weights_TK: Tensor, places_TK: Tensor, base_TD: Tensor, out: Tensor
    ) -> None:
        self._native.combine(
            _wide(base_TD),
            y_AD.data_ptr(),
            weights_TK.data_ptr(),
            places_TK.data_ptr(),
            places_TK.shape[1],
            base_TD.data_ptr(),
            out.data_ptr(),
            *base_TD.shape,
            torch.get_num_threads(),
        )

    def rms_norm(self, x_TD: Tensor, w_D: Tensor, eps: float, out: Tensor) -> None:
        self.norm_heads(x_TD[:, None], w_D, eps, out[:, None])

    def norm_heads(self, x_TNH: Tensor, w_H: Tensor, eps: float, out: Tensor) -> None:
        """``out`` may be x."""
        self._native.rms_norm(
            _wide(x_TNH),
            x_TNH.data_ptr(),
            x_TNH.stride(0),
            w_H.data_ptr(),
            eps,
            out.data_ptr(),
            out.stride(0),
            x_TNH.shape[0],
            x_TNH.shape[1],
            x_TNH.stride(1),
            out.stride(1),
            x_TNH.shape[2],
            torch.get_num_threads(),
        )

    def rope(self, x_TND: Tensor, turns_PR: Tensor, positions_T: Tensor, interleaved: bool) -> None:
        """In place."""
        width = turns_PR.shape[1]
        turned = x_TND[..., -width:]
        self._native.rope(
            _wide(x_TND),
            turned.data_ptr(),
            x_TND.stride(0),
            x_TND.shape[1],
            x_TND.stride(1),
            width,
            turns_PR.data_ptr(),
            positions_T.data_ptr(),
            x_TND.shape[0],
            interleaved,
            torch.get_num_threads(),
        )

    def silu_mul(self, x_TF: Tensor, out: Tensor) -> None:
        threads = torch.get_num_threads()
        self._native.silu_mul(_wide(x_TF), x_TF.data_ptr(), out.data_ptr(), *out.shape, threads)

    def sigmoid(self, x: Tensor, out: Tensor) -> None:
        """Of fp32 values that lie together."""
        threads = torch.get_num_threads()
        self._native.sigmoid(x.data_ptr(), out.data_ptr(), x.numel(), threads)

    def attend(
        self, q_TNH: Tensor, kv_SW: Tensor, heads: Heads, spans: Spans, out_TNV: Tensor
    ) -> None:
        self._native.attend(
            _wide(q_TNH),
            q_TNH.data_ptr(),
            q_TNH.stride(0),
            kv_SW.data_ptr(),
            kv_SW.stride(0),
            heads.num_heads,
            heads.num_kv_heads,
            heads.key_dim,
            heads.value_dim,
            heads.value_at,
            heads.window or 0,
            heads.scale,
            spans.spans_B3.data_ptr(),
            spans.spans_B3.shape[0],
            spans.table_BP.data_ptr(),
            spans.table_BP.shape[1],
            spans.page_size,
            out_TNV.data_ptr(),
            out_TNV.stride(0),
            torch.get_num_threads(),
        )

    def log_sum_exp(self, logits_TV: Tensor, out_T: Tensor, best_T: Tensor) -> None:
        """Also the lowest id among the largest logits of each row."""
        self._native.log_sum_exp(
            logits_TV.data_ptr(),
            logits_TV.stride(0),
            out_T.data_ptr(),
            best_T.data_ptr(),
            *logits_TV.shape,
            torch.get_num_threads(),
        )


def _wide(tensor: Tensor) -> int:
    return tensor.dtype is torch.float32


def _head_arguments(x_TNI: Tensor, w: Tensor, out: Tensor, width: int) -> tuple[int, ...]:
    rows, heads, inner = x_TNI.shape
    return (
        _wide(x_TNI),
        x_TNI.data_ptr(),
        x_TNI.stride(0),
        x_TNI.stride(1),
        w.data_ptr(),
        w.stride(0),
        out.data_ptr(),
        out.stride(0),
        out.stride(1),
        heads,
        rows,
        width,
        inner,
        torch.get_num_threads(),
    )
