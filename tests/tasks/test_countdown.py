"""Honest answers, tricks, and files."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.errors import BadFile, BadQuantity
from penjing.tasks.countdown import countdown, draw, grade, judge
from penjing.tasks.problem import Problem, Split, Verdict

CORRECT, WRONG, UNGRADABLE = Verdict.CORRECT, Verdict.WRONG, Verdict.UNGRADABLE


@given(st.integers(0, 2**63 - 1))
def test_every_problem_has_the_solution_it_keeps(number: int) -> None:
    drawn = draw(number)
    assert draw(number) == drawn
    numbers, target = drawn.metadata["numbers"], drawn.metadata["target"]
    assert 3 <= len(numbers) <= 4
    assert target not in numbers
    assert grade(drawn.reference, numbers, target).is_correct
    assert not grade(str(target), numbers, target).is_correct
    assert not grade(drawn.prompt, numbers, target).is_correct


def test_a_drawn_problem() -> None:
    """Our own, kept: the same on every machine."""
    drawn = draw(1)
    assert drawn.prompt.startswith("Using the numbers [4, 13, 63], create an equation that equals")
    assert drawn.metadata == {"numbers": [4, 13, 63], "target": 54}
    assert drawn.reference == "(63 + 4) - 13"


@pytest.mark.parametrize(
    "answer",
    [
        "19 + 44 + 35",
        "(44+19)+35",
        " 44 + ((35) + 19) ",
        "44 + 19 + 35 = 98",
        "44 + 19 + 35=98",
        "44\n+ 19 + 35",
    ],
)
def test_right_answers(answer: str) -> None:
    assert grade(answer, [44, 19, 35], 98).verdict is CORRECT


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("44 + 19", "the numbers used are 19, 44"),
        ("44 + 19 + 35 + 0", "the numbers used are 0, 19, 35, 44"),
        ("44 + 19 + 19 + 35 - 19", "the numbers used"),
        ("98", "the numbers used are 98"),
        ("44 + 19 + 34 + 1", "the numbers used"),
        ("44 + 19 - 35", "it comes to 28, not to 98"),
        ("44 + 19 + 35 = 97", "what stands behind = is not 98"),
        ("44 + 19 + 35 =", "what stands behind = is not 98"),
        ("44 + 19 + 35 = 98 = 98", "what stands behind ="),
        ("98 = 44 + 19 + 35", "what stands behind ="),
        ("44 + 19 - -35", "signs and names"),
        ("44 + 19 + 35 ** 1", "the numbers used|not allowed"),
        ("44 + 19 ^ 35", "cannot be read"),
        ("44 19 35", "left over"),
        ("4419 + 35", "the numbers used"),
        ("44.0 + 19 + 35", "no plain whole number"),
        ("044 + 19 + 35", "no plain whole number"),
        ("44 + 19 + 35 + x", "signs and names"),
        ("44 / (19 - 19) + 35", "the numbers used"),
        ("eval(44 + 19 + 35)", "signs and names"),
        ("\N{FULLWIDTH DIGIT FOUR}\N{FULLWIDTH DIGIT FOUR} + 19 + 35", "cannot be read"),
        ("44 \N{FULLWIDTH PLUS SIGN} 19 + 35", "cannot be read"),
        ("44 + 19 + 35 # or 98", "cannot be read"),
        ("9**9**9**9", "not allowed"),
        ("1" * 1_000_000, "characters"),
        ("9" * 1_500, "no plain whole number"),
        ("nan", "signs and names"),
        ("", "it ends"),
    ],
)
def test_wrong_answers(answer: str, reason: str) -> None:
    found = grade(answer, [44, 19, 35], 98)
    assert found.verdict is WRONG
    assert re.search(reason, found.reason), found.reason


def test_fractions_are_exact_and_zero_is_no_divisor() -> None:
    assert grade("8 / (3 - 8 / 3)", [3, 3, 8, 8], 24).is_correct
    assert grade("8 / (3 - 3) + 8", [3, 3, 8, 8], 24).reason == "it divides by zero"
    assert not grade("1 / 3 + 9", [1, 3, 9], 9).is_correct


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("<answer>44 + 19 + 35</answer>", CORRECT),
        ("so it is 44 + 19 + 35", UNGRADABLE),
        ("<answer>44 + 19 + 35</answer> <answer>44 - 19 + 35</answer>", WRONG),
        ("<answer></answer>", UNGRADABLE),
    ],
)
def test_the_answer_stands_in_tags(response: str, verdict: Verdict) -> None:
    known = {"numbers": [44, 19, 35], "target": 98}
    problem = Problem(id="1", prompt="?", reference="", split=Split.TRAIN, metadata=known)
    assert judge(problem, response).verdict is verdict


def test_the_task_makes_problems() -> None:
    task = countdown()
    held_out = task.problems(Split.HELD_OUT, seed=3, size=20)
    train = task.problems(Split.TRAIN, seed=3, size=20)
    assert not {p.prompt for p in held_out} & {p.prompt for p in train}
    for problem in (*held_out, *train):
        response = f"<think>\nhm\n</think>\n<answer>{problem.reference}</answer>"
        assert task.grade(problem, response).is_correct
    assert Counter(len(p.metadata["numbers"]) for p in train).keys() == {3, 4}
    assert "Assistant:" in task.prompt(train[0])


Writer = Callable[[str, str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Writer:
    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


@pytest.mark.parametrize("nums", ["[44, 19, 35]", '"[44 19 35]"', '"44 19 35"', '["44", 19, 35.0]'])
def test_a_file_in_its_writings(written: Writer, nums: str) -> None:
    data = written("train.jsonl", f'{{"target": 98, "nums": {nums}}}\n')
    (problem,) = countdown(data).problems(None)
    assert problem.metadata == {"numbers": [44, 19, 35], "target": 98}
    assert "[44, 19, 35]" in problem.prompt
    assert countdown(data).grade(problem, "<answer>44+19+35</answer>").is_correct


def test_a_table(written: Writer) -> None:
    data = written("train.csv", 'target,nums\n98,"[44, 19, 35]"\n')
    (problem,) = countdown(data).problems(None)
    assert problem.metadata == {"numbers": [44, 19, 35], "target": 98}


@pytest.mark.parametrize(
    ("target", "nums", "said"),
    [
        (-1, [1], "row 1: target is -1; it must be a whole number"),
        ("x", [1], "row 1: target is 'x'; it must be a whole number"),
        (True, [1], "target is True"),
        (1.5, [1], "target is 1.5"),
        (1, 7, "nums is 7; it must be a list of 1 to 10 whole numbers"),
        (1, ["a"], r"nums is \['a'\]"),
        (1, [-3], r"nums is \[-3\]"),
        (1, [1] * 11, "nums is"),
        (1, "[1, 2", None),
    ],
)
def test_bad_rows(written: Writer, target: object, nums: object, said: str | None) -> None:
    data = written("bad.jsonl", json.dumps({"target": target, "nums": nums}))
    if said is None:
        assert len(countdown(data).problems(None)) == 1
        return
    with pytest.raises(BadFile, match=said):
        countdown(data)


def test_a_file_without_the_columns(written: Writer) -> None:
    with pytest.raises(BadFile, match="nums"):
        countdown(written("bad.jsonl", '{"target": 1}'))


def test_made_problems_need_a_size() -> None:
    with pytest.raises(BadQuantity, match="size"):
        countdown().problems(None)
