import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadQuantity, Contradiction
from penjing.tasks.mixture import Part, mixture, part_of
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.source import FileSource
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

PLAIN = Template(style=Style.PLAIN, answer_format=AnswerFormat.TAGGED)


def task(name: str, count: int = 20, template: Template = PLAIN) -> Task:
    """One whose judge wants its own name."""
    problems = [
        Problem(id=f"{i}", prompt=f"{name} {i}", reference=name, split=Split.TRAIN)
        for i in range(count)
    ]

    def judge(problem: Problem, answer: str) -> Grade:
        assert problem.id.isdigit(), "the id it gave"
        is_right = answer == name
        return Grade(verdict=Verdict.CORRECT if is_right else Verdict.WRONG, reason=name)

    return Task(name=name, source=FileSource(problems), judge=judge, template=template)


def mixed(*weights: int) -> Task:
    parts = [Part(task=task(f"t{k}"), weight=w) for k, w in enumerate(weights)]
    return mixture("both", parts)


def test_problems_come_in_turn_by_weight() -> None:
    found = mixed(3, 1).problems(Split.TRAIN, seed=0, size=8)
    assert [part_of(p) for p in found] == ["t0", "t0", "t0", "t1"] * 2
    assert len({p.id for p in found}) == 8


@given(weights=st.lists(st.integers(1, 5), min_size=1, max_size=4), size=st.integers(1, 20))
def test_no_part_lags_by_more_than_a_turn(weights: list[int], size: int) -> None:
    found = [part_of(p) for p in mixed(*weights).problems(Split.TRAIN, seed=1, size=size)]
    for k, weight in enumerate(weights):
        assert abs(found.count(f"t{k}") - size * weight / sum(weights)) <= len(weights)


def test_the_same_call_gives_the_same_problems_and_a_larger_one_begins_alike() -> None:
    both = mixed(2, 1)
    assert both.problems(Split.TRAIN, seed=3, size=9) == both.problems(Split.TRAIN, seed=3, size=9)
    smaller = both.problems(Split.TRAIN, seed=3, size=5)
    assert both.problems(Split.TRAIN, seed=3, size=9)[:5] == smaller


def test_without_a_size_all_there_are() -> None:
    assert len(mixed(2, 1).problems(Split.TRAIN)) == 40


def test_each_is_judged_by_its_own_task() -> None:
    both = mixed(1, 1)
    for problem in both.problems(Split.TRAIN, seed=0, size=4):
        assert both.grade(problem, part_of(problem) or "").is_correct
        assert not both.grade(problem, "t9").is_correct


def test_a_problem_of_one_task_is_no_part() -> None:
    assert part_of(task("t0").problems(Split.TRAIN, size=1)[0]) is None


def test_what_does_not_mix() -> None:
    with pytest.raises(BadQuantity, match="takes 0 problems of t0 in turn"):
        mixed(0)
    with pytest.raises(Contradiction, match="a part twice"):
        mixture("both", [Part(task=task("a"), weight=1), Part(task=task("a"), weight=2)])
    boxed = Template(style=Style.PLAIN, answer_format=AnswerFormat.BOXED)
    parts = [Part(task=task("a"), weight=1), Part(task=task("b", template=boxed), weight=1)]
    with pytest.raises(Contradiction, match="ask in 2 ways"):
        mixture("both", parts)
