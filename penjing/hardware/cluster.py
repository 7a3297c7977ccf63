"""Chips wired together: which groups talk over the fabric, which over the network."""

from dataclasses import dataclass

from penjing.errors import BadQuantity
from penjing.hardware.chip import Chip


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """``count`` equal chips in nodes of ``chip.node_chips``."""

    chip: Chip
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise BadQuantity(f"{self.count} x {self.chip.name}: at least one chip is needed")

    @property
    def nodes(self) -> int:
        return -(-self.count // self.chip.node_chips)

    @property
    def node_chips(self) -> int:
        """Chips of the largest node in use."""
        return min(self.count, self.chip.node_chips)
