"""Seconds of an operator on a chip, and which ceiling holds it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from penjing.cost.efficiency import Curve, Efficiency, efficiency_of
from penjing.cost.network import Topology, collective_seconds
from penjing.cost.op import Kind, Op, Quantity
from penjing.hardware.chip import Chip
from penjing.hardware.precision import Precision


class Bound(StrEnum):
    """The ceiling that holds an operator."""

    COMPUTE = "compute"
    BANDWIDTH = "bandwidth"
    LINK = "link"
    OVERHEAD = "overhead"  # launches and synchronisation


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """What runs an operator: its curve and the chip's nominal rates."""

    curve: Curve
    flops_per_s: float
    bytes_per_s: float


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A chip with its curves and what-if factors on its nominal rates."""

    chip: Chip
    efficiency: Efficiency
    node_chips: int
    compute_scale: float = 1.0
    bandwidth_scale: float = 1.0
    link_scale: float = 1.0

    @classmethod
    def of(
        cls, chip: Chip, chips: int | None = None, efficiency: Efficiency | None = None
    ) -> "Hardware":
        """``chip`` in a cluster of ``chips``, with its best-known curves if none are given."""
        node = chip.node_chips if chips is None else min(chips, chip.node_chips)
        return cls(chip=chip, efficiency=efficiency or efficiency_of(chip), node_chips=node)

    def scaled(self, bound: Bound, factor: float) -> "Hardware":
        """The same hardware with one ceiling raised by ``factor``."""
        match bound:
            case Bound.COMPUTE:
                return replace(self, compute_scale=factor)
            case Bound.BANDWIDTH:
                return replace(self, bandwidth_scale=factor)
            case Bound.LINK:
                return replace(self, link_scale=factor)
            case Bound.OVERHEAD:
                raise AssertionError("no rate of the chip scales its overhead")

    def kernel(self, op: Op) -> Kernel:
        """The kernel of ``op`` here; looked up once for its kind and formats, not every time."""
        key = (op.kind, op.lane, op.compute)
        found = self._kernels.get(key)
        if found is None:
            found = self._kernels[key] = self._found(op)
        return found

    @cached_property
    def _kernels(self) -> dict[tuple[Kind, str, tuple[Precision, ...]], Kernel]:
        return {}

    def _found(self, op: Op) -> Kernel:
        chip, rate = self.chip, float("inf")
        if op.kind is not Kind.ELEMENTWISE:  # which multiplies nothing, on whatever chip
            rate = chip.flops_per_s(compute_precision(op, chip)) * self.compute_scale
        return Kernel(
            curve=self.efficiency.curve(op.kind, lane_on(op, chip)),
            flops_per_s=rate,
            bytes_per_s=chip.bandwidth_bytes_per_s * self.bandwidth_scale,
        )

    @cached_property
    def topology(self) -> Topology:
        return Topology(
            chip=self.chip,
            node_chips=self.node_chips,
            efficiency=self.efficiency,
            scale=self.link_scale,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Timing:
    """An operator with its seconds in the whole pass (all calls) and their three parts."""

    op: Op
    seconds: Quantity
    compute_s: Quantity = 0.0  # at the efficiency reached
    memory_s: Quantity = 0.0
    link_s: Quantity = 0.0
    overhead_s: Quantity = 0.0

    def times(self, factor: Quantity) -> "Timing":
        """The operator repeated ``factor`` times."""
        return Timing(
            op=self.op,
            seconds=self.seconds * factor,
            compute_s=self.compute_s * factor,
            memory_s=self.memory_s * factor,
            link_s=self.link_s * factor,
            overhead_s=self.overhead_s * factor,
        )


def time_ops(ops: Iterable[Op], hardware: Hardware) -> list[Timing]:
    """Each operator alone; nothing overlaps here."""
    return [_time(op, hardware) for op in ops]


def total_seconds(timings: Iterable[Timing]) -> Quantity:
    total: Quantity = 0.0
    for timing in timings:
        total = total + timing.seconds
    return total


def compute_precision(op: Op, chip: Chip) -> Precision:
    """The first precision the operator may run in that the chip has units for.

    A processor without 16-bit matrix units widens to FP32; of an accelerator that would be a guess.
    """
    for precision in (*op.compute, Precision.FP32) if chip.is_cpu else op.compute:
        if chip.supports(precision):
            return precision
    return op.compute[-1]


def _time(op: Op, hardware: Hardware) -> Timing:
    if op.kind.is_communication:
        seconds = collective_seconds(op, hardware.topology) * op.calls
        return Timing(op=op, seconds=seconds, link_s=seconds)
    kernel, calls = hardware.kernel(op), op.calls
    curve = kernel.curve
    compute_s = op.flops / (kernel.flops_per_s * curve.compute)
    memory_s = (op.read_bytes + op.write_bytes) / (kernel.bytes_per_s * curve.memory)
    return Timing(
        op=op,
        seconds=curve.joined(compute_s, memory_s) * calls,
        compute_s=compute_s * calls,
        memory_s=memory_s * calls,
        overhead_s=curve.overhead_s * calls,
    )


def lane_on(op: Op, chip: Chip) -> str:
    """The number format whose kernels run: formats a chip cannot multiply are widened first."""
    narrow = op.compute[0] in (Precision.FP8, Precision.INT8, Precision.FP4)
    if narrow and not chip.supports(op.compute[0]):
        return "int4" if op.lane in ("mxfp4", "nvfp4") else "bf16"
    return op.lane
