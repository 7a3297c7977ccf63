import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.answer import MAX_TAGGED_CHARS
from penjing.tasks.code_answer import function_of, program_of
from penjing.tasks.problem import Grade, Verdict

PROMPT = 'import math\n\ndef half(x):\n    return x / 2\n\ndef area(r):\n    """Of a circle."""\n'
WHOLE = "def area(r):\n    return math.pi * r * r\n"
BODY = "    return math.pi * r * r\n"


def fenced(code: str) -> str:
    return f"Here it is.\n```python\n{code}```\nThat is all."


def area(sources: tuple[str, ...] | Grade) -> float:
    assert isinstance(sources, tuple)
    names: dict[str, object] = {}
    for source in sources:
        exec(source, names)
    value = names["area"](2.0)  # type: ignore[operator]
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize(
    "answer",
    [
        fenced(WHOLE),
        fenced(PROMPT + BODY),
        fenced(BODY),
        WHOLE,
        PROMPT + BODY,
        BODY,
        BODY + "\ndef other(x):\n    return area(x)\n\nprint(area(input()))\n",
        BODY + "```\nThe function returns the area.",
        "\n" + BODY + "# and so on",
        "    # x\n\n" + BODY + "\n\n\nassert False",
        fenced("area = lambda r: math.pi * r * r\n"),
        fenced("area: object = lambda r: math.pi * r * r\n"),
        fenced("def f(r):\n    return 4 * math.pi\narea = f\n"),
        fenced("class area(float):\n    def __new__(cls, r):\n        return 4 * math.pi\n"),
        fenced("from __future__ import annotations\n" + WHOLE),
        "1. First\n   ```python\n   def area(r):\n       return math.pi * r * r\n   ```\n",
        fenced("def area(r):\n    return 0.0\n") + fenced(WHOLE),
    ],
)
def test_a_function_is_found(answer: str) -> None:
    assert area(function_of(answer, PROMPT, "area")) == pytest.approx(12.566370614359172)


def test_the_prompts_own_functions_are_there() -> None:
    answer = fenced("def area(r):\n    return math.pi * half(2 * r) * r\n")
    assert area(function_of(answer, PROMPT, "area")) == pytest.approx(12.566370614359172)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (fenced("def other(r):\n    return 1\n"), "neither defines area"),
        (fenced("def area(r)\n    return 1\n"), "does not parse"),
        (fenced("class A:\n    def area(self):\n        return 1\n"), "neither defines area"),
        (fenced("if True:\n    def area(r):\n        return 1\n"), "neither defines area"),
        ("42", "neither defines area"),
    ],
)
def test_code_that_is_no_such_function_is_wrong(answer: str, reason: str) -> None:
    grade = function_of(answer, PROMPT, "area")
    assert isinstance(grade, Grade)
    assert grade.verdict is Verdict.WRONG
    assert reason in grade.reason


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n\n",
        "It is the area of a circle.",
        "```python\n" + WHOLE,
        "```\n```",
        "# nothing but words",
        "def area(r):\n    return '\ud800'\n",
        fenced("x = '\ud800'\n"),
        "x = 1\n" * MAX_TAGGED_CHARS,
        fenced("x = 1\n" * MAX_TAGGED_CHARS),
        "-" * 90_000 + "1",
        "(" * 90_000,
    ],
)
def test_no_code_is_ungradable(answer: str) -> None:
    for grade in (function_of(answer, PROMPT, "area"), program_of(answer)):
        assert isinstance(grade, Grade)
        assert grade.verdict is Verdict.UNGRADABLE
        assert not grade.is_fault
        assert "\n" not in grade.reason


@pytest.mark.parametrize("answer", ["print(6)\n", fenced("print(6)\n"), "  ```\n  print(6)\n  ```"])
def test_a_program_is_found(answer: str) -> None:
    assert program_of(answer) == "print(6)\n"


def test_blank_lines_in_strings_are_kept() -> None:
    program = 'print("""a\n   \nb""")\n'
    assert program_of(fenced(program)) == program


@given(st.text())
def test_what_is_taken_is_python_or_a_grade(answer: str) -> None:
    for found in (function_of(answer, PROMPT, "area"), program_of(answer)):
        if isinstance(found, Grade):
            assert found.verdict is not Verdict.CORRECT
        elif isinstance(found, tuple):
            assert all(ast.parse(source) for source in found)
