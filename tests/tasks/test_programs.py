import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penjing.errors import BadFile
from penjing.tasks.code_judge import ProgramTest
from penjing.tasks.problem import Problem, Split, Verdict
from penjing.tasks.programs import QUESTIONS, TESTS, programs
from penjing.tasks.sandbox.protections import SandboxRefused
from penjing.tasks.sandbox.sandbox import Sandbox
from penjing.tasks.task import Task

Writer = Callable[..., Path]
Loader = Callable[..., Task]

PAIRS = {"inputs": ["1 2\n", "40 2\n"], "outputs": ["3\n", "42\n"]}
WANTED = (ProgramTest(input="1 2\n", output="3\n"), ProgramTest(input="40 2\n", output="42\n"))
ASKED = "Write the sum of two numbers."


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return Sandbox()
    except SandboxRefused as refused:
        pytest.skip(str(refused))


@pytest.fixture
def load(tmp_path: Path, sandbox: Sandbox) -> Loader:
    def loaded(*rows: object) -> Task:
        path = tmp_path / "data.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        return programs(path, sandbox)

    return loaded


def only(task: Task) -> Problem:
    (problem,) = task.problems(None)
    return problem


@pytest.mark.parametrize(
    "tests",
    [
        PAIRS,
        {"input": PAIRS["inputs"], "output": PAIRS["outputs"]},
        {**PAIRS, "fn_name": None},
        [
            {"input": "1 2\n", "output": "3\n", "testtype": "stdin"},
            {"input": "40 2\n", "output": "42\n"},
        ],
        {"inputs": [["1 2"], ["40 2"]], "outputs": [["3"], ["42"]]},
    ],
)
@pytest.mark.parametrize("is_text", [True, False])
def test_shapes_of_tests(load: Loader, tests: object, is_text: bool) -> None:
    problem = only(load({"question": ASKED, "tests": json.dumps(tests) if is_text else tests}))
    assert problem.metadata["tests"] == WANTED
    assert (problem.id, problem.prompt, problem.reference) == ("1", ASKED, "")


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("tests", TESTS)
def test_names_of_columns(load: Loader, question: str, tests: str) -> None:
    problem = only(load({question: ASKED, tests: PAIRS, "task_id": 77}))
    assert (problem.id, problem.prompt) == ("77", ASKED)
    assert problem.metadata["tests"] == WANTED


def test_the_tests_of_all_columns_count(load: Loader) -> None:
    hidden = {"input": ["5 5\n"], "output": ["10\n"]}
    row = {"description": ASKED, "public_tests": PAIRS, "private_tests": hidden, "tests": None}
    problem = only(load(row))
    assert problem.metadata["tests"] == (*WANTED, ProgramTest(input="5 5\n", output="10\n"))


def test_right_and_wrong_programs(load: Loader) -> None:
    task = load({"question": ASKED, "input_output": json.dumps(PAIRS)})
    problem = only(task)
    right = "<think>\nAdd.\n</think>\n```python\nprint(sum(map(int, input().split())))\n```\n"
    assert task.grade(problem, right).is_correct
    wrong = task.grade(problem, "```python\nprint(3)\n```")
    assert (wrong.verdict, wrong.answer) == (Verdict.WRONG, "print(3)\n")
    assert wrong.reason.startswith("test 2 of 2")
    assert task.grade(problem, "The sum is 3.").verdict is Verdict.UNGRADABLE
    messages = task.prompt(problem)
    assert not isinstance(messages, str)
    (message,) = messages
    assert "```python" in message["content"]


def test_splits_do_not_hang_on_the_order(load: Loader) -> None:
    rows = [{"question": f"{ASKED} {n}", "tests": PAIRS, "id": n} for n in range(40)]
    splits = {p.prompt: p.split for p in load(*rows).problems(None)}
    assert splits == {p.prompt: p.split for p in load(*reversed(rows)).problems(None)}
    assert set(splits.values()) == set(Split)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"tests": PAIRS}, "row 1 has nothing in any of question, problem, .*'tests'"),
        ({"question": ASKED, "answer": 3}, "row 1 has nothing in any of input_output, tests, "),
        ({"question": 5, "tests": PAIRS}, "question is 5; it must be a text"),
        ({"question": " ", "tests": PAIRS}, "it must be a text"),
        ({"question": ASKED, "tests": "eJxrYJk"}, "tests is no JSON"),
        ({"question": ASKED, "tests": "[" * 100_000}, "tests is no JSON"),
        ({"question": ASKED, "tests": 7}, "no tests in a known shape"),
        ({"question": ASKED, "tests": {"in": [], "out": []}}, "no tests in a known shape"),
        ({"question": ASKED, "tests": ["1 2"]}, "no tests in a known shape"),
        ({"question": ASKED, "tests": [{"input": "1 2"}]}, "no tests in a known shape"),
        ({"question": ASKED, "tests": {**PAIRS, "outputs": ["3"]}}, "2 inputs and 1 outputs"),
        ({"question": ASKED, "tests": {"inputs": [1], "outputs": [2]}}, "input 1 is 1; it must"),
        ({"question": ASKED, "tests": {**PAIRS, "fn_name": "add"}}, "calls a function, 'add'"),
        (
            {"question": ASKED, "tests": [{"input": "1", "output": "1", "testtype": "functional"}]},
            "calls a function",
        ),
        ({"question": ASKED, "tests": []}, "none of its 0 tests"),
        ({"question": ASKED, "tests": {"inputs": ["1"], "outputs": [" \n"]}}, "an empty program"),
        (
            {"question": ASKED, "tests": {"inputs": [""], "outputs": ["1" * (5 << 20)]}},
            "output 1 has 5242880 characters",
        ),
    ],
)
def test_bad_rows_are_named_in_one_line(load: Loader, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadFile, match=reason) as raised:
        load(row)
    assert "\n" not in str(raised.value)
