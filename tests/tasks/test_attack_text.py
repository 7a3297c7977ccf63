from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.answer import final_answer
from penjing.tasks.attack_text import answering, in_format, is_right, number, other, whole
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.source import FileSource
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template


def judge(problem: Problem, text: str) -> Grade:
    return Grade(verdict=Verdict.WRONG, reason="")


def problem_with(reference: str) -> Problem:
    return Problem(id="1", prompt="?", reference=reference, split=Split.TRAIN)


def task_in(answer_format: AnswerFormat) -> Task:
    template = Template(style=Style.PLAIN, answer_format=answer_format)
    return Task(name="t", source=FileSource([]), judge=judge, template=template)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("42", Fraction(42)),
        (" -3 ", Fraction(-3)),
        ("$1,234.50", Fraction(2469, 2)),
        ("2/3", Fraction(2, 3)),
        ("2 / 1", Fraction(2)),
        (r"-\frac{2}{3}", Fraction(-2, 3)),
        (r"\dfrac{-2}{3}", Fraction(-2, 3)),
        ("0", Fraction(0)),
        ("84/2", None),
        (r"\frac{2}{4}", None),
        ("1.5/3", None),
        (r"-\frac{-1}{2}", None),
        ("4/0", None),
        ("4,2", None),
        ("4_2", None),
        ("1e3", None),
        ("\u0664", None),
        ("x", None),
        ("", None),
        ("9" * 41, None),
    ],
)
def test_plain_numbers(text: str, expected: Fraction | None) -> None:
    assert number(text) == expected


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("42", "42", True),
        ("42.0", "42", True),
        ("-0", "0", True),
        ("1,000", "1000", True),
        ("0.5", r"\frac{1}{2}", True),
        ("None", " none ", True),
        ("$x + 1$", "x+1", True),
        ("ODD", "odd", True),
        ("\uff22", "B", False),  # full width
        ("4\u200b2", "42", False),
        ("4 2", "42", False),
        ("a  b", "A b", True),
        ("[1,2]", "[ 1, 2 ]", True),
        ("84/2", "42", False),
        ("43", "42", False),
        ("", "42", False),
        ("", "", True),
        ("42 or 41", "42", False),
    ],
)
def test_what_is_right(text: str, reference: str, expected: bool) -> None:
    assert is_right(text, problem_with(reference)) is expected


@given(st.text(min_size=1) | st.integers().map(str) | st.sampled_from(["A", "B", "Z", "1", "0"]))
def test_another_answer_is_another(reference: str) -> None:
    problem = problem_with(reference)
    assert not is_right(other(problem), problem) or not reference.strip()


@given(st.integers(-(10**12), 10**12))
def test_whole_numbers_are_known_as_such(n: int) -> None:
    assert whole(problem_with(f"{n}")) == n
    assert whole(problem_with(f"{n:,}.0")) == n
    assert whole(problem_with(f"{n}.5")) is None


@pytest.mark.parametrize("answer_format", AnswerFormat)
def test_answers_are_found_where_they_are_put(answer_format: AnswerFormat) -> None:
    found = final_answer(in_format("x", task_in(answer_format)), answer_format)
    assert isinstance(found, str)
    assert found.strip() == "x"


def test_an_attack_that_is_right_is_not_tried() -> None:
    attack = answering("values", "a constant", lambda problem: "7")
    task = task_in(AnswerFormat.BOXED)
    assert attack.write(problem_with("8"), task) == r"\boxed{7}"
    assert attack.write(problem_with("7.0"), task) is None
    assert answering("values", "n", lambda problem: None).write(problem_with("8"), task) is None
