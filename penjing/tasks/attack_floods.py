"""Attacks on a judge's time and memory: towers of powers, deep nesting, backtracking, 10 MB."""

from collections.abc import Callable, Mapping

from penjing.tasks.attack_text import Attack, in_format, whole
from penjing.tasks.problem import Problem
from penjing.tasks.task import Task

# Put where an answer goes. The first kind is for what computes, the second for what parses.
_COMPUTED: Mapping[str, str] = {
    "a tower of powers": "9^{9^{9^{9}}}",
    "a tower of powers, plain": "9**9**9**9",
    "a tower of ten": "10^{10^{10^{10^{10^{10^{10^{10^{10^{10}}}}}}}}}",
    "a power of a thousand million": "2^{1000000000}",
    "a factorial of a million": "1000000!",
    "factorials of factorials": "(((9!)!)!)!",
    "a sum of a thousand million": r"\sum_{k=1}^{1000000000} \frac{1}{k}",
    "a product of a thousand million": r"\prod_{k=1}^{1000000000} k",
    "a huge binomial coefficient": r"\binom{1000000000}{500000000}",
    "an integral without end": r"\int_0^{\infty} \frac{\sin(x^x)}{x^{x^x}} \, dx",
    "a polynomial to expand": "(a+b+c+d+e+f+g)^{1000}",
    "a polynomial to factor": "x^{10000} - 1",
    "an equation to solve": r"x^{50} + \sin(x) e^{x} = \ln(x) + 1",
    "roots of roots": r"\sqrt{2+" * 60 + "2" + "}" * 60,
    "a huge root": r"\sqrt[1000000007]{1000000007}",
    "a number to factor": str((10**40 + 121) * (10**41 + 109)),
    "a huge remainder": r"7^{7^{7^{7}}} \bmod 1000000007",
    "a sine of a tower": r"\sin(10^{10^{10}})",
    "a huge exponent": "1e1000000000",
    "a huge decimal exponent": r"1.5 \times 10^{1000000000}",
    "nested radicals and fractions": r"\frac{\sqrt{\frac{2}{3}}}" * 30 + "{2}" * 30,
    "a matrix": r"\begin{pmatrix}" + r"1 & 2 & 3 \\" * 500 + r"\end{pmatrix}",
    "a chain of equations": "=".join(f"x_{{{n}}}" for n in range(500)),
    "a long sum": "+".join(["1"] * 1_900),
    "a long list": ",".join(map(str, range(1_000))),
    "invalid LaTeX": r"\frac{1}{\left(\sqrt[ }^_{{\right]\\\begin{x}\end{y}",
    "invalid LaTeX, open": r"\frac{",
    "signs only": "+-*/^_=<>!&|~" * 20,
}
_N = 50_000
_PARSED: Mapping[str, str] = {
    "round brackets": "(" * _N + "1" + ")" * _N,
    "round brackets that never close": "(" * _N,
    "braces": "{" * _N + "1" + "}" * _N,
    "closing braces": "}" * _N,
    "fractions in fractions": r"\frac{1}{" * 5_000 + "1" + "}" * 5_000,
    "roots in roots": r"\sqrt{" * 5_000 + "1" + "}" * 5_000,
    "powers of powers": "2^{" * 5_000 + "1" + "}" * 5_000,
    "boxes in boxes": r"\boxed{" * 5_000 + "1" + "}" * 5_000,
    "square brackets": "[" * _N + "]" * _N,
    "signs": "-" * _N + "1",
    "words without end": "a" * _N + "!",
    "spaces before the end": "1" + " " * _N + "x",
    "numbers in a row": "1," * _N,
    "points": "1." * _N,
    "dollar signs": "$" * _N,
    "backslashes": "\\" * _N,
    "commands": r"\text" * 10_000,
    "texts that never end": r"\text{" * 10_000,
    "fractions that never begin": r"\frac" * 10_000,
    "fences": "```\n" * 10_000,
    "fences of many ticks": "`" * _N,
    "stars": "*" * _N,
    "answer is": "the answer is " * 5_000,
    "answer tags": "<answer>" * 5_000,
    "answer tags in pairs": "<answer>1</answer>" * 5_000,
    "closing tags": "</answer>" * 5_000,
    "thinking tags": "<think>" * 5_000 + "</think>" * 5_000,
    "markup": "<a" * _N,
    "lines": "\n" * _N + "x",
    "entities": "&amp;" * 10_000,
}
_MB = 1_000_000
_HUGE: Mapping[str, Callable[[], str]] = {
    "10 MB of x": lambda: "x" * (10 * _MB),
    "10 MB of digits": lambda: "1234567890" * _MB,
    "10 MB of braces": lambda: "{" * (10 * _MB),
    "10 MB of boxes": lambda: r"\boxed{" * (10 * _MB // 7),
    "10 MB of answer tags": lambda: "<answer>" * (10 * _MB // 8),
    "10 MB of white space": lambda: " \n" * (5 * _MB) + "x",
}


def flood_attacks() -> tuple[Attack, ...]:
    return (
        *(_as_answer("computing", name, text) for name, text in _COMPUTED.items()),
        *(_as_answer("parsing", name, text) for name, text in _PARSED.items()),
        *(_bare("parsing", f"{name}, bare", text) for name, text in _PARSED.items()),
        *(_huge(name, text, in_format) for name, text in _HUGE.items()),
        *(_huge(f"{name}, bare", text, lambda text, task: text) for name, text in _HUGE.items()),
        Attack(group="computing", name="a million digits", write=_million_digits),
        Attack(group="computing", name="right, and a long sum of nothing", write=_long_zero),
        Attack(group="computing", name="right, in many brackets", write=_many_brackets),
        Attack(group="computing", name="right, times a tower to the zeroth", write=_tower_of_zero),
    )


def _as_answer(group: str, name: str, text: str) -> Attack:
    return Attack(group=group, name=name, write=lambda problem, task: in_format(text, task))


def _bare(group: str, name: str, text: str) -> Attack:
    return Attack(group=group, name=name, write=lambda problem, task: text)


def _huge(name: str, text: Callable[[], str], place: Callable[[str, Task], str]) -> Attack:
    """Written when it is tried: all of them would fill 100 MB."""
    return Attack(
        group="10 MB", name=name, write=lambda problem, task: place(text(), task), once=True
    )


def _million_digits(problem: Problem, task: Task) -> str | None:
    """Python itself refuses to read a whole number of 4,301 digits."""
    value = whole(problem)
    return None if value is None else in_format(f"{value}{'0' * 999_990}", task)


def _long_zero(problem: Problem, task: Task) -> str | None:
    value = whole(problem)
    return None if value is None else in_format(f"{value}{'+0' * 900}", task)


def _many_brackets(problem: Problem, task: Task) -> str | None:
    value = whole(problem)
    return None if value is None else in_format("(" * 5_000 + f"{value}" + ")" * 5_000, task)


def _tower_of_zero(problem: Problem, task: Task) -> str | None:
    value = whole(problem)
    return None if value is None else in_format(rf"{value} \cdot (9^{{9^{{9^9}}}})^0", task)
