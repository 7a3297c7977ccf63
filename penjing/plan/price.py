"""What an hour of a chip costs: as given, as rented, or as bought and written off."""

from collections.abc import Mapping
from dataclasses import dataclass

from penjing.errors import BadQuantity
from penjing.hardware.budget import Budget
from penjing.hardware.catalogue import Catalogue
from penjing.hardware.chip import Chip
from penjing.units import parse_usd_per_hour

WRITE_OFF_YEARS = 3
HOURS_A_YEAR = 8760
_MOST_USD_PER_H = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Price:
    """US dollars for an hour of one chip, and where the figure comes from."""

    chip: str
    usd_per_h: float
    source: str
    is_assumed: bool = False  # arithmetic on a purchase price


def prices(budget: Budget, given: Mapping[Chip, float]) -> dict[Chip, Price]:
    """A price for each chip that has one; a chip without is absent."""
    found = {c.chip: _price(c.chip, given.get(c.chip)) for c in budget.clusters}
    return {chip: price for chip, price in found.items() if price is not None}


def parse_prices(texts: list[str], budget: Budget, catalogue: Catalogue) -> dict[Chip, float]:
    """``1.30`` for every chip of the budget, or ``H20=1.30`` for one."""
    chips = [cluster.chip for cluster in budget.clusters]
    found: dict[Chip, float] = {}
    for text in texts:
        name, separator, amount = text.rpartition("=")
        usd_per_h = parse_usd_per_hour(amount, "--price")
        if usd_per_h > _MOST_USD_PER_H:
            raise BadQuantity(
                f"--price {text!r}: more than {_MOST_USD_PER_H:,} USD a chip-hour; check the number"
            )
        # By name: what is had may differ from the catalogue's in a link or in its real memory.
        known = catalogue.find(name).chip.name if separator else ""
        named = [chip for chip in chips if chip.name == known or not separator]
        if not named:
            raise BadQuantity(f"--price {text!r}: the chips are {budget}")
        found |= dict.fromkeys(named, usd_per_h)
    return found


def price_line(chip: Chip, known: Mapping[Chip, Price]) -> str:
    """One line for the reader of a plan."""
    if chip not in known:
        return f"{chip.name}: no price known; give one with --price"
    return f"{chip.name}: {known[chip].usd_per_h:.2f} USD a chip-hour, {known[chip].source}"


def _price(chip: Chip, given: float | None) -> Price | None:
    if given is not None:
        return Price(chip=chip.name, usd_per_h=given, source="given")
    dated = f", {chip.price_date}" if chip.price_date else ""
    if chip.rental_usd_per_h is not None:
        figure = chip.rental_usd_per_h
        source = f"rental, {', '.join(figure.source)} ({figure.confidence}{dated})"
        return Price(chip=chip.name, usd_per_h=figure.value, source=source)
    if chip.price_usd is None:
        return None
    figure = chip.price_usd
    return Price(
        chip=chip.name,
        usd_per_h=figure.value / (WRITE_OFF_YEARS * HOURS_A_YEAR),
        source=(
            f"bought at {figure.text} ({figure.confidence}{dated}) and written off in "
            f"{WRITE_OFF_YEARS} years; host, power and space not counted"
        ),
        is_assumed=True,
    )
