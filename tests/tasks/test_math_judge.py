"""The judge of mathematics: honest answers, hostile ones, and where it is called from."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from penjing.tasks import math_judge as module
from penjing.tasks.math_judge import grade, math_judge
from penjing.tasks.problem import Problem, Split, Verdict
from penjing.tasks.template import AnswerFormat


def problem(reference: str) -> Problem:
    return Problem(id="p", prompt="How many?", reference=reference, split=Split.TRAIN)


@pytest.mark.parametrize(
    ("response", "reference", "verdict"),
    [
        (r"So it is \boxed{18}.", "18", Verdict.CORRECT),
        (r"\boxed{18} and again \boxed{18}", "18", Verdict.CORRECT),
        (r"\boxed{18} or \boxed{19}", "18", Verdict.WRONG),
        (r"It is 18.", "18", Verdict.UNGRADABLE),
        (r"\boxed{}", "18", Verdict.UNGRADABLE),
        (r"\boxed{17+1}", "18", Verdict.WRONG),
        (r"\boxed{\text{the answer above}}", "18", Verdict.WRONG),
        (r"\boxed{\frac{\sqrt2}{2}}", r"\frac{1}{\sqrt2}", Verdict.CORRECT),
        (r"\boxed{\frac{\sqrt3}{2}}", r"\frac{1}{\sqrt2}", Verdict.WRONG),
        (r"\boxed{5}", "9^{9^{9}}", Verdict.UNGRADABLE),
    ],
)
def test_verdicts(response: str, reference: str, verdict: Verdict) -> None:
    found = math_judge(AnswerFormat.BOXED)(problem(reference), response)
    assert found.verdict is verdict
    assert not found.is_fault


def test_numbers_take_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_workers", lambda: pytest.fail("a worker was asked"))
    assert grade("1,800", "1800").is_correct
    assert not grade(r"\frac{3}{4}", "0.7").is_correct
    assert not grade("30*60", "1800").is_correct


@pytest.mark.parametrize(
    "hostile",
    [
        "9^{9^{9^{9^{9}}}}",
        "x^{9^{9^{9}}}",
        "(((x+1)^{999}+1)^{999}+1)^{999}",
        r"\sqrt{\sqrt{\sqrt{x^{1000}+1}+1}+1}",
        "999999999!",
        r"\sin(9^{9999})",
        "9" * 1900 + "x",
        "+".join(f"x^{{{n}}}" for n in range(300)),
        r"\frac{1}{x-x}",
    ],
)
def test_hostile_answers_are_bounded(hostile: str) -> None:
    grade("x+1", "1+x")  # so that no start is measured
    began = time.monotonic()
    found = grade(hostile, r"\pi x")
    assert time.monotonic() - began < 4  # 2 on a quiet machine: the limit and the worker's end
    assert not found.is_correct
    assert not found.is_fault
    assert grade("x+1", "1+x").is_correct


def test_any_thread_may_ask() -> None:
    pairs = [(f"{n}+x", f"x+{n}") for n in range(1, 41)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda pair: grade(*pair).is_correct, pairs))
    assert found == [True] * 40


def test_a_worker_that_dies_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    from penjing.tasks.workers import Failure, Why

    class Dead:
        def ask(self, question: object) -> Failure:
            return Failure(why=Why.DIED, message="the worker ended with status 3")

    monkeypatch.setattr(module, "_workers", Dead)
    found = grade("x+1", "1+x")
    assert found.is_fault
    assert found.verdict is Verdict.UNGRADABLE
    assert "status 3" in found.reason
