"""Weak traces: right as often as they should be, and wrong where a slip was made."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadFile, BadQuantity
from penjing.tasks.problem import Problem, Split
from penjing.tasks.traces import Noise, trace


def problem(question: str) -> Problem:
    return Problem(id="p", prompt=question, reference="", split=Split.TRAIN)


def chain(terms: list[int]) -> tuple[str, int]:
    text = str(terms[0]) + "".join(f" {'+' if t >= 0 else '-'} {abs(t)}" for t in terms[1:])
    return f"State the final answer to the following arithmetic problem: {text} =", sum(terms)


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=6), st.integers(0, 10**6))
def test_without_slips_a_trace_is_right_at_every_step(terms: list[int], seed: int) -> None:
    question, total = chain([abs(terms[0]), *terms[1:]])
    found = trace(problem(question), Noise(direct=0.0, slips=0.0), seed)
    assert found.endswith(f"</think><answer>{total}</answer>")
    steps = re.findall(r"(-?\d+)([+-])(\d+)=(-?\d+)", found)
    assert len(steps) == len(terms) - 1
    for before, sign, term, after in steps:
        assert int(before) + int(f"{sign}{term}") == int(after)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=6), st.integers(0, 10**6))
def test_a_slip_is_one_wrong_step_that_the_rest_goes_on_from(terms: list[int], seed: int) -> None:
    question, total = chain(terms)
    found = trace(problem(question), Noise(direct=0.0, slips=1.0), seed)
    steps = re.findall(r"(-?\d+)([+-])(\d+)=(-?\d+)", found)
    wrong = [s for s in steps if int(s[0]) + int(f"{s[1]}{s[2]}") != int(s[3])]
    assert len(wrong) == 1
    assert f"<answer>{total}</answer>" not in found


def test_shares() -> None:
    question, total = chain([1, 2, 3, 4])
    found = [trace(problem(question), Noise(), seed) for seed in range(2000)]
    direct = [t for t in found if "<think>" not in t]
    assert set(direct) == {f"<answer>{total}</answer>"}
    assert 0.46 < len(direct) / 2000 < 0.54
    thinking = [t for t in found if "<think>" in t]
    right = sum(f"<answer>{total}</answer>" in t for t in thinking)
    assert 0.55 < right / len(thinking) < 0.65
    assert trace(problem(question), Noise(), 5) == trace(problem(question), Noise(), 5)


def test_other_problems_and_shares_that_are_none() -> None:
    words = Problem(id="w", prompt="Spell sun.", reference="nus", split=Split.TRAIN)
    assert trace(words, Noise(), 0) == "<answer>nus</answer>"
    with pytest.raises(BadFile, match="p has neither a chain of additions and subtractions nor"):
        trace(problem("What is love?"), Noise(), 0)
    with pytest.raises(BadQuantity, match=r"slips is 1\.5"):
        Noise(slips=1.5)
