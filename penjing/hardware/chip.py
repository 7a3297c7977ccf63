"""One chip, as its sources describe it. Nothing is guessed; what was measured here says so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from penjing.errors import Unpublished
from penjing.hardware.precision import Precision


class Confidence(StrEnum):
    """How a figure was come by, best first."""

    MEASURED = "measured"  # timed on the very machine, by penjing
    OFFICIAL = "official"  # vendor document or vendor repository, seen
    OFFICIAL_UNOPENED = "official-unopened"  # vendor figure known second hand
    PRESS = "press"
    DERIVED = "derived"  # arithmetic on other sourced figures
    ESTIMATE = "estimate"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A sourced quantity in SI base units; ``text`` keeps the spelling and unit of the file."""

    value: float
    text: str
    source: tuple[str, ...]  # keys of Chip.sources
    confidence: Confidence
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Device memory. DRAM is sold in binary units whatever the label says: 96 "GB" are 96 GiB."""

    type: str
    capacity_bytes: Figure | None = None
    bandwidth_bytes_per_s: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class Link:
    """A connection of one chip; ``bytes_per_s`` counts one direction, summed over its lanes."""

    name: str
    bytes_per_s: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class Chip:
    """Everything the catalogue knows of one part.

    ``node_chips`` is how many share the fast fabric as the vendor sells it: 8 on an HGX board,
    72 in an NVL72 rack. ``family`` groups parts that people call by one name ("H20").
    """

    name: str
    vendor: str
    variant: str
    family: str
    architecture: str
    year: int
    aliases: tuple[str, ...] = ()
    is_cpu: bool = False
    compute_flops_per_s: Mapping[Precision, Figure] = field(default_factory=dict)  # dense
    memory: Memory
    fabric: Link | None = None
    network: Link | None = None
    node_chips: int = 8
    power_w: Figure | None = None
    die_area_mm2: Figure | None = None
    process: str = ""
    price_usd: Figure | None = None
    rental_usd_per_h: Figure | None = None
    price_date: str = ""
    notes: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.name)

    def figures(self) -> dict[str, Figure]:
        """Every figure that is published, by a name that ends in its SI unit."""
        found: dict[str, Figure | None] = {
            f"{p}_flops_per_s": self.compute_flops_per_s.get(p) for p in Precision
        }
        found |= {
            "memory_bytes": self.memory.capacity_bytes,
            "memory_bytes_per_s": self.memory.bandwidth_bytes_per_s,
            "fabric_bytes_per_s": self.fabric.bytes_per_s if self.fabric else None,
            "network_bytes_per_s": self.network.bytes_per_s if self.network else None,
            "power_w": self.power_w,
            "die_area_mm2": self.die_area_mm2,
            "price_usd": self.price_usd,
            "rental_usd_per_h": self.rental_usd_per_h,
        }
        return {name: figure for name, figure in found.items() if figure is not None}

    def flops_per_s(self, precision: Precision) -> float:
        """Dense peak rate at ``precision``; raises ``Unpublished`` where there is none."""
        figure = self.compute_flops_per_s.get(precision)
        if figure is None:
            raise Unpublished(self._unpublished(f"{precision} compute"))
        return figure.value

    def supports(self, precision: Precision) -> bool:
        return precision in self.compute_flops_per_s

    @property
    def capacity_bytes(self) -> float:
        if self.memory.capacity_bytes is None:
            raise Unpublished(self._unpublished("memory capacity"))
        return self.memory.capacity_bytes.value

    @property
    def bandwidth_bytes_per_s(self) -> float:
        if self.memory.bandwidth_bytes_per_s is None:
            raise Unpublished(self._unpublished("memory bandwidth"))
        return self.memory.bandwidth_bytes_per_s.value

    def _unpublished(self, figure: str) -> str:
        why = f" ({self.notes[0].rstrip('.')})" if self.notes else ""
        return (
            f"{self.name}: {figure} is not published{why}; "
            "nothing is guessed, so choose a chip whose figures are known"
        )
