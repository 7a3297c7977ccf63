"""One forward pass seen from one attention rank, and the number formats it runs in."""

from dataclasses import dataclass, field
from enum import StrEnum

from penjing.cost.op import Quantity
from penjing.models.config import WeightFormats
from penjing.models.format import BF16, Format


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
