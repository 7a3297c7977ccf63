"""One sample by hand, and thinking budgets through a whole engine."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from penjing.engine.completion import Completion, Delta, Finish
from penjing.engine.draws import uniform
from penjing.engine.engine import Engine
from penjing.engine.sample import Sample, Token
from penjing.engine.sampler import PenaltyState
from penjing.engine.sampling import Sampling
from penjing.engine.stops import TextStream
from penjing.engine.thinking import Thinking
from penjing.models.tokenizer import Tokenizer

Made = Callable[..., Engine]

THINK, CLOSE, EOS = 60, 61, 62
CLOSING = "no.</think>ok"  # three ids in front of the tag, two behind


@pytest.fixture
def sample(tokenizer: Tokenizer) -> Callable[..., Sample]:
    def make(
        *,
        limit: int = 100,
        prompt: Sequence[int] = (1,),
        ends: Sequence[int] = (EOS,),
        **asked: Any,
    ) -> Sample:
        sampling = Sampling(**asked)
        return Sample(
            index=2,
            sampling=sampling,
            seed=11,
            limit=limit,
            end_ids=frozenset(ends),
            penalties=PenaltyState(prompt, ends),
            thinking=Thinking(
                begin_id=THINK,
                end_id=CLOSE,
                budget=sampling.thinking_budget,
                closing_ids=tokenizer.encode("z</think>z"),
                prompt_ids=prompt,
            ),
            stream=TextStream(partial(tokenizer.decode), sampling.stop),
        )

    return make


def token(number: int, *, forced: bool = False, version: int = 0) -> Token:
    return Token(
        id=number,
        logprob=-float(number),
        top_logprobs={number: -float(number)},
        is_forced=forced,
        policy_version=version,
    )


def grow(one: Sample, ids: Sequence[int]) -> list[Delta]:
    return [one.accept(token(number)) for number in ids]


def done(one: Sample) -> Completion:
    return one.completion((1,), None, None, 0, 9)


def test_tokens_make_a_completion(sample: Callable[..., Sample]) -> None:
    one = sample(limit=3, logprobs=1)
    deltas = [*grow(one, [0, 1]), one.accept(token(2, forced=True, version=4))]
    assert [(d.ids, d.text, d.finish) for d in deltas] == [
        ((0,), "a", None),
        ((1,), "b", None),
        ((2,), "c", Finish.LENGTH),
    ]
    assert done(one) == Completion(
        index=2,
        ids=(0, 1, 2),
        text="abc",
        logprobs=(0.0, -1.0, -2.0),
        top_logprobs=({0: 0.0}, {1: -1.0}, {2: -2.0}),
        prompt_ids=(1,),
        finish=Finish.LENGTH,
        policy_version=0,
        last_policy_version=4,
        num_answer=3,
        is_forced=(False, False, True),
    )


@pytest.mark.parametrize(
    ("asked", "ids", "text", "finish", "stop"),
    [
        ({}, [0, EOS], "a", Finish.STOP, EOS),
        ({"ends": (0,)}, [1, 0], "b", Finish.STOP, 0),
        ({"ends": (0,), "min_tokens": 2}, [0, 0, 0], "aa", Finish.STOP, 0),
        ({"stop": ("bc",)}, [0, 1, 2], "a", Finish.STOP, "bc"),
        ({"stop": ("bc",), "min_tokens": 2}, [0, 1, 2, 1, 2], "abc", Finish.STOP, "bc"),
        ({"stop": ("bc",), "limit": 2}, [0, 1], "ab", Finish.LENGTH, None),
        ({"stop": ("b",), "limit": 2}, [0, 1], "a", Finish.STOP, "b"),
        ({"stop": ("bc",)}, [0, 1, EOS], "ab", Finish.STOP, EOS),
        ({"limit": 2}, [0, EOS], "a", Finish.STOP, EOS),
        ({"stop": ("a\N{REPLACEMENT CHARACTER}",), "limit": 2}, [0, 58], "", Finish.STOP, None),
    ],
    ids=str,
)
def test_ends(
    sample: Callable[..., Sample],
    asked: dict[str, Any],
    ids: list[int],
    text: str,
    finish: Finish,
    stop: str | int | None,
) -> None:
    """The last is half a character, which completes a stop string only when nothing follows."""
    one = sample(**asked)
    deltas = grow(one, ids)
    assert [d.finish for d in deltas] == [None] * (len(ids) - 1) + [finish]
    assert "".join(d.text for d in deltas) == text == done(one).text
    assert done(one).ids == tuple(ids)
    assert (one.finish, one.stop) == (finish, asked["stop"][0] if one.stop and not stop else stop)


def test_an_abort_shows_what_was_held_back(sample: Callable[..., Sample]) -> None:
    one = sample(stop=("abc",))
    assert [d.text for d in grow(one, [0, 1])] == ["", ""]
    last = one.end(Finish.ABORT)
    assert (last.ids, last.text, last.finish) == ((), "ab", Finish.ABORT)
    assert (done(one).text, done(one).stop) == ("ab", None)


def test_without_a_token_the_version_is_the_present_one(sample: Callable[..., Sample]) -> None:
    one = sample()
    one.end(Finish.ABORT)
    assert (done(one).policy_version, done(one).last_policy_version) == (9, 9)


def test_each_position_has_its_draw(sample: Callable[..., Sample]) -> None:
    one = sample()
    draws = [one.draw(), one.draw()]
    grow(one, [5])
    assert [*draws, one.draw()] == [uniform(11, 2, 0), uniform(11, 2, 0), uniform(11, 2, 1)]


def test_only_what_was_chosen_for_the_answer_is_answer(sample: Callable[..., Sample]) -> None:
    one = sample(prompt=(THINK,), thinking_budget=2)
    assert (one.is_thinking, one.forced) == (True, None)
    grow(one, [4])
    for forced in (25, CLOSE, 25):
        assert one.forced == forced
        one.accept(token(forced, forced=True))
    assert (one.is_thinking, one.forced) == (False, None)
    grow(one, [7, THINK])
    assert one.penalties.answer_ids == [7]
    one.end(Finish.ABORT)
    assert (done(one).num_thinking, done(one).num_tags, done(one).num_answer) == (2, 2, 2)


def blocks(ids: Sequence[int], prompt: Sequence[int]) -> tuple[int, bool]:
    """Tokens between tags, counted anew, and whether a block is open in the end."""
    tags = [t for t in prompt if t in (THINK, CLOSE)]
    is_open, inside = bool(tags) and tags[-1] == THINK, 0
    for number in ids:
        if number == (CLOSE if is_open else THINK):
            is_open = not is_open
        else:
            inside += is_open
    return inside, is_open


def check_budget(one: Completion, budget: int, closing: tuple[int, ...]) -> None:
    inside, is_open = blocks(one.ids, one.prompt_ids)
    assert inside == one.num_thinking <= budget
    assert one.num_thinking + one.num_tags + one.num_answer == len(one.ids) == len(one.is_forced)
    forced = tuple(t for t, is_forced in zip(one.ids, one.is_forced, strict=True) if is_forced)
    at = closing.index(CLOSE)
    if forced and one.finish is Finish.LENGTH and not is_open and CLOSE in forced:
        assert one.num_thinking == budget
        first = forced[: forced.index(CLOSE)]
        assert first == closing[at - len(first) : at]
        assert len(first) <= min(at, budget)


@pytest.mark.parametrize(
    ("kind", "budget"), [*(("grouped", b) for b in range(9)), ("latent", 0), ("latent", 5)]
)
def test_a_budget_is_exact_to_the_token(
    engine: Made, tokenizer: Tokenizer, kind: str, budget: int
) -> None:
    """The model never closes by itself; then it thinks as much as it may, and never one more."""
    closing = tuple(tokenizer.encode(CLOSING))
    ask = Sampling(
        seed=1,
        n=3,
        max_tokens=15,
        ignore_eos=True,
        thinking_budget=budget,
        thinking_close=CLOSING,
        logit_bias={CLOSE: -100, THINK: -100},
    )
    tight = engine(kind, page_size=4, num_pages=13, max_length=40, max_sequences=6)
    prompts = [[5, 6, THINK], [*range(12), THINK], [1, 2, 3]]
    found = tight.generate(prompts, ask)
    assert tight.core.scheduler.num_preemptions > 0
    for one in found:
        check_budget(one, budget, closing)
        thinks = THINK in one.prompt_ids
        assert one.num_thinking == (budget if thinks else 0)
        drawn = max(budget - 3, 0)
        forced = closing[3 - min(budget, 3) :] if thinks else ()
        end = drawn + len(forced)
        assert one.ids[drawn:end] == forced
        assert one.is_forced == tuple(thinks and drawn <= i < end for i in range(15))
        assert one.finish is Finish.LENGTH
    alone = [one for prompt in prompts for one in engine(kind).generate([prompt], ask)]
    assert [replace(one, num_cached=0) for one in found] == alone


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("budget", [0, 1, 2, 5, 11])
def test_no_model_finds_a_way_around_its_budget(
    engine: Made, tokenizer: Tokenizer, budget: int, dtype: torch.dtype
) -> None:
    """One that likes tags opens and closes blocks as it likes, and stops in them."""
    closing = tuple(tokenizer.encode(CLOSING))
    bias = {THINK: 4.0, CLOSE: 4.0, EOS: 1.0}
    ask = Sampling(
        seed=2,
        n=12,
        max_tokens=30,
        stop=("q", "B."),
        thinking_budget=budget,
        thinking_close=CLOSING,
        logit_bias=bias,
    )
    made = engine("grouped", dtype)
    found = made.generate([[5, THINK], [5, 6]], ask)
    for one in found:
        check_budget(one, budget, closing)
    assert {one.finish for one in found} == {Finish.STOP, Finish.LENGTH}
    assert sum(one.num_tags > 2 for one in found) > 2
    if budget == 11:
        assert any(CLOSE in one.ids and not any(one.is_forced) for one in found)


def test_a_stop_string_counts_in_thinking_too(engine: Made) -> None:
    """Text is all text; what was forced can complete it as well."""
    ask = Sampling(seed=1, max_tokens=9, thinking_budget=2, thinking_close="ab</think>c")
    (one,) = engine().generate([[THINK]], replace(ask, stop=("b",)))
    assert (one.text, one.stop, one.ids) == ("a", "b", (0, 1))
    assert (one.num_thinking, one.is_forced) == (2, (True, True))
    (other,) = engine().generate([[THINK]], replace(ask, stop=("bc",)))
    assert (other.text, other.ids) == ("a", (0, 1, CLOSE, 2))


def test_a_budget_may_outlive_the_sample(engine: Made) -> None:
    ask = Sampling(seed=1, max_tokens=4, thinking_budget=50, logit_bias={CLOSE: -100}, n=2)
    for one in engine().generate([[THINK]], ask):
        assert (one.num_thinking, one.num_answer, any(one.is_forced)) == (4, 0, False)
        assert one.finish is Finish.LENGTH
