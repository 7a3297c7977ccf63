"""Answers as people and data sets write them, and what is none."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.math_reader import MAX_CHARS, read
from penjing.tasks.math_tree import NotAValue, Op

# Self-made, in the forms that answers of MATH, GSM8K and AIME have.
VALUES = [
    "18", "-7", "1,234", "0.25", r"\frac{3}{4}", r"\tfrac34", "3/4", r"2\frac{1}{3}", r"\$18",
    "$18", "18 dollars", r"18\text{ cm}", r"18 \text{ square feet}", r"5\text{ cm}^2", r"90^\circ",
    r"50\%", "50%", r"\sqrt{2}", r"3\sqrt{5}", r"\frac{1+\sqrt{5}}{2}", r"\sqrt[3]{7}", r"\pi",
    r"\frac{\pi}{6}", r"4\pi+2", "2^{100}", r"6.02\times10^{23}", "x", "x = 5", "x=-1", "2x+3",
    "x^2-2x+1", r"\frac{x+1}{x-1}", "(1,2)", r"\left(\frac12, -3\right)", r"[0,\infty)",
    r"(-\infty,-1)\cup(1,\infty)", r"\{1,2,3\}", "1, 2, 3", "1 and 2", r"2 \pm \sqrt{3}",
    r"\pm 4", "3+4i", "-i", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", "101_2",
    r"2516_{8}", r"\text{Tuesday}", r"\text{(B)}", "B", r"\text{even}", "x > 5", r"-1 \le x < 3",
    "y = 2x + 1", r"\log_2 5", r"\ln 3", r"\sin 20^\circ", "5!", r"\binom{5}{2}", r"\infty",
    r"\emptyset", r"x \in [1,2]", "a_1", "r\\cos\\theta", r"0.\overline{3}", "n!", r"|x|",
    r"\text{18 eggs}", "18 miles/hour", r"f(x) = x^2", r"\frac{7}{2}\text{ inches}",
    "18 miles per hour", "18 km/h", "18 min", "18 years old", r"\$-5", r"-\$5", "50 percent",
    r"\text{June 20}", r"\text{(A), (C)}", "does not exist", "BEE_{16}",
]  # fmt: skip

NO_VALUES = [
    "", " ", "+", "18 19", "18 or", r"\frac{1}", "(1,2", "1e400", r"\int_0^1 x dx",
    r"\sum_{k=1}^3 k", r"\lim_{x\to0} x", "18...", r"1, \ldots, 5", r"\approx 3.14", "18 times 2",
    "about 18", "18 thousand", "two million and 5 / 3 more", r"\lfloor 2.5 \rfloor", "[0][0]",
    "__import__('os')", "eval('18')", "18 if True else 0", r"\det(1)", "3 dozen",
    "²", "1;2;;3", r"\text{18} \text{or} 19 20", "1/2/3", "x/y/z", "2/3 1/2",
    r"\text{18, not 19}", "min(3, 4)",
]  # fmt: skip


@pytest.mark.parametrize("text", VALUES)
def test_values_are_read(text: str) -> None:
    read(text)


@pytest.mark.parametrize("text", NO_VALUES)
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(NotAValue):
        read(text)


@pytest.mark.parametrize(
    ("text", "op"),
    [
        (r"\text{18 eggs}", Op.UNIT),
        ("1 2/3", Op.MIXED),
        ("x/2", Op.QUOTIENT),
        ("2^-1", Op.POWER),
        ("1 and 2", Op.LIST),
        ("[1,2)", Op.BRACKETS),
        (r"x \ne 5", Op.RELATION),
        ("50 percent", Op.PERCENT),
        ("50%", Op.PERCENT),
        ("1 day", Op.UNIT),
        ("yes", Op.PRODUCT),
        ("no solution", Op.TEXT),
        (r"\text{June 20}", Op.TEXT),
        (r"\text{A, C}", Op.LIST),
        ("even and odd", Op.LIST),
    ],
)
def test_kinds(text: str, op: Op) -> None:
    assert read(text).op is op


def test_tex_takes_one_digit() -> None:
    assert read(r"\frac12") == read(r"\frac{1}{2}")
    with pytest.raises(NotAValue, match="'3' has no meaning"):
        read(r"\frac123")


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(NotAValue):
        read(text)


@given(st.lists(st.sampled_from([r"\frac", "{", "}", "(", ")", "2", "x", "^", "_", "+", ",", "\\",
                                 r"\sqrt", r"\text{", "!", "=", "|", r"\begin{pmatrix}", "&"]),
                max_size=60))  # fmt: skip
def test_any_pile_of_signs_is_read_or_refused(pile: list[str]) -> None:
    with suppress(NotAValue):
        read("".join(pile))


@pytest.mark.parametrize(
    "text",
    ["(" * 900, "{" * 1900, "{" * 10**5, "-" * 1999, "2^" * 900 + "2", r"\frac{1}{" * 200,
     "9!" * 900, "1" + "/1" * 900, "x" + "/x" * 900, "1 " * 900],
)  # fmt: skip
def test_deep_and_long_ones_are_refused_soon(text: str) -> None:
    began = time.process_time()
    with pytest.raises(NotAValue):
        read(text)
    assert time.process_time() - began < 0.2  # some 5 ms on a quiet machine


def test_a_length_is_named() -> None:
    with pytest.raises(NotAValue, match=f"{MAX_CHARS + 1} characters are no answer; at most"):
        read("1" * (MAX_CHARS + 1))
