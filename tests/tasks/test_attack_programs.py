import ast

import pytest

from penjing.tasks.attack_programs import program_attacks
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.source import FileSource
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

ATTACKS = {attack.name: attack for attack in program_attacks()}


def judge(problem: Problem, text: str) -> Grade:
    return Grade(verdict=Verdict.WRONG, reason="")


def task_in(answer_format: AnswerFormat) -> Task:
    template = Template(style=Style.PLAIN, answer_format=answer_format)
    return Task(name="t", source=FileSource([]), judge=judge, template=template)


FUNCTION = Problem(
    id="1",
    prompt='def add(a, b):\n    """Their sum."""\n',
    reference="    return a + b\n",
    split=Split.TRAIN,
    metadata={"entry_point": "add"},
)
PROGRAM = Problem(id="2", prompt="Print 1.", reference="", split=Split.TRAIN)


def code(name: str, problem: Problem) -> str | None:
    text = ATTACKS[name].write(problem, task_in(AnswerFormat.CODE))
    return None if text is None else text.removeprefix("```python\n").removesuffix("\n```")


def test_names_are_unique_and_many() -> None:
    assert len(ATTACKS) == len(program_attacks()) > 30


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"a syntax error"}))
def test_programs_are_python_and_define_what_was_asked(name: str) -> None:
    text = code(name, FUNCTION)
    assert text is not None
    assert "add" in {
        found
        for node in ast.walk(ast.parse(text))
        for found in (getattr(node, "name", None), getattr(node, "id", None))
    }


def test_no_solution_is_among_them() -> None:
    for name in set(ATTACKS) - {"a syntax error", "exit 0", "exit 0 at once", "SystemExit"}:
        text = code(name, FUNCTION)
        assert text is not None
        assert "return a + b" not in "\n".join(
            line for line in text.splitlines() if not line.startswith("#")
        )


def test_programs_without_a_function_to_define() -> None:
    assert code("exit 0", PROGRAM) == "import sys\nsys.exit(0)"
    assert code("a stub", PROGRAM) is None
    assert code("the solution in a comment", PROGRAM) is None
    assert code("the question as a program", PROGRAM) == "Print 1."


def test_only_where_code_is_asked_for() -> None:
    task = task_in(AnswerFormat.BOXED)
    assert not [name for name, a in ATTACKS.items() if a.write(FUNCTION, task) is not None]
