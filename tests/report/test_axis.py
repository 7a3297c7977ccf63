"""Round numbers, and places inside the paper."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penjing.report.axis import Axis, domain, round_numbers

FIGURES = st.floats(-1e9, 1e9)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.5, 1]),
        (0, 100, [0, 50, 100]),
        (1, 30, [10, 20, 30]),
        (0, 0.03, [0, 0.01, 0.02, 0.03]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (1, 10_400, [5000, 10_000]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert round_numbers(low, high, 4) == pytest.approx(ticks)


@given(st.lists(FIGURES, min_size=1))
def test_ends_hold_every_figure_and_not_much_more(values: list[float]) -> None:
    low, high = domain(values)
    assume(max(values) - min(values) > 1e-6 * max(map(abs, values)))
    slack = 1e-6 * (high - low)
    assert low <= min(values) + slack
    assert high >= max(values) - slack
    assert high - low <= 1.6 * (max(values) - min(values))


def test_ends_of_little() -> None:
    assert domain([]) == (0.0, 1.0)
    assert domain([3.0]) == (3.0, 4.0)
    assert domain([-3.0]) == (-4.0, -3.0)
    assert domain([0.4, 0.9], least=0.0) == pytest.approx((0.0, 1.0))


@given(FIGURES, FIGURES, FIGURES)
def test_places_lie_on_the_paper(low: float, high: float, value: float) -> None:
    assume(high - low > 1e-6)
    axis = Axis(low=low, high=high, first=100.0, last=8.0)  # upright: the low end is below
    assert 8.0 <= axis.place(value) <= 100.0
    assert axis.place(low) == 100.0
    assert axis.place(high) == 8.0
