"""Values of numbers as they are written."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.math_reader import read
from penjing.tasks.math_tree import Node, Op, integer, is_scientific, number, rational


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18),
        ("18.50", Fraction(37, 2)),
        (".5", Fraction(1, 2)),
        ("3.", 3),
        ("0.1(6)", Fraction(1, 6)),
        ("0.(9)", 1),
    ],
)
def test_numbers_are_exact(text: str, value: Fraction) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-18", -18),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"-\frac34", Fraction(-3, 4)),
        (r"1\frac12", Fraction(3, 2)),
        ("6/8", Fraction(3, 4)),
        (r"6.02\times10^{3}", 6020),
        (r"-1.5 \times 10^{-2}", Fraction(-3, 200)),
        (r"0.\overline{3}", Fraction(1, 3)),
    ],
)
def test_rationals_are_told_from_how_they_are_written(text: str, value: Fraction) -> None:
    assert rational(read(text)) == value


@pytest.mark.parametrize("text", [r"\sqrt{4}", "x", r"\pi", "2+3", "2*3", r"\frac{1}{0}", "50%"])
def test_what_would_have_to_be_worked_out_is_no_rational(text: str) -> None:
    assert rational(read(text)) is None


def test_scientific_notation_has_one_digit_before_the_point() -> None:
    assert is_scientific(read(r"9.9\times10^{23}"))
    assert not is_scientific(read(r"99\times10^{23}"))
    assert not is_scientific(read(r"9\times10^{2000}"))
    assert not is_scientific(read(r"9\times2^{3}"))


@given(st.integers(-(10**40), 10**40))
def test_integers(value: int) -> None:
    assert integer(read(str(value))) == value == rational(read(str(value)))


def test_what_stands_in_a_tree() -> None:
    node = read(r"2x + \sqrt{\pi}")
    assert node.has(Op.ROOT)
    assert not node.has(Op.QUOTIENT)
    assert node.has_name("x")
    assert node.is_open
    assert node.variables == {"x"}
    assert not read(r"\pi + e + i").is_open
    assert Node(Op.NAME, (), "x") in set(node.walk())
