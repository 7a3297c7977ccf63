"""What an answer leaves to work out."""

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.evaluated import leftovers
from penjing.tasks.math_reader import read

DONE = [
    "18", "-18", "18.50", r"\frac{3}{4}", r"1\frac12", r"6.02\times10^{23}", r"2\sqrt{3}",
    r"\frac{1+\sqrt5}{2}", r"\frac{\sqrt{2}}{2}", r"4\pi", r"\frac{\pi}{6}", "x^2+2x+1", "3+4i",
    "2^{100}", "(1,2)", r"[0,\infty)", r"\{1,2\}", r"2\pm\sqrt3", r"\text{even}", r"18\text{ cm}",
    r"90^\circ", r"\sqrt[3]{7}", "x+y", r"\frac{x}{2}", r"1+\sqrt2+\sqrt3", "2x^2y", "(-1)^n",
    r"3\cdot2^n", r"\frac{-x}{2}", r"\frac{1}{2}x", "2e^{x}", r"-\frac{1}{2}+\frac{\sqrt3}{2}i",
    r"3(4\pi-3\sqrt3)", r"\sqrt{999999937}",
]  # fmt: skip
UNDONE = {
    "17*23": "product",
    "17+1": "sum",
    "20-2": "sum",
    "36/2": "quotient",
    r"\frac{2}{4}": "quotient",
    r"\sqrt{16}": "root",
    r"\sqrt{12}": "root",
    "2^3": "power",
    "18^1": "power",
    "4!": "factorial",
    r"\gcd(24,36)": "gcd",
    r"\binom{5}{2}": "binom",
    r"\log_2 8": "log_",
    r"\sin 0": "sin",
    "18%": "percent",
    "101_2": "number in another base",
    "x+x": "sum",
    "-(-18)": "sign",
    "2x+3x": "sum",
    "(x+1)(x+2)": "expansion",
    "(x+1)^2": "expansion",
    r"2\sqrt3+\sqrt3": "sum",
    r"\sqrt2\sqrt3": "product",
    r"\frac{1}{1+\sqrt2}": "quotient",
    "x-1=17": "relation =",
    "|-18|": "abs",
    r"\frac{\frac12}{3}": "quotient",
    "18*1": "product",
    "lambda: 18": "relation :",
    r"\frac{d}{dx}(18x)": "quotient of variables",
    "18+0": "sum",
    "x+0": "sum",
    r"18+0\pi": "product",
    "18+0i": "product",
    r"17+e^{0\pi}": "product",
    "17+1^x": "power",
    "17+x^0": "power",
    r"17+\pi^{0}": "power",
    r"\pi\cdot\frac{18}{\pi}": "product",
    r"17+\pi\cdot\frac1\pi": "product",
    r"\frac{18\pi^2}{\pi}": "quotient",
    r"2(3\pi)": "product",
    r"2(-3\pi)": "product",
    "(2x)(3x)": "product",
    r"\sqrt2(3\sqrt5)": "product",
    r"4\cdot\frac{x}{2}": "product",
    "1(x+2)": "product",
    r"x^2\cdot\frac{x+2}{2}": "expansion",
    r"\sqrt{10^{10}}": "root",
    r"\sqrt{10000000000}": "root",
}


@pytest.mark.parametrize("text", DONE)
def test_values_leave_nothing(text: str) -> None:
    assert leftovers(read(text)) == frozenset()


@pytest.mark.parametrize("text", sorted(UNDONE))
def test_what_is_left_is_named(text: str) -> None:
    assert UNDONE[text] in leftovers(read(text))


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.sampled_from(["+", "-", "*", r"\times "]))
def test_two_numbers_and_a_sign_are_no_answer(a: int, b: int, sign: str) -> None:
    assert leftovers(read(f"{a}{sign}{b}"))


@given(st.integers(-999, 999), st.integers(1, 999))
def test_a_fraction_is_one_when_it_is_reduced(over: int, under: int) -> None:
    is_reduced = under > 1 and Fraction(over, under).denominator == under
    assert (not leftovers(read(f"{over}/{under}"))) is is_reduced
    assert (not leftovers(read(rf"\frac{{{over}}}{{{under}}}"))) is is_reduced


@given(st.integers(2, 30_000), st.integers(2, 30_000))
def test_a_root_is_one_when_no_square_divides_it(a: int, b: int) -> None:
    assert leftovers(read(rf"\sqrt{{{a * a * b}}}")) == {"root"}


@pytest.mark.parametrize("root", [r"\sqrt{999999937}", r"\sqrt{99999999999973}", r"\sqrt[3]{7}"])
def test_many_roots_take_little_time(root: str) -> None:
    began = time.process_time()
    leftovers(read(",".join([root] * 80)))
    assert time.process_time() - began < 0.3  # some 20 ms on a quiet machine


@given(st.integers(-(10**30), 10**30))
def test_numbers_are(value: int) -> None:
    assert not leftovers(read(str(value)))
    assert not leftovers(read(f"{value}.00"))
