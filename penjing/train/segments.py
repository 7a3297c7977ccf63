"""Sums over what belongs together: the tokens of a response, the responses to a prompt.

Nothing is padded, so there is no mask that a mean could forget.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Segments:
    """``index``: of each value, the segment it belongs to, from 0 to below ``count``. [T]"""

    index_T: Tensor
    count: int

    @classmethod
    def of_lengths(cls, lengths: Sequence[int]) -> "Segments":
        """So many values of the first segment, then so many of the second, and so on."""
        lengths_B = torch.tensor(lengths, dtype=torch.int64)
        return cls(torch.arange(len(lengths)).repeat_interleave(lengths_B), len(lengths))

    @property
    def sizes_B(self) -> Tensor:
        """How many values each segment has, in fp64: counts are divided by, and must be exact."""
        return self.sum(torch.ones_like(self.index_T, dtype=torch.float64))

    def sum(self, values_T: Tensor) -> Tensor:
        """[T] to [B]; 0 for an empty segment."""
        zeros_B = values_T.new_zeros(self.count)
        return zeros_B.index_add(0, self.index_T, values_T)

    def mean(self, values_T: Tensor) -> Tensor:
        """[T] to [B]; 0 for an empty segment."""
        return self.sum(values_T) / self.sizes_B.clamp(min=1).to(values_T.dtype)

    def spread(self, values_B: Tensor) -> Tensor:
        """[B] to [T]: each value gets that of its segment."""
        return values_B[self.index_T]
