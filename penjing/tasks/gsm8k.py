"""GSM8K (arXiv 2110.14168): word problems with a number for an answer.

Rows have ``question`` and ``answer``: worked out in lines, with calculations in ``<<48/2=24>>``,
and the number behind ``####`` at the end. Rows of verl have the number in a column of its own.
"""

import re
from pathlib import Path

from penjing.errors import BadFile
from penjing.tasks import verl
from penjing.tasks.math_judge import math_judge
from penjing.tasks.problem import Problem
from penjing.tasks.rows import Row, read_rows
from penjing.tasks.source import FileSource, file_split, normalised, problem_id
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

_NUMBER = r"-?\$?\d[\d,]*(?:\.\d+)?|-?\.\d+"
_ANSWER = re.compile(rf"(?P<solution>.*)####\s*(?P<number>{_NUMBER})", re.DOTALL)
_CALCULATION = re.compile(r"<<[^<>]*>>")


def gsm8k(data: Path) -> Task:
    """Raises ``BadFile`` for a row whose answer does not end in ``#### number``.

    A problem's metadata have the ``solution`` without its calculations, empty where none is given.
    """
    return Task(
        name="gsm8k",
        source=FileSource([_problem(data, row) for row in read_rows(data)]),
        judge=math_judge(AnswerFormat.BOXED),
        template=Template(style=Style.R1, answer_format=AnswerFormat.BOXED),
    )


def _problem(path: Path, row: Row) -> Problem:
    number = verl.ground_truth(row.values)
    question = _text(path, row, "question") if number is None else _verl_question(path, row)
    answer = _text(path, row, "answer") if number is None else _verl_answer(row, number)
    found = _ANSWER.fullmatch(answer)
    if found is None:
        raise BadFile(
            f"{path}: row {row.number}: the answer does not end in '#### ' and a number but in "
            f"{answer[-40:]!r}; for plain answers take the task jsonl"
        )
    return Problem(
        id=problem_id("gsm8k", normalised(question)),
        prompt=question,
        reference=found["number"],
        split=verl.split(row.values) or file_split(path, question),
        metadata={"solution": _CALCULATION.sub("", found["solution"]).strip()},
    )


def _verl_question(path: Path, row: Row) -> str:
    question = verl.question(row.values)
    if question is None:
        raise BadFile(f"{path}: row {row.number} has a reward_model, but no prompt that asks")
    return question


def _verl_answer(row: Row, number: object) -> str:
    """In the writing of GSM8K's own column; the number is the one that verl grades by."""
    solution, _, _ = (verl.worked_solution(row.values) or "").rpartition("####")
    return f"{solution}#### {number}"


def _text(path: Path, row: Row, name: str) -> str:
    value = row.values.get(name)
    if value is None:
        has = ", ".join(map(repr, list(row.values)[:20])) or "none"
        raise BadFile(f"{path}: row {row.number} has nothing in {name!r}; its columns: {has}")
    if not isinstance(value, str) or not value.strip():
        raise BadFile(f"{path}: row {row.number}: {name} is {value!r:.60}; it must be a text")
    return value.strip()
