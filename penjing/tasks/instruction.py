"""Instructions that a program can check, made here or read from a file of Google's IFEval.

All constraints must hold for the whole answer, as it stands. They say nothing of the content, so
that a base is asked for besides: enough words, enough of them that are not the question's, and no
copy of the question. It makes figures on IFEval a little lower than the published ones.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from penjing.errors import BadFile
from penjing.tasks import constraint_draws
from penjing.tasks.constraints import KINDS, Constraint, constraint, overlap, words
from penjing.tasks.problem import Grade, Problem, Verdict
from penjing.tasks.rows import Row, read_rows
from penjing.tasks.source import Drawn, FileSource, GeneratedSource, file_split
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

MAX_CHARS = 100_000
MIN_WORDS, MIN_NEW_WORDS = 20, 10  # in all, and different ones that the question has not
MAX_OVERLAP = 0.5  # share of the runs of four words that are the question's
MAX_REPETITION = 0.25  # share of the commonest word: "the" has 0.07 in English prose


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A row that asks for what cannot be checked; the others of its file go on."""

    row: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Instructions:
    problems: Sequence[Problem]
    refused: Sequence[Refused]


def instruction(data: Path | None = None) -> Task:
    """Raises ``BadFile`` where a file has no problem that can be checked.

    ``read_instructions`` says which rows of the others are refused.
    """
    source = (
        FileSource(read_instructions(data).problems)
        if data
        else GeneratedSource("instruction", draw)
    )
    return Task(
        name="instruction",
        source=source,
        judge=judge,
        template=Template(style=Style.PLAIN, answer_format=AnswerFormat.LAST_LINE),
    )


def draw(number: int) -> Drawn:
    prompt, constraints = constraint_draws.draw(Random(number))
    return Drawn(prompt=prompt, reference="", metadata=_metadata(constraints))


def read_instructions(path: Path) -> Instructions:
    """Columns as in IFEval: ``prompt``, ``instruction_id_list``, ``kwargs``."""
    problems, refused = [], []
    for row in read_rows(path, ("prompt", "instruction_id_list", "kwargs")):
        try:
            constraints = tuple(_constraints(row.values))
        except ValueError as error:
            refused.append(Refused(row=row.number, reason=str(error)))
            continue
        problems.append(_problem(path, row, constraints))
    if not problems:
        raise BadFile(
            f"{path} has no row that can be checked; row {refused[0].row}: {refused[0].reason}"
        )
    return Instructions(problems=problems, refused=refused)


def judge(problem: Problem, response: str) -> Grade:
    """Reads the whole answer; there is no place in it that counts alone."""
    text = response.strip()
    constraints = [Constraint(**known) for known in problem.metadata["constraints"]]
    if len(text) > MAX_CHARS:
        reason = f"it has {len(text)} characters; at most {MAX_CHARS} are read"
        return Grade(verdict=Verdict.WRONG, reason=reason)
    broken = [c.kind for c in constraints if not c.holds(text)]
    reason = (
        f"not kept: {', '.join(broken)}" if broken else _lack(problem.prompt, text, constraints)
    )
    if reason:
        return Grade(verdict=Verdict.WRONG, reason=reason, answer=text)
    kept = ", ".join(c.kind for c in constraints)
    return Grade(verdict=Verdict.CORRECT, reason=f"kept: {kept}", answer=text)


def _lack(prompt: str, text: str, constraints: Sequence[Constraint]) -> str:
    """What the base asks for and the text has not; less is asked for where little is allowed."""
    allowed = min(map(_allowed, constraints), default=MIN_WORDS * 2)
    least, least_new = min(MIN_WORDS, allowed // 2), min(MIN_NEW_WORDS, allowed // 4)
    own = _without_repeated(text, constraints)
    found = words(own.lower())
    new = set(found) - set(words(prompt.lower()))
    if len(found) < least:
        return f"it has {len(found)} words of its own; {least} are asked for"
    if len(new) < least_new:
        return f"it has {len(new)} different words that the question has not; {least_new} are asked"
    commonest = max(Counter(found).values(), default=0)
    if commonest > max(2, MAX_REPETITION * len(found)):
        return "one word is most of it"
    share = overlap(own, prompt)
    if allowed and share > MAX_OVERLAP:
        return f"{share:.0%} of it is the question"
    return ""


def _allowed(one: Constraint) -> int:
    """How many words a constraint leaves room for."""
    match one.kind, one.arguments:
        case "detectable_format:constrained_response", _:
            return 0  # "My answer is yes."
        case "length_constraints:number_words", {"relation": "less than", "num_words": int(most)}:
            return most
        case _:
            return MIN_WORDS * 2


def _without_repeated(text: str, constraints: Sequence[Constraint]) -> str:
    for one in constraints:
        if one.kind == "combination:repeat_prompt":
            return text[len(one.arguments["prompt_to_repeat"].strip()) :]
    return text


def _constraints(values: Mapping[str, Any]) -> Iterator[Constraint]:
    """Raises ``ValueError`` for kinds nobody knows, all of them named, and for bad arguments."""
    kinds, arguments = values["instruction_id_list"], values["kwargs"]
    if not isinstance(kinds, list) or not isinstance(arguments, list) or not kinds:
        raise ValueError(
            "instruction_id_list and kwargs must be lists, one entry each a constraint"
        )
    if len(kinds) != len(arguments):
        raise ValueError(f"it has {len(kinds)} instruction ids and {len(arguments)} kwargs")
    unknown = [str(kind) for kind in kinds if str(kind) not in KINDS]
    if unknown:
        raise ValueError(f"nothing here checks {', '.join(unknown)}")
    for kind, found in zip(kinds, arguments, strict=True):
        if not isinstance(found, Mapping | None):
            raise ValueError(f"the kwargs of {kind} are {found!r:.60}; they must be an object")
        yield constraint(kind, found or {})


def _problem(path: Path, row: Row, constraints: Sequence[Constraint]) -> Problem:
    prompt = str(row.values["prompt"])
    return Problem(
        id=f"instruction-{row.values.get('key', row.number)}",
        prompt=prompt,
        reference="",
        split=file_split(path, prompt),
        metadata=_metadata(constraints),
    )


def _metadata(constraints: Sequence[Constraint]) -> Mapping[str, Any]:
    """Plain values, so that JSON holds them."""
    return {"constraints": [{"kind": c.kind, "arguments": c.arguments} for c in constraints]}
