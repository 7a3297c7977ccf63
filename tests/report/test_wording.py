"""How figures are written."""

import pytest

from penjing.report.wording import between, counted, percent, plain, points, share_tick, tick


def test_shares() -> None:
    assert percent(0.1234) == "12.3\u202f%"
    assert percent(1.0, 0) == "100\u202f%"
    assert between(0.1, 0.256) == "10.0 to 25.6"
    assert points(-0.0312) == "\u22123.1"
    assert points(0.0312) == "3.1"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (12.345, "12.3"),
        (1234.5, "1,234"),
        (0.00012, "1.2e\u221204"),
        (-2.5, "\u22122.5"),
    ],
)
def test_plain_figures(value: float, said: str) -> None:
    assert plain(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.1 + 0.2, "0.3"), (2000, "2k"), (1.5e6, "1.5M"), (-0.5, "\u22120.5"), (0, "0")],
)
def test_ticks_are_short(value: float, said: str) -> None:
    assert tick(value) == said
    assert share_tick(0.07) == "7%"


def test_counts() -> None:
    assert counted(1, "step") == "1 step"
    assert counted(2000, "step") == "2,000 steps"
