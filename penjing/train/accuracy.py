"""How often one sample each is right: the quick figure that a stage may stop at."""

from collections.abc import Sequence

from penjing.evaluate.generator import Ask, Generator, Missing, sample_seed
from penjing.tasks.problem import Problem
from penjing.tasks.task import Task


def sampled_accuracy(
    task: Task, problems: Sequence[Problem], generator: Generator, seed: int
) -> float:
    """The share of problems whose one sample is right; one that could not be had is wrong."""
    asks = [Ask(problem=p, index=0, seed=sample_seed(seed, p.id, 0)) for p in problems]
    right = 0
    for reply in generator.replies(asks):
        if not isinstance(reply, Missing):
            grade = task.grade(
                reply.ask.problem, reply.response, begins_in_thinking=reply.begins_in_thinking
            )
            right += grade.is_correct
    return right / len(problems)
