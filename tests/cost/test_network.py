from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.cost.efficiency import Efficiency, efficiency_of
from penjing.cost.network import (
    ASSUMED_WIRE,
    EXCHANGE_OVERHEAD_S,
    NETWORK_EFFICIENCY,
    NETWORK_OVERHEAD_S,
    Topology,
    collective_seconds,
)
from penjing.cost.op import Kind, Op, Quantity, collective, wire_share
from penjing.errors import Unpublished
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.chip import Chip, Figure, Link

COLLECTIVES = [Kind.ALL_REDUCE, Kind.ALL_GATHER, Kind.REDUCE_SCATTER]
H800 = load_catalogue().find("H800 SXM").chip
NOTHING_MEASURED = Efficiency(measured_on="nothing", provenance="", curves={}, wires={})
WIDTH = 7168
sizes = st.floats(min_value=1.0, max_value=1e10)
groups = st.sampled_from([2, 4, 8, 16, 64, 256])


def topology(chip: Chip = H800, efficiency: Efficiency | None = None) -> Topology:
    """Nodes of eight, with measured collectives unless told otherwise."""
    return Topology(chip=chip, node_chips=8, efficiency=efficiency or efficiency_of(chip))


def figure(link: Link | None) -> Figure:
    assert link is not None
    assert link.bytes_per_s is not None
    return link.bytes_per_s


def seconds(kind: Kind, message: float, group: int, stride: int = 1) -> float:
    return float(collective_seconds(collective("x", kind, message, group, stride), topology()))


def exchange(tokens: float, group: int, value_bytes: float = 1.0, node_limit: int = 0) -> Quantity:
    """R1's: eight copies of each token of 7,168 values."""
    op = Op(
        name="x",
        kind=Kind.ALL_TO_ALL,
        message_bytes=tokens * 8 * WIDTH * value_bytes,
        copies=8,
        node_limit=node_limit,
        group=group,
    )
    return collective_seconds(op, topology())


def test_the_rates_of_an_h800() -> None:
    """400 GB/s of NVLink both ways, 400 Gb/s of network."""
    assert topology().fabric_bytes_per_s == 200e9
    assert topology().network_bytes_per_s == 50e9
    doubled = replace(topology(), scale=2.0)
    assert (doubled.fabric_bytes_per_s, doubled.network_bytes_per_s) == (400e9, 100e9)


@pytest.mark.parametrize("kind", [k for k in Kind if k.is_communication])
def test_a_group_of_one_has_nobody_to_talk_to(kind: Kind) -> None:
    assert seconds(kind, 1e9, 1) == 0.0


@pytest.mark.parametrize("kind", COLLECTIVES)
def test_a_collective_that_nobody_measured_by_hand(kind: Kind) -> None:
    """NCCL on NVLink, rounded: 10 us, then 70 % of the link."""
    op = collective("x", kind, 8e8, 8)
    found = collective_seconds(op, topology(efficiency=NOTHING_MEASURED))
    wire = wire_share(kind, 8) * 8e8
    assert found == pytest.approx(10e-6 + wire / (200e9 * 0.7))
    assert (ASSUMED_WIRE.overhead_s, ASSUMED_WIRE.efficiency) == (10e-6, 0.7)


@pytest.mark.parametrize("kind", COLLECTIVES)
def test_a_measured_collective_takes_its_own_curve(kind: Kind) -> None:
    wire = efficiency_of(H800).wire(kind, 4)
    assert wire is not None
    expected = wire.overhead_s + wire_share(kind, 4) * 1e8 / (200e9 * wire.efficiency)
    assert seconds(kind, 1e8, 4) == pytest.approx(expected)


@pytest.mark.parametrize("kind", COLLECTIVES)
def test_across_nodes_by_hand(kind: Kind) -> None:
    """Inside both nodes of eight first, then an eighth a chip over the network, one hop."""
    across = wire_share(kind, 2) * 8e8 / 8 / (50e9 * NETWORK_EFFICIENCY)
    expected = seconds(kind, 8e8, 8) + NETWORK_OVERHEAD_S + across
    assert seconds(kind, 8e8, 16) == pytest.approx(expected)


@pytest.mark.parametrize("kind", COLLECTIVES)
def test_ranks_on_different_nodes_have_the_network_alone(kind: Kind) -> None:
    across = wire_share(kind, 4) * 1e8 / (50e9 * NETWORK_EFFICIENCY)
    assert seconds(kind, 1e8, 4, stride=8) == pytest.approx(2 * NETWORK_OVERHEAD_S + across)


def test_stride_decides_who_shares_a_node() -> None:
    """Groups of 8 ranks: neighbours in one node, every second in two, every fourth in four."""
    times = [seconds(Kind.ALL_REDUCE, 1e9, 8, stride) for stride in (1, 2, 4, 8)]
    assert times == sorted(times)
    assert len(set(times)) == 4


@given(kind=st.sampled_from([*COLLECTIVES, Kind.SEND]), message=sizes, more=sizes, group=groups)
def test_more_bytes_never_take_less_time(
    kind: Kind, message: float, more: float, group: int
) -> None:
    assert seconds(kind, message + more, group) >= seconds(kind, message, group)


@given(kind=st.sampled_from(COLLECTIVES), message=sizes, nodes=st.integers(2, 64))
def test_crossing_nodes_is_slower_than_staying_inside(
    kind: Kind, message: float, nodes: int
) -> None:
    assert seconds(kind, message, 8 * nodes) > seconds(kind, message, 8)


@given(kind=st.sampled_from([k for k in Kind if k.is_communication]), message=sizes, group=groups)
def test_a_faster_link_is_never_slower(kind: Kind, message: float, group: int) -> None:
    op = collective("x", kind, message, group)
    fast = replace(topology(), scale=3.0)
    assert collective_seconds(op, fast) <= collective_seconds(op, topology())


def test_a_send_inside_a_node_takes_the_fabric_and_between_nodes_the_network() -> None:
    near, far = (seconds(Kind.SEND, 1e9, 2, stride) for stride in (1, 8))
    assert far == pytest.approx(NETWORK_OVERHEAD_S + 1e9 / (50e9 * NETWORK_EFFICIENCY))
    assert near == pytest.approx(10e-6 + 1e9 / (200e9 * 0.7))  # no table has point-to-point


@pytest.mark.parametrize(
    ("group", "stride", "leaving"), [(8, 1, 0), (4, 8, 3), (4, 4, 1), (16, 1, 1), (16, 4, 7)]
)
def test_only_the_hops_that_leave_a_node_take_the_network(
    group: int, stride: int, leaving: int
) -> None:
    """A chain of stages in rank order; the time is the mean over its hops."""
    near, far = (seconds(Kind.SEND, 1e9, 2, s) for s in (1, 8))
    hops = group - 1
    expected = (leaving * far + (hops - leaving) * near) / hops
    assert seconds(Kind.SEND, 1e9, group, stride) == pytest.approx(expected)


@given(tokens=st.floats(min_value=1, max_value=1e5), group=st.sampled_from([16, 32, 64, 128, 256]))
def test_crossing_to_a_node_once_is_cheaper_than_once_a_copy(tokens: float, group: int) -> None:
    assert exchange(tokens, group, node_limit=4) <= exchange(tokens, group)


@pytest.mark.parametrize("group", [32, 64, 128])
def test_a_limit_on_nodes_bounds_what_crosses(group: int) -> None:
    """R1 may reach 4 nodes; 8 copies alone would reach more of them."""
    assert exchange(4096, group, node_limit=2) < exchange(4096, group, node_limit=4)
    assert exchange(4096, group, node_limit=4) <= exchange(4096, group, node_limit=8)


def test_an_exchange_between_nodes_by_hand() -> None:
    """Two nodes of eight, every copy by itself: half of eight copies leave."""
    crossing = 128 * 4 * WIDTH / (50e9 * NETWORK_EFFICIENCY)
    assert exchange(128, 16) == pytest.approx(EXCHANGE_OVERHEAD_S + crossing)


@pytest.mark.parametrize("inside", [1, 2, 8])
def test_copies_for_the_own_node_move_beside_those_that_leave(inside: int) -> None:
    """Two nodes, a fabric so slow that it decides: 8 (n - 1) / 2n of eight copies stay on it."""
    slow = Link(name="slow", bytes_per_s=replace(figure(H800.fabric), value=1e9))
    op = Op(name="x", kind=Kind.ALL_TO_ALL, message_bytes=8e9, copies=8, group=2 * inside)
    nodes = replace(topology(replace(H800, fabric=slow)), node_chips=inside)
    leave = 4 * 1e9 / (50e9 * NETWORK_EFFICIENCY)
    stay = 8 * (inside - 1) / (2 * inside) * 1e9 / 1e9
    expected = EXCHANGE_OVERHEAD_S + max(leave, stay)
    assert collective_seconds(op, nodes) == pytest.approx(expected)


def test_crossing_once_to_each_node_that_is_reached() -> None:
    """Sixteen nodes: eight choices reach 16 (1 - (15/16)^8) = 6.45 of them, and 15/16 leave."""
    found = exchange(4096, 128, node_limit=8)
    crossings = 16 * (1 - (15 / 16) ** 8) * 15 / 16
    across = 4096 * crossings * WIDTH / (50e9 * NETWORK_EFFICIENCY)
    assert found == pytest.approx(EXCHANGE_OVERHEAD_S + across)


def test_what_stays_in_the_node_may_take_longer_than_what_leaves() -> None:
    """Few nodes and one crossing each: 16 chips are bound by NVLink, 64 by the network.

    DeepEP's rate over the network, docs/legacy.md: 43 GB/s over 2 nodes, 58 over 4, 51 over 8.
    """
    faster = Link(name="faster", bytes_per_s=replace(figure(H800.network), value=500e9))
    better = topology(replace(H800, network=faster), efficiency_of(H800))
    for group, gains in ((16, False), (64, True)):
        op = Op(
            name="x",
            kind=Kind.ALL_TO_ALL,
            message_bytes=4096 * 8 * WIDTH,
            copies=8,
            node_limit=4,
            group=group,
        )
        assert (collective_seconds(op, better) < collective_seconds(op, topology())) == gains


@pytest.mark.parametrize(
    ("group", "dispatch_us", "combine_us", "tolerance"),
    [
        (8, 77, 114, 0.20),
        (16, 118, 195, 0.10),
        (32, 155, 273, 0.10),
        (64, 173, 314, 0.10),
        (128, 192, 369, 0.10),
        (256, 194, 360, 0.10),
    ],
)
def test_deepep_low_latency_on_h800(
    group: int, dispatch_us: float, combine_us: float, tolerance: float
) -> None:
    """DeepEP docs/legacy.md at 0297fc8: 128 tokens a rank, top-8, FP8 there and BF16 back."""
    assert float(exchange(128, group)) * 1e6 == pytest.approx(dispatch_us, rel=tolerance)
    back = float(exchange(128, group, value_bytes=2.0)) * 1e6
    assert back == pytest.approx(combine_us, rel=tolerance)


@pytest.mark.parametrize(("group", "gb_per_s"), [(32, 58), (64, 51)])
def test_deepep_normal_dispatch_on_h800(group: int, gb_per_s: float) -> None:
    """DeepEP docs/legacy.md at 0297fc8: 4,096 tokens, top-8 within 4 nodes, FP8.

    Its tests count a token once for every node it reaches, its own included: of 4 nodes, eight
    experts reach 4 (1 - (3/4)^8) = 3.6.
    """
    measured = 4096 * 3.6 * WIDTH / (gb_per_s * 1e9)
    assert float(exchange(4096, group, node_limit=4)) == pytest.approx(measured, rel=0.15)


def test_no_rate_between_nodes_is_guessed() -> None:
    """The message names the flag that supplies it."""
    for network in (None, Link(name="Ethernet")):
        alone = topology(replace(H800, network=network))
        op = collective("x", Kind.ALL_REDUCE, 1e6, 16)
        with pytest.raises(Unpublished, match=r"H800 SXM: .*not published; give --network 400Gb/s"):
            collective_seconds(op, alone)
        assert collective_seconds(replace(op, group=8), alone) > 0  # it stays inside the node


def test_no_rate_inside_a_node_is_guessed() -> None:
    for fabric in (None, Link(name="PCIe")):
        op = collective("x", Kind.ALL_REDUCE, 1e6, 8)
        with pytest.raises(Unpublished, match="H800 SXM: bandwidth between chips of a node"):
            collective_seconds(op, topology(replace(H800, fabric=fabric)))


@pytest.mark.parametrize("kind", [*COLLECTIVES, Kind.SEND, Kind.ALL_TO_ALL])
@pytest.mark.parametrize("group", [2, 8, 16])
def test_arrays_take_as_long_as_their_elements(kind: Kind, group: int) -> None:
    messages = np.array([1.0, 1e6, 1e9])
    together = collective_seconds(collective("x", kind, messages, group), topology())
    alone = [seconds(kind, m, group) for m in messages]
    assert np.allclose(together, alone, rtol=1e-12)
