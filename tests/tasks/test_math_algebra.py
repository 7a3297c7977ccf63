"""Equality by values: what is equal, what is near, and what cannot be told."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.tasks.math_algebra import TooLarge, expression, judged, same
from penjing.tasks.math_reader import read

EQUAL = [
    (r"\frac{\sqrt2}{2}", r"\frac{1}{\sqrt2}"), ("x^2+1", "1+x^2"), ("3+4i", "4i+3"),
    (r"2\sqrt3", r"\sqrt{12}"), (r"\frac{\pi}{2}", r"\frac{2\pi}{4}"), ("x^2-1", "(x-1)(x+1)"),
    ("-2", r"\sqrt[3]{-8}"), (r"(1,\frac{\sqrt2}{2})", r"(1,\frac{1}{\sqrt2})"),
    (r"[0,2\sqrt2]", r"[0,\sqrt8]"), (r"\frac{x}{2}", "0.5x"), ("y=2x+1", "2x-y+1=0"),
    ("2y=4x+2", "y=2x+1"), ("ab", r"b \cdot a"), (r"\frac{1+\sqrt5}{2}", r"\frac{\sqrt5+1}{2}"),
    (r"3\pm2\sqrt2", r"3-2\sqrt2, 3+2\sqrt2"), ("2", r"\log_2 4"), ("2", r"\lg 100"),
    ("120", "5!"), ("10", r"\binom{5}{2}"), (r"\cos 20^\circ", r"\sin 70^\circ"),
    (r"\begin{pmatrix}\sqrt4\end{pmatrix}", r"\begin{pmatrix}2\end{pmatrix}"), ("x < 5", "5 > x"),
    (r"\sqrt{3+2\sqrt2}", r"1+\sqrt2"), (r"|x|", r"\sqrt{x^2}"),
]  # fmt: skip
UNEQUAL = [
    (r"\frac{\pi}{2}", "1.5707963267948966192313216916397514420985846996875529104874"),
    ("y=2x+2", "2x-y+1=0"), ("x < 5", "x > 5"), ("y = 5", "x = 5"), (r"\infty", r"-\infty"),
    ("x", "y"), (r"\sqrt{x^2}", "x"), ("x^2", "x^3"), (r"\sqrt2", "1.414"),
    ("f(x)=x^2", "f(x)=x^3"),
    ("1", r"\frac{1}{0}"), ("e^{3}", "20.0855369231876677"), ("2^{100}", "2^{100}+1"), ("5m", "5"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_equal(a: str, b: str) -> None:
    from penjing.tasks.math_match import equal

    assert equal(read(a), read(b), same) is True
    assert equal(read(a), read(a), same) is True


@pytest.mark.parametrize(("a", "b"), UNEQUAL)
def test_unequal(a: str, b: str) -> None:
    from penjing.tasks.math_match import equal

    assert equal(read(a), read(b), same) is False
    assert equal(read(b), read(a), same) is False


@pytest.mark.parametrize(
    "text",
    ["9^{9^{9}}", "9^{9^{9^{9}}}", "9999999!", r"\binom{10^{9}}{10^{8}}", "2^{3^{4^{5^{6}}}}"],
)
def test_what_has_too_many_digits_is_left_undecided(text: str) -> None:
    assert same(read(text), read("5")) is None
    with pytest.raises(TooLarge):
        expression(read(text))


def test_as_a_worker_is_asked() -> None:
    def asked(answer: str, reference: str) -> dict[str, str | None]:
        return judged({"answer": answer, "reference": reference, "question": "What is it?"})

    assert asked("x+1", "1+x") == {"verdict": "correct", "why": "equal"}
    assert asked("5", "9^{9^{9}}")["verdict"] is None
    assert asked(r"\sqrt{16}", "4")["verdict"] == "wrong"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=4), st.integers(1, 9))
def test_a_polynomial_equals_its_terms_in_any_order(factors: list[int], more: int) -> None:
    terms = [f"{c}x^{{{i}}}" for i, c in enumerate(factors, 2)]
    forth, back = (
        read("1+" + "+".join(f"({t})" for t in terms)),
        read("+".join(f"({t})" for t in reversed(terms)) + "+1"),
    )
    assert same(forth, back) is True
    assert same(forth, read("+".join(f"({t})" for t in terms) + f"+1+{more}")) is False
