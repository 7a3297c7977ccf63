from collections.abc import Iterator, Sequence

import pytest

from penjing.evaluate.generator import Ask, Missing, Reply
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.source import FileSource
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template
from penjing.train.accuracy import sampled_accuracy

PROBLEMS = [
    Problem(id=f"p{i}", prompt=f"{i}", reference="yes", split=Split.HELD_OUT) for i in range(4)
]


def judge(problem: Problem, answer: str) -> Grade:
    is_right = answer == problem.reference
    return Grade(verdict=Verdict.CORRECT if is_right else Verdict.WRONG, reason="compared")


TASK = Task(
    name="few",
    source=FileSource(PROBLEMS),
    judge=judge,
    template=Template(style=Style.PLAIN, answer_format=AnswerFormat.TAGGED),
)


class Written:
    """Answers as they are told; None is one that could not be had."""

    def __init__(self, answers: Sequence[str | None]) -> None:
        self._answers = answers
        self.asked: Sequence[Ask] = ()

    def replies(self, asks: Sequence[Ask]) -> Iterator[Reply | Missing]:
        self.asked = asks
        for ask, answer in zip(asks, self._answers, strict=True):
            if answer is None:
                yield Missing(ask=ask, reason="gone")
                continue
            yield Reply(
                ask=ask,
                response=answer,
                begins_in_thinking=False,
                finish_reason="stop",
                num_prompt_tokens=1,
                num_tokens=1,
                num_thinking_tokens=0,
                wall_s=0.0,
            )


def test_the_share_that_is_right_and_what_is_missing_is_wrong() -> None:
    assert sampled_accuracy(TASK, PROBLEMS, Written(["yes", "no", None, "yes"]), 0) == 0.5


def test_each_problem_is_asked_once_with_a_seed_of_its_own() -> None:
    generator = Written(["no"] * 4)
    assert sampled_accuracy(TASK, PROBLEMS, generator, 3) == 0
    assert [ask.problem.id for ask in generator.asked] == [p.id for p in PROBLEMS]
    assert len({ask.seed for ask in generator.asked}) == 4
    before = [ask.seed for ask in generator.asked]
    sampled_accuracy(TASK, PROBLEMS, generator, 3)
    assert [ask.seed for ask in generator.asked] == before


def test_an_unclosed_thought_answers_nothing() -> None:
    assert sampled_accuracy(TASK, PROBLEMS, Written(["<think>yes"] * 4), 0) == pytest.approx(0)
