from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.cost.efficiency import CPU
from penjing.cost.interval import Metric, interval_of
from penjing.cost.roofline import Hardware
from penjing.hardware.chip import Chip
from penjing.plan.plan import Basis, Predicted
from penjing.plan.predicted import basis_of, inverse, predicted, provenance, times

FindChip = Callable[[str], Chip]
positive = st.floats(min_value=1e-6, max_value=1e6)


def processor(chip: Chip) -> Hardware:
    return Hardware.of(replace(chip, name="here", architecture="cpu-x86", is_cpu=True))


def test_a_figure_stands_on_the_weakest_of_its_chips(chip: FindChip) -> None:
    h20, l20 = Hardware.of(chip("H20")), Hardware.of(chip("L20"))
    cpu = processor(chip("Xeon 6980P"))
    assert cpu.efficiency.measured_on == CPU
    assert basis_of([h20]) is Basis.MEASURED
    assert basis_of([l20]) is Basis.DERIVED
    assert basis_of([cpu]) is Basis.ASSUMED
    assert basis_of([h20, l20]) is basis_of([l20, h20]) is Basis.DERIVED
    assert basis_of([h20, cpu, l20]) is Basis.ASSUMED


def test_one_line_a_chip_says_whose_kernels_its_times_rest_on(chip: FindChip) -> None:
    h20, l20 = Hardware.of(chip("H20"), 8), Hardware.of(chip("L20"))
    lines = provenance([h20, l20, h20, processor(chip("Xeon 6980P"))])
    assert len(lines) == 3
    assert lines[0].startswith("H20: kernels measured on it (")
    assert lines[1].startswith(f"L20: never measured; takes the efficiency of {_relative(l20)}, ")
    assert lines[2].startswith("here: efficiency is ")


def _relative(hardware: Hardware) -> str:
    assert hardware.efficiency.derived_from
    return hardware.efficiency.derived_from


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("basis", Basis)
@given(value=positive)
def test_the_interval_is_that_of_the_metric_and_the_ground(
    metric: Metric, basis: Basis, value: float
) -> None:
    found = predicted(value, metric, basis)
    spread = interval_of(metric, derived=basis is not Basis.MEASURED)
    assert (found.value, found.basis) == (value, basis)
    assert found.low == value * spread.low
    assert found.high == value * spread.high
    assert 0 < found.low < found.high


@given(value=positive, low=st.floats(0.01, 1.0), high=st.floats(1.0, 100.0), amount=positive)
def test_an_inverse_turns_the_interval_round(
    value: float, low: float, high: float, amount: float
) -> None:
    rate = Predicted(value=value, low=value * low, high=value * high, basis=Basis.DERIVED)
    cost = inverse(rate, amount)
    assert cost.low is not None
    assert cost.high is not None
    assert cost.basis is Basis.DERIVED
    assert cost.value == pytest.approx(amount / value)
    assert cost.low <= cost.value * (1 + 1e-12)
    assert cost.value <= cost.high * (1 + 1e-12)
    back = inverse(cost, amount)
    assert back.value == pytest.approx(value)
    assert back.low == pytest.approx(rate.low)
    assert back.high == pytest.approx(rate.high)


@given(value=positive, factor=positive)
def test_another_unit_stretches_all_three_alike(value: float, factor: float) -> None:
    rate = Predicted(value=value, low=value / 2, high=value * 2, basis=Basis.MEASURED)
    found = times(rate, factor)
    assert found.value == value * factor
    assert found.low == value / 2 * factor
    assert found.high == value * 2 * factor
    assert found.basis is Basis.MEASURED


def test_what_has_no_interval_keeps_none() -> None:
    bare = Predicted(value=4.0, basis=Basis.ASSUMED)
    assert times(bare, 2.0) == Predicted(value=8.0, basis=Basis.ASSUMED)
    assert inverse(bare, 2.0) == Predicted(value=0.5, basis=Basis.ASSUMED)
    zero = Predicted(value=4.0, low=0.0, high=8.0, basis=Basis.ASSUMED)
    assert inverse(zero, 2.0) == Predicted(value=0.5, low=0.25, high=None, basis=Basis.ASSUMED)
