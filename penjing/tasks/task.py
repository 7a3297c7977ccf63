"""A task: where problems come from, how they are asked, who judges the answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.template import Template
from penjing.tasks.thinking import answer_part

Judge = Callable[[Problem, str], Grade]
"""Given a problem and the part of the response behind its thinking."""


class Source(Protocol):
    """Where problems come from."""

    def problems(self, split: Split | None, *, seed: int, size: int | None) -> Sequence[Problem]:
        """``size`` problems of a split in an order that the seed decides; None: all there are.

        ``split`` None takes both. The same call gives the same problems on every machine. Raises
        ``BadQuantity`` where fewer can be had than were asked for, and where there is no end and no
        ``size``.
        """


@dataclass(frozen=True, kw_only=True)
class Task:
    """``name`` is how users call it, such as ``gsm8k`` or ``reasoning_gym/chain_sum``."""

    name: str
    source: Source
    judge: Judge
    template: Template

    def problems(
        self, split: Split | None, *, seed: int = 0, size: int | None = None
    ) -> Sequence[Problem]:
        """See ``Source.problems``."""
        return self.source.problems(split, seed=seed, size=size)

    def prompt(self, problem: Problem) -> str | Sequence[Mapping[str, str]]:
        """Text, or messages for the model's chat template."""
        return self.template.render(problem.prompt)

    def grade(self, problem: Problem, response: str, *, begins_in_thinking: bool = False) -> Grade:
        """Never raises for what a response holds; a judge that fails is a grade that says so.

        ``begins_in_thinking``: the prompt left a thinking block open, so that a response without
        ``</think>`` is all thinking and answers nothing.
        """
        answer = answer_part(response, begins_in_thinking=begins_in_thinking)
        if answer is None:
            return Grade(verdict=Verdict.UNGRADABLE, reason="the thinking never ends")
        try:
            grade: object = self.judge(problem, answer)
        except Exception as error:
            what = " ".join(f"{type(error).__name__}: {error!s:.300}".split())
            return _fault(f"the judge of {self.name} failed on {problem.id}: {what}")
        if not isinstance(grade, Grade):
            return _fault(f"the judge of {self.name} returned {grade!r:.100}, which is no Grade")
        return grade


def _fault(reason: str) -> Grade:
    return Grade(verdict=Verdict.UNGRADABLE, reason=reason, is_fault=True)
