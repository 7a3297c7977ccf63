"""Whether two expressions are equal, by values: sympy evaluates both to sixty digits.

Expressions without variables are equal where all those digits are; with variables, where they are
at points that no one would choose (Schwartz, "Fast probabilistic algorithms for verification of
polynomial identities", 1980). An expression is built from our own tree, never from text, so that
nothing a model wrote is run as code. It may still take long: ``math_judge`` runs this in a worker.
"""

from collections.abc import Mapping
from typing import Any

import sympy
from sympy import Expr, Integer, Rational

from penjing.tasks.math_match import match
from penjing.tasks.math_tree import Node, Op, integer, number

DIGITS = 60
_AGREEING = sympy.Float("1e-45", DIGITS)  # relative
_POINTS = 4
_PRIMES = (0.7310585786, -1.3247179572, 2.2955871494, -0.5671432904, 1.9021605831, 0.4142135624)
MAX_DIGITS = 20_000  # of an integer power or factorial
_FUNCTIONS: Mapping[str, Any] = {
    "sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "cot": sympy.cot, "sec": sympy.sec,
    "csc": sympy.csc, "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan,
    "sinh": sympy.sinh, "cosh": sympy.cosh, "tanh": sympy.tanh, "log": sympy.log, "ln": sympy.log,
    "lg": lambda x: sympy.log(x, 10), "exp": sympy.exp, "abs": sympy.Abs, "gcd": sympy.gcd,
    "lcm": sympy.lcm, "max": sympy.Max, "min": sympy.Min, "binom": sympy.binomial,
    "log_": sympy.log,
}  # fmt: skip
_CONSTANTS: Mapping[str, Expr] = {
    "pi": sympy.pi, "e": sympy.E, "i": sympy.I, "oo": sympy.oo,
}  # fmt: skip


class TooLarge(Exception):
    """What would have more digits than anything is compared by."""


def judged(question: Mapping[str, str]) -> dict[str, str | None]:
    """``match`` with algebra, as plain values, for a worker."""
    found = match(question["answer"], question["reference"], same, question=question["question"])
    return {"verdict": None if found.verdict is None else str(found.verdict), "why": found.reason}


def same(a: Node, b: Node) -> bool | None:
    """None where values cannot tell: no point gives finite ones, or they are too large."""
    try:
        if a.op is b.op is Op.RELATION:
            return _same_equation(a, b)
        return _same_value(expression(a), expression(b))
    except TooLarge:
        return None


def _same_equation(a: Node, b: Node) -> bool | None:
    """One side less the other: a multiple of the same of the other equation."""
    ours, theirs = (expression(x.parts[0]) - expression(x.parts[1]) for x in (a, b))
    if not ours.free_symbols or ours.free_symbols != theirs.free_symbols:
        return False
    factors = []
    for point in _points(ours, theirs):
        x, y = _at(ours, point), _at(theirs, point)
        if x is not None and y is not None and x != 0 and y != 0:
            factors.append(x / y)
    if len(factors) < _POINTS - 1:
        return None
    return all(_agree(factor, factors[0]) for factor in factors)


def _same_value(a: Expr, b: Expr) -> bool | None:
    if a == b:
        return True
    if a.is_infinite or b.is_infinite or {a.is_rational, b.is_rational} == {True, False}:
        return False  # a decimal of any length is not pi
    results = []
    for point in _points(a, b):
        x, y = _at(a, point), _at(b, point)
        if x is not None and y is not None:
            results.append(_agree(x, y))
    if not results or (a.free_symbols | b.free_symbols and len(results) < _POINTS - 1):
        return None
    return all(results)


def _points(a: Expr, b: Expr) -> list[dict[Expr, Rational]]:
    """Values for all variables: rational, of both signs, and the same on every machine."""
    names = sorted(a.free_symbols | b.free_symbols, key=str)
    if not names:
        return [{}]
    return [
        {
            name: Rational(int(_PRIMES[(i + j) % len(_PRIMES)] * 10**6) + 101 * i + 13 * j, 10**6)
            for j, name in enumerate(names)
        }
        for i in range(_POINTS)
    ]


def _at(expression: Expr, point: Mapping[Expr, Rational]) -> Expr | None:
    value = expression.subs(point).evalf(DIGITS)
    is_number = value.is_number and value.is_finite is not False
    return value if is_number and not value.has(sympy.nan, sympy.zoo, sympy.oo) else None


def _agree(x: Expr, y: Expr) -> bool:
    scale = max(abs(x), abs(y))
    return bool(scale == 0 or abs(x - y) <= _AGREEING * scale)


def expression(node: Node) -> Expr:
    """Of a value; raises ``TooLarge``."""
    match node.op:
        case Op.NUMBER:
            value = number(node.text)
            return Rational(value.numerator, value.denominator)
        case Op.NAME:
            return _CONSTANTS.get(node.text) or sympy.Symbol(f"v_{node.text}")
        case Op.BASE:
            return Integer(int(*_in_base(node.text)))
        case Op.TEXT:
            return sympy.Symbol(f"t_{node.text}")
        case Op.CALL:
            return _call(node)
        case Op.POWER:
            return _power(*node.parts)
        case Op.ROOT:
            return _root(*node.parts)
    parts = [expression(part) for part in node.parts]
    match node.op:
        case Op.MINUS:
            return -parts[0]
        case Op.SUM | Op.MIXED:
            return sympy.Add(*parts)
        case Op.PRODUCT:
            return sympy.Mul(*parts)
        case Op.QUOTIENT:
            return parts[0] / parts[1]
        case Op.PERCENT:
            return parts[0] / 100
        case Op.DEGREES:
            return parts[0] * sympy.pi / 180
        case Op.UNIT:
            return parts[0]
        case Op.FACTORIAL:
            return _factorial(parts[0])
    raise TooLarge(f"a {node.op} is no number")


def _in_base(text: str) -> tuple[str, int]:
    digits, _, base = text.partition("_")
    return digits, int(base)


def _call(node: Node) -> Expr:
    arguments = [expression(part) for part in node.parts]
    if node.text == "binom" and any(abs(x) > 10**4 for x in arguments if x.is_number):
        raise TooLarge("a binomial coefficient of large numbers")
    function = _FUNCTIONS.get(node.text) or sympy.Function(f"f_{node.text}")
    found: Expr = function(*arguments)
    return found


def _power(base: Node, exponent: Node) -> Expr:
    below, above = expression(base), expression(exponent)
    if below.is_number and above.is_number and _digits(below, above) > MAX_DIGITS:
        raise TooLarge("a power with too many digits")
    return below**above


def _digits(base: Expr, exponent: Expr) -> float:
    """Of the result, at least; infinite for an exponent that is itself too large."""
    if base in (0, 1, -1):
        return 0.0
    if not (base.is_Rational and exponent.is_Rational):
        return float(abs(sympy.re(exponent.evalf(15))))
    if abs(exponent) > 10**6:
        return float("inf")
    size = max(abs(base.p), base.q)
    return float(abs(exponent)) * len(str(size)) if size < 10**4000 else float("inf")


def _root(radicand: Node, index: Node) -> Expr:
    inside, degree = expression(radicand), integer(index)
    if degree is not None and degree % 2 and inside.is_negative:
        return -((-inside) ** Rational(1, degree))  # the real one
    return inside ** (1 / expression(index))


def _factorial(x: Expr) -> Expr:
    if x.is_number and abs(x) > 5_000:
        raise TooLarge("a factorial of a large number")
    return sympy.factorial(x)
