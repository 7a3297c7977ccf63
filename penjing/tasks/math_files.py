r"""Files of competition mathematics, in the columns that their publishers chose.

MATH (arXiv 2103.03874; also its folder of one JSON file a problem), MATH-500, AIME, OpenR1-Math,
NuminaMath, DeepScaleR, and rows of verl. The reference is the answer where there is one, else the
last box of the solution. Rows that no judge could pay fairly, such as proofs, choices among letters
and questions with several answers, are left out and counted.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

from penjing.errors import BadFile
from penjing.tasks import verl
from penjing.tasks.answer import last_box
from penjing.tasks.math_judge import math_judge
from penjing.tasks.math_reader import read
from penjing.tasks.math_tree import NotAValue
from penjing.tasks.plain_number import plain_number
from penjing.tasks.problem import Problem, Split
from penjing.tasks.rows import Row, read_rows
from penjing.tasks.source import FileSource, file_split, normalised, problem_id
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

QUESTIONS = ("problem", "question", "Problem", "Question")
ANSWERS = ("answer", "Answer", "expected_answer", "final_answer")
IDS = ("unique_id", "id", "ID", "uuid", "problem_id", "url")
KEPT = ("level", "type", "subject", "source", "year", "problem_type", "data_source", "solution")
_NO_ANSWERS = frozenset({"", "proof", "notfound", "n/a", "none", "null", "nan"})
_OF_AIME = re.compile(r"0*[0-9]{1,3}")
_LETTER = re.compile(r"(?:\\(?:text|textbf|mathrm|mathbf)\{)?\(?[A-H][).]?\}?")
_CHOICES = re.compile(r"\bA\s?[).:].*\bB\s?[).:]", re.DOTALL)
_SPLITS = {"train": Split.TRAIN, "test": Split.HELD_OUT}


@dataclass(frozen=True, kw_only=True)
class MathFile:
    """``refused``: why rows were left out, and how many."""

    problems: Sequence[Problem]
    refused: Mapping[str, int]


class _LeftOut(Exception):
    """Why a row is no problem here."""


def math(data: Path) -> Task:
    """Raises ``BadFile``, also where no row has an answer that can be read."""
    return _task("math", read_math(data).problems)


def aime(data: Path) -> Task:
    """Answers are whole numbers from 0 to 999, with leading zeros or without."""
    problems = read_math(data, name="aime").problems
    for problem in problems:
        if not _OF_AIME.fullmatch(problem.reference):
            raise BadFile(
                f"{data}: the answer of {problem.id} is {problem.reference!r:.40}; answers of AIME "
                "are whole numbers from 0 to 999: take the task math"
            )
    return _task("aime", problems)


def read_math(data: Path, name: str = "math") -> MathFile:
    """All problems of a file, or of a folder of JSON files. Raises ``BadFile``."""
    refused: Counter[str] = Counter()
    asked: defaultdict[str, list[Problem]] = defaultdict(list)
    for path, row, split in _rows(data):
        try:
            problem = _problem(path, row, name, split)
        except _LeftOut as reason:
            refused[str(reason)] += 1
        else:
            asked[normalised(problem.prompt)].append(problem)
    problems = tuple(chain.from_iterable(_one(same, refused) for same in asked.values()))
    if not problems:
        why = ", ".join(f"{reason} ({count})" for reason, count in refused.items())
        raise BadFile(f"{data} has no problem with an answer that can be read: {why}")
    _check_ids(data, problems)
    return MathFile(problems=problems, refused=refused)


def _one(same: Sequence[Problem], refused: Counter[str]) -> Sequence[Problem]:
    """Of all problems that ask the same: the first, or none where their answers differ."""
    if len({problem.reference for problem in same}) > 1:
        refused["a question that stands there with another answer"] += len(same)
        return ()
    if same[1:]:
        refused["a question that stands there already"] += len(same) - 1
    return same[:1]


def _check_ids(data: Path, problems: Iterable[Problem]) -> None:
    seen: dict[str, Problem] = {}
    for problem in problems:
        other = seen.setdefault(problem.id, problem)
        if other is not problem:
            raise BadFile(
                f"{data}: the id {problem.id} belongs to two questions, {other.prompt!r:.50} and "
                f"{problem.prompt!r:.50}; rename one"
            )


def _task(name: str, problems: Sequence[Problem]) -> Task:
    return Task(
        name=name,
        source=FileSource(problems),
        judge=math_judge(AnswerFormat.BOXED),
        template=Template(style=Style.R1, answer_format=AnswerFormat.BOXED),
    )


def _rows(data: Path) -> Iterator[tuple[Path, Row, Split | None]]:
    """With the split that a folder of MATH says a problem is in; a file does not say."""
    if not data.is_dir():
        yield from ((data, row, None) for row in read_rows(data))
        return
    files = sorted(data.rglob("*.json"))
    if not files:
        raise BadFile(f"{data} is a folder without .json files; give a file, or MATH's own folder")
    for file in files:
        yield file, Row(number=1, values=_object(file)), _split_of_folder(data, file)


def _object(file: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise BadFile(f"{file} holds no object; in a folder, each file must be one problem")
    return values


def _split_of_folder(data: Path, file: Path) -> Split | None:
    """The nearest folder counts, up to ``data`` itself: what lies above it is the user's."""
    folders = (data.resolve().name, *file.relative_to(data).parent.parts)
    return next((_SPLITS[name] for name in reversed(folders) if name in _SPLITS), None)


def _problem(path: Path, row: Row, name: str, split: Split | None) -> Problem:
    """Raises ``_LeftOut``, and ``BadFile`` where the columns are no problem's."""
    question = _question(path, row)
    reference = _reference(path, row)
    _check_kind(row.values, question, reference)
    try:
        read(reference)
    except NotAValue:
        raise _LeftOut("an answer that is no value") from None
    ids = (row.values.get(key) for key in IDS)
    id = next((str(one) for one in ids if one not in (None, "")), None)
    return Problem(
        id=id or problem_id(name, normalised(question)),
        prompt=question,
        reference=reference,
        split=split or verl.split(row.values) or file_split(path, question),
        metadata={key: row.values[key] for key in KEPT if key in row.values},
    )


def _question(path: Path, row: Row) -> str:
    for name in QUESTIONS:
        found = row.values.get(name)
        if isinstance(found, str) and found.strip():
            return found.strip()
    asked = verl.question(row.values)
    if asked is None:
        has = ", ".join(list(row.values)[:20])
        raise BadFile(
            f"{path}: row {row.number} has no question; one of {', '.join(QUESTIONS)}, prompt must "
            f"hold it; its columns: {has}"
        )
    return asked


def _reference(path: Path, row: Row) -> str:
    values = row.values
    given = [verl.ground_truth(values), *(values.get(name) for name in ANSWERS)]
    answer = next((one for one in given if one is not None), None)
    if answer is not None:
        return _bare(answer)
    solution = values.get("solution")
    if not isinstance(solution, str):
        raise BadFile(
            f"{path}: row {row.number} has no answer: neither {', '.join(ANSWERS)}, nor "
            "reward_model.ground_truth, nor a solution with a box"
        )
    return (last_box(solution) or "").strip()


def _bare(answer: Any) -> str:
    """Out of a list of one, and without the dollar signs around it; empty where it is no number."""
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, float):  # what pandas writes for nothing is NaN
        return plain_number(answer) if isfinite(answer) else ""
    text = str(answer).strip()
    inner = text[1:-1] if text.startswith("$") and text.endswith("$") else text
    return text if "$" in inner else inner.strip()


def _check_kind(values: Mapping[str, Any], question: str, reference: str) -> None:
    """Raises ``_LeftOut`` for proofs and choices.

    ``question_type`` is OpenR1-Math's and NuminaMath's. MATH has a few letters for answers too,
    and its published figures count them; ``level`` tells it.
    """
    kind = str(values.get("question_type")).casefold()
    if kind == "proof" or reference.casefold() in _NO_ANSWERS:
        raise _LeftOut("no answer, or a proof")
    is_letter = _LETTER.fullmatch(reference) and _CHOICES.search(question)
    if kind == "mcq" or (is_letter and "level" not in values):
        raise _LeftOut("a choice among letters, which guesses often hit")
