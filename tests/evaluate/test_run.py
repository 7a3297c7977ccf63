"""A whole run: nothing is asked twice, grading goes on beside, a failing judge stops nothing."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from penjing.evaluate.generator import Ask, Missing, Reply, sample_seed
from penjing.evaluate.run import Progress, evaluate
from penjing.evaluate.store import Store
from penjing.tasks.problem import Grade, Problem
from penjing.tasks.task import Task
from tests.evaluate.conftest import judge


class Parrot:
    """Says the prompt and the seed; fails where it is told to."""

    def __init__(self, *failing: str) -> None:
        self.asked: list[Ask] = []
        self._failing = failing

    def replies(self, asks: Sequence[Ask]) -> Iterator[Reply | Missing]:
        for ask in asks:
            self.asked.append(ask)
            if ask.problem.id in self._failing:
                yield Missing(ask=ask, reason="no network")
                continue
            yield Reply(
                ask=ask,
                response=f"{ask.problem.prompt} {ask.seed}",
                begins_in_thinking=False,
                finish_reason="stop",
                num_prompt_tokens=3,
                num_tokens=5,
                num_thinking_tokens=None,
                wall_s=0.0,
            )


def run(
    task: Task, store: Store, parrot: Parrot, samples: int = 3, seen: list[Progress] | None = None
) -> list[Missing]:
    show = (lambda p: None) if seen is None else seen.append
    return evaluate(task, task.problems(None), parrot, store, samples=samples, seed=7, show=show)


def test_all_samples_of_all_problems(tmp_path: Path, task: Callable[..., Task]) -> None:
    seen: list[Progress] = []
    with Store(tmp_path, {}) as store:
        assert run(task(), store, Parrot(), seen=seen) == []
        found = {(s.problem, s.index): s for s in store.samples}
    assert sorted(found) == [(f"p{i}", k) for i in range(3) for k in range(3)]
    for (problem, index), one in found.items():
        assert one.seed == sample_seed(7, problem, index)
        assert one.grade.is_correct is (len(one.response) % 2 == 0)
    assert [p.num_done for p in seen] == list(range(1, 10))
    last = seen[-1]
    assert (last.num_all, last.num_before, last.num_tokens) == (9, 0, 45)
    assert last.num_correct == sum(s.grade.is_correct for s in found.values())
    assert last.left_s == 0


def test_what_is_there_is_not_asked_again(tmp_path: Path, task: Callable[..., Task]) -> None:
    with Store(tmp_path, {}) as store:
        run(task(), store, Parrot(), samples=1)
    again = Parrot()
    with Store(tmp_path, {}) as store:
        run(task(), store, again, samples=2)
        assert len(store.samples) == 6
    assert [ask.index for ask in again.asked] == [1, 1, 1]


def test_what_cannot_be_had_is_told_and_asked_again(
    tmp_path: Path, task: Callable[..., Task]
) -> None:
    with Store(tmp_path, {}) as store:
        missing = run(task(), store, Parrot("p1"))
        assert [one.ask.problem.id for one in missing] == ["p1"] * 3
        assert len(store.samples) == 6
        again = Parrot()
        assert run(task(), store, again) == []
    assert {ask.problem.id for ask in again.asked} == {"p1"}


def test_a_judge_that_fails_stops_nothing(tmp_path: Path, task: Callable[..., Task]) -> None:
    def failing(problem: Problem, response: str) -> Grade:
        if problem.id == "p1":
            raise ValueError("broken")
        return "yes"  # type: ignore[return-value]

    with Store(tmp_path, {}) as store:
        run(task(judge=failing), store, Parrot())
        assert len(store.samples) == 9
        assert all(one.grade.is_fault for one in store.samples)
        reasons = {one.problem: one.grade.reason for one in store.samples}
    assert reasons["p1"] == "the judge of tiny failed on p1: ValueError: broken"
    assert "which is no Grade" in reasons["p0"]


def test_what_is_graded_is_kept_when_the_generator_fails(
    tmp_path: Path, task: Callable[..., Task]
) -> None:
    class Falling(Parrot):
        def replies(self, asks: Sequence[Ask]) -> Iterator[Reply | Missing]:
            yield from super().replies(asks[:4])
            raise KeyboardInterrupt

    with Store(tmp_path, {}) as store, pytest.raises(KeyboardInterrupt):
        run(task(), store, Falling())
    with Store(tmp_path, {}) as store:
        assert len(store.samples) == 4


def test_a_judge_that_exits_stops_nothing(tmp_path: Path, task: Callable[..., Task]) -> None:
    def leaving(problem: Problem, response: str) -> Grade:
        raise SystemExit(3)

    with Store(tmp_path, {}) as store:
        run(task(judge=leaving), store, Parrot(), samples=1)
        assert len(store.samples) == 3
        assert {one.grade.reason for one in store.samples} == {
            f"the judge of tiny called exit on p{i}" for i in range(3)
        }
        assert all(one.grade.is_fault for one in store.samples)


def test_a_second_interrupt_waits_for_no_judge(tmp_path: Path, task: Callable[..., Task]) -> None:
    is_open = threading.Event()

    def slow(problem: Problem, response: str) -> Grade:
        is_open.wait(20)
        return judge(problem, response)

    class Stubborn(Parrot):
        def replies(self, asks: Sequence[Ask]) -> Iterator[Reply | Missing]:
            yield from super().replies(asks)
            main = threading.main_thread().ident
            threading.Timer(0.1, signal.pthread_kill, [main, signal.SIGINT]).start()
            raise KeyboardInterrupt

    began = time.monotonic()
    with Store(tmp_path, {}) as store, pytest.raises(KeyboardInterrupt):
        run(task(judge=slow), store, Stubborn())
    assert time.monotonic() - began < 10
    is_open.set()
