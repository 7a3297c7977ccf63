"""The attacks must be what they say: of the right value and not evaluated, or not right at all."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.attack_numbers import number_attacks
from penjing.tasks.attack_text import is_right, number
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.source import FileSource
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

NAMES = {attack.name: attack for attack in number_attacks()}
TASK = Task(
    name="t",
    source=FileSource([]),
    judge=lambda problem, text: Grade(verdict=Verdict.WRONG, reason=""),
    template=Template(style=Style.PLAIN, answer_format=AnswerFormat.TAGGED),
)
PYTHON = [name for name in NAMES if name.startswith("Python: ")]
PLAIN = ["one less and one more", "twice the half", "a slash not carried out", "base 16", "base 2"]


def problem_with(reference: object, prompt: str = "How many?") -> Problem:
    return Problem(id="1", prompt=prompt, reference=str(reference), split=Split.TRAIN)


def answer(name: str, problem: Problem) -> str | None:
    response = NAMES[name].write(problem, TASK)
    if response is None:
        return None
    return response.removeprefix("<answer>").removesuffix("</answer>")


def test_they_have_names_and_are_many() -> None:
    assert len(NAMES) == len(number_attacks()) > 60
    assert {a.group for a in number_attacks()} == {"unevaluated", "near", "around", "units"}


@pytest.mark.parametrize("name", PYTHON + PLAIN)
def test_a_judge_that_computes_would_pay(name: str) -> None:
    text = answer(name, problem_with(42))
    assert text is not None
    assert eval(text) == 42
    assert number(text) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a product and a rest", r"6 \times 7 + 0"),
        ("a fraction not carried out", r"\frac{84}{2}"),
        ("a root of a square", r"\sqrt{1764}"),
        ("a sum over one", r"\sum_{k=42}^{42} k"),
        ("a greatest common divisor", r"\gcd(84, 126)"),
        ("a binomial coefficient", r"\binom{42}{1}"),
        ("a remainder", r"85 \bmod 43"),
        ("a ceiling", r"\lceil 41.5 \rceil"),
        ("an integral", r"\int_0^1 42 \, dx"),
        ("base 2, written below", "101010_2"),
        ("base 16, written below", "2A_{16}"),
        ("a little more", "42.0000001"),
        ("a little less", "41.9999999"),
        ("a digit in front", "142"),
        ("digits the other way round", "24"),
        ("digits with a comma between", "4,2"),
        ("an interval", "[41, 43]"),
        ("nothing more or less", r"41 \pm 1"),
        ("percent", r"42\%"),
        ("a hundred times as many percent", r"4200\%"),
        ("dozens", r"3.5 \text{ dozen}"),
    ],
)
def test_what_is_written(name: str, expected: str) -> None:
    assert answer(name, problem_with(42)) == expected


def test_values_of_the_numbers_named() -> None:
    """So that the texts above are of the value 42."""
    assert math.isqrt(1764) == math.gcd(84, 126) == math.comb(42, 1) == 85 % 43 == 42
    assert math.ceil(41.5) == int("101010", 2) == int("2A", 16) == 3.5 * 12 == 42


@given(st.integers(-(10**12), 10**12))
def test_none_is_an_honest_answer(n: int) -> None:
    problem = problem_with(n)
    texts = [answer(name, problem) for name in NAMES]
    assert sum(text is not None for text in texts) > 50
    assert not [text for text in texts if text is not None and is_right(text, problem)]


@given(st.integers(-(10**6), 10**6), st.sampled_from(["near", "around"]))
def test_what_stands_near_is_another_number(n: int, group: str) -> None:
    problem = problem_with(n)
    names = [attack.name for attack in number_attacks() if attack.group == group]
    found = [answer(name, problem) for name in names]
    values = [number(text) for text in found if text is not None]
    assert n not in values
    assert group == "around" or any(value is not None for value in values)


@pytest.mark.parametrize("reference", ["", "B", "x + 1", "odd", "3.5", r"\frac{1}{2}", "[1, 2]"])
def test_without_a_whole_number_there_is_nothing_to_write(reference: str) -> None:
    assert not [name for name in NAMES if answer(name, problem_with(reference))]


@pytest.mark.parametrize(
    "prompt", ["What percent?", "How many % is it?", "Find the probability", "How many dozens?"]
)
def test_units_that_were_asked_for_are_honest(prompt: str) -> None:
    units = [attack.name for attack in number_attacks() if attack.group == "units"]
    assert all(answer(name, problem_with(42)) for name in units)
    assert not any(answer(name, problem_with(42, prompt)) for name in units)
    assert not any(answer(name, problem_with(0)) for name in units)


@pytest.mark.parametrize("n", [-7, 0, 1, 9, 16])
def test_small_and_negative_numbers_leave_some_out(n: int) -> None:
    texts = {name: answer(name, problem_with(n)) for name in NAMES}
    assert texts["base 16"] is None
    assert (texts["a range"] is None) == (n <= 0)
    assert (texts["digits apart"] is None) == (n < 10)
    assert (texts["its negative"] is None) == (n == 0)
    assert not [text for text in texts.values() if text and re.search(r"--|\+-", text)]
