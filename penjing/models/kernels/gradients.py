"""The gradients of the operations, written out, so that none computes its result a second time.

Each function takes the gradient of the result, which gradients are asked for, and the inputs, and
returns one gradient or ``None`` an input. Tests hold them to autograd through ``reference``. Rows
that are met more than once are summed in their order, on any number of threads.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from penjing.models.kernels import reference
from penjing.models.kernels.reference import Routing

Gradients = tuple[Tensor | None, ...]
Gradient = Callable[..., Gradients]
"""(gradient of the result, which are needed, *inputs) -> gradients of the inputs"""


def linear(grad: Tensor, needs: Sequence[bool], *inputs: Tensor | None) -> Gradients:
    """Of x @ w.T + bias + residual."""
    x_TI, w_OI, bias_O, residual_TO = inputs
    assert x_TI is not None
    assert w_OI is not None
    wide = grad.dtype
    return (
        (grad @ w_OI.to(wide)).to(x_TI.dtype) if needs[0] else None,
        (grad.T @ x_TI.to(wide)).to(w_OI.dtype) if needs[1] else None,
        None if bias_O is None or not needs[2] else grad.sum(0).to(bias_O.dtype),
        None if residual_TO is None or not needs[3] else grad.to(residual_TO.dtype),
    )


def heads(grad: Tensor, needs: Sequence[bool], x_TNI: Tensor, w_NOI: Tensor) -> Gradients:
    """Of x @ w.T for each head."""
    return (
        torch.einsum("tno,noi->tni", grad, w_NOI) if needs[0] else None,
        torch.einsum("tno,tni->noi", grad, x_TNI) if needs[1] else None,
    )


def absorb(grad: Tensor, needs: Sequence[bool], q_TNH: Tensor, w_NPC: Tensor) -> Gradients:
    """Of the first P values of each query through w, with the rest as they were."""
    inner, width = w_NPC.shape[1:]
    through, kept = grad[..., :width], grad[..., width:]
    turned = torch.einsum("tnc,npc->tnp", through, w_NPC) if needs[0] else None
    return (
        None if turned is None else torch.cat((turned, kept), -1),
        torch.einsum("tnp,tnc->npc", q_TNH[..., :inner], through) if needs[1] else None,
    )


def experts(
    grad: Tensor, needs: Sequence[bool], x_TI: Tensor, w_EOI: Tensor, routing: Routing
) -> Gradients:
    """Of each place's row times the weights of its expert."""
    bounds = routing.bounds_E1.tolist()
    tokens_A = routing.tokens_A.long()
    rows_AI = x_TI[tokens_A] if needs[1] else None
    of_rows_AI = grad.new_empty(len(grad), x_TI.shape[1])
    of_w_EOI = torch.zeros_like(w_EOI) if needs[1] else None
    for e in range(len(w_EOI)):
        part = slice(bounds[e], bounds[e + 1])
        if needs[0]:
            of_rows_AI[part] = grad[part] @ w_EOI[e]
        if rows_AI is not None and of_w_EOI is not None:
            of_w_EOI[e] = grad[part].T @ rows_AI[part]
    return (summed_rows(of_rows_AI, tokens_A, len(x_TI)) if needs[0] else None, of_w_EOI)


def combine(
    grad: Tensor,
    needs: Sequence[bool],
    y_AD: Tensor,
    weights_TK: Tensor,
    base_TD: Tensor,
    places_TK: Tensor,
) -> Gradients:
    """Of base + each token's weighted results; every place belongs to one token."""
    wide = grad.float()
    of_y_AD = torch.empty_like(y_AD) if needs[0] else None
    of_weights = []
    for k in range(weights_TK.shape[1]):
        places_T = places_TK[:, k].long()
        if of_y_AD is not None:
            of_y_AD[places_T] = (weights_TK[:, k, None] * wide).to(y_AD.dtype)
        if needs[1]:
            of_weights.append((wide * y_AD[places_T].float()).sum(-1))
    return (
        of_y_AD,
        torch.stack(of_weights, 1) if needs[1] else None,
        grad.to(base_TD.dtype) if needs[2] else None,
    )


def rms_norm(
    grad: Tensor, needs: Sequence[bool], x_TD: Tensor, w_D: Tensor, eps: float
) -> Gradients:
    """Of x / rms(x) * w: arXiv 1910.07467, section 4.2."""
    wide = x_TD.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    normed = wide * scale
    of_normed = (grad * w_D).float()
    of_x = None
    if needs[0]:
        along = (of_normed * normed).mean(-1, keepdim=True)
        of_x = of_normed.addcmul(normed, along, value=-1.0).mul_(scale).to(x_TD.dtype)
    of_w = None
    if needs[1]:
        of_w = (grad * normed.to(grad.dtype)).flatten(0, -2).sum(0).to(w_D.dtype)
    return of_x, of_w


def rope(
    grad: Tensor,
    needs: Sequence[bool],
    *,
    turns_PR: Tensor,
    positions_T: Tensor,
    interleaved: bool,
) -> Gradients:
    """A turn is undone by the turn the other way."""
    cosines, sines = turns_PR[positions_T].chunk(2, 1)
    back_TR = torch.cat((cosines, -sines), 1)
    own = torch.arange(len(positions_T), device=positions_T.device)
    return (reference.rope(grad, back_TR, own, interleaved) if needs[0] else None,)


def silu_mul(grad: Tensor, needs: Sequence[bool], x_TF: Tensor) -> Gradients:
    """Of silu(gate) * up, written into its place."""
    gate, up = x_TF.float().chunk(2, -1)
    wide = grad.float()
    out = torch.empty(x_TF.shape, dtype=torch.float32, device=x_TF.device)
    of_gate, of_up = out.chunk(2, -1)
    torch.mul(wide, up, out=of_gate)
    torch.ops.aten.silu_backward.grad_input(of_gate, gate, grad_input=of_gate)
    torch.ops.aten.silu.out(gate, out=of_up).mul_(wide)
    return (out.to(x_TF.dtype),)


def sigmoid(grad: Tensor, needs: Sequence[bool], x: Tensor) -> Gradients:
    s = torch.sigmoid(x)
    return (grad * s * (1 - s),)


def through(formula: Callable[..., Tensor]) -> Gradient:
    """By autograd through a formula, computed once more."""

    def gradient(grad: Tensor, needs: Sequence[bool], *inputs: Tensor) -> Gradients:
        saved = [one.detach().requires_grad_(need) for one, need in zip(inputs, needs, strict=True)]
        with torch.enable_grad():
            out = formula(*saved)
        sought = [one for one in saved if one.requires_grad]
        found = iter(torch.autograd.grad(out, sought, grad))
        return tuple(next(found) if one.requires_grad else None for one in saved)

    return gradient


def summed_rows(rows_AD: Tensor, places_A: Tensor, count: int) -> Tensor:
    """[count, D]: each row added to that of its place, in order.

    ``index_add`` and indexing add with atomics on several threads, in an order that nobody knows.
    """
    found: Tensor = torch.ops.aten.embedding_dense_backward(rows_AD, places_A, count, -1, False)
    return found
