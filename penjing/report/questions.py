"""What was asked: samples hold ids of problems, and their task makes the problems again."""

from collections.abc import Mapping

from penjing.errors import PenjingError
from penjing.report.run import Facts, Run, found, number
from penjing.tasks.catalogue import FAMILY, HUB, load_task
from penjing.tasks.problem import Problem, Split
from penjing.tasks.task import Task

MOST = 100_000  # problems; none is measured on more


def questions(run: Run) -> tuple[Mapping[str, Problem], str]:
    """By id, and where there are none, why.

    Nothing is fetched, and no judge of a user's is loaded: it is code.
    """
    evaluation = found(run.recipe, "evaluation")
    size = number(found(evaluation, "problems"))
    choice = found(run.recipe, "tasks", str(found(evaluation, "task")))
    if size is None or not 1 <= size <= MOST or not isinstance(choice, Mapping):
        return {}, "the recipe names no held-out problems"
    try:
        problems = _task(choice).problems(Split.HELD_OUT, seed=0, size=int(size))
    except (ImportError, PenjingError) as error:
        return {}, f"its task cannot be made again here: {' '.join(str(error).split())}"
    return {problem.id: problem for problem in problems}, ""


def _task(choice: Facts) -> Task:
    name, data, options = (choice.get(key) for key in ("name", "data", "options"))
    if isinstance(options, Mapping) and str(name).startswith(FAMILY):
        from penjing.tasks.reasoning_gym_tasks import reasoning_gym  # takes a second to import

        return reasoning_gym(str(name).removeprefix(FAMILY), options)
    if isinstance(data, str) and data.startswith(HUB):
        raise PenjingError("its problems are on a hub, and a report fetches nothing")
    return load_task(str(name), None if data is None else str(data))
