"""Multiple choice, asked with letters, from files with the columns of GPQA, MMLU or ARC.

The letter alone is the answer. The text of a choice is none: it could be compared only loosely.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from penjing.errors import BadFile
from penjing.tasks.answer import final_answer
from penjing.tasks.problem import Grade, Problem, Verdict
from penjing.tasks.rows import Row, read_rows
from penjing.tasks.source import FileSource, file_split, normalised
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

MAX_CHOICES = len(ascii_uppercase)
_ASKED = "Give the letter of the right choice, and nothing else, as the final answer."

_GPQA_WRONG = tuple(f"Incorrect Answer {i}" for i in (1, 2, 3))
_LETTER = re.compile(r"\(?([A-Za-z])[).:]?|\\(?:text|textbf|mathrm|mathbf)\{\(?([A-Za-z])[).]?\}")
_LAST = re.compile(
    r"\b(?:of|are) (?:the |these )?above\b|\b(?:all|none|both) of (?:the above|these)\b"
)
_BY_LETTER = re.compile(r"\b[A-J](?:,| and| or| nor|&) ?[A-J]\b|\b(?:choices?|options?) [A-J]\b")


@dataclass(frozen=True, kw_only=True)
class _Asked:
    question: str
    choices: Sequence[str]
    right: int  # its place in choices


def choice(data: Path) -> Task:
    """Raises ``BadFile`` for a row that is no question, or has a choice twice."""
    return Task(
        name="choice",
        source=FileSource([_problem(data, _asked(data, row)) for row in read_rows(data)]),
        judge=judge,
        template=Template(style=Style.R1, answer_format=AnswerFormat.BOXED),
    )


def judge(problem: Problem, response: str) -> Grade:
    r"""One letter: ``B``, ``(B)``, ``B)``, ``B.`` or ``\text{B}``, in either case."""
    answer = final_answer(response, AnswerFormat.BOXED)
    if isinstance(answer, Grade):
        return answer
    found = _LETTER.fullmatch(answer.strip())
    if found is None:
        return _wrong(answer, "it is not one letter")
    letter = (found[1] or found[2]).upper()
    if letter not in ascii_uppercase[: problem.metadata["num_choices"]]:
        return _wrong(answer, f"there is no choice {letter}")
    if letter != problem.reference:
        return _wrong(answer, f"{letter} is not the right choice")
    return Grade(verdict=Verdict.CORRECT, reason=f"{letter} is right", answer=letter)


def _wrong(answer: str, reason: str) -> Grade:
    return Grade(verdict=Verdict.WRONG, reason=reason, answer=answer)


def _problem(path: Path, asked: _Asked) -> Problem:
    """The id hangs on what is asked, the order on the id: the same in every file and process."""
    id = f"choice-{_hash(normalised(asked.question), *sorted(map(normalised, asked.choices)))}"
    order = _order(id, asked.choices)
    lines = [f"{ascii_uppercase[i]}) {asked.choices[place]}" for i, place in enumerate(order)]
    return Problem(
        id=id,
        prompt="\n".join((asked.question, "", *lines, "", _ASKED)),
        reference=ascii_uppercase[order.index(asked.right)],
        split=file_split(path, asked.question),
        metadata={"num_choices": len(order)},
    )


def _order(id: str, choices: Sequence[str]) -> list[int]:
    """Shuffled, but for what speaks of the others: "all of the above" stays below them.

    Choices that name each other by letter stay where they are.
    """
    places = range(len(choices))
    if any(_BY_LETTER.search(choice) for choice in choices):
        return list(places)
    return sorted(
        places, key=lambda i: (bool(_LAST.search(choices[i].lower())), _hash(id, choices[i]))
    )


def _hash(*parts: str) -> str:
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _asked(path: Path, row: Row) -> _Asked:
    read = _gpqa if "Correct Answer" in row.values else _listed
    question, choices, right = read(row.values)
    texts = [str(text).strip() for text in choices]
    reason = _fault(question, texts, right)
    if reason:
        raise BadFile(f"{path}, row {row.number}: {reason}")
    assert right is not None
    return _Asked(question=str(question).strip(), choices=texts, right=right)


def _fault(question: object, choices: Sequence[str], right: int | None) -> str:
    if not isinstance(question, str) or not question.strip():
        return "there is no question; name the column question (or Question, as GPQA does)"
    if not 2 <= len(choices) <= MAX_CHOICES or not all(choices):
        return (
            f"it has {len(choices)} choices, {sum(map(bool, choices))} of them not empty; give 2 "
            f"to {MAX_CHOICES} in the column choices, or the columns Correct Answer and Incorrect "
            "Answer 1 to 3"
        )
    if len({normalised(c) for c in choices}) < len(choices):
        return "a choice is there twice; tell them apart"
    if right is None or not 0 <= right < len(choices):
        return "answer names no choice; give its place from 0, its letter or its label"
    return ""


def _gpqa(values: Mapping[str, Any]) -> tuple[Any, list[Any], int | None]:
    """The first is right; other columns of the file say nothing about the question."""
    wrong = [values.get(column) for column in _GPQA_WRONG]
    choices = [values["Correct Answer"], *(text for text in wrong if text is not None)]
    return values.get("Question", values.get("question")), choices, 0


def _listed(values: Mapping[str, Any]) -> tuple[Any, list[Any], int | None]:
    """``choices``: texts as in MMLU; texts and labels, or pairs of them, as in ARC."""
    question: Any = values.get("question")
    found: Any = _parsed(values.get("choices"))
    if isinstance(question, Mapping):  # ARC's own files
        question, found = question.get("stem"), question.get("choices")
    if isinstance(found, Mapping):
        texts, labels = list(found.get("text") or ()), list(found.get("label") or ())
    elif isinstance(found, Sequence) and not isinstance(found, str):
        pairs = [c for c in found if isinstance(c, Mapping)]
        texts = [c.get("text", "") for c in pairs] or list(found)
        labels = [c.get("label") for c in pairs]
    else:
        return question, [], None
    answer = values.get("answer", values.get("answerKey"))
    return question, texts, _place(answer, labels or list(ascii_uppercase))


def _parsed(choices: object) -> object:
    """A list, also where a table can hold only its text."""
    if not isinstance(choices, str):
        return choices
    try:
        found: object = json.loads(choices)
    except ValueError:
        return None
    return found


def _place(answer: object, labels: Sequence[object]) -> int | None:
    """Labels first: those of ARC may be digits, which count from 1."""
    text = "" if isinstance(answer, bool) else str(answer).strip()
    if text in map(str, labels):
        return list(map(str, labels)).index(text)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None
