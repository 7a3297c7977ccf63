"""What modules compute with: kernels that write into lasting buffers, or differentiable copies.

Serving and training call the same kernel for the forward pass, so their bits are the same; only
training also keeps what the backward pass needs, which goes by ``kernels.gradients``.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from penjing.models.kernels import gradients, padded, reference
from penjing.models.kernels.choice import Kernels
from penjing.models.kernels.gradients import Gradient, Gradients
from penjing.models.kernels.reference import Heads, Routing, Spans

Kernel = Callable[..., Tensor]


class Buffers:
    """Named memory that is reused from layer to layer and step to step.

    A buffer grows to the largest shape ever asked for and is never given back: after one pass at
    full size, no step allocates.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._held: dict[str, Tensor] = {}

    def __call__(self, name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        size = 1
        for dim in shape:
            size *= dim
        held = self._held.get(name)
        if held is None or held.dtype is not dtype or held.numel() < size:
            held = self._held[name] = torch.empty(size, dtype=dtype, device=self._device)
        return held[:size].view(shape)

    def reserve(self, name: str, size: int, dtype: torch.dtype) -> None:
        """Memory for ``size`` values, written to, so that it is really there."""
        self(name, (size,), dtype).zero_()

    @property
    def num_bytes(self) -> int:
        return sum(held.nbytes for held in self._held.values())


class Arithmetic:
    """Each operation under the name of its result, which is the name of its buffer.

    With ``buffers`` a result lives until the next one of that name, and no gradient can be had;
    without, results are fresh tensors.
    """

    def __init__(self, kernels: Kernels, buffers: Buffers | None = None) -> None:
        self.kernels = kernels
        self._buffers = buffers

    def join(self, name: str, *parts: Tensor) -> Tensor:
        """Side by side, along the last axis."""
        if self._buffers is None:
            return torch.cat(parts, -1)
        shape = (*parts[0].shape[:-1], sum(part.shape[-1] for part in parts))
        return torch.cat(parts, -1, out=self._out(name, shape, parts[0].dtype, parts[0]))

    def pick(self, name: str, table_VD: Tensor, rows_T: Tensor) -> Tensor:
        """Rows of a table. [T, D]"""
        if self._buffers is None:
            return F.embedding(rows_T, table_VD)  # whose gradient is summed in one order
        out = self._out(name, (rows_T.shape[0], table_VD.shape[1]), table_VD.dtype, table_VD)
        return torch.index_select(table_VD, 0, rows_T, out=out)

    def linear(
        self,
        name: str,
        x_TI: Tensor,
        w_OI: Tensor,
        bias_O: Tensor | None = None,
        residual_TO: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """x @ w.T + bias + residual, in ``dtype``, or that of x. [T, O]"""
        dtype = dtype or x_TI.dtype
        shape = (x_TI.shape[0], w_OI.shape[0])

        def kernel(x: Tensor, w: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
            out = self._out(name, shape, dtype, x)
            self.kernels.linear(x, w, bias, residual, out)
            return out

        return self._run(kernel, gradients.linear, x_TI, w_OI, bias_O, residual_TO)

    def heads(self, name: str, x_TNI: Tensor, w_NOI: Tensor) -> Tensor:
        """For each head x @ w.T. [T, N, O]"""

        def kernel(x: Tensor, w: Tensor) -> Tensor:
            out = self._out(name, (*x.shape[:2], w.shape[1]), x.dtype, x)
            self.kernels.heads(x, w, out)
            return out

        return self._run(kernel, gradients.heads, x_TNI, w_NOI)

    def absorb(self, name: str, q_TNH: Tensor, w_NPC: Tensor) -> Tensor:
        """The first P values of each query through w, the rest as they are. [T, N, C + H - P]"""
        inner, width = w_NPC.shape[1:]
        shape = (*q_TNH.shape[:2], width + q_TNH.shape[2] - inner)

        def kernel(q: Tensor, w: Tensor) -> Tensor:
            out = self._out(name, shape, q.dtype, q)
            self.kernels.heads_across(q[..., :inner], w, out[..., :width])
            out[..., width:] = q[..., inner:]
            return out

        return self._run(kernel, gradients.absorb, q_TNH, w_NPC)

    def experts(self, name: str, x_TI: Tensor, w_EOI: Tensor, routing: Routing) -> Tensor:
        """Rows in places of ``routing``. [A, O]"""

        def kernel(x: Tensor, w: Tensor) -> Tensor:
            out = self._out(name, (routing.tokens_A.shape[0], w.shape[1]), x.dtype, x)
            self.kernels.experts(x, w, routing, out)
            return out

        gradient = partial(gradients.experts, routing=routing)
        return self._run(kernel, gradient, x_TI, w_EOI)

    def combine(self, name: str, y_AD: Tensor, routing: Routing, base_TD: Tensor) -> Tensor:
        """base + each token's weighted results. [T, D]"""

        def kernel(y: Tensor, weights: Tensor, base: Tensor) -> Tensor:
            out = self._out(name, base.shape, base.dtype, base)
            self.kernels.combine(y, weights, routing.places_TK, base, out)
            return out

        gradient = partial(gradients.combine, places_TK=routing.places_TK)
        return self._run(kernel, gradient, y_AD, routing.weights_TK, base_TD)

    def rms_norm(self, name: str, x_TD: Tensor, w_D: Tensor, eps: float) -> Tensor:
        """x / rms(x) * w. [T, D]"""

        def kernel(x: Tensor, w: Tensor) -> Tensor:
            out = self._out(name, x.shape, x.dtype, x)
            self.kernels.rms_norm(x, w, eps, out)
            return out

        return self._run(kernel, partial(gradients.rms_norm, eps=eps), x_TD, w_D)

    def norm_heads(self, x_TNH: Tensor, w_H: Tensor, eps: float) -> Tensor:
        """``rms_norm`` of each head by itself, with buffers in place. [T, N, H]"""

        def kernel(x: Tensor, w: Tensor) -> Tensor:
            out = torch.empty_like(x) if self._buffers is None else x
            self.kernels.norm_heads(x, w, eps, out)
            return out

        return self._run(kernel, partial(gradients.rms_norm, eps=eps), x_TNH, w_H)

    def rope(
        self, x_TND: Tensor, turns_PR: Tensor, positions_T: Tensor, *, interleaved: bool
    ) -> Tensor:
        """Turned by position, with buffers in place. [T, N, D]"""

        def kernel(x: Tensor) -> Tensor:
            out = x.clone() if self._buffers is None else x
            self.kernels.rope(out, turns_PR, positions_T, interleaved)
            return out

        gradient = partial(
            gradients.rope, turns_PR=turns_PR, positions_T=positions_T, interleaved=interleaved
        )
        return self._run(kernel, gradient, x_TND, keeps=False)

    def silu_mul(self, name: str, x_TF: Tensor) -> Tensor:
        """silu(gate) * up. [T, F]"""

        def kernel(x: Tensor) -> Tensor:
            out = self._out(name, (x.shape[0], x.shape[1] // 2), x.dtype, x)
            self.kernels.silu_mul(x, out)
            return out

        return self._run(kernel, gradients.silu_mul, x_TF)

    def sigmoid(self, name: str, x: Tensor) -> Tensor:
        """Of fp32 values."""

        def kernel(x: Tensor) -> Tensor:
            out = self._out(name, x.shape, x.dtype, x)
            self.kernels.sigmoid(x, out)
            return out

        return self._run(kernel, gradients.sigmoid, x)

    def attend(self, name: str, q_TNH: Tensor, kv_SW: Tensor, heads: Heads, spans: Spans) -> Tensor:
        """Attention of each span over its own rows. [T, N, value_dim]"""

        def kernel(q: Tensor, kv: Tensor) -> Tensor:
            out = self._out(name, (*q.shape[:2], heads.value_dim), q.dtype, q)
            self.kernels.attend(q, kv, heads, spans, out)
            return out

        gradient = gradients.through(partial(padded.attend, heads=heads, spans=spans))
        return self._run(kernel, gradient, q_TNH, kv_SW)

    def log_sum_exp(self, logits_TV: Tensor) -> tuple[Tensor, Tensor]:
        """Of each row: log of the sum of exponentials, and the lowest id of the largest logit."""
        best_T = torch.empty(len(logits_TV), dtype=torch.int64, device=logits_TV.device)

        def kernel(logits: Tensor) -> Tensor:
            out = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
            self.kernels.log_sum_exp(logits, out, best_T)
            return out

        return self._run(kernel, gradients.through(reference.log_sum_exp), logits_TV), best_T

    def _out(self, name: str, shape: Sequence[int], dtype: torch.dtype, near: Tensor) -> Tensor:
        if self._buffers is None:
            return torch.empty(shape, dtype=dtype, device=near.device)
        return self._buffers(name, shape, dtype)

    def _run(
        self, kernel: Kernel, gradient: Gradient, *tensors: Tensor | None, keeps: bool = True
    ) -> Tensor:
        """``keeps`` false: the gradient does without the inputs, which need not be kept."""
        if not torch.is_grad_enabled() or not any(
            t is not None and t.requires_grad for t in tensors
        ):
            return kernel(*tensors)
        assert self._buffers is None, "a gradient needs results that stay"
        result: Tensor = _Differentiable.apply(kernel, gradient, keeps, *tensors)  # type: ignore[no-untyped-call]
        return result


class _Differentiable(torch.autograd.Function):
    """Forward by the kernel, backward by its gradient."""

    @staticmethod
    def forward(
        ctx: Any, kernel: Kernel, gradient: Gradient, keeps: bool, *tensors: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(*tensors if keeps else ())
        ctx.gradient = gradient
        return kernel(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        found: Gradients = ctx.gradient(grad, ctx.needs_input_grad[3:], *ctx.saved_tensors)
        return (None, None, None, *found)
