"""All digits, and the same number."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.plain_number import plain_number


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (3.0, "3"), (-0.5, "-0.5"), (1e-07, "0.0000001"), (1e22, "1" + "0" * 22)],
)
def test_known_numbers(value: float, text: str) -> None:
    assert plain_number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_digit_is_lost(value: float) -> None:
    text = plain_number(value)
    assert float(text) == value
    assert set(text) <= set("-.0123456789")


@given(st.integers(min_value=-(10**500), max_value=10**500))
def test_whole_numbers_may_be_too_big_for_a_float(value: int) -> None:
    assert Decimal(plain_number(value)) == value
