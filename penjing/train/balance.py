"""Experts kept busy alike without a loss: DeepSeek-V3 report, arXiv 2412.19437, section 2.1.2.

After each step the bias that decides who is chosen rises for experts that had fewer tokens than the
mean, and falls for those that had more. It never weighs a result, so no gradient is disturbed.
"""

import torch

from penjing.models.decoder import Decoder
from penjing.models.feed_forward import MoEBlock

BALANCE = 0.001  # the report's speed, section 4.2


class Balancer:
    """Of all blocks with a correction bias; a decoder without any is left alone."""

    def __init__(self, decoder: Decoder) -> None:
        blocks = [m for m in decoder.modules() if isinstance(m, MoEBlock)]
        self._blocks = [block for block in blocks if block.correction_bias is not None]

    def begin(self) -> None:
        """Counts from here on where tokens go."""
        for block in self._blocks:
            assert block.correction_bias is not None
            block.load_E = torch.zeros_like(block.correction_bias, requires_grad=False)

    @torch.no_grad()
    def end(self, speed: float) -> None:
        """Moves the biases by what was counted, and counts no more."""
        for block in self._blocks:
            assert block.correction_bias is not None
            assert block.load_E is not None, "begin comes first"
            load_E, block.load_E = block.load_E, None
            if speed:
                block.correction_bias.add_(speed * (load_E.mean() - load_E).sign())
