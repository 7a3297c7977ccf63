import re
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadQuantity, UnknownName
from penjing.hardware.budget import Budget, parse_budget
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.host import Host
from penjing.hardware.probe import CudaDevice, Machine

CATALOGUE = load_catalogue()
HOST = Host(
    cpu="Intel Test",
    cores=4,
    threads=8,
    instructions=("avx2",),
    memory_bytes=2.0**35,
    available_bytes=2.0**34,
)
MACHINE = Machine(host=HOST, read_bytes_per_s=5e10, fp32_flops_per_s=1e12, measured_on="2026-11-20")


def nowhere() -> NoReturn:
    raise AssertionError("this machine must not be measured")


def budget(text: str) -> Budget:
    return parse_budget(text, CATALOGUE, nowhere)


def counts(text: str) -> list[tuple[str, int]]:
    return [(c.chip.name, c.count) for c in budget(text).clusters]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16xH20", [("H20", 16)]),
        ("16 x H20", [("H20", 16)]),
        (" 16X h20 ", [("H20", 16)]),
        ("16*H20", [("H20", 16)]),
        ("16\u00d7H20", [("H20", 16)]),
        ("H20", [("H20", 1)]),
        ("8xH20+8x910B", [("H20", 8), ("Ascend 910B2", 8)]),
        ("8xH20 + L20", [("H20", 8), ("L20", 1)]),
        ("8xH20+8xH20", [("H20", 16)]),
        ("2xXeon 6980P", [("Xeon 6980P", 2)]),
        ("4090", [("RTX 4090", 1)]),
        ("4x4090", [("RTX 4090", 4)]),
        ("1,024xMI300X", [("MI300X", 1024)]),
        ("2kxH20-3e", [("H20-3e", 2000)]),
        ("1000000xH20", [("H20", 1_000_000)]),
    ],
)
def test_what_a_line_means(text: str, expected: list[tuple[str, int]]) -> None:
    assert counts(text) == expected


def test_a_name_that_leaves_a_choice_is_noted_once() -> None:
    told = "H20 is the 96 GB part; H20-3e (141 GB) also exists"
    assert budget("8xH20+8xH20").notes == (told,)
    assert budget("8xH20-3e").notes == ()


def test_chips_are_summed() -> None:
    assert budget("8xH20+4x910B").chips == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0xH20", "chips '0xH20': count '0': must be a whole number of at least 1"),
        ("-1xH20", "chips '-1xH20': count '-1': must be a whole number of at least 1"),
        ("1.5xH20", "chips '1.5xH20': count '1.5': must be a whole number of at least 1"),
        ("x", "chips 'x': write a count and a chip, as in 16xH20"),
        ("16x", "chips '16x': write a count and a chip, as in 16xH20"),
        ("", "chips '': write a count and a chip, as in 16xH20"),
        ("8xH20+", "chips '8xH20+': write a count and a chip, as in 16xH20"),
        ("1e9xH20", "chips '1e9xH20': more than 1,000,000 chips; check the count"),
        (
            "600000xH20+600000xL20",
            "chips '600000xH20+600000xL20': more than 1,000,000 chips; check the count",
        ),
        ("8xhere", "chips '8xhere': 'here' is this one machine; leave out the count"),
    ],
)
def test_bad_lines(text: str, message: str) -> None:
    with pytest.raises(BadQuantity, match=f"^{re.escape(message)}$"):
        budget(text)


@pytest.mark.parametrize("text", ["16xH2O", "16 H20x", "1e999xH20", "9" * 400 + "xH20"])
def test_unknown_chips(text: str) -> None:
    with pytest.raises(UnknownName, match=r"`penjing chips list` shows all$"):
        budget(text)


@given(
    st.lists(
        st.tuples(st.sampled_from(CATALOGUE.chips), st.integers(min_value=1, max_value=9_999)),
        min_size=1,
        max_size=5,
        unique_by=lambda pair: pair[0].name,
    )
)
def test_a_budget_reads_back_from_its_own_text(pairs: list[tuple[object, int]]) -> None:
    text = "+".join(f"{count}x{chip.name}" for chip, count in pairs)  # type: ignore[attr-defined]
    read = budget(text)
    assert str(read) == text
    assert budget(str(read)) == read


def test_here_is_the_processor_where_there_is_no_accelerator() -> None:
    read = parse_budget("here", CATALOGUE, lambda: MACHINE)
    assert [(c.chip.name, c.chip.is_cpu, c.count) for c in read.clusters] == [("here", True, 1)]
    assert read.notes == ("here: processor as measured on 2026-11-20",)


def test_here_is_the_accelerators_where_there_are_some() -> None:
    device = CudaDevice(name="NVIDIA H20", memory_bytes=97871 * 2.0**20, capability="9.0")
    machine = Machine(
        host=HOST,
        read_bytes_per_s=5e10,
        fp32_flops_per_s=1e12,
        cuda=(device, device),
        measured_on="2026-11-20",
    )
    (cluster,) = parse_budget("Here", CATALOGUE, lambda: machine).clusters
    assert (cluster.chip.name, cluster.count) == ("H20", 2)
    assert cluster.chip.capacity_bytes == 97871 * 2.0**20
