import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from penjing.engine.decode import is_plain_draw, is_plain_greedy, next_token, next_tokens
from penjing.engine.sample import Sample, Token
from penjing.engine.sampler import PenaltyState
from penjing.engine.sampling import Sampling
from penjing.engine.thinking import Thinking
from penjing.errors import RequestError

BEGIN, END = 8, 9


def row(seed: int = 0) -> Tensor:
    return torch.randn(16, generator=torch.Generator().manual_seed(seed)) * 3


def sample(
    *, ids: Sequence[int] = (), budget: int | None = None, index: int = 0, **asked: Any
) -> Sample:
    """One that has generated ``ids`` after a prompt that opens a block where there is a budget."""
    prompt = (1, BEGIN) if budget is not None else (1,)
    made = Sample(
        index=index,
        sampling=Sampling(thinking_budget=budget, **asked),
        seed=11,
        limit=100,
        end_ids=frozenset({3}),
        penalties=PenaltyState(prompt, [3]),
        thinking=Thinking(
            begin_id=BEGIN,
            end_id=END,
            budget=budget,
            closing_ids=(5, END) if budget is not None else (),
            prompt_ids=prompt,
        ),
        stream=None,
    )
    for token in ids:
        made.accept(
            Token(id=token, logprob=0.0, top_logprobs=None, is_forced=False, policy_version=0)
        )
    return made


def drawn(one: Sample, logits_V: Tensor | None = None) -> Token:
    row_V = row() if logits_V is None else logits_V
    before = row_V.clone()
    token = next_token(row_V, row_V.logsumexp(-1), int(row_V.argmax()), one, 7)
    assert torch.equal(row_V, before)
    assert token.policy_version == 7
    assert token.logprob == float(row_V[token.id] - row_V.logsumexp(-1))
    return token


def test_greedy_takes_the_likeliest() -> None:
    token = drawn(sample(temperature=0))
    assert token.id == int(row().argmax())
    assert not token.is_forced
    assert token.top_logprobs is None


def test_draws_depend_on_seed_index_and_position_alone() -> None:
    flat = torch.zeros(16)
    kinds = [sample(), sample(index=1), sample(ids=[2]), sample(ids=[2, 2])]
    assert [drawn(one, flat).id for one in kinds] == [drawn(one, flat).id for one in kinds]
    assert len({drawn(one, flat).id for one in kinds}) > 1
    assert drawn(sample(ids=[4]), flat).id == drawn(sample(ids=[2]), flat).id


@pytest.mark.parametrize("temperature", [0.0, 1.0, 5.0])
def test_logprobs_are_the_models_own(temperature: float) -> None:
    """Whatever the sampling: ``drawn`` asserts it of the row as it was."""
    asked: dict[str, Any] = {"top_k": 2, "repetition_penalty": 2.0, "logprobs": 16}
    token = drawn(sample(ids=[4, 4], temperature=temperature, logit_bias={6: 50.0}, **asked))
    assert token.id == 6
    assert token.top_logprobs is not None
    assert token.top_logprobs[6] == token.logprob
    assert sum(math.exp(score) for score in token.top_logprobs.values()) == pytest.approx(1)


def test_a_forced_token_is_no_choice() -> None:
    """The constraint is not asked, and the likeliest does not matter."""

    def never(_: Sequence[int]) -> Sequence[int]:
        raise AssertionError

    token = drawn(sample(budget=1, ids=[], temperature=0, constrain=never, logprobs=1))
    assert (token.id, token.is_forced) == (5, True)
    assert token.top_logprobs is not None
    assert list(token.top_logprobs) == [int(row().argmax())]
    assert drawn(sample(budget=3, temperature=0)).is_forced is False


def test_a_constraint_holds_outside_thinking_only() -> None:
    def only_two(_: Sequence[int]) -> Sequence[int]:
        return [2]

    best = int(row().argmax())
    thinking = sample(budget=50, ids=[4], temperature=0, constrain=only_two)
    answering = sample(budget=50, ids=[4, END], temperature=0, constrain=only_two)
    assert best != 2
    assert (drawn(thinking).id, drawn(answering).id) == (best, 2)


def test_the_end_is_out_until_enough_was_said() -> None:
    ending = torch.zeros(16)
    ending[3] = 9.0
    early = sample(ids=[1], temperature=0, min_tokens=2)
    assert drawn(early, ending).id == 0
    assert drawn(sample(ids=[1, 1], temperature=0, min_tokens=2), ending).id == 3


@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": 1.0},
        {"repetition_penalty": 1.1},
        {"presence_penalty": 0.1},
        {"frequency_penalty": -0.1},
        {"logit_bias": {1: 1.0}},
        {"constrain": lambda _: None},
        {"min_tokens": 1},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_what_needs_a_look_at_the_row(asked: dict[str, Any]) -> None:
    assert is_plain_greedy(sample(temperature=0, top_k=3, top_p=0.5, logprobs=2))
    assert not is_plain_greedy(sample(**{"temperature": 0, **asked}))


@pytest.mark.parametrize("asked", [{"temperature": 0}, {"temperature": 1}, {"budget": 0}], ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_an_error(asked: dict[str, Any], value: float) -> None:
    broken = row()
    broken[4] = value
    with pytest.raises(RequestError, match=r"a logit is (nan|inf), not a finite number"):
        next_token(broken, broken.logsumexp(-1), 4, sample(**asked), 0)


def told(samples: Sequence[Sample], rows: Sequence[int], logits_RV: Tensor) -> list[Any]:
    lse_R, best_R = logits_RV.logsumexp(-1), logits_RV.argmax(-1)
    return next_tokens(logits_RV, lse_R, best_R, rows, samples, 7)


@pytest.mark.parametrize("most", [16, 1 << 18])
def test_together_samples_get_what_each_gets_alone(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("penjing.engine.decode._MOST_VALUES", most)
    asked: list[dict[str, Any]] = [
        {"temperature": 1.0},
        {"temperature": 0},
        {"temperature": 0.3, "index": 4},
        {"top_k": 3},
        {"repetition_penalty": 1.5, "ids": [2, 2]},
        {"budget": 0},
        {"temperature": 2.0, "ids": [1]},
        {"logprobs": 2},
    ]
    logits_RV = torch.stack([row(seed) for seed in range(3)])
    rows = [i % 3 for i in range(len(asked))]
    found = told([sample(**one) for one in asked], rows, logits_RV)
    for token, one, r in zip(found, asked, rows, strict=True):
        lse = logits_RV.logsumexp(-1)[r]
        best = int(logits_RV[r].argmax())
        assert token == next_token(logits_RV[r], lse, best, sample(**one), 7)


def test_a_broken_row_ends_its_own_sample_alone() -> None:
    logits_RV = torch.stack([row(), row(1)])
    logits_RV[1, 3] = math.nan
    found = told([sample(), sample(), sample(temperature=0)], [0, 1, 1], logits_RV)
    assert isinstance(found[0], Token)
    assert all(isinstance(one, RequestError) for one in found[1:])


def test_a_sample_without_room_wants_no_token() -> None:
    full = sample()
    full.limit = 0
    assert told([full], [0], row()[None]) == [None]


def test_plain_draws() -> None:
    assert is_plain_draw(sample(temperature=0.5))
    for asked in ({"temperature": 0}, {"top_p": 0.9}, {"min_tokens": 1}, {"logprobs": 0}):
        assert not is_plain_draw(sample(**asked))
    assert not is_plain_draw(sample(budget=0))
