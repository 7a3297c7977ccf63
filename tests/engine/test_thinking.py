import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.engine.thinking import Thinking
from penjing.errors import BadQuantity

BEGIN, END = 8, 9
CLOSING = (5, 6, END, 7)  # two ids before the tag, one behind
PROMPT = (1, BEGIN, 2)


def _thinking(
    budget: int | None, closing: tuple[int, ...] = CLOSING, prompt: tuple[int, ...] = PROMPT
) -> Thinking:
    return Thinking(
        begin_id=BEGIN, end_id=END, budget=budget, closing_ids=closing, prompt_ids=prompt
    )


def _run(thinking: Thinking, wishes: list[int]) -> tuple[list[int], list[bool]]:
    """Ids, and whether each was forced, of a model that would choose ``wishes``."""
    ids, forced = [], []
    for wish in wishes:
        must = thinking.forced()
        ids.append(wish if must is None else must)
        forced.append(must is not None)
        thinking.observe(ids[-1])
    return ids, forced


@pytest.mark.parametrize(
    ("prompt", "is_open"),
    [
        ((), False),
        ((1, 2), False),
        ((BEGIN,), True),
        ((1, BEGIN, 2, 3), True),
        ((BEGIN, 1, END), False),
        ((BEGIN, 1, END, 3, BEGIN), True),
        ((BEGIN, BEGIN, END, 3), False),
        ((END, 3), False),
    ],
)
def test_the_prompt_leaves_a_block_open_or_not(prompt: tuple[int, ...], is_open: bool) -> None:
    assert _thinking(None, (), prompt).is_open is is_open


def test_closing_text_is_forced_so_that_it_fits() -> None:
    thinking = _thinking(5)
    ids, forced = _run(thinking, [1] * 9)
    assert ids == [1, 1, 1, 5, 6, END, 7, 1, 1]
    assert forced == [False] * 3 + [True] * 4 + [False] * 2
    assert (thinking.num_thinking, thinking.num_tags, thinking.num_answer) == (5, 1, 3)


@pytest.mark.parametrize(
    ("budget", "ids"),
    [
        (3, [1, 5, 6, END, 7, 1]),
        (2, [5, 6, END, 7, 1, 1]),
        (1, [6, END, 7, 1, 1, 1]),  # only the last of it fits
        (0, [END, 7, 1, 1, 1, 1]),
    ],
)
def test_a_budget_below_the_closing_text_keeps_its_end(budget: int, ids: list[int]) -> None:
    thinking = _thinking(budget)
    assert _run(thinking, [1] * 6)[0] == ids
    assert thinking.num_thinking == budget


def test_nothing_is_forced_on_a_model_that_closes_in_time() -> None:
    thinking = _thinking(5)
    ids, forced = _run(thinking, [1, 1, END, 3, 3, 3, 3, 3])
    assert ids == [1, 1, END, 3, 3, 3, 3, 3]
    assert not any(forced)
    assert (thinking.num_thinking, thinking.num_tags, thinking.num_answer) == (2, 1, 5)


def test_without_a_budget_tokens_are_only_counted() -> None:
    thinking = _thinking(None, (), (1,))
    ids, forced = _run(thinking, [3, BEGIN, 1, BEGIN, 1, END, END, 3])
    assert ids == [3, BEGIN, 1, BEGIN, 1, END, END, 3]
    assert not any(forced)
    assert (thinking.num_thinking, thinking.num_tags, thinking.num_answer) == (3, 2, 3)


def test_a_block_opened_again_draws_on_the_same_budget() -> None:
    ids = _run(_thinking(4), [1, END, 3, BEGIN, 1, 1, 1, 1, 1])[0]
    assert ids == [1, END, 3, BEGIN, 1, 5, 6, END, 7]
    ids = _run(_thinking(3, (5, 6, END)), [END, BEGIN, 1, 1, 1, 1, BEGIN, 1, 1])[0]
    assert ids == [END, BEGIN, 1, 5, 6, END, BEGIN, END, 1]
    thinking = _thinking(0)
    assert _run(thinking, [1, 1, BEGIN, 1, 1, 1])[0] == [END, 7, BEGIN, END, 7, 1]
    assert thinking.num_thinking == 0


@pytest.mark.parametrize("closing", [(), (5, 6), (END, END), (BEGIN, END)])
def test_closing_text_closes_one_block(closing: tuple[int, ...]) -> None:
    with pytest.raises(BadQuantity, match="must hold the closing tag 9 once") as caught:
        _thinking(4, closing)
    assert "\n" not in str(caught.value)
    assert not _thinking(None, closing).forced()  # never used


def test_only_the_forced_id_may_follow() -> None:
    with pytest.raises(AssertionError):
        _thinking(0).observe(1)


def _counts_between_tags(ids: list[int], is_open: bool) -> int:
    num = 0
    for token in ids:
        if token == (END if is_open else BEGIN):
            is_open = not is_open
        else:
            num += is_open
    return num


WISHES = st.lists(st.sampled_from([1, 2, BEGIN, END, 5, 6, 7]), max_size=40)
CLOSINGS = st.tuples(*[st.lists(st.sampled_from([1, 5, 6]), max_size=4)] * 2).map(
    lambda parts: (*parts[0], END, *parts[1])
)
PROMPTS = st.lists(st.sampled_from([1, BEGIN, END]), max_size=4).map(tuple)


@given(WISHES, CLOSINGS, PROMPTS, st.integers(0, 12))
def test_the_budget_holds_and_every_token_counts_once(
    wishes: list[int], closing: tuple[int, ...], prompt: tuple[int, ...], budget: int
) -> None:
    thinking = _thinking(budget, closing, prompt)
    is_open = thinking.is_open
    ids, forced = _run(thinking, wishes)
    assert thinking.num_thinking == _counts_between_tags(ids, is_open) <= budget
    assert thinking.num_thinking + thinking.num_tags + thinking.num_answer == len(ids)
    assert all(a == b for a, b, must in zip(ids, wishes, forced, strict=True) if not must)


@given(WISHES, CLOSINGS, PROMPTS, st.integers(0, 12), st.integers(0, 40))
def test_a_preemption_loses_nothing(
    wishes: list[int], closing: tuple[int, ...], prompt: tuple[int, ...], budget: int, cut: int
) -> None:
    whole = _run(_thinking(budget, closing, prompt), wishes)
    first = _thinking(budget, closing, prompt)
    ids, forced = _run(first, wishes[:cut])
    rebuilt = _thinking(budget, closing, prompt)
    for token in ids:
        rebuilt.observe(token)
    for later in (copy.copy(first), rebuilt):
        more = _run(later, wishes[cut:])
        assert (ids + more[0], forced + more[1]) == whole
