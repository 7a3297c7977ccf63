"""One response of a model to one problem, with what it cost and how it was judged."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, Self

from penjing.errors import BadFile, nearest_names
from penjing.tasks.problem import Grade, Verdict

_HALF = re.compile("([\ud800-\udfff])")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """``index`` counts the samples of one problem from 0.

    ``finish_reason`` is ``stop``, ``length`` or the word of an endpoint. ``num_tokens`` are all
    that were generated, thinking included; ``num_thinking_tokens`` is None where nobody said.
    ``wall_s`` is the time of this sample alone; others may have run beside it.
    """

    problem: str  # its id
    index: int
    seed: int
    response: str
    finish_reason: str
    num_prompt_tokens: int
    num_tokens: int
    num_thinking_tokens: int | None
    wall_s: float
    grade: Grade

    def __post_init__(self) -> None:
        assert min(self.index, self.num_prompt_tokens, self.num_tokens) >= 0
        assert 0 <= (self.num_thinking_tokens or 0) <= self.num_tokens
        assert isfinite(self.wall_s)
        assert self.wall_s >= 0

    @property
    def is_truncated(self) -> bool:
        """Whether it ended for want of room, not because the model was done."""
        return self.finish_reason == "length"

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON in UTF-8 can hold; ``from_json`` gives the same sample back.

        Text with halves of surrogate pairs becomes a list of its text and the halves' code points.
        """
        values = {field.name: _packed(getattr(self, field.name)) for field in fields(self)}
        grade = {field.name: _packed(getattr(self.grade, field.name)) for field in fields(Grade)}
        return values | {"grade": grade}

    @classmethod
    def from_json(cls, found: object) -> Self:
        """What ``to_json`` made. Raises ``BadFile``, which names the field but no file or line."""
        values = _object(found, "a sample", cls)
        num_tokens = _count(values, "num_tokens")
        thinking = values["num_thinking_tokens"]
        return cls(
            problem=_text(values, "problem"),
            index=_count(values, "index"),
            seed=_whole(values, "seed"),
            response=_text(values, "response"),
            finish_reason=_text(values, "finish_reason"),
            num_prompt_tokens=_count(values, "num_prompt_tokens"),
            num_tokens=num_tokens,
            num_thinking_tokens=None
            if thinking is None
            else _count(values, "num_thinking_tokens", most=num_tokens),
            wall_s=_seconds(values, "wall_s"),
            grade=_grade(values["grade"]),
        )


def _packed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    pieces = _HALF.split(value)
    if len(pieces) == 1:
        return str(value)
    return [ord(p) if _HALF.fullmatch(p) else p for p in pieces if p]


def _object(found: object, what: str, kind: type) -> Mapping[str, Any]:
    """``found``, if it has the fields of the dataclass ``kind`` and no others."""
    names = [field.name for field in fields(kind)]
    if not isinstance(found, Mapping):
        raise BadFile(f"{what} is an object with {', '.join(names)}; this is {_shown(found)}")
    if lacking := [name for name in names if name not in found]:
        raise BadFile(f"{what} lacks {', '.join(lacking)}; was it written by another version?")
    if unknown := [name for name in found if name not in names]:
        nearest = nearest_names(str(unknown[0]), names, limit=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "; take it out"
        raise BadFile(f"{what} has no field {_shown(unknown[0])}{hint}")
    return found


def _grade(found: object) -> Grade:
    values = _object(found, "a grade", Grade)
    try:
        verdict = Verdict(values["verdict"])
    except ValueError:
        raise _misfit(values, "verdict", f"one of {', '.join(Verdict)}") from None
    is_fault = values["is_fault"]
    if not isinstance(is_fault, bool):
        raise _misfit(values, "is_fault", "true or false")
    if is_fault and verdict is not Verdict.UNGRADABLE:
        raise _misfit(values, "is_fault", f"false where the verdict is {verdict}")
    return Grade(
        verdict=verdict,
        reason=_text(values, "reason"),
        answer=None if values["answer"] is None else _text(values, "answer"),
        is_fault=is_fault,
    )


def _text(values: Mapping[str, Any], name: str) -> str:
    found = values[name]
    if isinstance(found, str):
        return found
    if isinstance(found, Sequence) and all(map(_is_piece, found)):
        return "".join(piece if isinstance(piece, str) else chr(piece) for piece in found)
    raise _misfit(values, name, "text, or a list of text and halves of surrogate pairs")


def _is_piece(found: object) -> bool:
    return isinstance(found, str) or (isinstance(found, int) and 0xD800 <= found <= 0xDFFF)


def _whole(values: Mapping[str, Any], name: str) -> int:
    found = values[name]
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    raise _misfit(values, name, "a whole number")


def _count(values: Mapping[str, Any], name: str, *, most: int | None = None) -> int:
    found = _whole(values, name)
    if found < 0:
        raise _misfit(values, name, "0 or more")
    if most is not None and found > most:
        raise _misfit(values, name, f"at most num_tokens, {most}")
    return found


def _seconds(values: Mapping[str, Any], name: str) -> float:
    found = values[name]
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if is_number and 0 <= found <= sys.float_info.max:
        return float(found)
    raise _misfit(values, name, "a finite number of seconds, 0 or more")


def _misfit(values: Mapping[str, Any], name: str, wanted: str) -> BadFile:
    return BadFile(f"{name} is {_shown(values[name])}; it must be {wanted}")


def _shown(found: object) -> str:
    """One short line that any terminal can print."""
    return f"{found!r:.80}"
