"""Problems to train on, one behind the other without end, told by their number alone."""

from collections.abc import Sequence

from penjing.errors import BadQuantity
from penjing.evaluate.generator import sample_seed
from penjing.tasks.problem import Problem, Split
from penjing.tasks.task import Task

CHUNK = 1024  # of what is made without end
_DRAWS_A_PROBLEM = 10  # before different ones are given up


class ProblemStream:
    """The training problems of a task, each epoch in another order; of what has no end, ever new.

    It has no state to keep: problem ``n`` hangs on the seed and ``n``. Raises ``BadQuantity`` where
    there are none.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self._task, self._seed = task, seed
        self._chunk: tuple[int, Sequence[Problem]] = (-1, ())
        try:
            self._size = len(task.problems(Split.TRAIN, seed=seed, size=None))
            self._is_file = True
        except BadQuantity:  # they are made, and there may be few different ones
            self._size, self._is_file = self._most_at_once(), False
        if not self._size:
            raise BadQuantity(f"{task.name} has no problems to train on; all are held out")

    def take(self, first: int, count: int) -> list[Problem]:
        """Problems ``first`` to ``first + count - 1``."""
        return [self._at(number) for number in range(first, first + count)]

    def different(self, count: int) -> list[Problem]:
        """The first ``count`` that differ; raises ``BadQuantity`` where there are fewer."""
        found: dict[str, Problem] = {}
        for number in range(_DRAWS_A_PROBLEM * count):
            problem = self._at(number)
            found.setdefault(problem.id, problem)
            if len(found) == count:
                return list(found.values())
        raise BadQuantity(
            f"{self._task.name} gave {len(found)} different problems to train on, and {count} were "
            "asked for; ask for fewer"
        )

    def _most_at_once(self) -> int:
        size = CHUNK
        while size:
            try:
                self._task.problems(Split.TRAIN, seed=self._seed, size=size)
                return size
            except BadQuantity:
                size //= 2
        return size

    def _at(self, number: int) -> Problem:
        chunk, place = divmod(number, self._size)
        if self._chunk[0] != chunk:
            seed = sample_seed(self._seed, self._task.name, chunk)
            size = None if self._is_file else self._size
            self._chunk = (chunk, self._task.problems(Split.TRAIN, seed=seed, size=size))
        return self._chunk[1][place]
