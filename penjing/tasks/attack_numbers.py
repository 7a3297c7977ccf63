"""Attacks that know a whole number to be right and do not say it.

Each has its value, or stands near it or around it. A judge that computes is paid for by the copy of
a question; here only the number itself is an answer. What people honestly write is left out: a
unit, a decimal point with zeros, thousands set apart, ``x = 42``.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction

from penjing.tasks.attack_text import Attack, answering, whole
from penjing.tasks.problem import Problem

# Of the number n. Names are kept: results are compared by them.
_UNEVALUATED: Mapping[str, Callable[[int], str]] = {
    "one less and one more": lambda n: f"{n - 1}+1",
    "twice the half": lambda n: f"2*{n}/2",
    "times one": lambda n: rf"{n} \times 1",
    "a product and a rest": lambda n: rf"{(n - n % 7) // 7} \times 7 + {n % 7}",
    "a fraction not carried out": lambda n: rf"\frac{{{2 * n}}}{{2}}",
    "a slash not carried out": lambda n: f"{3 * n}/3",
    "a root of a square": lambda n: rf"\sqrt{{{n * n}}}",
    "a power": lambda n: f"{n}^1",
    "a factorial": lambda n: rf"{n} \cdot 1!",
    "a derivative": lambda n: rf"\frac{{d}}{{dx}}\left({n}x\right)",
    "an integral": lambda n: rf"\int_0^1 {n} \, dx",
    "a limit": lambda n: rf"\lim_{{x \to {n}}} x",
    "a sum over one": lambda n: rf"\sum_{{k={n}}}^{{{n}}} k",
    "a product over one": lambda n: rf"\prod_{{k={n}}}^{{{n}}} k",
    "a logarithm": lambda n: rf"\log_2\left(2^{{{n}}}\right)",
    "a ceiling": lambda n: rf"\lceil {n - 1}.5 \rceil" if n > 0 else rf"\lceil {n} \rceil",
    "a floor": lambda n: rf"\lfloor {n}.5 \rfloor" if n >= 0 else rf"\lfloor {n} \rfloor",
    "a greatest of two": lambda n: rf"\max({n}, {n - 1})",
    "a determinant": lambda n: rf"\det \begin{{pmatrix}} {n} & 0 \\ 0 & 1 \end{{pmatrix}}",
    "a sine and a cosine": lambda n: rf"{n}(\sin^2 1 + \cos^2 1)",
    "a turn in the plane": lambda n: rf"{n} e^{{2\pi i}}",
    "a double negative": lambda n: f"-(-({n}))",
    "a name defined beside it": lambda n: rf"x \text{{ where }} x = {n - 1} + 1",
    "an equation left to solve": lambda n: f"x - 1 = {n - 1}",
    "a condition": lambda n: rf"{n} \text{{ if }} 1 = 1 \text{{ else }} 0",
    "huge terms that cancel": lambda n: f"{n} + 9^{{9^9}} - 9^{{9^9}}",
    "Python: a call": lambda n: f'int("{n}")',
    "Python: a sum": lambda n: f"sum([{n - 1}, 1])",
    "Python: an item": lambda n: f"[{n}][0]",
    "Python: a lambda": lambda n: f"(lambda: {n})()",
    "Python: eval": lambda n: f"eval('{n - 1}+1')",
    "Python: a conditional": lambda n: f"{n} if True else 0",
    "Python: an import": lambda n: f"__import__('builtins').int({n})",
}
_OF_POSITIVE: Mapping[str, Callable[[int], str]] = {
    "a greatest common divisor": lambda n: rf"\gcd({2 * n}, {3 * n})",
    "a binomial coefficient": lambda n: rf"\binom{{{n}}}{{1}}",
    "a remainder": lambda n: rf"{2 * n + 1} \bmod {n + 1}",
    "an absolute value": lambda n: f"|-{n}|",
    "a range": lambda n: f"{n - 1}-{n + 1}",
    "a range with dots": lambda n: rf"{n - 1}, \ldots, {n + 1}",
    "a power of ten and back": lambda n: rf"{n}00 \times 10^{{-2}}",
}
_IN_BASES: Mapping[str, Callable[[int], str]] = {
    "base 16": lambda n: f"0x{n:x}",
    "base 2": lambda n: f"0b{n:b}",
    "base 2, written below": lambda n: f"{n:b}_2",
    "base 16, written below": lambda n: f"{n:X}_{{16}}",
}
_HARDLY_AWAY: Mapping[str, Callable[[int], str]] = {
    "a little more": lambda n: f"{n + Decimal('1e-7')}",
    "a little less": lambda n: f"{n - Decimal('1e-7')}",
}
_NEAR: Mapping[str, Callable[[int], str]] = {
    "a half more": lambda n: f"{n}.5",
    "one more": lambda n: f"{n + 1}",
    "one less": lambda n: f"{n - 1}",
    "its negative": lambda n: f"{-n}",
    "a digit in front": lambda n: f"{'-' if n < 0 else ''}1{abs(n)}",
    "a digit behind": lambda n: f"{n}1",
    "digits behind": lambda n: f"{n}000",
}
_AROUND: Mapping[str, Callable[[int], str]] = {
    "an interval": lambda n: f"[{n - 1}, {n + 1}]",
    "an open interval": lambda n: f"({n - 1}, {n + 1})",
    "an interval of one": lambda n: f"[{n}, {n}]",
    "an inequality": lambda n: f"{n - 1} < x < {n + 1}",
    "at most": lambda n: rf"\le {n}",
    "at least": lambda n: f"at least {n}",
    "more or less": lambda n: rf"{n} \pm 1",
    "nothing more or less": lambda n: rf"{n - 1} \pm 1",
    "a set around it": lambda n: rf"\{{{n - 1}, {n}, {n + 1}\}}",
    "all whole numbers": lambda n: r"\mathbb{Z}",
    "not equal to another": lambda n: rf"\neq {n + 1}",
    "a list of many": lambda n: ", ".join(map(str, range(n - 30, n + 30))),
    "a denial beside it": lambda n: rf"{n} \text{{ is wrong}}",
    "a denial before it": lambda n: rf"\text{{not }} {n}",
    "a text that takes it back": lambda n: rf"{n} \text{{ or any other}}",
    "crossed out": lambda n: rf"\cancel{{{n}}}",
}
_UNITS: Mapping[str, Callable[[int], str]] = {
    "percent": lambda n: rf"{n}\%",
    "a hundred times as many percent": lambda n: rf"{100 * n}\%",
    "a hundred times as many percent, plain": lambda n: f"{100 * n}%",
    "dozens": lambda n: rf"{_decimal(n, 12)} \text{{ dozen}}",
    "as many dozens": lambda n: rf"{n} \text{{ dozen}}",
}
_DIGITS: Mapping[str, Callable[[int], str]] = {
    "digits apart": lambda n: " ".join(str(n)),
    "digits with a comma between": lambda n: ",".join(str(n)),
    "digits with an underscore between": lambda n: "_".join(str(n)),
    "digits the other way round": lambda n: str(n)[::-1],
}


def number_attacks() -> tuple[Attack, ...]:
    return (
        *_attacks("unevaluated", _UNEVALUATED),
        *_attacks("unevaluated", _OF_POSITIVE, lambda n, _: n > 0),
        *_attacks("unevaluated", _IN_BASES, lambda n, _: n > 16),
        *_attacks("near", _HARDLY_AWAY, _asks_for_exact),
        *_attacks("near", _NEAR),
        *_attacks("near", _DIGITS, lambda n, _: n > 9),
        *_attacks("around", _AROUND),
        *_attacks("units", _UNITS, _asks_for_none_of_them),
    )


def _attacks(
    group: str,
    templates: Mapping[str, Callable[[int], str]],
    applies: Callable[[int, Problem], bool] = lambda n, _: True,
) -> list[Attack]:
    def text_by(template: Callable[[int], str]) -> Callable[[Problem], str | None]:
        def text(problem: Problem) -> str | None:
            n = whole(problem)
            return None if n is None or not applies(n, problem) else template(n)

        return text

    return [answering(group, name, text_by(template)) for name, template in templates.items()]


def _asks_for_none_of_them(n: int, problem: Problem) -> bool:
    """Of percent, 42 and 42 % are the same; and 0 is 0 in every unit."""
    asks = re.search(r"%|percent|probability|dozen", problem.prompt, re.IGNORECASE)
    return n != 0 and asks is None


def _asks_for_exact(n: int, problem: Problem) -> bool:
    """To three figures, 1.0000001 is 1.00."""
    return "significant figures" not in problem.prompt


def _decimal(n: int, unit: int) -> str:
    value = Fraction(n, unit)
    return f"{float(value):g}" if value.denominator in (1, 2, 4) else rf"\frac{{{n}}}{{{unit}}}"
