"""Feed-forward blocks as modules: dense, and routed experts beside a shared one."""

from functools import partial
from typing import assert_never

import torch
from torch import Tensor, nn

from penjing.models.config import Dense, FeedForward, ModelConfig, MoE
from penjing.models.kernels.reference import Routing
from penjing.models.parameter import empty
from penjing.models.router import route
from penjing.models.run import Run


def make_feed_forward(
    block: FeedForward, config: ModelConfig, dtype: torch.dtype, device: torch.device
) -> "DenseBlock | MoEBlock":
    match block:
        case Dense(width=inner):
            return DenseBlock(inner, config.width, dtype, device)
        case MoE():
            return MoEBlock(block, config.width, dtype, device)
        case _:
            assert_never(block)


class DenseBlock(nn.Module):
    """down(silu(gate(x)) * up(x)), gate and up as one product."""

    def __init__(self, inner: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.gate_up = empty(dtype, device, 2 * inner, width)
        self.down = empty(dtype, device, width, inner)

    def forward(self, x_TD: Tensor, residual_TD: Tensor, run: Run) -> Tensor:
        """residual + the block of x. [T, D]"""
        a = run.arithmetic
        inner_TF = a.silu_mul("inner", a.linear("gate_up", x_TD, self.gate_up))
        return a.linear("hidden", inner_TF, self.down, residual_TO=residual_TD)


class MoEBlock(nn.Module):
    """Experts of one width, sorted by expert so that each one's weights are read once."""

    def __init__(self, block: MoE, width: int, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self._block = block
        experts, inner = block.num_experts, block.expert_width
        self.router = empty(dtype, device, experts, width)
        self.correction_bias = (
            empty(torch.float32, device, experts) if block.router.correction_bias else None
        )
        self.gate_up = empty(dtype, device, experts, 2 * inner, width)
        self.down = empty(dtype, device, experts, width, inner)
        self.load_E: Tensor | None = None  # tokens sent to each expert, while someone counts them
        shared = block.shared_width
        self.shared = DenseBlock(shared, width, dtype, device) if shared else None

    def forward(self, x_TD: Tensor, residual_TD: Tensor, run: Run) -> Tensor:
        """residual + shared and routed experts of x. [T, D]"""
        a, routing = run.arithmetic, self.routing(x_TD, run)
        base_TD = self.shared(x_TD, residual_TD, run) if self.shared else residual_TD
        inner_AF = a.silu_mul("inner", a.experts("gate_up", x_TD, self.gate_up, routing))
        down_AD = a.experts("down_rows", inner_AF, self.down, routing.in_place)
        return a.combine("hidden", down_AD, routing, base_TD)

    def routing(self, x_TD: Tensor, run: Run) -> Routing:
        """Scores in fp32, as the reference has them: in bf16 near ties go to other experts."""
        logits_TE = run.arithmetic.linear("router", x_TD, self.router, dtype=torch.float32)
        sigmoid = partial(run.arithmetic.sigmoid, "scores")
        found = route(logits_TE, self.correction_bias, self._block, sigmoid)
        if self.load_E is not None:
            self.load_E += found.bounds_E1.diff()
        return found
