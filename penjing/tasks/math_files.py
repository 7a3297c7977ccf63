r"""Files of competition mathematics, in the columns that their publishers chose.

MATH (arXiv 2103.03874; also its folder of one JSON file a problem), MATH-500, AIME, OpenR1-Math,
NuminaMath, DeepScaleR, and rows of verl. The reference is the answer where there is one, else the
last box of the solution. Rows without an answer that can be read, such as proofs, are left out and
counted.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penjing.errors import BadFile
from penjing.tasks.answer import last_box
from penjing.tasks.math_judge import math_judge
from penjing.tasks.math_reader import read
from penjing.tasks.math_tree import NotAValue
from penjing.tasks.problem import Problem, Split
from penjing.tasks.rows import Row, read_rows
from penjing.tasks.source import FileSource, file_split, normalised, problem_id
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

QUESTIONS = ("problem", "question", "Problem", "Question", "prompt")
ANSWERS = ("answer", "Answer", "expected_answer", "final_answer")
IDS = ("unique_id", "id", "ID", "uuid", "problem_id")
KEPT = ("level", "type", "subject", "source", "year", "problem_type", "data_source", "solution")
MAX_AIME = 999
_NO_ANSWERS = frozenset({"", "proof", "notfound", "none", "null"})


@dataclass(frozen=True, kw_only=True)
class MathFile:
    """``refused``: why rows were left out, and how many."""

    problems: Sequence[Problem]
    refused: Mapping[str, int]


def math(data: Path) -> Task:
    """Raises ``BadFile``, also where no row has an answer that can be read."""
    return _task("math", read_math(data).problems)


def aime(data: Path) -> Task:
    """Answers are whole numbers from 0 to 999, with leading zeros or without."""
    problems = read_math(data, name="aime").problems
    for problem in problems:
        reference = problem.reference
        if not (reference.isascii() and reference.isdigit() and int(reference) <= MAX_AIME):
            raise BadFile(
                f"{data}: the answer of {problem.id} is {reference!r:.40}; answers of AIME are "
                f"whole numbers from 0 to {MAX_AIME}: take the task math"
            )
    return _task("aime", problems)


def read_math(data: Path, name: str = "math") -> MathFile:
    """All problems of a file, or of a folder of JSON files. Raises ``BadFile``."""
    refused: Counter[str] = Counter()
    problems: dict[str, Problem] = {}
    for path, row in _rows(data):
        problem = _problem(path, row, name)
        if isinstance(problem, str):
            refused[problem] += 1
        elif problem.id in problems and problems[problem.id].prompt == problem.prompt:
            refused["a question that stands there already"] += 1
        elif problem.id in problems:
            raise BadFile(f"{data}: the id {problem.id} belongs to two rows; keep one, or rename")
        else:
            problems[problem.id] = problem
    if not problems:
        why = ", ".join(f"{reason} ({count})" for reason, count in refused.items())
        raise BadFile(f"{data} has no problem with an answer that can be read: {why}")
    return MathFile(problems=tuple(problems.values()), refused=refused)


def _task(name: str, problems: Sequence[Problem]) -> Task:
    return Task(
        name=name,
        source=FileSource(problems),
        judge=math_judge(AnswerFormat.BOXED),
        template=Template(style=Style.R1, answer_format=AnswerFormat.BOXED),
    )


def _rows(data: Path) -> Iterator[tuple[Path, Row]]:
    if not data.is_dir():
        yield from ((data, row) for row in read_rows(data))
        return
    files = sorted(data.rglob("*.json"))
    if not files:
        raise BadFile(f"{data} is a folder without .json files; give a file, or MATH's own folder")
    for file in files:
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadFile(f"{file} cannot be read: {' '.join(str(error).split())}") from None
        if not isinstance(values, dict):
            raise BadFile(f"{file} holds no object; in a folder, each file must be one problem")
        yield file, Row(number=1, values=values)


def _problem(path: Path, row: Row, name: str) -> Problem | str:
    """Or why there is none."""
    question = _question(row.values)
    if question is None:
        has = ", ".join(list(row.values)[:20])
        raise BadFile(
            f"{path}: row {row.number} has no question; one of {', '.join(QUESTIONS)} must hold "
            f"it; its columns: {has}"
        )
    reference = _reference(path, row)
    if reference.casefold() in _NO_ANSWERS:
        return "no answer, or a proof"
    try:
        read(reference)
    except NotAValue:
        return "an answer that is no value"
    found = next((str(row.values[key]) for key in IDS if row.values.get(key) is not None), None)
    return Problem(
        id=found or problem_id(name, normalised(question)),
        prompt=question,
        reference=reference,
        split=_split(path, question),
        metadata={key: row.values[key] for key in KEPT if key in row.values},
    )


def _question(values: Mapping[str, Any]) -> str | None:
    for name in QUESTIONS:
        found = values.get(name)
        if isinstance(found, list) and found and isinstance(found[-1], dict):  # messages
            found = found[-1].get("content")
        if isinstance(found, str) and found.strip():
            return found.strip()
    return None


def _reference(path: Path, row: Row) -> str:
    values = row.values
    graded = values.get("reward_model")
    given = [values.get(name) for name in ANSWERS]
    if isinstance(graded, dict):
        given.insert(0, graded.get("ground_truth"))
    answer = next((str(one).strip() for one in given if one is not None), None)
    if answer is not None:
        return answer.removeprefix("$").removesuffix("$").strip()
    solution = values.get("solution")
    if not isinstance(solution, str):
        raise BadFile(
            f"{path}: row {row.number} has no answer: neither {', '.join(ANSWERS)}, nor "
            "reward_model.ground_truth, nor a solution with a box"
        )
    return (last_box(solution) or "").strip()


def _split(path: Path, question: str) -> Split:
    """MATH's own folders say which is which."""
    folders = set(path.parts)
    if path.suffix == ".json" and "test" in folders:
        return Split.HELD_OUT
    if path.suffix == ".json" and "train" in folders:
        return Split.TRAIN
    return file_split(path, question)
