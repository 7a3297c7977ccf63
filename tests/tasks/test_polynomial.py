"""Written-out polynomials, and what only looks like one."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.expression import NotAnExpression
from penjing.tasks.polynomial import parse


def test_coefficients() -> None:
    assert parse("-638*x**2 + 781*x - 3") == {
        (("x", 2),): -638,
        (("x", 1),): 781,
        (): -3,
    }
    assert parse("3*x*y**2 - x") == {(("x", 1), ("y", 2)): 3, (("x", 1),): -1}
    assert parse("-x**2") == {(("x", 2),): -1}
    assert parse("0") == {(): 0}


@given(st.dictionaries(st.integers(1, 9), st.integers(-99, 99).filter(bool), min_size=1), st.data())
def test_the_order_of_terms_is_free(terms: dict[int, int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(sorted(terms)))
    text = " + ".join(f"{terms[e]}*z**{e}" for e in order)
    assert parse(text) == {(("z", e),): Fraction(c) for e, c in terms.items()}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(x + 1)*(x + 2)", "not written out"),
        ("x*(x + 1)", "not written out"),
        ("(x + 1)**2", "not written out"),
        ("x + x", "like terms"),
        ("1 + 2", "like terms"),
        ("x*x", "stands twice"),
        ("2*3*x", "not worked out"),
        ("0*x + 1", "a term is zero"),
        ("x**0", "no exponent"),
        ("x**99999", "no exponent"),
        ("x**9**9**9", "not written out"),
        ("x/2", "not written out"),
        ("f(x)", "not written out"),
        ("x - (x - 1)", "not written out"),
    ],
)
def test_what_is_none(text: str, reason: str) -> None:
    with pytest.raises(NotAnExpression, match=reason):
        parse(text)
