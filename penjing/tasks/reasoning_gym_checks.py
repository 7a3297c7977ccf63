"""Checks of answers to reasoning_gym's problems; full marks or none.

Each check says why an answer is wrong; nothing means that it is right. What a model wrote is never
evaluated as a program, and the work is bounded by its length.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from penjing.tasks import countdown, polynomial
from penjing.tasks.antiderivative import is_antiderivative
from penjing.tasks.expression import NotAnExpression, parse
from penjing.tasks.reasoning_gym_families import Family

MAX_DIGITS = 400  # of one number

_NUMBER = re.compile(
    r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?"
    r"|[+-]?[0-9]+ ?/ ?0*[1-9][0-9]*"
)
_REAL = r"[+-]?[0-9]+(?:\.[0-9]+)?"
_COMPLEX = re.compile(
    rf"(?P<real>{_REAL})(?:(?P<sign>[+-])(?P<part>[0-9]+(?:\.[0-9]+)?)?[ij])?|(?P<alone>{_REAL}|[+-])?[ij]"
)
_AGENT = re.compile(r"Agent\[[0-9]{1,3}\.5, [0-9]{1,3}\.5\]")
_MOVE = re.compile(r"move\(box_\w+, (?:target_\w+|square\[[0-9]{1,3}\.5, [0-9]{1,3}\.5\])\)")


@dataclass(frozen=True, kw_only=True)
class Answered:
    """``metadata`` is the library's; ``score`` runs its scorer on the answer."""

    answer: str
    reference: str
    metadata: Mapping[str, Any]
    family: Family
    score: Callable[[], float]


Check = Callable[[Answered], str]


def stripped(text: str) -> str:
    """Without white space at both ends of every line, and without empty lines around all."""
    return "\n".join(line.strip() for line in text.strip().splitlines())


def number(text: str) -> Fraction | None:
    """A value as one writes it: no sum, no unit, no per cent; commas only between thousands."""
    text = text.strip()
    if len(text) > MAX_DIGITS or not _NUMBER.fullmatch(text):
        return None
    return Fraction(text.replace(",", "").replace(" ", ""))


def library(asked: Answered) -> str:
    """The library's own scorer, for full marks; its reference is right however it is spaced."""
    shape = asked.family.shape
    if shape and not shape.fullmatch(asked.answer):
        return "it is not in the form that was asked for"
    if asked.reference and stripped(asked.answer) == stripped(asked.reference):
        return ""
    score = asked.score()
    return "" if score == 1.0 else f"the scorer gives it {score:.6g} of 1"


def _text(asked: Answered) -> str:
    return _same(stripped(asked.answer), stripped(asked.reference))


def _caseless(asked: Answered) -> str:
    return _same(stripped(asked.answer).lower(), stripped(asked.reference).lower())


def _interval(asked: Answered) -> str:
    """In the form that was asked for; days alone also as a number alone."""
    found, wanted = (re.sub(" days?$", "", stripped(t)) for t in (asked.answer, asked.reference))
    return _same(found, wanted)


def _words(asked: Answered) -> str:
    """A list with commas."""
    found, wanted = (_parts(text) for text in (asked.answer, asked.reference))
    return _same(found, wanted)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _json(asked: Answered) -> str:
    """The same value, with the same kinds: ``1`` is neither ``true`` nor ``"1"``."""
    found = _loaded(asked.answer)
    if found is None:
        return "it is no JSON"
    return _same(json.dumps(found), json.dumps(json.loads(asked.reference)))


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _value(asked: Answered) -> str:
    """A number that is close enough, or the same word in any case."""
    wanted, found = number(asked.reference), number(asked.answer)
    if wanted is None:
        return _caseless(asked)
    if found is None:
        return "it is no number"
    return _carried_out(asked.answer, wanted) or _close(found, wanted, asked.family)


def _carried_out(text: str, wanted: Fraction) -> str:
    """``84/2`` is no answer where 42 is one."""
    is_division = "/" in text and wanted.denominator == 1
    return "a division is not carried out" if is_division else ""


def _close(found: Fraction, wanted: Fraction, family: Family) -> str:
    """Both tolerances must be kept; without one, equal."""
    allowed = [family.tolerance] if family.tolerance is not None else []
    allowed += [family.relative * abs(wanted)] if family.relative is not None else []
    is_close = abs(found - wanted) <= min(allowed, default=Fraction(0))
    return "" if is_close else "it is another number"


def _numbers(asked: Answered) -> str:
    """``['52.2', '30.0']``, with quotes or without."""
    found, wanted = _listed(asked.answer), _listed(asked.reference)
    return "it is no list of numbers" if found is None else _same(found, wanted)


def _listed(text: str) -> list[Fraction] | None:
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    quoted = [re.fullmatch(r"""(['"]?)([^'"]*)\1""", part) for part in _parts(text[1:-1])]
    return _numbers_of(found.group(2) if found else "" for found in quoted)


def _numbers_of(texts: Iterable[str]) -> list[Fraction] | None:
    """None where one of them is none."""
    found = [number(text) for text in texts]
    numbers = [n for n in found if n is not None]
    return numbers if len(numbers) == len(found) else None


def _roots(asked: Answered) -> str:
    """Numbers with commas, each close to one of the solutions, none left over.

    Whole ones must be met: the question asks for four decimals.
    """
    found, wanted = (_numbers_of(t.split(",")) for t in (asked.answer, asked.reference))
    assert wanted is not None
    if found is None:
        return "it is no list of numbers"
    if len(found) != len(wanted):
        return f"it has {len(found)} solutions"
    pairs = list(zip(sorted(found), sorted(wanted), strict=True))
    if any(f != w for f, w in pairs if w.denominator == 1):
        return "it is another number"
    wrong = (_carried_out(asked.answer, w) or _close(f, w, asked.family) for f, w in pairs)
    return next(filter(None, wrong), "")


def _grid(asked: Answered) -> str:
    """Rows of numbers with spaces, each close enough."""
    found, wanted = _rows(asked.answer), _rows(asked.reference)
    if found is None or wanted is None:
        return "it is no grid of numbers"
    if [len(row) for row in found] != [len(row) for row in wanted]:
        return "it has another size"
    pairs = (
        (f, w) for fs, ws in zip(found, wanted, strict=True) for f, w in zip(fs, ws, strict=True)
    )
    return next(filter(None, (_close(f, w, asked.family) for f, w in pairs)), "")


def _rows(text: str) -> list[list[Fraction]] | None:
    rows = [_numbers_of(line.split()) for line in stripped(text).split("\n")]
    return [row for row in rows if row] if all(rows) else None


def _primes(asked: Answered) -> str:
    """The factors in any order, with a sign of multiplication between them."""
    found, wanted = (
        sorted(part.strip() for part in re.split("[\N{MULTIPLICATION SIGN}*x]", text))
        for text in (asked.answer, asked.reference)
    )
    return _same(found, wanted)


def _complex(asked: Answered) -> str:
    real, imaginary = (Fraction(part) for part in asked.metadata["result"])
    found = _complex_of(asked.answer)
    if found is None:
        return "it is no complex number"
    return _close(found[0], real, asked.family) or _close(found[1], imaginary, asked.family)


def _complex_of(text: str) -> tuple[Fraction, Fraction] | None:
    text = text.strip()
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1]
    found = (
        _COMPLEX.fullmatch(re.sub(" ?([+-]) ?", r"\1", text)) if len(text) < MAX_DIGITS else None
    )
    if found is None:
        return None
    real, sign, part, alone = found.groups()
    if real is None:
        return Fraction(0), Fraction(f"{alone}1" if alone in ("+", "-") else alone or 1)
    imaginary = Fraction(f"{sign}{part or 1}") if sign else Fraction(0)
    return Fraction(real), imaginary


def _polynomial(asked: Answered) -> str:
    try:
        found = polynomial.parse(asked.answer)
    except NotAnExpression as error:
        return str(error)
    return "" if found == polynomial.parse(asked.reference) else "it is another polynomial"


def _antiderivative(asked: Answered) -> str:
    integrand, variable = asked.metadata["integrand"], asked.metadata["variable"]
    try:
        is_right = is_antiderivative(parse(asked.answer), parse(integrand), variable)
    except NotAnExpression as error:
        return str(error)
    return "" if is_right else "its derivative is not the integrand"


def _expression(asked: Answered) -> str:
    """Countdown's own rules; 24 where no target is said."""
    target = asked.metadata.get("target", 24)
    grade = countdown.grade(asked.answer, asked.metadata["numbers"], target)
    return "" if grade.is_correct else grade.reason


def _member(asked: Answered) -> str:
    """One of several answers that are known to be all."""
    answers = {stripped(text) for text in asked.metadata["valid_answers"]}
    return "" if stripped(asked.answer) in answers else "it is none of the solutions"


def _survo(asked: Answered) -> str:
    """Sums that come out, with the given cells kept and the given numbers used; none other."""
    found, puzzle = _rows(asked.answer), asked.metadata["puzzle"]
    if found is None or [len(row) for row in found] != [len(row) for row in puzzle]:
        return "it is no grid of that size"
    cells = [
        (f, p) for fs, ps in zip(found, puzzle, strict=True) for f, p in zip(fs, ps, strict=True)
    ]
    if any(f != p for f, p in cells if p != 0):
        return "a given number is not kept"
    if Counter(f for f, p in cells if p == 0) != Counter(asked.metadata["candidate_numbers"]):
        return "other numbers are filled in than were given"
    lines = [*found, *zip(*found, strict=True)]
    return "" if all(sum(line[:-1]) == line[-1] for line in lines) else "a sum does not come out"


def _coloring(asked: Answered) -> str:
    """``{"0": 1, "1": 2}``, judged by the library."""
    found = _loaded(asked.answer)
    if not isinstance(found, dict) or not all(type(color) is int for color in found.values()):
        return "it is no JSON map of vertices to colors"
    return library(asked)


def _plan(asked: Answered) -> str:
    """Moves of agents, step by step, judged by the library, which trusts their form."""
    steps = _loaded(asked.answer)
    if not isinstance(steps, list) or not all(map(_is_step, steps)):
        return "it is no JSON list of plans"
    try:
        return library(asked)
    except KeyError:  # a place off the grid
        return "a box leaves the grid"


def _is_step(step: object) -> bool:
    return isinstance(step, dict) and all(
        _AGENT.fullmatch(agent) and isinstance(move, str) and _MOVE.fullmatch(move)
        for agent, move in step.items()
    )


def _same(found: object, wanted: object) -> str:
    return "" if found == wanted else "it is another answer"


CHECKS: Mapping[str, Check] = {
    "library": library,
    "text": _text,
    "caseless": _caseless,
    "words": _words,
    "interval": _interval,
    "json": _json,
    "value": _value,
    "numbers": _numbers,
    "roots": _roots,
    "grid": _grid,
    "primes": _primes,
    "complex": _complex,
    "polynomial": _polynomial,
    "antiderivative": _antiderivative,
    "expression": _expression,
    "member": _member,
    "survo": _survo,
    "coloring": _coloring,
    "plan": _plan,
}
