"""Textbook integrals, slips that are near them, and texts that must not run or hang."""

import time

import pytest

from penjing.tasks.antiderivative import is_antiderivative
from penjing.tasks.expression import NotAnExpression, parse


def is_right(answer: str, integrand: str, variable: str = "x") -> bool:
    return is_antiderivative(parse(answer), parse(integrand), variable)


@pytest.mark.parametrize(
    ("answer", "integrand"),
    [
        ("-34*x**8/15 - 5*x/4 + C", "-272*x**7/15 - 5/4"),
        ("x**2", "2*x"),  # without a constant
        ("(x + 1)**2 + 7", "2*x + 2"),
        ("-4*(-2*x - 8)**(3/2)/3 + C", "4*sqrt(-2*x - 8)"),
        ("-2*x**3*cos(x) + 6*x**2*sin(x) + 12*x*cos(x) - 12*sin(x)", "2*x**3*sin(x)"),
        ("x*log(x) - x + C", "ln(x)"),
        ("x*atan(x) - log(x**2 + 1)/2", "atan(x)"),
        ("x*asin(x) + sqrt(1 - x**2)", "asin(x)"),
        ("x*acos(x) - sqrt(1 - x**2)", "acos(x)"),
        ("-log(cos(x))", "tan(x)"),
        ("tan(x)", "1 / cos(x)**2"),
        ("tanh(x) + cosh(x) + sinh(x)", "1/cosh(x)**2 + sinh(x) + cosh(x)"),
        ("E**(2*x)/2", "exp(x)**2"),
        ("2**x/log(2)", "2**x"),
        ("x**x", "x**x*(log(x) + 1)"),
        ("sin(x)**2/2", "sin(x)*cos(x)"),
        ("-cos(x)**2/2 + pi", "sin(x)*cos(x)"),
    ],
)
def test_what_is_right(answer: str, integrand: str) -> None:
    assert is_right(answer, integrand)


@pytest.mark.parametrize(
    ("answer", "integrand"),
    [
        ("x**2 + x/1000000", "2*x"),
        ("2*x", "2*x"),
        ("-cos(x)**2/2", "sin(x)"),
        ("log(x)", "1/(x + 0.000001)"),
        ("C", "x"),
        ("0*x", "x"),
        ("10000000000*x - 10000000000*x", "x"),
    ],
)
def test_what_is_wrong(answer: str, integrand: str) -> None:
    assert not is_right(answer, integrand)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("y**2", "nobody knows 'y'"),
        ("Integral(x)", "nobody knows the function 'Integral'"),
        ("eval(x)", "nobody knows the function 'eval'"),
        ("1/(x - x)", "no value"),
        ("log(x - x)", "no value"),
        ("exp(exp(exp(9 + x)))", "no value"),
        ("x + 9**9**9**9**9", "no value"),
        ("x*" + "9" * 500, "no value"),
        ("(x - x)**(-1)", "no value"),
    ],
)
def test_what_cannot_be_evaluated(answer: str, reason: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(NotAnExpression, match=reason):
        is_right(answer, "2*x")
    assert time.perf_counter() - begun < 1


def test_the_variable_has_any_name() -> None:
    assert is_right("E**2/2", "E", variable="E")
    assert not is_right("E**2/2", "E")  # where it is Euler's number
