"""Seconds a collective takes: a fabric inside the node, a network between nodes."""

import math
from dataclasses import dataclass

import numpy as np

from penjing.cost.efficiency import Efficiency, WireCurve
from penjing.cost.op import Kind, Op, Quantity, wire_share
from penjing.errors import Unpublished
from penjing.hardware.chip import Chip

# DeepEP's tables, nodes of 8 H800 with 400 Gb/s a chip: normal kernels reach 43-58 GB/s of 50;
# low-latency dispatch of 128 tokens follows 40 us + bytes / link over EP8-64.
NETWORK_EFFICIENCY = 0.90
NETWORK_OVERHEAD_S = 15e-6  # a hop through the switch and its synchronisation
EXCHANGE_OVERHEAD_S = 40e-6
# Where no table of the chip or a relative has the collective: NCCL on NVLink, rounded.
ASSUMED_WIRE = WireCurve(overhead_s=10e-6, efficiency=0.7)


@dataclass(frozen=True, kw_only=True)
class Topology:
    """How fast ranks of one chip type talk: ``node_chips`` share the fabric."""

    chip: Chip
    node_chips: int
    efficiency: Efficiency
    scale: float = 1.0  # what-if factor on both links

    @property
    def fabric_bytes_per_s(self) -> float:
        if self.chip.fabric is None or self.chip.fabric.bytes_per_s is None:
            raise Unpublished(f"{self.chip.name}: bandwidth between chips of a node not published")
        return self.chip.fabric.bytes_per_s.value * self.scale

    @property
    def network_bytes_per_s(self) -> float:
        if self.chip.network is None or self.chip.network.bytes_per_s is None:
            raise Unpublished(
                f"{self.chip.name}: bandwidth between nodes not published; give --network 400Gb/s"
            )
        return self.chip.network.bytes_per_s.value * self.scale


def collective_seconds(op: Op, topology: Topology) -> Quantity:
    """One call of ``op``; zero for a group of one."""
    if op.group == 1:
        return 0.0
    inside = max(1, min(op.group, topology.node_chips // op.stride))
    nodes = -(-op.group // inside)
    if op.kind is Kind.SEND:
        return _hop(op, inside, nodes, topology)
    if nodes == 1:
        return _fabric(op.kind, wire_share(op.kind, op.group) * op.message_bytes, inside, topology)
    match op.kind:
        case Kind.ALL_TO_ALL:
            return _exchange(op, inside, nodes, topology)
        case _:
            return _hierarchical(op, inside, nodes, topology)


def _fabric(kind: Kind, wire_bytes: Quantity, ranks: int, topology: Topology) -> Quantity:
    curve = topology.efficiency.wire(kind, ranks) or ASSUMED_WIRE
    return curve.overhead_s + wire_bytes / (topology.fabric_bytes_per_s * curve.efficiency)


def _network(wire_bytes: Quantity, topology: Topology) -> Quantity:
    return wire_bytes / (topology.network_bytes_per_s * NETWORK_EFFICIENCY)


def _hop(op: Op, inside: int, nodes: int, topology: Topology) -> Quantity:
    """Mean hop along a chain of ``op.group`` ranks: ``nodes`` - 1 of its hops leave a node."""
    hops, leaving = op.group - 1, nodes - 1
    seconds: Quantity = 0.0
    if leaving:
        seconds = leaving / hops * (NETWORK_OVERHEAD_S + _network(op.message_bytes, topology))
    if hops > leaving:
        local = _fabric(Kind.SEND, op.message_bytes, inside, topology)
        seconds = seconds + (hops - leaving) / hops * local
    return seconds


def _hierarchical(op: Op, inside: int, nodes: int, topology: Topology) -> Quantity:
    """Reduce or gather inside each node, cross with 1/inside of the data a chip, and back."""
    across = wire_share(op.kind, nodes) * op.message_bytes / inside
    seconds = NETWORK_OVERHEAD_S * math.log2(nodes) + _network(across, topology)
    if inside > 1:
        local = wire_share(op.kind, inside) * op.message_bytes
        seconds = seconds + _fabric(op.kind, local, inside, topology)
    return seconds


def _exchange(op: Op, inside: int, nodes: int, topology: Topology) -> Quantity:
    """Tokens to experts: the copies that leave the node and those that stay move side by side."""
    token_bytes = op.message_bytes / op.copies
    reached = _distinct(nodes, op.copies)
    if op.node_limit:
        crossings = min(reached, op.node_limit) * (nodes - 1) / nodes
        local = _distinct(op.group, op.copies)
    else:
        crossings = op.copies * (nodes - 1) / nodes
        local = op.copies * (inside - 1) / op.group
    across = _network(token_bytes * crossings, topology)
    stay = token_bytes * local / topology.fabric_bytes_per_s if inside > 1 else 0.0
    slower: Quantity = np.maximum(across, stay)
    return EXCHANGE_OVERHEAD_S + slower


def _distinct(places: int, copies: float) -> float:
    """Expected number of places that ``copies`` even-handed choices reach."""
    missed: float = (1.0 - 1.0 / places) ** copies
    return places * (1.0 - missed)
