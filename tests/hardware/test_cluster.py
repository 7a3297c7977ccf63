import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadQuantity
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.cluster import Cluster

H20 = load_catalogue().find("H20").chip


@pytest.mark.parametrize(
    ("count", "nodes", "largest"), [(1, 1, 1), (8, 1, 8), (9, 2, 8), (16, 2, 8), (17, 3, 8)]
)
def test_chips_fill_nodes_of_eight(count: int, nodes: int, largest: int) -> None:
    cluster = Cluster(chip=H20, count=count)
    assert (cluster.nodes, cluster.node_chips) == (nodes, largest)


def test_an_nvl72_rack_is_one_node() -> None:
    rack = Cluster(chip=load_catalogue().find("GB200").chip, count=72)
    assert (rack.nodes, rack.node_chips) == (1, 72)


@given(st.integers(min_value=1, max_value=10_000))
def test_the_nodes_hold_the_chips_and_not_one_node_more(count: int) -> None:
    cluster = Cluster(chip=H20, count=count)
    assert (cluster.nodes - 1) * H20.node_chips < count <= cluster.nodes * H20.node_chips


@pytest.mark.parametrize("count", [0, -1])
def test_no_chips_are_no_cluster(count: int) -> None:
    with pytest.raises(BadQuantity, match=f"^{count} x H20: at least one chip is needed$"):
        Cluster(chip=H20, count=count)
