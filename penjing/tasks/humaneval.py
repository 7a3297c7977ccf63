"""Functions to be completed, with tests that call them: the format of HumanEval (2107.03374).

A response holds the whole function in a fenced block or, from a base model, goes on where the
prompt stops: see ``code_answer``. Tests may call the function by its name, as HumanEval/33 does to
compare a result with itself; here that name means the problem's own solution.
"""

from pathlib import Path

from penjing.errors import BadFile
from penjing.tasks.code_judge import FUNCTION_LIMITS, FunctionJudge
from penjing.tasks.problem import Problem
from penjing.tasks.rows import Row, read_rows
from penjing.tasks.sandbox.sandbox import Sandbox
from penjing.tasks.source import FileSource, file_split
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

COLUMNS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")


def humaneval(data: Path, sandbox: Sandbox | None = None) -> Task:
    """Raises ``BadFile``, and ``SandboxRefused`` where no ``sandbox`` is given and none can be had.

    A problem's ``reference`` is the solution's rest behind the prompt; its metadata have
    ``entry_point`` and ``test``.
    """
    return Task(
        name="humaneval",
        source=FileSource([_problem(data, row) for row in read_rows(data, COLUMNS)]),
        judge=FunctionJudge(sandbox=sandbox or Sandbox(FUNCTION_LIMITS)),
        template=Template(style=Style.R1, answer_format=AnswerFormat.CODE),
    )


def _problem(data: Path, row: Row) -> Problem:
    values = {name: _text(data, row, name) for name in COLUMNS}
    if not values["entry_point"].isidentifier():
        raise BadFile(
            f"{data}: row {row.number}: entry_point is {values['entry_point']!r:.60}; it must be "
            "the name of a function"
        )
    if "def check(" not in values["test"]:
        raise BadFile(f"{data}: row {row.number}: test defines no check(candidate); add one")
    return Problem(
        id=values["task_id"],
        prompt=values["prompt"],
        reference=values["canonical_solution"],
        split=file_split(data, values["prompt"]),
        metadata={"entry_point": values["entry_point"], "test": values["test"]},
    )


def _text(data: Path, row: Row, name: str) -> str:
    value = row.values[name]
    if not isinstance(value, str) or not value.strip():
        raise BadFile(f"{data}: row {row.number}: {name} is {value!r:.60}; it must be a text")
    return value
