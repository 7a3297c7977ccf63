import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.code_output import is_same_output

TOLERANCE = 1e-6


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ("6\n", "6"),
        ("6", "6\n\n\n"),
        ("1 2 3\n4\n", "1  2\t3 \r\n 4"),
        ("", "\n \n"),
        ("0.333333333", "0.3333334"),
        ("-2.0", "-2"),
        ("1.50", "1.5e0"),
        ("1000000.0", "1000000.9"),
        ("0.0", "0.0000000000"),
        ("Case #1: 2.5", "Case #1: 2.50"),
    ],
)
def test_the_same(expected: str, got: str) -> None:
    assert is_same_output(expected, got, TOLERANCE)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ("6", "6.0"),
        ("6", "06"),
        ("6", "+6"),
        ("6", "6 6"),
        ("6", "6\n6"),
        ("6", ""),
        ("", "6"),
        ("a\nb", "a b"),
        ("a b", "a\nb"),
        ("a\n\nb", "a\nb"),
        ("6", "\n6"),
        ("YES", "Yes"),
        ("0.5", "0.50001"),
        ("0.0", "0.000001"),
        ("0.5", "nan"),
        ("0.5", "inf"),
        ("0.5", "1/2"),
        ("0.5", "0.5_0"),
        ("0.5", "5e"),
        ("0.5", "\u0660.\u0665"),
        ("0.5", "0x0.8p0"),
        ("1.0", "1.0" + "0" * 1000 + "x"),
        ("v1.0", "v1.00"),
        ("6", "6\0"),
        ("6", "\uff16"),
    ],
)
def test_not_the_same(expected: str, got: str) -> None:
    assert not is_same_output(expected, got, TOLERANCE)


def test_without_a_tolerance_fractions_are_words() -> None:
    assert is_same_output("0.5", "0.5", None)
    assert not is_same_output("0.5", "0.50", None)


@given(st.text())
def test_a_text_is_like_itself(text: str) -> None:
    assert is_same_output(text, text, None)
    assert is_same_output(text, text + " \n", TOLERANCE)


@given(st.floats(1e-3, 1e9), st.floats(-3e-6, 3e-6))
def test_the_tolerance_is_relative(value: float, off: float) -> None:
    if not 0.98e-6 < abs(off) < 1.02e-6:
        expected, got = f"{value:.12f}", f"{value * (1 + off):.12f}"
        assert is_same_output(expected, got, TOLERANCE) == (abs(off) < 1e-6)
