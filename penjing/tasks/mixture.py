"""Several tasks as one: so many problems of each, in turn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from penjing.errors import BadQuantity, Contradiction
from penjing.tasks.problem import Grade, Problem, Split
from penjing.tasks.task import Task

_BETWEEN = "|"  # the name of a task, and the id of its problem


@dataclass(frozen=True, kw_only=True)
class Part:
    """``weight``: how many of its problems come to those of the other parts."""

    task: Task
    weight: int


def mixture(name: str, parts: Sequence[Part]) -> Task:
    """A task whose ids tell whose problem each is; each is judged by the task it comes from.

    Raises ``BadQuantity`` for a weight below 1, and ``Contradiction`` where two parts have one name
    or do not ask in the same way.
    """
    for part in parts:
        if part.weight < 1:
            raise BadQuantity(
                f"{name} takes {part.weight} problems of {part.task.name} in turn; it must be at "
                "least 1: leave the part out instead"
            )
    tasks = {part.task.name: part.task for part in parts}
    if len(tasks) < len(parts):
        raise Contradiction(f"{name} has a part twice; give it the sum of both weights")
    templates = {part.task.template for part in parts}
    if len(templates) != 1:
        raise Contradiction(
            f"the parts of {name} ask in {len(templates)} ways; give all the same style and answer "
            "format"
        )

    def judge(problem: Problem, answer: str) -> Grade:
        whose, _, id = problem.id.partition(_BETWEEN)
        return tasks[whose].judge(replace(problem, id=id), answer)

    return Task(name=name, source=_Mixed(parts), judge=judge, template=templates.pop())


def part_of(problem: Problem) -> str | None:
    """The name of the task that a problem of a mixture comes from; None for others."""
    whose, between, _ = problem.id.partition(_BETWEEN)
    return whose if between else None


class _Mixed:
    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts

    def problems(self, split: Split | None, *, seed: int, size: int | None) -> Sequence[Problem]:
        """See ``Source.problems``. Without a size, all of every part."""
        if size is None:
            found = [list(one.task.problems(split, seed=seed)) for one in self._parts]
            return [self._named(k, p) for k, some in enumerate(found) for p in some]
        turns = list(islice(_turns([one.weight for one in self._parts]), size))
        given: list[Iterator[Problem]] = []
        for k, part in enumerate(self._parts):
            count = turns.count(k)
            given.append(iter(part.task.problems(split, seed=seed, size=count) if count else ()))
        return [self._named(k, next(given[k])) for k in turns]

    def _named(self, part: int, problem: Problem) -> Problem:
        return replace(problem, id=f"{self._parts[part].task.name}{_BETWEEN}{problem.id}")


def _turns(weights: Sequence[int]) -> Iterator[int]:
    """Which part is next, without end: always the one that lags its share most."""
    given = [0] * len(weights)
    while True:
        part = min(range(len(weights)), key=lambda k: ((given[k] + 1) / weights[k], k))
        given[part] += 1
        yield part
