"""Figures with their interval, and where they come from."""

from collections.abc import Iterable

from penjing.cost.efficiency import CPU, Efficiency
from penjing.cost.interval import Metric, interval_of
from penjing.cost.roofline import Hardware
from penjing.plan.plan import Basis, Predicted

_WORST_LAST = (Basis.MEASURED, Basis.DERIVED, Basis.ASSUMED)


def basis_of(hardware: Iterable[Hardware]) -> Basis:
    """The weakest ground that any of the chips stands on."""
    return max((_basis(h.efficiency) for h in hardware), key=_WORST_LAST.index)


def predicted(value: float, metric: Metric, basis: Basis) -> Predicted:
    """``value`` with the interval that errors on public measurements give it."""
    spread = interval_of(metric, derived=basis is not Basis.MEASURED)
    return Predicted(value=value, low=value * spread.low, high=value * spread.high, basis=basis)


def inverse(rate: Predicted, amount: float) -> Predicted:
    """``amount`` / rate, as in dollars an hour over tokens an hour: the interval turns round."""
    return Predicted(
        value=amount / rate.value,
        low=amount / rate.high if rate.high else None,
        high=amount / rate.low if rate.low else None,
        basis=rate.basis,
    )


def times(rate: Predicted, factor: float) -> Predicted:
    """The same figure in another unit."""
    return Predicted(
        value=rate.value * factor,
        low=None if rate.low is None else rate.low * factor,
        high=None if rate.high is None else rate.high * factor,
        basis=rate.basis,
    )


def provenance(hardware: Iterable[Hardware]) -> tuple[str, ...]:
    """One line a chip: whose kernels its times rest on."""
    return tuple(dict.fromkeys(_provenance(h) for h in hardware))


def _basis(efficiency: Efficiency) -> Basis:
    if efficiency.measured_on == CPU:
        return Basis.ASSUMED
    return Basis.DERIVED if efficiency.derived_from else Basis.MEASURED


def _provenance(hardware: Hardware) -> str:
    name, efficiency = hardware.chip.name, hardware.efficiency
    match _basis(efficiency):
        case Basis.MEASURED:
            return f"{name}: kernels measured on it ({efficiency.provenance})"
        case Basis.DERIVED:
            return (
                f"{name}: never measured; takes the efficiency of {efficiency.derived_from}, "
                f"its nearest measured relative ({efficiency.provenance})"
            )
        case Basis.ASSUMED:
            return f"{name}: efficiency is {efficiency.provenance}"
