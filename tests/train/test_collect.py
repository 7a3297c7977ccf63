"""Rollouts in groups: order, seeds, refills, and what is wasted."""

from collections.abc import Callable
from typing import Any

import pytest

from penjing.engine.engine import Engine
from penjing.engine.sampling import Sampling
from penjing.errors import BadQuantity
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.reward import RewardConfig
from penjing.tasks.source import FileSource
from penjing.tasks.task import Judge, Task
from penjing.tasks.template import AnswerFormat, Style, Template
from penjing.train.collect import CollectConfig, Collector
from penjing.train.stream import ProblemStream

PROBLEMS = [
    Problem(id=f"p{i}", prompt=prompt, reference="", split=Split.TRAIN)
    for i, prompt in enumerate(["ab", "cde", "f", "gh ij", "kl", "mno"])
]


def even(problem: Problem, response: str) -> Grade:
    verdict = Verdict.WRONG if len(response) % 2 else Verdict.CORRECT
    return Grade(verdict=verdict, reason="counted")


def collector(engine: Engine, judge: Judge = even, **config: Any) -> Collector:
    task = Task(
        name="few",
        source=FileSource(PROBLEMS),
        judge=judge,
        template=Template(style=Style.PLAIN, answer_format=AnswerFormat.BOXED),
    )
    chosen = {"problems": 3, "group_size": 4, **config}
    no_tags = {60: -100.0, 61: -100.0}
    sampling = Sampling(max_tokens=9, temperature=1.5, logit_bias=no_tags)
    return Collector(
        engine=engine,
        task=task,
        problems=ProblemStream(task, 2).take,
        reward=RewardConfig(weights={"accuracy": 1.0}),
        config=CollectConfig(sampling=sampling, **chosen),
        seed=5,
    )


def test_groups_come_in_the_order_of_their_problems(engine: Callable[..., Engine]) -> None:
    made = collector(engine())
    found = made.sample(made.problems(0, 3), 0)
    assert [group[0].problem for group in found] == made.problems(0, 3)
    for group in found:
        assert len(group) == 4
        assert [one.completion.index for one in group] == [0, 1, 2, 3]
        assert len({one.problem for one in group}) == 1
        for one in group:
            assert one.total == float(len(one.response) % 2 == 0)
    assert len({one.response for group in found for one in group}) > 6


def test_seeds_hang_on_the_number_of_the_problem(engine: Callable[..., Engine]) -> None:
    made = collector(engine(max_sequences=3))
    straight = made.sample(made.problems(0, 4), 0)
    again = collector(engine()).sample(made.problems(2, 2), 2)
    assert [[o.completion.ids for o in g] for g in again] == [
        [o.completion.ids for o in g] for g in straight[2:]
    ]


def test_without_refills_flat_groups_stay(engine: Callable[..., Engine]) -> None:
    always = collector(engine(), lambda p, r: Grade(verdict=Verdict.CORRECT, reason="r"))
    found = always.collect(0)
    assert (len(found.groups), found.num_flat, found.next_problem) == (3, 3, 3)
    assert found.num_wasted == 0
    assert found.num_tokens == sum(len(one.completion.ids) for one in found.rollouts)


def test_refills_replace_what_teaches_nothing(engine: Callable[..., Engine]) -> None:
    def judge(problem: Problem, response: str) -> Grade:
        if problem.id in ("p0", "p1", "p2"):
            return Grade(verdict=Verdict.WRONG, reason="never")
        return even(problem, response)

    found = collector(engine(), judge, refills=20).collect(0)
    assert len(found.groups) == 3
    for group in found.groups:
        assert len({one.total for one in group}) == 2
        assert group[0].problem.id in ("p3", "p4", "p5")
    assert found.num_flat > 0
    assert found.num_wasted > 0
    assert found.next_problem >= 4


def test_when_refills_are_used_up_there_are_fewer_or_flat_ones(
    engine: Callable[..., Engine],
) -> None:
    never = collector(engine(), lambda p, r: Grade(verdict=Verdict.WRONG, reason="r"), refills=2)
    found = never.collect(0)
    assert found.next_problem == 9
    assert len(found.groups) == 3  # of the last try
    assert found.num_flat == 9


def test_faults_are_left_out_and_counted(engine: Callable[..., Engine]) -> None:
    def judge(problem: Problem, response: str) -> Grade:
        if len(response) % 3 == 0:
            raise ValueError("broken")
        return even(problem, response)

    found = collector(engine(), judge).collect(0)
    assert found.num_faults > 0
    assert all(not one.reward.is_fault for one in found.rollouts)
    assert len(found.rollouts) + found.num_faults <= 12
    everything = collector(engine(), lambda p, r: 1 / 0)  # type: ignore[arg-type, return-value]
    assert everything.collect(0).groups == []


@pytest.mark.parametrize(("name", "value"), [("problems", 0), ("group_size", 0), ("refills", -1)])
def test_sizes_that_make_no_sense(name: str, value: int) -> None:
    sizes = {"problems": 1, "group_size": 2, name: value}
    with pytest.raises(BadQuantity, match=f"{name} is {value}"):
        CollectConfig(sampling=Sampling(), **sizes)
