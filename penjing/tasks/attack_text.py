"""What attacks on judges are made of, and the honest check that they are attacks at all.

A text that happens to be right is none, whoever writes it: a constant that equals the reference, or
a question that is its own answer. Such a text is not tried on that problem.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from penjing.tasks.problem import Problem
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat

Write = Callable[[Problem, Task], str | None]
"""A response that earns nothing honestly; None where the attack means nothing for a problem."""

_NUMBER = re.compile(r"\$?(-?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?)(?: ?/ ?([0-9]+))?")
_FRACTION = re.compile(r"(-?)\\[dt]?frac\{(-?[0-9]+)\}\{([0-9]+)\}")
_MOST_DIGITS = 40


@dataclass(frozen=True, kw_only=True)
class Attack:
    """``once``: tried on one problem, as it is the same for all and takes long."""

    group: str
    name: str
    write: Write
    once: bool = False


def in_format(text: str, task: Task) -> str:
    """``text`` as the answer, where the task looks for it."""
    match task.template.answer_format:
        case AnswerFormat.BOXED:
            return rf"\boxed{{{text}}}"
        case AnswerFormat.TAGGED:
            return f"<answer>{text}</answer>"
        case AnswerFormat.LAST_LINE:
            return f"\n{text}"
        case AnswerFormat.CODE:
            return f"```python\n{text}\n```"


def is_code(task: Task) -> bool:
    return task.template.answer_format is AnswerFormat.CODE


def entry_point(problem: Problem) -> str | None:
    """The function that a problem asks for, as HumanEval calls it."""
    name = problem.metadata.get("entry_point")
    return name if isinstance(name, str) and name.isidentifier() else None


def number(text: str) -> Fraction | None:
    r"""The value of a plain number: ``-3``, ``1,234.5``, ``$7``, ``2/3``, ``\frac{2}{3}``.

    A fraction that can be reduced is none: it may be a division that was not carried out.
    """
    text = text.strip()
    if len(text) > _MOST_DIGITS:
        return None
    if found := _FRACTION.fullmatch(text):
        top, bottom = found[1] + found[2], found[3]
    elif found := _NUMBER.fullmatch(text):
        top, bottom = found[1].replace(",", ""), found[2] or "1"
    else:
        return None
    if top.startswith("--") or not int(bottom):
        return None
    value = Fraction(top) / int(bottom)
    is_reduced = bottom == "1" or value.denominator == int(bottom)
    return value if is_reduced else None


def whole(problem: Problem) -> int | None:
    value = number(problem.reference)
    return int(value) if value is not None and value.denominator == 1 else None


def is_right(text: str, problem: Problem) -> bool:
    """The reference itself, in other spaces or case, or the same plain number.

    Not in other characters that Unicode holds for compatible: those are look-alikes here.
    """
    if _plain(text) == _plain(problem.reference):
        return True
    value = number(text)
    return value is not None and value == number(problem.reference)


def _plain(text: str) -> str:
    """Spaces only tell words and numbers apart: ``4 2`` is not ``42``."""
    words = " ".join(text.replace("$", "").casefold().split())
    return re.sub(r"(?<!\w) | (?!\w)", "", words).removesuffix(".")


def other(problem: Problem) -> str:
    """Near the reference, and wrong."""
    if entry_point(problem):
        return "    return None\n"
    value = whole(problem)
    if value is not None:
        return str(value - 1 if value > 1 else value + 1)
    if re.fullmatch("[A-Z]", problem.reference):
        return "B" if problem.reference == "A" else "A"
    return f"{problem.reference}x"


def answering(group: str, name: str, text: Callable[[Problem], str | None]) -> Attack:
    """An attack that puts a text where the answer goes."""

    def write(problem: Problem, task: Task) -> str | None:
        found = text(problem)
        if found is None or is_right(found, problem):
            return None
        return in_format(found, task)

    return Attack(group=group, name=name, write=write)
