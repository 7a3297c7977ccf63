"""Rows made up in the columns of verl; directions are those of its preprocessing and of DAPO."""

from typing import Any

import pytest

from penjing.tasks import verl
from penjing.tasks.problem import Split


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
    'Half of 7?\n\nRemember to put your answer on its own line after "Answer:".'
)


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": asked("Half of 7?")},
        {"prompt": "Half of 7?"},
        {"prompt": [{"content": "Half of 7?"}]},
        {"prompt": [{"role": "system", "content": "Be brief."}, *asked(" Half of 7? ")]},
        {"prompt": [*asked("1 + 1?"), {"role": "assistant", "content": "2"}, *asked("Half of 7?")]},
        {"prompt": [*asked("Half of 7?"), {"role": "assistant", "content": "<think>"}]},
        {"prompt": asked(DAPO)},
        {
            "prompt": asked(
                "Half of 7? Let's think step by step and output the final answer within "
                r"\boxed{}."
            )
        },
        {
            "prompt": asked(
                'Half of 7? Let\'s think step by step and output the final answer after "####".'
            )
        },
        {"prompt": asked("Half of 7? Hurry."), "extra_info": {"question": "Half of 7?"}},
    ],
)
def test_the_question_is_bare(values: dict[str, Any]) -> None:
    assert verl.question(values) == "Half of 7?"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"prompt": []},
        {"prompt": ["Half of 7?"]},
        {"prompt": [{"role": "system", "content": "Half of 7?"}]},
        {"prompt": asked(" "), "extra_info": {"question": " "}},
        {"prompt": [{"role": "user", "content": None}], "extra_info": "test"},
    ],
)
def test_no_question(values: dict[str, Any]) -> None:
    assert verl.question(values) is None


def test_unknown_directions_stay() -> None:
    assert verl.question({"prompt": "Half of 7? Hurry."}) == "Half of 7? Hurry."


def test_what_stands_beside() -> None:
    values = {
        "reward_model": {"style": "rule", "ground_truth": "3.5"},
        "extra_info": {"split": "test", "answer": "#### 3.5"},
    }
    assert verl.ground_truth(values) == "3.5"
    assert verl.worked_solution(values) == "#### 3.5"
    assert verl.split(values) is Split.HELD_OUT
    assert verl.split({"extra_info": {"split": "train"}}) is Split.TRAIN


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"reward_model": None, "extra_info": None},
        {"reward_model": "3.5", "extra_info": "test"},
        {"reward_model": {}, "extra_info": {"split": ["test"], "answer": 3}},
        {"extra_info": {"split": "validation"}},
    ],
)
def test_nothing_stands_beside(values: dict[str, Any]) -> None:
    assert verl.ground_truth(values) is None
    assert verl.worked_solution(values) is None
    assert verl.split(values) is None
