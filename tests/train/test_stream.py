"""Problems to train on: told by their number, each once an epoch, none held out."""

import pytest

from penjing.errors import BadQuantity
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.reasoning_gym_tasks import reasoning_gym
from penjing.tasks.source import FileSource
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template
from penjing.train.stream import CHUNK, ProblemStream


def task(splits: list[Split]) -> Task:
    problems = [
        Problem(id=f"p{i}", prompt=f"question {i}", reference="", split=split)
        for i, split in enumerate(splits)
    ]
    return Task(
        name="few",
        source=FileSource(problems),
        judge=lambda p, r: Grade(verdict=Verdict.WRONG, reason="r"),
        template=Template(style=Style.PLAIN, answer_format=AnswerFormat.BOXED),
    )


def test_an_epoch_has_every_training_problem_once_in_an_order_of_its_own() -> None:
    few = task([Split.TRAIN] * 5 + [Split.HELD_OUT] * 2)
    found = ProblemStream(few, 3).take(0, 15)
    epochs = [[p.id for p in found[i : i + 5]] for i in (0, 5, 10)]
    for epoch in epochs:
        assert sorted(epoch) == ["p0", "p1", "p2", "p3", "p4"]
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert all(p.split is Split.TRAIN for p in found)


def test_a_problem_hangs_on_the_seed_and_its_number_alone() -> None:
    few = task([Split.TRAIN] * 7)
    straight = ProblemStream(few, 3).take(0, 30)
    jumping = ProblemStream(few, 3)
    assert [jumping.take(n, 1)[0] for n in (29, 0, 13, 7)] == [straight[n] for n in (29, 0, 13, 7)]
    assert ProblemStream(few, 4).take(0, 30) != straight


def test_what_is_made_has_no_end() -> None:
    made = reasoning_gym("chain_sum")
    stream = ProblemStream(made, 1)
    across = stream.take(CHUNK - 2, 4)
    assert len({p.id for p in across}) == 4
    assert ProblemStream(made, 1).take(CHUNK, 1) == across[2:3]
    assert all(p.split is Split.TRAIN for p in across)


def test_few_that_are_made_will_do() -> None:
    options = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    stream = ProblemStream(reasoning_gym("chain_sum", options), 1)
    assert len(stream.take(0, 300)) == 300


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(BadQuantity):
        ProblemStream(task([Split.HELD_OUT]), 0)


def test_different_problems_are_the_first_that_differ() -> None:
    stream = ProblemStream(task([Split.TRAIN] * 5), 3)
    every = [stream.take(n, 1)[0].id for n in range(40)]
    found = [problem.id for problem in stream.different(4)]
    assert found == list(dict.fromkeys(every))[:4]
    with pytest.raises(BadQuantity, match="gave 5 different problems to train on, and 6"):
        stream.different(6)
