"""What of a response is its answer."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.tasks.thinking import CLOSE, OPEN, answer_part

PLAIN = st.text(alphabet=st.characters(exclude_characters="<"))


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("42", "42"),
        ("", ""),
        ("<think>a</think>42", "42"),
        ("<think>a</think>", ""),
        ("a</think>42", "42"),  # a chat template opened the block
        ("<think>a</think>41<think>b</think>42", "42"),
        ("<think>a<think>b</think>c</think>42", "42"),
        ("<think>I write <think> and go on</think>42", "42"),
        ("</think></think>42", "42"),
        ("<Think>42", "<Think>42"),  # another tag
    ],
)
def test_the_answer_stands_behind_the_last_block(response: str, answer: str) -> None:
    assert answer_part(response) == answer


@pytest.mark.parametrize(
    "response",
    [
        "<think>42",
        "<think>a</think>41<think>42",
        "42<think>",
        "<think>42</think",
        "<think>42</ think>",
        "<think>a</think>42</think><think>",
        "<think></think><think>42",
    ],
)
def test_thinking_without_an_end_answers_nothing(response: str) -> None:
    assert answer_part(response) is None


def test_a_prompt_that_opened_a_block_must_see_it_closed() -> None:
    assert answer_part("42", begins_in_thinking=True) is None
    assert answer_part("", begins_in_thinking=True) is None
    assert answer_part("a</think>42", begins_in_thinking=True) == "42"
    assert answer_part("<think>a</think>42", begins_in_thinking=True) == "42"
    assert answer_part("a</think>41<think>42", begins_in_thinking=True) is None


@given(st.lists(PLAIN | st.sampled_from([OPEN, CLOSE])), st.booleans())
def test_an_answer_is_the_tail_behind_every_tag(parts: list[str], begins: bool) -> None:
    response = "".join(parts)
    answer = answer_part(response, begins_in_thinking=begins)
    if answer is None:
        assert begins or OPEN in response
    else:
        assert response.endswith(answer)
        assert OPEN not in answer
        assert CLOSE not in answer


def test_ten_megabytes_of_tags_take_no_time() -> None:
    began = time.process_time()
    assert answer_part(OPEN * 1_400_000) is None
    assert answer_part(CLOSE * 1_200_000) == ""
    assert time.process_time() - began < 1.0
