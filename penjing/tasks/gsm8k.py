"""GSM8K (arXiv 2110.14168): word problems with a number for an answer.

Rows have ``question`` and ``answer``: worked out in lines, with calculations in ``<<48/2=24>>``,
and the number behind ``####`` at the end.
"""

import re
from pathlib import Path

from penjing.errors import BadFile
from penjing.tasks.math_judge import math_judge
from penjing.tasks.problem import Problem
from penjing.tasks.rows import Row, read_rows
from penjing.tasks.source import FileSource, file_split, normalised, problem_id
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

COLUMNS = ("question", "answer")
_ANSWER = re.compile(r"(?P<solution>.*)####(?P<number>[^#\n]+)\s*", re.DOTALL)
_CALCULATION = re.compile(r"<<[^<>]*>>")


def gsm8k(data: Path) -> Task:
    """Raises ``BadFile`` for a row whose answer does not end in ``#### number``.

    A problem's metadata have the ``solution`` without its calculations.
    """
    return Task(
        name="gsm8k",
        source=FileSource([_problem(data, row) for row in read_rows(data, COLUMNS)]),
        judge=math_judge(AnswerFormat.BOXED),
        template=Template(style=Style.R1, answer_format=AnswerFormat.BOXED),
    )


def _problem(path: Path, row: Row) -> Problem:
    question, answer = (str(row.values[name]).strip() for name in COLUMNS)
    found = _ANSWER.fullmatch(answer)
    if found is None:
        raise BadFile(
            f"{path}: row {row.number}: the answer does not end in '#### ' and a number but in "
            f"{answer[-40:]!r}; for plain answers take the task jsonl"
        )
    return Problem(
        id=problem_id("gsm8k", normalised(question)),
        prompt=question,
        reference=found["number"].strip(),
        split=file_split(path, question),
        metadata={"solution": _CALCULATION.sub("", found["solution"]).strip()},
    )
