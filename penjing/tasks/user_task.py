"""A user's own problems: rows with ``question`` and ``answer``, and a judge of theirs if they want.

Rows may have an ``id`` and a ``split`` (train or held_out; else one in eight is held out), and an
answer may be a number, a text, or a list of which any is right. Without a judge of theirs, a number
or a formula is compared as mathematics, and words as words, in capitals or not. Letters in a row
are a word, so ``cat`` is not c times a times t: a product is to be written ``a*b`` or ``$ab$``.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penjing.errors import BadFile
from penjing.tasks.answer import final_answer
from penjing.tasks.math_judge import grade
from penjing.tasks.math_reader import read
from penjing.tasks.math_tree import NotAValue, Op
from penjing.tasks.plain_number import plain_number
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.rows import Row, read_rows
from penjing.tasks.source import FileSource, file_split, normalised, problem_id
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template
from penjing.tasks.user_judge import UserJudge

NAMES = {"train": Split.TRAIN, "held_out": Split.HELD_OUT, "test": Split.HELD_OUT}
_WORDS = re.compile(r"[^\W\d_]+(?:[ '’-]+[^\W\d_]+)*")  # noqa: RUF001, an apostrophe
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf)\{([^{}]*)\}")
_OWN = frozenset({"question", "answer", "id", "split"})


def user_task(data: Path, judge: str | None = None) -> Task:
    """``judge`` is ``path.py:function``, see ``UserJudge``; None: ``plain_judge``.

    Raises ``BadFile`` for rows that are no problems, and ``BadCommand`` for no such judge.
    """
    required = ("question",) if judge else ("question", "answer")
    rows = read_rows(data, required)
    problems = [_problem(data, row) for row in rows]
    _check_ids(data, rows, problems)
    return Task(
        name="jsonl",
        source=FileSource(problems),
        judge=UserJudge(judge) if judge else plain_judge,
        template=Template(style=Style.R1, answer_format=AnswerFormat.BOXED),
    )


def plain_judge(problem: Problem, response: str) -> Grade:
    """A boxed answer, equal as mathematics to an accepted one, or in words where that is."""
    answer = final_answer(response, AnswerFormat.BOXED)
    if isinstance(answer, Grade):
        return answer
    accepted = problem.metadata["accepted"]
    found = [_graded(answer, reference, problem.prompt) for reference in accepted]
    return next((one for one in found if one.is_correct), found[0])


def _graded(answer: str, reference: str, question: str) -> Grade:
    if not _is_words(reference):
        return grade(answer, reference, question)
    is_same = _plain(answer) == _plain(reference)
    return Grade(
        verdict=Verdict.CORRECT if is_same else Verdict.WRONG,
        reason="the same words" if is_same else "other words",
        answer=answer,
    )


def _is_words(reference: str) -> bool:
    """Letters that are no one name, such as x or pi; and whatever mathematics cannot read."""
    try:
        op = read(reference).op
    except NotAValue:
        return True
    return op is Op.TEXT or (op is not Op.NAME and _WORDS.fullmatch(reference) is not None)


def _plain(text: str) -> str:
    """Not ``normalised``: letters that only look alike are other words."""
    text = text.strip().rstrip(".")
    found = _TEXT.fullmatch(text)
    inner = found[1].strip().rstrip(".") if found else text
    return " ".join(inner.casefold().split())


def _problem(path: Path, row: Row) -> Problem:
    question = _text(path, row, "question")
    accepted = _accepted(path, row)
    return Problem(
        id=_id(path, row) or problem_id("jsonl", normalised(question)),
        prompt=question,
        reference=accepted[0] if accepted else "",
        split=_split(path, row, question),
        metadata={
            **{name: value for name, value in row.values.items() if name not in _OWN},
            "accepted": accepted,
        },
    )


def _accepted(path: Path, row: Row) -> list[str]:
    value = row.values.get("answer")
    if value is None:
        return []
    given = value if isinstance(value, list) else [value]
    if not given or not all(_is_answer(one) for one in given):
        raise BadFile(
            f"{path}: row {row.number}: answer is {value!r:.60}; it must be a text, a finite "
            "number, or a list of them"
        )
    return [one.strip() if isinstance(one, str) else plain_number(one) for one in given]


def _is_answer(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _text(path: Path, row: Row, name: str) -> str:
    value = row.values[name]
    if not isinstance(value, str) or not value.strip():
        raise BadFile(f"{path}: row {row.number}: {name} is {value!r:.60}; it must be a text")
    return value.strip()


def _id(path: Path, row: Row) -> str | None:
    value = _cell(row.values, "id")
    if value is None:
        return None
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise BadFile(
            f"{path}: row {row.number}: id is {value!r:.60}; it must be a text or a whole number"
        )
    return str(value)


def _split(path: Path, row: Row, question: str) -> Split:
    value = _cell(row.values, "split")
    if value is None:
        return file_split(path, question)
    if not isinstance(value, str) or value not in NAMES:
        raise BadFile(
            f"{path}: row {row.number}: split is {value!r:.40}; it must be one of "
            f"{', '.join(NAMES)}"
        )
    return NAMES[value]


def _cell(values: Mapping[str, Any], name: str) -> Any | None:
    """None for an empty cell, too: a table has no other way to say nothing."""
    value = values.get(name)
    return None if isinstance(value, str) and not value.strip() else value


def _check_ids(path: Path, rows: Sequence[Row], problems: Sequence[Problem]) -> None:
    seen: dict[str, int] = {}
    for row, problem in zip(rows, problems, strict=True):
        first = seen.setdefault(problem.id, row.number)
        if first == row.number:
            continue
        has_id = _cell(row.values, "id") is not None
        twice = f"have the id {problem.id!r:.60}" if has_id else "ask the same"
        raise BadFile(
            f"{path}: rows {first} and {row.number} {twice}; keep one, or give each its own id"
        )
