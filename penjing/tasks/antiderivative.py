"""Whether one expression is an antiderivative of another, by numbers and not by algebra.

Both are evaluated at fixed complex points, derivatives with dual numbers: the work is bounded by
the length of the text, whatever it says. Elementary functions alone are known, so that an integral
sign, which a computer algebra system would differentiate away, is no answer.
"""

import cmath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

from penjing.tasks.expression import (
    Binary,
    Call,
    Expression,
    Name,
    Negative,
    NotAnExpression,
    Number,
)

# Generic points, off the real axis and so off every branch cut that runs along it.
_POINTS = (
    0.31 + 0.23j,
    -0.42 + 0.17j,
    0.73 - 0.37j,
    -0.85 - 0.29j,
    1.21 + 0.41j,
    -1.37 + 0.53j,
    0.11 - 0.67j,
    1.63 - 0.19j,
)
_CONSTANT = 0.59 + 0.83j  # what C stands for
_TOLERANCE = 1e-8  # relative; doubles have 1e-16, and terms cancel


@dataclass(frozen=True, kw_only=True)
class _Dual:
    """A value with its derivative."""

    value: complex
    slope: complex


_Derivative = tuple[Callable[[complex], complex], Callable[[complex], complex]]

_FUNCTIONS: Mapping[str, _Derivative] = {
    "exp": (cmath.exp, cmath.exp),
    "log": (cmath.log, lambda z: 1 / z),
    "ln": (cmath.log, lambda z: 1 / z),
    "sqrt": (cmath.sqrt, lambda z: 0.5 / cmath.sqrt(z)),
    "sin": (cmath.sin, cmath.cos),
    "cos": (cmath.cos, lambda z: -cmath.sin(z)),
    "tan": (cmath.tan, lambda z: 1 + cmath.tan(z) ** 2),
    "sinh": (cmath.sinh, cmath.cosh),
    "cosh": (cmath.cosh, cmath.sinh),
    "tanh": (cmath.tanh, lambda z: 1 - cmath.tanh(z) ** 2),
    "asin": (cmath.asin, lambda z: 1 / cmath.sqrt(1 - z * z)),
    "acos": (cmath.acos, lambda z: -1 / cmath.sqrt(1 - z * z)),
    "atan": (cmath.atan, lambda z: 1 / (1 + z * z)),
}
_NAMED = {"E": complex(cmath.e), "pi": complex(cmath.pi), "C": _CONSTANT}


def is_antiderivative(answer: Expression, integrand: Expression, variable: str) -> bool:
    """Any constant may be added, ``C`` among them.

    Raises ``NotAnExpression`` for a name or function that is not known, and where ``answer`` cannot
    be evaluated: an overflow, a division by zero.
    """
    for point in _POINTS:
        try:
            slope = _evaluate(answer, variable, point).slope
            wanted = _evaluate(integrand, variable, point).value
        except (ArithmeticError, ValueError) as error:
            if isinstance(error, NotAnExpression):
                raise
            raise NotAnExpression(f"it has no value at {point}: {error}") from None
        if not abs(slope - wanted) <= _TOLERANCE * abs(wanted):  # NaN is not close to anything
            return False
    return True


def _evaluate(expression: Expression, variable: str, point: complex) -> _Dual:
    match expression:
        case Number():
            return _Dual(value=complex(expression.value), slope=0)
        case Name(name=name):
            if name == variable:
                return _Dual(value=point, slope=1)
            if name not in _NAMED:
                raise NotAnExpression(f"nobody knows {name[:20]!r}")
            return _Dual(value=_NAMED[name], slope=0)
        case Negative(of=of):
            inner = _evaluate(of, variable, point)
            return _Dual(value=-inner.value, slope=-inner.slope)
        case Binary(operator=operator, left=left, right=right):
            a, b = _evaluate(left, variable, point), _evaluate(right, variable, point)
            return _apply(operator, a, b)
        case Call(function=function, of=of):
            if function not in _FUNCTIONS:
                raise NotAnExpression(f"nobody knows the function {function[:20]!r}")
            inner = _evaluate(of, variable, point)
            value, slope = _FUNCTIONS[function]
            return _Dual(value=value(inner.value), slope=slope(inner.value) * inner.slope)
        case _:
            assert_never(expression)


def _apply(operator: str, a: _Dual, b: _Dual) -> _Dual:
    match operator:
        case "+":
            return _Dual(value=a.value + b.value, slope=a.slope + b.slope)
        case "-":
            return _Dual(value=a.value - b.value, slope=a.slope - b.slope)
        case "*":
            return _Dual(value=a.value * b.value, slope=a.slope * b.value + a.value * b.slope)
        case "/":
            slope = (a.slope - a.value / b.value * b.slope) / b.value
            return _Dual(value=a.value / b.value, slope=slope)
        case _:
            return _power(a, b)


def _power(a: _Dual, b: _Dual) -> _Dual:
    if b.slope == 0:  # also where a is 0, or a negative number with a whole exponent
        if b.value == 0:
            return _Dual(value=1, slope=0)
        return _Dual(value=a.value**b.value, slope=b.value * a.value ** (b.value - 1) * a.slope)
    value = a.value**b.value
    return _Dual(
        value=value, slope=value * (b.slope * cmath.log(a.value) + b.value * a.slope / a.value)
    )
