"""The learning rate of each step."""

import math
from dataclasses import dataclass
from enum import StrEnum

from penjing.errors import BadQuantity

MAX_RATE = 1.0  # nobody has trained a transformer with more


class Shape(StrEnum):
    CONSTANT = "constant"
    COSINE = "cosine"  # from the peak down to ``final_share`` of it
    LINEAR = "linear"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Rises linearly to ``peak`` over ``warmup_steps``, then follows ``shape`` to the last step."""

    peak: float
    shape: Shape = Shape.CONSTANT
    warmup_steps: int = 0
    final_share: float = 0.1  # DeepSeek-R1's SFT ends at a tenth, arXiv 2501.12948v2, B.4

    def __post_init__(self) -> None:
        if not 0 < self.peak <= MAX_RATE:
            raise BadQuantity(
                f"the learning rate is {self.peak}; it must be above 0 and at most {MAX_RATE:g}: "
                "try 1e-6 to 1e-4"
            )
        if self.warmup_steps < 0:
            raise BadQuantity(f"warmup_steps is {self.warmup_steps}; it must be at least 0")
        if not 0 <= self.final_share <= 1:
            raise BadQuantity(f"final_share is {self.final_share}; it must be from 0 to 1")

    def rate(self, step: int, num_steps: int) -> float:
        """Of the step that is the ``step``-th from 0 of ``num_steps``."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        if self.shape is Shape.CONSTANT:
            return self.peak
        last = max(num_steps - 1 - self.warmup_steps, 1)
        done = min((step - self.warmup_steps) / last, 1.0)
        left = (1 + math.cos(math.pi * done)) / 2 if self.shape is Shape.COSINE else 1 - done
        return self.peak * (self.final_share + (1 - self.final_share) * left)
