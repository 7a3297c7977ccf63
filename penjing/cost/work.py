"""One forward pass seen from one attention rank, and the number formats it runs in."""

from dataclasses import dataclass, field
from enum import StrEnum

from penjing.cost.op import Quantity
from penjing.models.config import WeightFormats
from penjing.models.format import BF16, Format

# The busiest expert rank over the mean when experts are spread and not forced even: SGLang on 96
# H100 runs 59.3k against 50.3k tokens/s a node with perfect and default balancing (LMSYS
# 2025-05-05), 18 % of a step that is about two thirds expert work.
EXPERT_IMBALANCE = 1.25


class Phase(StrEnum):
    """Which attention kernels and which collectives a pass uses."""

    PREFILL = "prefill"
    DECODE = "decode"
    TRAIN = "train"


@dataclass(frozen=True, kw_only=True, eq=False)
class Pass:
    """What one attention rank sees of one pass.

    ``sequences`` B, each with ``new`` tokens on top of ``cached`` ones; ``logits`` positions a
    sequence go through the output head.
    """

    phase: Phase
    sequences: Quantity
    new: Quantity
    cached: Quantity = 0.0
    logits: Quantity = 1.0

    @property
    def tokens(self) -> Quantity:
        """T: packed tokens of the pass."""
        return self.sequences * self.new


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """Storage formats of a run, and how uneven its expert loads are.

    ``imbalance`` is the load of the busiest expert rank over the mean.
    """

    weights: WeightFormats = field(default_factory=WeightFormats)
    cache: Format = BF16
    imbalance: float = 1.0
