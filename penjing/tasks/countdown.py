"""Countdown: reach a target with given numbers, each used exactly once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

from penjing.errors import BadFile
from penjing.tasks.answer import final_answer
from penjing.tasks.expression import Binary, Expression, NotAnExpression, Number, parse
from penjing.tasks.problem import Grade, Problem, Verdict
from penjing.tasks.rows import Row, read_rows
from penjing.tasks.source import Drawn, FileSource, GeneratedSource, file_split
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

# Bounds of the generated problems: those of the data set Countdown-Tasks-3to4.
_FEWEST, _MOST_NUMBERS = 3, 4
_GREATEST_NUMBER, _GREATEST_TARGET = 99, 99
MAX_NUMBERS = 10  # a problem of a file may have so many
_MAX_DIGITS = 9

# The wording of TinyZero (Apache-2.0), examples/data_preprocess/countdown.py.
_QUESTION = (
    "Using the numbers {numbers}, create an equation that equals {target}. You can use basic "
    "arithmetic operations (+, -, *, /) and each number must be used exactly once."
)


def countdown(data: Path | None = None) -> Task:
    """Problems of a file with the columns ``target`` and ``nums``, or made without end.

    Raises ``BadFile`` for a row that is no problem.
    """
    return Task(
        name="countdown",
        source=FileSource(list(_read(data))) if data else GeneratedSource("countdown", draw),
        judge=judge,
        template=Template(style=Style.R1_ZERO, answer_format=AnswerFormat.TAGGED),
    )


def draw(number: int) -> Drawn:
    """A target that can be reached, since it is what random steps came to; the steps are kept."""
    random = Random(number)
    while True:
        count = random.randint(_FEWEST, _MOST_NUMBERS)
        numbers = [random.randint(1, _GREATEST_NUMBER) for _ in range(count)]
        value, solution = _combine(random, numbers)
        if value.denominator == 1 and 1 <= value <= _GREATEST_TARGET:
            target = int(value)
            if target not in numbers:  # else most of it is done already
                numbers.sort()  # so that one question is not in both splits in two orders
                prompt = _QUESTION.format(numbers=numbers, target=target)
                known = {"numbers": numbers, "target": target}
                return Drawn(prompt=prompt, reference=solution, metadata=known)


def judge(problem: Problem, response: str) -> Grade:
    """The answer is one expression; behind it may stand ``= target``."""
    answer = final_answer(response, AnswerFormat.TAGGED)
    if isinstance(answer, Grade):
        return answer
    return grade(answer, problem.metadata["numbers"], problem.metadata["target"])


def grade(answer: str, numbers: Sequence[int], target: int) -> Grade:
    """Plain digits, ``+ - * /`` and parentheses; no signs, powers or digits put together."""
    expression_text, equals, claimed = answer.partition("=")
    if equals and claimed.strip(" \t\n") != str(target):
        return _wrong(answer, f"what stands behind = is not {target}")
    try:
        expression = parse(expression_text)
        used = sorted(_numbers(expression))
        if used != sorted(numbers):
            return _wrong(answer, f"the numbers used are {_listed(used)}")
        value = _value(expression)
    except NotAnExpression as error:
        return _wrong(answer, f"no arithmetic expression: {error}")
    except ZeroDivisionError:
        return _wrong(answer, "it divides by zero")
    if value != target:
        return _wrong(answer, f"it comes to {value}, not to {target}")
    return Grade(verdict=Verdict.CORRECT, reason=f"it comes to {target}", answer=answer)


def _wrong(answer: str, reason: str) -> Grade:
    return Grade(verdict=Verdict.WRONG, reason=reason, answer=answer)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(f"{n:.6g}" for n in numbers[:12]) + (", ..." if numbers[12:] else "")


def _numbers(expression: Expression) -> Iterator[int]:
    match expression:
        case Number(digits=digits):
            is_plain = digits.isdigit() and str(int(digits[:_MAX_DIGITS])) == digits
            if not is_plain:
                raise NotAnExpression(f"{digits[:20]!r} is no plain whole number")
            yield int(digits)
        case Binary(operator="+" | "-" | "*" | "/", left=left, right=right):
            yield from _numbers(left)
            yield from _numbers(right)
        case Binary(operator=operator):
            raise NotAnExpression(f"{operator} is not allowed")
        case _:
            raise NotAnExpression("signs and names are not allowed")


def _value(expression: Expression) -> Fraction:
    """Exact: 8 / (3 - 8 / 3) is 24."""
    match expression:
        case Number():
            return expression.value
        case Binary(operator=operator, left=left, right=right):
            return _apply(operator, _value(left), _value(right))
        case _:
            raise AssertionError("_numbers lets nothing else through")


def _apply(operator: str, left: Fraction, right: Fraction) -> Fraction:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            return left / right


def _combine(random: Random, numbers: Iterable[int]) -> tuple[Fraction, str]:
    """A random expression over all numbers and its value; 0 where it would divide by zero."""
    parts = [(Fraction(n), str(n)) for n in numbers]
    while len(parts) > 1:
        (a, a_text), (b, b_text) = (parts.pop(random.randrange(len(parts))) for _ in range(2))
        operator = random.choice("+-*/")
        if operator == "/" and not b:
            return Fraction(0), ""
        parts.append((_apply(operator, a, b), f"({a_text} {operator} {b_text})"))
    value, text = parts[0]
    return value, text[1:-1]


def _read(path: Path) -> Iterator[Problem]:
    for row in read_rows(path, ("target", "nums")):
        target, numbers = _problem_of(path, row)
        prompt = _QUESTION.format(numbers=numbers, target=target)
        yield Problem(
            id=f"countdown-{row.number}",
            prompt=prompt,
            reference="",
            split=file_split(path, prompt),
            metadata={"numbers": numbers, "target": target},
        )


def _problem_of(path: Path, row: Row) -> tuple[int, list[int]]:
    target, numbers = _whole(row.values["target"]), _listed_numbers(row.values)
    if target is None or target < 0:
        raise BadFile(_said(path, row, "target", "a whole number"))
    if numbers is None or not 1 <= len(numbers) <= MAX_NUMBERS:
        raise BadFile(_said(path, row, "nums", f"a list of 1 to {MAX_NUMBERS} whole numbers"))
    return target, numbers


def _said(path: Path, row: Row, column: str, wanted: str) -> str:
    found = f"{row.values[column]!r:.60}"
    return f"{path}, row {row.number}: {column} is {found}; it must be {wanted}"


def _listed_numbers(values: Mapping[str, Any]) -> list[int] | None:
    """A list; as text, as in a CSV file, with or without brackets and commas: ``[44 19 35]``."""
    found = values["nums"]
    if isinstance(found, str):
        found = found.strip().removeprefix("[").removesuffix("]").replace(",", " ").split()
    if not isinstance(found, Iterable):
        return None
    numbers = [_whole(n) for n in found]
    whole = [n for n in numbers if n is not None and n >= 0]
    return whole if len(whole) == len(numbers) else None


def _whole(value: object) -> int | None:
    """Also what numpy and pandas take for a whole number, and its text."""
    if isinstance(value, bool):
        return None
    text = str(value).strip().removesuffix(".0")
    digits = text.removeprefix("-")
    is_whole = digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS
    return int(text) if is_whole else None
