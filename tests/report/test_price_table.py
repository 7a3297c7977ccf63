"""Costs at R1's size on the page, with what they rest on."""

import re

from penjing.plan.job import TrainJob
from penjing.plan.plan import Basis, Predicted
from penjing.plan.price import Price
from penjing.report.at_scale import ASSUMED, AtScale, Column, Cost, Work
from penjing.report.price_table import money, price_table

JOB = TrainJob(model="deepseek-r1", tokens=1.0, sequence=1, batch=1)
HOUR = Predicted(value=3600.0, low=1800.0, high=7200.0, basis=Basis.MEASURED)
USD = Predicted(value=256.0, low=128.0, high=512.0, basis=Basis.ASSUMED)
SCALE = AtScale(
    works=(Work(stage="zero", kind="reinforce", job=JOB, count=30),),
    columns=(
        Column(
            chip="H800",
            costs=(Cost(seconds=HOUR, usd=USD),),
            price=Price(chip="H800", usd_per_h=2.0, source="as reckoned"),
        ),
        Column(chip="H20", costs=(Cost(why="18 GiB short"),), price=None),
    ),
    left_out={"a": "a smaller model", "b": "a smaller model", "c": "other"},
)


def test_hours_with_their_interval_time_and_dollars() -> None:
    made = price_table(SCALE)
    assert "128<small>64 to 256</small><small>60 min, $256</small>" in made
    assert made.count("128<small>64 to 256") == 2  # the stage, and the whole
    assert "reinforce, 30 steps" in made


def test_what_does_not_fit_says_why() -> None:
    assert '<span class="unfit">no layout fits: 18 GiB short</span>' in price_table(SCALE)


def test_every_assumption_is_on_the_page() -> None:
    said = re.findall(r"<li>(.*?)</li>", price_table(SCALE))
    assert [line for line in said if line in ASSUMED] == list(ASSUMED)
    assert "H800: $2.00 a chip-hour, as reckoned." in said
    assert "H20: no price is known." in said
    assert "Left out: a, b (a smaller model)." in said
    assert "Left out: c (other)." in said


def test_nothing_to_price() -> None:
    assert "nothing can be priced" in price_table(AtScale(works=(), columns=(), left_out={}))


def test_money() -> None:
    assert [money(usd) for usd in (0.5, 12.345, 1234.5)] == ["0.50", "12.35", "1,234"]
