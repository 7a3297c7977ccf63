"""Polynomials written out: a sum of monomials, each of them once."""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from penjing.tasks.expression import Binary, Expression, Name, Negative, NotAnExpression, Number
from penjing.tasks.expression import parse as parse_expression

Powers = tuple[tuple[str, int], ...]  # (variable, exponent), sorted: x**2*y
_MAX_EXPONENT = 1_000


def parse(text: str) -> Mapping[Powers, Fraction]:
    """Coefficients. Raises ``NotAnExpression``, also for products of sums and uncombined terms.

    So the question, which is such a product, is no answer to itself.
    """
    coefficients: dict[Powers, Fraction] = {}
    for term in _terms(parse_expression(text), Fraction(1)):
        coefficient, powers = term
        if powers in coefficients:
            raise NotAnExpression("like terms are not combined")
        coefficients[powers] = coefficient
    if not all(coefficients.values()) and len(coefficients) > 1:
        raise NotAnExpression("a term is zero")
    return coefficients


def _terms(expression: Expression, sign: Fraction) -> Iterator[tuple[Fraction, Powers]]:
    match expression:
        case Binary(operator="+" | "-" as operator, left=left, right=right):
            yield from _terms(left, sign)
            coefficient, powers = _monomial(right)
            yield (coefficient * sign if operator == "+" else -coefficient * sign), powers
        case _:
            coefficient, powers = _monomial(expression)
            yield coefficient * sign, powers


def _monomial(expression: Expression) -> tuple[Fraction, Powers]:
    match expression:
        case Number():
            return expression.value, ()
        case Name(name=name):
            return Fraction(1), ((name, 1),)
        case Negative(of=of):
            coefficient, powers = _monomial(of)
            return -coefficient, powers
        case Binary(operator="**", left=Name(name=name), right=Number(digits=digits)):
            return Fraction(1), ((name, _exponent(digits)),)
        case Binary(operator="*", left=left, right=right):
            return _product(_monomial(left), _monomial(right))
        case _:
            raise NotAnExpression("it is not written out as a sum of monomials")


def _exponent(digits: str) -> int:
    if not digits.isdigit() or len(digits) > 4 or not 0 < int(digits) <= _MAX_EXPONENT:
        raise NotAnExpression(f"{digits[:10]} is no exponent from 1 to {_MAX_EXPONENT}")
    return int(digits)


def _product(
    left: tuple[Fraction, Powers], right: tuple[Fraction, Powers]
) -> tuple[Fraction, Powers]:
    """A number and powers of variables, no number twice: ``2*3*x`` is not worked out."""
    if not left[1] and not right[1]:
        raise NotAnExpression("a product of numbers is not worked out")
    powers = dict(left[1])
    for name, exponent in right[1]:
        if name in powers:
            raise NotAnExpression(f"{name} stands twice in a term")
        powers[name] = exponent
    return left[0] * right[0], tuple(sorted(powers.items()))
