"""What is asked, and what a judge makes of a response."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Split(StrEnum):
    """No problem is in both: what is trained on is not what is measured on."""

    TRAIN = "train"
    HELD_OUT = "held_out"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A question with an answer that can be checked.

    ``prompt`` is the bare question; a template wraps it. ``reference`` is the answer in the
    writing of its source, empty where a judge needs none or keeps more in ``metadata``. ``id`` is
    unique within a task, and the same on every machine.
    """

    id: str
    prompt: str
    reference: str
    split: Split
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


class Verdict(StrEnum):
    """There is no part of a point: partial credit is what gets gamed."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNGRADABLE = "ungradable"  # no answer was found, or the judge could not decide


@dataclass(frozen=True, kw_only=True)
class Grade:
    """A verdict and why. ``is_fault``: the judge failed, whatever the response was."""

    verdict: Verdict
    reason: str  # one line
    answer: str | None = None  # what was taken for the final answer
    is_fault: bool = False

    def __post_init__(self) -> None:
        assert not (self.is_fault and self.verdict is not Verdict.UNGRADABLE)

    @property
    def is_correct(self) -> bool:
        return self.verdict is Verdict.CORRECT
