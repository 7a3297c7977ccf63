"""A task never breaks on a response, and says when its judge did."""

from collections.abc import Sequence
from typing import Any

import pytest

from penjing.errors import BadQuantity
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.source import FileSource
from penjing.tasks.task import Judge, Task
from penjing.tasks.template import AnswerFormat, Style, Template

PROBLEMS = [
    Problem(id="a", prompt="1+1?", reference="2", split=Split.TRAIN),
    Problem(id="b", prompt="2+2?", reference="4", split=Split.HELD_OUT),
]


def exact(problem: Problem, answer: str) -> Grade:
    is_right = answer.strip() == problem.reference
    verdict = Verdict.CORRECT if is_right else Verdict.WRONG
    return Grade(verdict=verdict, reason="compared", answer=answer)


def task(judge: Judge = exact) -> Task:
    template = Template(style=Style.R1, answer_format=AnswerFormat.LAST_LINE)
    return Task(name="sums", source=FileSource(PROBLEMS), judge=judge, template=template)


def ids(problems: Sequence[Problem]) -> set[str]:
    return {problem.id for problem in problems}


def test_problems_come_from_the_source() -> None:
    assert ids(task().problems(None)) == {"a", "b"}
    assert ids(task().problems(Split.HELD_OUT, seed=3, size=1)) == {"b"}
    with pytest.raises(BadQuantity):
        task().problems(Split.TRAIN, size=2)


def test_a_prompt_is_the_template_around_the_question() -> None:
    prompt = task().prompt(PROBLEMS[0])
    assert not isinstance(prompt, str)
    assert prompt[0]["content"].startswith("1+1?\nPlease")


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("2", Verdict.CORRECT),
        ("<think>3?</think> 2", Verdict.CORRECT),
        ("<think>2</think> 3", Verdict.WRONG),
        ("<think>2</think>", Verdict.WRONG),
        ("<think>2", Verdict.UNGRADABLE),
    ],
)
def test_the_judge_sees_only_what_stands_behind_the_thinking(
    response: str, verdict: Verdict
) -> None:
    assert task().grade(PROBLEMS[0], response).verdict is verdict


def test_an_open_prompt_makes_the_response_thinking() -> None:
    grade = task().grade(PROBLEMS[0], "2", begins_in_thinking=True)
    assert grade.verdict is Verdict.UNGRADABLE
    assert not grade.is_fault
    assert task().grade(PROBLEMS[0], "</think>2", begins_in_thinking=True).is_correct


def test_a_judge_that_raises_is_a_fault_with_its_name_in_one_line() -> None:
    def broken(problem: Problem, answer: str) -> Grade:
        raise ZeroDivisionError("two\nlines")

    grade = task(broken).grade(PROBLEMS[0], "2")
    assert grade.is_fault
    assert grade.reason == "the judge of sums failed on a: ZeroDivisionError: two lines"


@pytest.mark.parametrize("nonsense", [None, True, 1.0, "correct"])
def test_a_judge_that_returns_no_grade_is_a_fault(nonsense: Any) -> None:
    grade = task(lambda problem, answer: nonsense).grade(PROBLEMS[0], "2")
    assert grade.is_fault
    assert grade.verdict is Verdict.UNGRADABLE
    assert repr(nonsense) in grade.reason


def test_a_press_of_ctrl_c_is_no_fault_of_the_judge() -> None:
    def interrupted(problem: Problem, answer: str) -> Grade:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        task(interrupted).grade(PROBLEMS[0], "2")
