import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadQuantity, UnknownName
from penjing.hardware.budget import Budget
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.chip import Chip, Confidence, Figure, Link
from penjing.hardware.cluster import Cluster
from penjing.plan.price import parse_prices, price_line, prices

FindBudget = Callable[[str], Budget]
H20 = load_catalogue().find("H20").chip


def usd(value: float, text: str) -> Figure:
    return Figure(value=value, text=text, source=("a shop",), confidence=Confidence.PRESS)


def priced(*, rental: Figure | None, purchase: Figure | None, date: str = "") -> Budget:
    chip = replace(H20, rental_usd_per_h=rental, price_usd=purchase, price_date=date)
    return Budget(clusters=(Cluster(chip=chip, count=8),))


def only(budget: Budget) -> Chip:
    return budget.clusters[0].chip


def test_rental_comes_before_purchase_and_carries_its_date() -> None:
    budget = priced(rental=usd(1.6, "1.60 USD/h"), purchase=usd(9e3, "9000 USD"), date="2025-03")
    price = prices(budget, {})[only(budget)]
    assert (price.chip, price.usd_per_h) == ("H20", 1.6)
    assert price.source == "rental, a shop (press, 2025-03)"
    assert not price.is_assumed
    assert price_line(only(budget), prices(budget, {})) == (
        "H20: 1.60 USD a chip-hour, rental, a shop (press, 2025-03)"
    )


def test_a_purchase_is_written_off_and_said_to_be_assumed() -> None:
    budget = priced(rental=None, purchase=usd(26_280, "26280 USD"))
    price = prices(budget, {})[only(budget)]
    assert price.usd_per_h == 1.0  # three years of 8,760 hours
    assert price.source == (
        "bought at 26280 USD (press) and written off in 3 years; host, power and space not counted"
    )
    assert price.is_assumed


def test_a_price_that_was_given_comes_before_the_catalogue() -> None:
    budget = priced(rental=usd(1.6, "1.60 USD/h"), purchase=usd(9e3, "9000 USD"))
    price = prices(budget, {only(budget): 0.25})[only(budget)]
    assert (price.usd_per_h, price.source, price.is_assumed) == (0.25, "given", False)


def test_a_chip_without_any_price_is_absent() -> None:
    budget = priced(rental=None, purchase=None)
    assert prices(budget, {}) == {}
    assert price_line(only(budget), {}) == "H20: no price known; give one with --price"


def parsed(texts: list[str], budget: Budget) -> dict[str, float]:
    found = parse_prices(texts, budget, load_catalogue())
    return {chip.name: price for chip, price in found.items()}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], {}),
        (["1.30"], {"H20": 1.3, "L20": 1.3}),
        (["H20=1.30"], {"H20": 1.3}),
        (["h20 = 2", "l20=1"], {"H20": 2.0, "L20": 1.0}),
        (["1", "L20=0.5USD/h"], {"H20": 1.0, "L20": 0.5}),
        (["L20=0.5", "1"], {"H20": 1.0, "L20": 1.0}),  # the later word counts
    ],
)
def test_a_price_for_all_chips_or_for_one(
    budget: FindBudget, texts: list[str], expected: dict[str, float]
) -> None:
    assert parsed(texts, budget("8xH20+8xL20")) == expected


@given(
    price=st.floats(min_value=1e-3, max_value=1e3),
    texts=st.sampled_from([("{}",), ("H20={}",), ("1", "H20={}")]),
)
def test_what_is_given_is_what_is_counted(price: float, texts: tuple[str, ...]) -> None:
    budget = Budget(clusters=(Cluster(chip=H20, count=2),))
    given_usd = parse_prices([t.format(f"{price:f}") for t in texts], budget, load_catalogue())
    assert prices(budget, given_usd)[H20].usd_per_h == float(f"{price:f}")


def test_a_chip_keeps_its_name_whatever_link_or_memory_it_has() -> None:
    """``--network`` and ``here`` give chips that differ from the catalogue's."""
    rate = usd(5e10, "400Gb/s")
    mine = replace(H20, network=Link(name="given", bytes_per_s=rate))
    budget = Budget(clusters=(Cluster(chip=mine, count=8),))
    assert mine != H20
    assert parse_prices(["H20=1.3"], budget, load_catalogue()) == {mine: 1.3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A800=1", "--price 'A800=1': the chips are 8xH20+8xL20"),
        ("0", "--price '0': must be above zero"),
        ("-1", "--price '-1': must be above zero"),
        ("H20=-1", "--price '-1': must be above zero"),
        ("1e305", "--price '1e305': more than 1,000,000 USD a chip-hour; check the number"),
        ("1e999", "--price '1e999': not a finite number"),
        ("cheap", "--price 'cheap': not a number with a unit"),
        ("H20=", "--price '': not a number with a unit"),
        ("1 EUR", "--price '1 EUR' unit 'EUR' is not known; write it with USD/h"),
    ],
)
def test_bad_prices(budget: FindBudget, text: str, message: str) -> None:
    with pytest.raises(BadQuantity, match=f"^{re.escape(message)}$"):
        parsed([text], budget("8xH20+8xL20"))


def test_a_price_for_an_unknown_chip_names_the_nearest(budget: FindBudget) -> None:
    with pytest.raises(UnknownName, match="unknown chip 'H2O'; nearest: H20"):
        parsed(["H2O=1"], budget("8xH20"))
