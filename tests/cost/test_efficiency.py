import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.cost.efficiency import (
    CPU,
    Curve,
    Efficiency,
    WireCurve,
    borrowed_efficiency,
    efficiency_of,
    measured_chips,
    nearest_relative,
)
from penjing.cost.op import Kind
from penjing.errors import Unpublished
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.chip import Chip
from penjing.hardware.precision import Precision
from penjing.models.format import FORMATS

KERNELS = [k for k in Kind if not k.is_communication]
COLLECTIVES = [k for k in Kind if k.is_communication and k is not Kind.SEND]
MEASURED = sorted(measured_chips())
PUBLISHED = [
    c
    for c in load_catalogue().chips
    if not c.is_cpu and c.supports(Precision.BF16) and c.memory.bandwidth_bytes_per_s is not None
]
UNPUBLISHED = [c for c in load_catalogue().chips if not c.supports(Precision.BF16) and not c.is_cpu]
nominal = st.floats(min_value=1e-9, max_value=1e3)


def chip(name: str) -> Chip:
    return load_catalogue().find(name).chip


def chain(curves: Efficiency) -> list[str]:
    """The chip itself, its relative, that one's relative, and so on."""
    seen = [curves.measured_on]
    while curves.relative is not None:
        curves = curves.relative
        seen.append(curves.measured_on)
        assert len(seen) <= len(MEASURED)
    return seen


def test_the_measured_chips() -> None:
    assert {"H20", "H800 SXM", "H20-3e", "H100 SXM", "A100 80GB SXM", CPU} <= set(MEASURED)


@pytest.mark.parametrize("name", [n for n in MEASURED if n != CPU])
def test_a_curve_file_names_a_chip_of_the_catalogue(name: str) -> None:
    assert chip(name).name == name


@pytest.mark.parametrize("name", MEASURED)
def test_no_kernel_beats_its_chip(name: str) -> None:
    for key, curve in measured_chips()[name].curves.items():
        assert 0 < curve.compute <= 1, key
        assert 0 < curve.memory <= 1, key
        assert 1 <= curve.sharpness <= 8, key
        assert 0 < curve.overhead_s < 1e-3, key


@pytest.mark.parametrize("name", MEASURED)
def test_no_collective_beats_its_link(name: str) -> None:
    for (kind, ranks), wire in measured_chips()[name].wires.items():
        assert kind.is_communication
        assert ranks >= 2
        assert 0 < wire.efficiency <= 1, (kind, ranks)
        assert 0 < wire.overhead_s < 1e-3, (kind, ranks)


@pytest.mark.parametrize("name", MEASURED)
def test_curves_are_of_kernels_and_of_formats_that_exist(name: str) -> None:
    for kind, lane in measured_chips()[name].curves:
        assert not kind.is_communication
        assert lane in FORMATS


@pytest.mark.parametrize("name", [n for n in MEASURED if n != CPU])
def test_a_fitted_curve_states_its_rows_and_its_error(name: str) -> None:
    curves = measured_chips()[name]
    assert curves.provenance
    for key, curve in curves.curves.items():
        assert curve.rows >= 4, key  # as many as parameters at the least
        assert 0 < curve.median_error < 0.33, key


def test_the_curves_of_a_cpu_say_that_they_are_assumed() -> None:
    assert measured_chips()[CPU].provenance.startswith("assumed")
    assert all(curve.rows == 0 for curve in measured_chips()[CPU].curves.values())


@pytest.mark.parametrize("name", MEASURED)
def test_chains_of_relatives_end_where_every_kernel_was_measured(name: str) -> None:
    curves = measured_chips()[name]
    assert len(set(chain(curves))) == len(chain(curves))
    last = curves
    while last.relative is not None:
        last = last.relative
    for kind in KERNELS:
        if kind is not Kind.ELEMENTWISE:
            assert (kind, "bf16") in last.curves, kind


@pytest.mark.parametrize("one", PUBLISHED, ids=lambda c: c.name)
def test_every_kernel_in_every_format_has_a_curve_on_every_chip(one: Chip) -> None:
    curves = efficiency_of(one)
    for kind in KERNELS:
        for lane in FORMATS:
            assert curves.curve(kind, lane).seconds(1e-3, 1e-3) >= 1e-3


@pytest.mark.parametrize("one", PUBLISHED, ids=lambda c: c.name)
def test_a_chip_that_was_not_measured_says_whose_curves_it_has(one: Chip) -> None:
    curves = efficiency_of(one)
    assert curves.is_derived == (one.name not in MEASURED)
    if one.name in MEASURED:
        assert (curves.measured_on, curves.derived_from) == (one.name, "")
    else:
        assert curves.derived_from == curves.measured_on == nearest_relative(one)
        assert curves == replace(
            measured_chips()[curves.derived_from], derived_from=curves.measured_on
        )


@pytest.mark.parametrize(
    "one", [c for c in load_catalogue().chips if c.is_cpu], ids=lambda c: c.name
)
def test_every_cpu_takes_the_assumed_curves_and_says_so(one: Chip) -> None:
    assert efficiency_of(one) == measured_chips()[CPU] == borrowed_efficiency(one)
    assert efficiency_of(one).is_derived
    assert efficiency_of(one).provenance.startswith("assumed")


@pytest.mark.parametrize("one", UNPUBLISHED, ids=lambda c: c.name)
def test_a_chip_of_unpublished_compute_borrows_from_nobody(one: Chip) -> None:
    with pytest.raises(Unpublished, match="is not published"):
        efficiency_of(one)


@pytest.mark.parametrize(
    ("name", "relative"),
    [
        ("A800 80GB SXM", "A100 80GB SXM"),
        ("H800 PCIe", "H100 SXM"),
        ("H200 NVL", "H200 SXM"),
        ("L20", "L40S"),
        ("RTX 4090D", "L40S"),
        ("RTX 5090D", "RTX PRO 6000"),
        ("MI308X", "H20"),  # alone beside H20 in having so little compute for its bandwidth
        ("B300", "B200"),
        ("Gaudi2", "Arc Pro B60"),  # its own vendor's part, for want of another
        ("Gaudi3", "H100 SXM"),  # which is farther from it than a foreign vendor's
    ],
)
def test_the_nearest_relative(name: str, relative: str) -> None:
    assert nearest_relative(chip(name)) == relative


def test_the_figures_of_a_chip_outweigh_its_architecture_where_they_are_far_off() -> None:
    """H100's balance and bandwidth in an Ada part: L40S is a factor e^1.03 away, H100 e."""
    figures = replace(chip("H100 SXM"), name="twin")
    assert nearest_relative(figures) == "H100 SXM"
    assert nearest_relative(replace(figures, architecture=chip("L40S").architecture)) == "H100 SXM"


@pytest.mark.parametrize("name", [n for n in MEASURED if n != CPU])
def test_curves_as_if_a_chip_had_never_been_measured(name: str) -> None:
    """No kernel of its own, neither first hand nor through what it lent to its relatives."""
    curves = borrowed_efficiency(chip(name))
    assert name not in chain(curves)
    assert curves.is_derived
    assert curves.derived_from == nearest_relative(chip(name))
    for kind in KERNELS:
        assert curves.curve(kind, "bf16") is not None


def test_who_leaned_on_the_chip_left_out_leans_on_its_lender() -> None:
    """H20 borrows from H20-3e, which borrows from H200, H100 and A100 in turn."""
    assert chain(efficiency_of(chip("H20")))[1:3] == ["H20-3e", "H200 SXM"]
    assert chain(borrowed_efficiency(chip("H200 SXM"))) == ["H100 SXM", "A100 80GB SXM"]
    assert chain(borrowed_efficiency(chip("H20-3e"))) == [
        "H20",
        "H200 SXM",
        "H100 SXM",
        "A100 80GB SXM",
    ]


def test_a_missing_format_takes_the_kernel_most_like_it() -> None:
    """H20 was measured in block-scaled FP8 alone; its bf16 product is that of the H20-3e."""
    h20 = efficiency_of(chip("H20"))
    own = h20.curves[Kind.GEMM, "fp8-block"]
    assert h20.curve(Kind.GEMM, "fp8-block") == own
    assert h20.curve(Kind.GEMM, "bf16") == measured_chips()["H20-3e"].curves[Kind.GEMM, "bf16"]


def curves_of(lanes: Mapping[str, float], relative: Efficiency | None = None) -> Efficiency:
    """A chip whose product in each lane reaches that share of its compute."""
    return Efficiency(
        measured_on="here",
        provenance="a test",
        curves={
            (Kind.GEMM, lane): Curve(overhead_s=0.0, compute=share, memory=1.0, sharpness=1.0)
            for lane, share in lanes.items()
        },
        wires={},
        relative=relative,
    )


@pytest.mark.parametrize(
    ("lane", "found"),
    [
        ("fp8", "fp8"),
        ("fp8-block", "fp8"),
        ("mxfp8", "fp8"),
        ("int8", "fp8"),  # the same rate, the same layout
        ("mxfp4", "int4"),
        ("q4_k_m", "int4"),
        ("nvfp4", "fp8"),
        ("q8_0", "bf16"),
        ("fp32", "bf16"),
    ],
)
def test_formats_fall_back_to_kin_then_to_bf16(lane: str, found: str) -> None:
    shares = {"bf16": 0.9, "fp8": 0.2, "int4": 0.4}
    assert curves_of(shares).curve(Kind.GEMM, lane).compute == shares[found]


@pytest.mark.parametrize("lane", list(FORMATS))
def test_every_format_ends_in_bf16(lane: str) -> None:
    assert curves_of({"bf16": 0.9}).curve(Kind.GEMM, lane).compute == 0.9


def test_the_format_of_a_relative_comes_before_another_format_of_ones_own() -> None:
    curves = curves_of({"bf16": 0.8}, curves_of({"bf16": 0.9, "fp8": 0.5}))
    assert curves.curve(Kind.GEMM, "fp8").compute == 0.5
    assert curves.curve(Kind.GEMM, "bf16").compute == 0.8


def test_a_kernel_that_nobody_measured_is_our_bug() -> None:
    with pytest.raises(AssertionError, match="curves of here lack grouped-gemm in bf16"):
        curves_of({"bf16": 0.9}).curve(Kind.GROUPED_GEMM, "fp8")


@pytest.mark.parametrize("name", MEASURED)
def test_an_elementwise_kernel_is_a_product_without_its_product(name: str) -> None:
    curves = measured_chips()[name]
    assert curves.curve(Kind.ELEMENTWISE, "fp8") == curves.curve(Kind.GEMM, "bf16")


def test_a_collective_takes_the_nearest_smaller_group() -> None:
    wires = {(Kind.ALL_REDUCE, n): WireCurve(overhead_s=n * 1e-6, efficiency=0.5) for n in (2, 4)}
    curves = Efficiency(measured_on="here", provenance="", curves={}, wires=wires)
    for ranks, expected in ((1, 2), (2, 2), (3, 2), (4, 4), (72, 4)):
        found = curves.wire(Kind.ALL_REDUCE, ranks)
        assert found == wires[Kind.ALL_REDUCE, expected]
    assert curves.wire(Kind.ALL_GATHER, 4) is None
    below = Efficiency(measured_on="b", provenance="", curves={}, wires={}, relative=curves)
    assert below.wire(Kind.ALL_REDUCE, 4) == wires[Kind.ALL_REDUCE, 4]


@pytest.mark.parametrize("name", ["H20", "H800 SXM", "A100 80GB SXM", "GB200"])
@pytest.mark.parametrize("kind", COLLECTIVES)
def test_the_chips_people_cluster_have_every_collective(name: str, kind: Kind) -> None:
    assert efficiency_of(chip(name)).wire(kind, 8) is not None


@given(compute_s=nominal, memory_s=nominal, p=st.floats(min_value=1.0, max_value=8.0))
def test_a_curve_lies_between_the_larger_part_and_the_sum(
    compute_s: float, memory_s: float, p: float
) -> None:
    curve = Curve(overhead_s=1e-6, compute=0.8, memory=0.7, sharpness=p)
    parts = compute_s / 0.8, memory_s / 0.7
    seconds = curve.seconds(compute_s, memory_s) - 1e-6
    assert max(parts) * (1 - 1e-6) - 1e-12 <= seconds <= sum(parts) * (1 + 1e-6) + 1e-12


@given(compute_s=nominal, memory_s=nominal, more=st.floats(min_value=1.0, max_value=100.0))
def test_more_work_never_takes_less_time(compute_s: float, memory_s: float, more: float) -> None:
    curve = Curve(overhead_s=1e-6, compute=0.8, memory=0.7, sharpness=3.0)
    base = float(curve.seconds(compute_s, memory_s)) * (1 - 1e-12)
    assert curve.seconds(compute_s * more, memory_s) >= base
    assert curve.seconds(compute_s, memory_s * more) >= base


def test_sharpness_says_how_far_compute_and_memory_overlap() -> None:
    def seconds(p: float) -> float:
        return float(Curve(overhead_s=0, compute=1, memory=1, sharpness=p).seconds(1.0, 1.0))

    assert seconds(1.0) == 2.0
    assert seconds(2.0) == pytest.approx(math.sqrt(2))
    assert seconds(8.0) < 1.1


def test_no_work_is_the_overhead() -> None:
    curve = Curve(overhead_s=7e-6, compute=0.5, memory=0.5, sharpness=2.0)
    assert curve.seconds(0.0, 0.0) == 7e-6
    assert np.array_equal(curve.seconds(np.zeros(3), np.zeros(3)), np.full(3, 7e-6))
