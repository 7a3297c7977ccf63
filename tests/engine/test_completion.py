from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from penjing.engine.completion import Completion, Delta, Finish

SOUND: dict[str, Any] = {
    "ids": (7, 8, 9, 4, 1),  # two of thinking, a closing tag, one of answer, the end
    "text": "ab</think>c",
    "logprobs": (-0.1, -0.2, -0.3, -0.4, -0.5),
    "prompt_ids": (0, 3),
    "finish": Finish.STOP,
    "stop": 1,
    "policy_version": 4,
    "last_policy_version": 5,
    "num_thinking": 2,
    "num_answer": 2,
    "is_forced": (False, True, True, False, False),
    "num_cached": 2,
}


def test_every_token_counts_once() -> None:
    done = Completion(**SOUND)
    assert done.num_tags == 1
    assert done.num_thinking + done.num_answer + done.num_tags == len(done.ids)
    with pytest.raises(FrozenInstanceError):
        done.text = ""  # type: ignore[misc]


def test_reasons_are_those_of_the_api() -> None:
    assert [f"{reason}" for reason in Finish] == ["stop", "length", "abort"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"logprobs": (-0.1,)},
        {"is_forced": (False,) * 4},
        {"top_logprobs": ({7: -0.1},)},
        {"prompt_logprobs": (None,)},
        {"prompt_logprobs": (-1.0, -1.0)},
        {"prompt_top_logprobs": ({0: -1.0}, {3: -1.0})},
        {"num_thinking": 4},
        {"num_answer": -1},
        {"last_policy_version": 3},
        {"num_cached": 3},
        {"stop": None},
        {"finish": Finish.LENGTH},
    ],
)
def test_fields_that_do_not_belong_together_are_our_bug(wrong: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        Completion(**SOUND | wrong)


def test_scores_of_the_prompt_begin_with_nothing() -> None:
    scored = SOUND | {"prompt_logprobs": (None, -2.0), "prompt_top_logprobs": (None, {3: -2.0})}
    assert Completion(**scored).prompt_logprobs == (None, -2.0)
    empty = SOUND | {"prompt_ids": (), "prompt_logprobs": (), "num_cached": 0}
    assert Completion(**empty).prompt_logprobs == ()


def test_a_delta_may_have_ids_without_text_and_text_without_ids() -> None:
    assert Delta(index=0, ids=(5,), text="", logprobs=(-1.0,)).finish is None
    last = Delta(index=0, ids=(), text="held", logprobs=(), finish=Finish.LENGTH)
    assert last.finish is Finish.LENGTH
    with pytest.raises(AssertionError):
        Delta(index=0, ids=(5,), text="", logprobs=())
    with pytest.raises(AssertionError):
        Delta(index=0, ids=(5,), text="", logprobs=(-1.0,), top_logprobs=())
