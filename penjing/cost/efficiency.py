"""Measured efficiency: what share of a chip's nominal rates its kernels reach.

One curve serves one kind of kernel in one number format on one chip:

    t = overhead + ((flops / (F * compute))^p + (bytes / (B * memory))^p)^(1/p)

F and B are the chip's nominal rates, so ``compute`` and ``memory`` are dimensionless and carry
over to a relative of the chip. ``sharpness`` p says how far compute and memory overlap: 1 adds
them, large p takes the larger. The files in ``curves/`` hold fitted parameters with their
provenance; ``benchmarks/fit_curves.py`` writes them from measured kernel tables.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from penjing.cost.op import Kind, Quantity
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.chip import Chip
from penjing.hardware.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Parameters of the formula above, and how well they fit their ``rows`` of measurements."""

    overhead_s: float
    compute: float
    memory: float
    sharpness: float
    rows: int = 0
    median_error: float = 0.0

    def seconds(self, compute_s: Quantity, memory_s: Quantity) -> Quantity:
        """From the seconds the work would take at nominal rates to those it does take."""
        return self.joined(compute_s / self.compute, memory_s / self.memory)

    def joined(self, compute_s: Quantity, memory_s: Quantity) -> Quantity:
        """The same from the seconds that each takes at the rates reached."""
        p = self.sharpness
        return self.overhead_s + (compute_s**p + memory_s**p) ** (1 / p)


@dataclass(frozen=True, kw_only=True)
class WireCurve:
    """A collective inside a node: ``overhead_s + wire bytes / (link * efficiency)``."""

    overhead_s: float
    efficiency: float
    median_error: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """Curves measured on one chip; kernels that were not come from ``relative``.

    ``derived_from`` is empty where this is the chip's own file, else it names the measured
    relative whose curves the chip borrows.
    """

    measured_on: str
    provenance: str
    curves: Mapping[tuple[Kind, str], Curve]
    wires: Mapping[tuple[Kind, int], WireCurve]
    relative: "Efficiency | None" = None
    derived_from: str = ""

    @property
    def is_derived(self) -> bool:
        """Whether the chip borrows these curves: a relative's, or those assumed of every CPU."""
        return bool(self.derived_from) or self.measured_on == CPU

    def curve(self, kind: Kind, lane: str) -> Curve:
        """The curve of that kernel, or of the nearest number format that was measured.

        An elementwise kernel is taken as a product without its product: the same launch, the
        same share of the bandwidth.
        """
        if kind is Kind.ELEMENTWISE:
            return self.curve(Kind.GEMM, "bf16")
        for candidate in (lane, *_FALLBACK_LANES.get(lane, ("bf16",))):
            found = self._own_or_relative(kind, candidate)
            if found is not None:
                return found
        raise AssertionError(f"curves of {self.measured_on} lack {kind} in bf16")

    def _own_or_relative(self, kind: Kind, lane: str) -> Curve | None:
        found = self.curves.get((kind, lane))
        if found is None and self.relative is not None:
            return self.relative._own_or_relative(kind, lane)
        return found

    def wire(self, kind: Kind, ranks: int) -> WireCurve | None:
        """The measured collective of the nearest group size not above ``ranks``, if any."""
        sizes = [n for k, n in self.wires if k is kind]
        if not sizes:
            return self.relative.wire(kind, ranks) if self.relative else None
        return self.wires[kind, max((n for n in sizes if n <= ranks), default=min(sizes))]


CPU = "cpu"  # the assumed curves that every CPU takes

# Where a format was not measured: the one that shares its kernel design, then wider ones.
_FALLBACK_LANES = {
    "fp8": ("fp8-block", "bf16"),
    "fp8-block": ("fp8", "bf16"),
    "mxfp8": ("fp8", "fp8-block", "bf16"),
    "int8": ("fp8", "bf16"),
    "nvfp4": ("mxfp4", "fp8", "bf16"),
    "mxfp4": ("nvfp4", "int4", "fp8", "bf16"),
    "int4": ("mxfp4", "bf16"),
    "q4_k_m": ("int4", "bf16"),
    "q8_0": ("int8", "bf16"),
}


def efficiency_of(chip: Chip) -> Efficiency:
    """Curves for ``chip``: its own where measured, else those of its nearest measured relative."""
    measured = measured_chips()
    if chip.is_cpu:
        return measured[CPU]
    if chip.name in measured:
        return measured[chip.name]
    return borrowed_efficiency(chip)


def borrowed_efficiency(chip: Chip) -> Efficiency:
    """Curves as if ``chip`` had never been measured: its nearest relative's, none of its own."""
    measured = measured_chips()
    if chip.is_cpu:
        return measured[CPU]
    relative = nearest_relative(chip)
    return replace(_without_chip(measured[relative], chip.name), derived_from=relative)


def _without_chip(efficiency: Efficiency, name: str) -> Efficiency:
    """The same curves where none leans on those of ``name``; what it lent comes from its lender."""
    lender = efficiency.relative
    while lender is not None and lender.measured_on == name:
        lender = lender.relative
    return replace(efficiency, relative=_without_chip(lender, name) if lender else None)


def nearest_relative(chip: Chip) -> str:
    """The measured chip most like ``chip``, itself left out.

    Architecture counts first, then balance, then bandwidth. The terms are natural logarithms of
    ratios; a foreign architecture counts as a factor e, a foreign vendor as e squared. Nothing is
    fitted here.
    """
    return min(
        (name for name in measured_chips() if name not in (CPU, chip.name)),
        key=lambda name: _distance(chip, load_catalogue().find(name).chip),
    )


def _distance(chip: Chip, other: Chip) -> float:
    kinship = 0.0 if chip.architecture == other.architecture else 1.0
    if chip.vendor != other.vendor:
        kinship = 2.0
    ridge = math.log(_ridge(chip) / _ridge(other))
    bandwidth = math.log(chip.bandwidth_bytes_per_s / other.bandwidth_bytes_per_s)
    return kinship + abs(ridge) + abs(bandwidth) / 2


def _ridge(chip: Chip) -> float:
    """BF16 FLOPs a byte at which compute and bandwidth balance."""
    return chip.flops_per_s(Precision.BF16) / chip.bandwidth_bytes_per_s


@cache
def measured_chips() -> Mapping[str, Efficiency]:
    """Every curve file of the package by the name of the chip it was measured on."""
    folder = resources.files(__package__) / "curves"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    raw = {r["chip"]: r for r in (tomllib.loads(f.read_text(encoding="utf-8")) for f in files)}
    return {name: _parse(name, raw) for name in raw}


def _parse(name: str, files: Mapping[str, Any]) -> Efficiency:
    raw = files[name]
    return Efficiency(
        measured_on=name,
        provenance=raw["provenance"],
        curves={
            (Kind(row["kind"]), row["lane"]): Curve(**_without(row, "kind", "lane"))
            for row in raw["curve"]
        },
        wires={
            (Kind(row["kind"]), row["ranks"]): WireCurve(**_without(row, "kind", "ranks"))
            for row in raw.get("wire", ())
        },
        relative=_parse(raw["relative"], files) if raw.get("relative") else None,
    )


def _without(row: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in keys}
