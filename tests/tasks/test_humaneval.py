import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penjing.errors import BadFile
from penjing.tasks.humaneval import COLUMNS, humaneval
from penjing.tasks.problem import Problem, Split
from penjing.tasks.sandbox.protections import SandboxRefused
from penjing.tasks.sandbox.sandbox import Sandbox
from penjing.tasks.task import Task

FILE = Path(__file__).parents[3] / "shared/data/benchmarks/humaneval/HumanEval.jsonl.gz"
# A third of all, and those whose tests call the problem's own functions or its solution.
CHOSEN = {f"HumanEval/{n}" for n in (*range(0, 164, 4), 10, 32, 33, 37, 38, 50, 53, 78, 151)}
ROW = {
    "task_id": "Made/1",
    "prompt": 'def double(x):\n    """Twice x."""\n',
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(4) == 8\n",
}

Writer = Callable[..., Path]


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return Sandbox()
    except SandboxRefused as refused:
        pytest.skip(str(refused))


@pytest.fixture(scope="module")
def task() -> Task:
    if not FILE.exists():
        pytest.skip(f"{FILE} is not there")
    try:
        return humaneval(FILE)
    except SandboxRefused as refused:
        pytest.skip(str(refused))


@pytest.fixture
def written(tmp_path: Path) -> Writer:
    def write(*rows: object) -> Path:
        path = tmp_path / "data.jsonl.gz"
        path.write_bytes(gzip.compress("".join(f"{json.dumps(row)}\n" for row in rows).encode()))
        return path

    return write


def test_the_benchmark_is_held_out(task: Task) -> None:
    problems = task.problems(Split.HELD_OUT)
    assert len(problems) == 164
    assert not task.problems(Split.TRAIN)
    assert {p.id for p in problems} == {f"HumanEval/{n}" for n in range(164)}


def test_own_solutions_pass_and_stubs_fail(task: Task) -> None:
    problems = [p for p in task.problems(None) if p.id in CHOSEN]
    assert len(problems) == len(CHOSEN)
    own = {p.id: task.grade(p, p.reference) for p in problems}
    assert {id: grade.reason for id, grade in own.items() if not grade.is_correct} == {}
    stubs = {p.id: task.grade(p, f"{p.prompt}    return None\n") for p in problems}
    assert [id for id, grade in stubs.items() if grade.is_correct or grade.is_fault] == []


def test_an_echo_and_the_tests_themselves_are_no_solution(task: Task) -> None:
    for problem in task.problems(None, size=3):
        for response in (problem.prompt, problem.metadata["test"], "pass", ""):
            assert not task.grade(problem, response).is_correct


def test_a_row_becomes_a_problem(written: Writer, sandbox: Sandbox) -> None:
    made = humaneval(written(ROW), sandbox)
    (problem,) = made.problems(None)
    assert problem == Problem(
        id="Made/1",
        prompt=ROW["prompt"],
        reference=ROW["canonical_solution"],
        split=problem.split,
        metadata={"entry_point": "double", "test": ROW["test"]},
    )
    assert made.name == "humaneval"
    thought = "<think>\nTwice.\n</think>\n```python\ndef double(x):\n    return x + x\n```"
    assert made.grade(problem, thought).is_correct


def test_the_prompt_asks_for_a_fenced_block(written: Writer, sandbox: Sandbox) -> None:
    made = humaneval(written(ROW), sandbox)
    messages = made.prompt(made.problems(None)[0])
    assert not isinstance(messages, str)
    (message,) = messages
    assert ROW["prompt"] in message["content"]
    assert "one fenced block that begins with ```python" in message["content"]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_or_empty_column_is_named(written: Writer, sandbox: Sandbox, column: str) -> None:
    lacking = {name: value for name, value in ROW.items() if name != column}
    cases: list[Any] = [lacking, {**ROW, column: None}, {**ROW, column: 5}, {**ROW, column: " "}]
    for row in cases:
        with pytest.raises(BadFile, match=rf"row 2.*{column}"):
            humaneval(written({**ROW, "task_id": "Made/0"}, row), sandbox)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"entry_point": "double(x)"}, "entry_point is 'double\\(x\\)'; it must be the name"),
        ({"test": "assert double(4) == 8"}, "defines no check"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    written: Writer, sandbox: Sandbox, changes: dict[str, str], reason: str
) -> None:
    with pytest.raises(BadFile, match=reason):
        humaneval(written({**ROW, **changes}), sandbox)


def test_an_id_may_not_come_twice(written: Writer, sandbox: Sandbox) -> None:
    with pytest.raises(BadFile, match="Made/1"):
        humaneval(written(ROW, {**ROW, "prompt": "def double(y):\n    pass\n"}), sandbox)
