"""A user's own problems: rows with ``question`` and ``answer``, and a judge of theirs if they want.

Rows may have an ``id`` and a ``split`` (train or held_out; else one in eight is held out), and an
answer may be a number, a text, or a list of which any is right.
"""

import re
from pathlib import Path
from typing import Any

from penjing.errors import BadFile
from penjing.tasks.answer import final_answer
from penjing.tasks.math_judge import grade
from penjing.tasks.math_reader import read
from penjing.tasks.math_tree import NotAValue, Op
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.rows import Row, read_rows
from penjing.tasks.source import FileSource, file_split, normalised, problem_id
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template
from penjing.tasks.user_judge import UserJudge

NAMES = {"train": Split.TRAIN, "held_out": Split.HELD_OUT, "test": Split.HELD_OUT}
_WORDS = re.compile(r"[^\W\d_]+(?:[ '’-]+[^\W\d_]+)*")  # noqa: RUF001, an apostrophe
_OWN = frozenset({"question", "answer", "id", "split"})


def user_task(data: Path, judge: str | None = None) -> Task:
    """``judge`` is ``path.py:function``, see ``UserJudge``; None: ``plain_judge``.

    Raises ``BadFile`` for rows that are no problems, and ``BadCommand`` for no such judge.
    """
    required = ("question",) if judge else ("question", "answer")
    return Task(
        name="jsonl",
        source=FileSource([_problem(data, row) for row in read_rows(data, required)]),
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
    """Up to three letters are variables, more are a word; what cannot be read is words too."""
    if _WORDS.fullmatch(reference) and (" " in reference or len(reference) > 3):
        return True
    try:
        return read(reference).op is Op.TEXT
    except NotAValue:
        return True


def _plain(text: str) -> str:
    text = text.strip().rstrip(".")
    if text.startswith(r"\text{") and text.endswith("}"):
        text = text[len(r"\text{") : -1]
    return " ".join(text.casefold().split())


def _problem(path: Path, row: Row) -> Problem:
    question = _text(path, row, "question")
    accepted = _accepted(path, row)
    given_id = row.values.get("id")
    return Problem(
        id=problem_id("jsonl", normalised(question)) if given_id is None else str(given_id),
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
            f"{path}: row {row.number}: answer is {value!r:.60}; it must be a text, a number, or a "
            "list of them"
        )
    return [str(one).strip() for one in given]


def _is_answer(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(path: Path, row: Row, name: str) -> str:
    value = row.values[name]
    if not isinstance(value, str) or not value.strip():
        raise BadFile(f"{path}: row {row.number}: {name} is {value!r:.60}; it must be a text")
    return value.strip()


def _split(path: Path, row: Row, question: str) -> Split:
    value = row.values.get("split")
    if value is None:
        return file_split(path, question)
    if value not in NAMES:
        raise BadFile(
            f"{path}: row {row.number}: split is {value!r:.40}; it must be one of "
            f"{', '.join(NAMES)}"
        )
    return NAMES[value]
