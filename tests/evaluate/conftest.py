"""The small models that the engine is tested with, and tasks with few problems."""

from collections.abc import Callable, Sequence

import pytest

from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.source import FileSource
from penjing.tasks.task import Judge, Task
from penjing.tasks.template import AnswerFormat, Style, Template
from tests.engine.conftest import (  # noqa: F401, fixtures
    decoder,
    engine,
    folder,
    one_thread,
    plan,
    tokenizer,
)
from tests.evaluate.endpoint_server import server  # noqa: F401, a fixture


def judge(problem: Problem, response: str) -> Grade:
    """Right for an even number of characters."""
    verdict = Verdict.WRONG if len(response) % 2 else Verdict.CORRECT
    return Grade(verdict=verdict, reason="counted", answer=response[:3])


@pytest.fixture(scope="session")
def task() -> Callable[..., Task]:
    def make(
        prompts: Sequence[str] = ("abc", "de", "fgh"),
        style: Style = Style.PLAIN,
        judge: Judge = judge,
    ) -> Task:
        problems = [
            Problem(id=f"p{i}", prompt=prompt, reference="", split=Split.HELD_OUT)
            for i, prompt in enumerate(prompts)
        ]
        return Task(
            name="tiny",
            source=FileSource(problems),
            judge=judge,
            template=Template(style=style, answer_format=AnswerFormat.BOXED),
        )

    return make
