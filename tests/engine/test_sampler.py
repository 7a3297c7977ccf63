import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from penjing.engine.draws import uniform
from penjing.engine.sampler import PenaltyState, adjust, draw, draw_rows, survivors, top_logprobs
from penjing.engine.sampling import Sampling
from penjing.errors import BadQuantity, RequestError


def _row(size: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * scale


def _adjusted(
    logits_V: Tensor,
    sampling: Sampling,
    prompt: Sequence[int] = (),
    generated: Sequence[int] = (),
    end_ids: Sequence[int] = (),
    **where: bool,
) -> Tensor:
    state = PenaltyState(prompt, end_ids)
    for token in generated:
        state.observe(token)
    row_V = logits_V.clone()
    adjust(row_V, sampling, state, **where)
    return row_V


def _kept_by_transformers(logits_V: Tensor, sampling: Sampling) -> list[int]:
    steps = LogitsProcessorList([TemperatureLogitsWarper(float(sampling.temperature))])
    if sampling.top_k:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        steps.append(MinPLogitsWarper(sampling.min_p))
    scores: Tensor = steps(torch.LongTensor([[0]]), logits_V[None].double())
    return (scores[0] > -math.inf).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize(
    "cuts",
    [
        {},
        {"top_k": 1},
        {"top_k": 40},
        {"top_k": 5000},
        {"top_p": 0.01},
        {"top_p": 0.5},
        {"top_p": 0.999},
        {"min_p": 0.02},
        {"min_p": 1.0},
        {"top_k": 40, "top_p": 0.8},
        {"top_p": 0.9, "min_p": 0.1},
        {"top_k": 500, "top_p": 0.95, "min_p": 0.01},
    ],
)
def test_the_same_tokens_survive_as_in_transformers(
    cuts: dict[str, Any], temperature: float
) -> None:
    sampling = Sampling(temperature=temperature, **cuts)
    for seed in range(3):
        logits_V = _row(3000, seed)
        ids_K, weights_K = survivors(logits_V, sampling)
        assert ids_K.tolist() == _kept_by_transformers(logits_V, sampling)
        wanted_V = torch.softmax(logits_V.double() / temperature, 0)
        wanted_K = wanted_V[ids_K] / wanted_V.max()
        np.testing.assert_allclose(weights_K, wanted_K, rtol=1e-5, atol=1e-9)


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=300),
    st.integers(0, 12),
    st.floats(0.01, 1),
    st.floats(0, 1),
)
def test_equals_are_cut_by_the_documented_rule(
    levels: list[int], top_k: int, top_p: float, min_p: float
) -> None:
    logits_V = torch.tensor(levels, dtype=torch.float32)
    order = sorted(range(len(levels)), key=lambda i: (-levels[i], i))
    if 0 < top_k < len(order):
        order = [i for i in order if levels[i] >= levels[order[top_k - 1]]]
    weights = np.exp([levels[i] for i in order])
    sampling = Sampling(top_k=top_k, top_p=top_p, min_p=min_p)
    kept = set(survivors(logits_V, sampling)[0].tolist())
    masses = weights.cumsum() / weights.sum()
    if np.abs(masses - top_p).min() < 1e-6 or np.abs(weights / weights[0] - min_p).min() < 1e-6:
        return  # on the edge, rounding decides
    order = order[: int((masses < top_p).sum()) + 1] if top_p < 1 else order
    assert kept == {i for i in order if math.exp(levels[i] - max(levels)) >= min_p}


def test_impossible_tokens_never_survive() -> None:
    logits_V = torch.full((1000,), -math.inf)
    logits_V[[7, 500]] = torch.tensor([1.0, 2.0])
    for sampling in (Sampling(top_k=50), Sampling(top_p=0.999), Sampling(min_p=0.01)):
        assert survivors(logits_V, sampling)[0].tolist() == [7, 500]
        assert {draw(logits_V, sampling, u / 10) for u in range(10)} == {7, 500}
    assert {draw(logits_V, Sampling(), u / 10) for u in range(10)} == {7, 500}


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"temperature": 0.5},
        {"top_k": 5},
        {"top_p": 0.7},
        {"temperature": 2.0, "top_k": 20, "top_p": 0.9, "min_p": 0.05},
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_likely(keys: dict[str, Any]) -> None:
    sampling, num = Sampling(**keys), 4000
    logits_V = _row(40, 5, 1.5)
    counts_V = np.zeros(40)
    for position in range(num):
        counts_V[draw(logits_V, sampling, uniform(1, 0, position))] += 1
    wanted_V = np.exp(logits_V.double().numpy() / sampling.temperature)
    is_kept_V = np.isin(np.arange(40), _kept_by_transformers(logits_V, sampling))
    wanted_V = num * wanted_V * is_kept_V / (wanted_V * is_kept_V).sum()
    assert counts_V[~is_kept_V].sum() == 0
    chi_square = ((counts_V - wanted_V)[is_kept_V] ** 2 / wanted_V[is_kept_V]).sum()
    degrees = is_kept_V.sum() - 1
    assert chi_square < degrees + 4 * (2 * degrees) ** 0.5


def test_a_draw_is_the_inverse_of_the_sums_in_order_of_ids() -> None:
    logits_V = torch.tensor([0.1, 0.4, 0.0, 0.2, 0.3]).log()
    edges = {0.0: 0, 0.0999: 0, 0.1001: 1, 0.4999: 1, 0.5001: 3, 0.6999: 3, 0.7001: 4}
    edges[1 - 2**-53] = 4
    assert {u: draw(logits_V, Sampling(), u) for u in edges} == edges
    halves = {0.0: 1, 0.5713: 1, 0.5716: 4, 1 - 2**-53: 4}  # 0.4 of 0.7, then 0.3
    assert {u: draw(logits_V, Sampling(top_k=2), u) for u in halves} == halves


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 5000])
def test_summing_by_blocks_changes_nothing(size: int) -> None:
    logits_V = _row(size)
    sums_V = np.exp(logits_V.numpy() - logits_V.numpy().max()).cumsum(dtype=np.float64)
    for i in range(200):
        u = uniform(0, 0, i)
        wanted = int(sums_V.searchsorted(u * sums_V[-1], side="right"))
        assert draw(logits_V, Sampling(), u) == wanted
    for seed in range(20):  # a block may come out smaller than its sum
        assert draw(_row(size, seed), Sampling(), 1 - 2**-53) < size


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 5))
def test_a_draw_is_the_same_through_either_path(u: float, seed: int) -> None:
    logits_V = _row(200, seed)
    everything = Sampling(top_k=200)  # takes the long way and cuts nothing
    assert draw(logits_V, Sampling(), u) == draw(logits_V, everything, u)


def test_a_draw_depends_neither_on_threads_nor_on_the_batch() -> None:
    batch_BV = _row(4 * 100_000).view(4, -1)
    for sampling in (Sampling(), Sampling(top_p=0.95), Sampling(temperature=0)):
        alone = [draw(row_V.clone(), sampling, 0.37) for row_V in batch_BV]
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if threads > 1 else 2)
        try:
            assert [draw(batch_BV[i], sampling, 0.37) for i in range(4)] == alone
        finally:
            torch.set_num_threads(threads)


def test_greedy_takes_the_lowest_of_equals() -> None:
    logits_V = torch.zeros(100_000)
    logits_V[[40_123, 70_000, 99_999]] = 5.0
    assert draw(logits_V, Sampling(temperature=0), 0.99) == 40_123
    for temperature in (1e-300, 1e-30, 1e-6):
        wanted = {0.0: 40_123, 0.5: 70_000, 0.99: 99_999}
        assert {u: draw(logits_V, Sampling(temperature=temperature), u) for u in wanted} == wanted


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("keys", [{}, {"temperature": 0}, {"top_p": 0.5}])
def test_logits_that_are_no_numbers_are_named(value: float, keys: dict[str, Any]) -> None:
    logits_V = _row(100)
    logits_V[50] = value
    with pytest.raises(RequestError, match=f"a logit is {value}"):
        draw(logits_V, Sampling(**keys), 0.5)
    with pytest.raises(RequestError, match="no token is left"):
        draw(torch.full((9,), -math.inf), Sampling(**keys), 0.5)


@pytest.mark.parametrize("penalty", [0.5, 1.3])
def test_repetition_is_that_of_transformers(penalty: float) -> None:
    prompt, generated = [3, 4, 4, 9], [5, 9, 5]
    logits_V = _row(50)
    mine_V = _adjusted(logits_V, Sampling(repetition_penalty=penalty), prompt, generated)
    theirs = RepetitionPenaltyLogitsProcessor(penalty)
    wanted_V = theirs(torch.tensor([prompt + generated]), logits_V[None].clone())[0]
    assert torch.equal(mine_V, wanted_V)
    assert (mine_V != logits_V).nonzero()[:, 0].tolist() == [3, 4, 5, 9]


def test_presence_and_frequency_count_generated_tokens_only() -> None:
    logits_V = torch.zeros(10)
    sampling = Sampling(presence_penalty=0.5, frequency_penalty=0.25)
    mine_V = _adjusted(logits_V, sampling, prompt=[1, 2, 2], generated=[2, 3, 3, 3])
    assert mine_V.tolist() == [0, 0, -0.75, -1.25, 0, 0, 0, 0, 0, 0]


def test_repetition_comes_before_what_is_added() -> None:
    sampling = Sampling(
        repetition_penalty=2, presence_penalty=1, frequency_penalty=1, logit_bias={1: 10, 4: -3}
    )
    mine_V = _adjusted(torch.tensor([8.0, 8.0, -8.0, 8.0, 8.0]), sampling, [0], [1, 1, 2])
    assert mine_V.tolist() == [4, 8 / 2 - 1 - 2 + 10, -16 - 2, 8, 5]


@given(st.lists(st.integers(0, 300), max_size=200), st.lists(st.integers(0, 300), max_size=20))
def test_counts_are_kept_token_by_token(generated: list[int], prompt: list[int]) -> None:
    state = PenaltyState(prompt)
    for token in generated:
        state.observe(token, is_answer=token % 2 == 0)
    ids, counts = state.seen()
    assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == {
        t: generated.count(t) for t in {*prompt, *generated}
    }
    assert state.num_generated == len(generated)
    assert state.answer_ids == [t for t in generated if t % 2 == 0]


@pytest.mark.parametrize("num", [0, 2, 3, 4])
def test_a_least_length_is_that_of_transformers(num: int) -> None:
    logits_V, generated = _row(20), [7] * num
    mine_V = _adjusted(logits_V, Sampling(min_tokens=3), [1], generated, end_ids=[4, 5])
    theirs = MinNewTokensLengthLogitsProcessor(1, 3, torch.tensor([4, 5]), device="cpu")
    assert torch.equal(mine_V, theirs(torch.tensor([[1, *generated]]), logits_V[None])[0])
    assert (mine_V[[4, 5]] == -math.inf).all() == (num < 3)


def test_a_constraint_sees_the_answer_and_leaves_what_it_allows() -> None:
    asked: list[list[int]] = []

    def constrain(answer_ids: Sequence[int]) -> list[int] | None:
        asked.append(list(answer_ids))
        return None if len(answer_ids) > 1 else [2, 6]

    sampling, logits_V = Sampling(constrain=constrain), _row(10)
    state = PenaltyState([1])
    state.observe(8, is_answer=False)
    row_V = logits_V.clone()
    adjust(row_V, sampling, state, is_thinking=True)
    assert torch.equal(row_V, logits_V)
    assert asked == []
    adjust(row_V, sampling, state)
    assert (row_V > -math.inf).nonzero()[:, 0].tolist() == [2, 6]
    assert torch.equal(row_V[[2, 6]], logits_V[[2, 6]])
    state.observe(6)
    state.observe(6)
    row_V = logits_V.clone()
    adjust(row_V, sampling, state)
    assert torch.equal(row_V, logits_V)
    assert asked == [[], [6, 6]]


def test_what_rules_out_every_token_is_an_error_of_the_request() -> None:
    with pytest.raises(RequestError, match="the constraint allows no token after 1"):
        _adjusted(_row(10), Sampling(constrain=lambda _: ()), generated=[3])
    only_end = Sampling(constrain=lambda _: (4,), min_tokens=2)
    with pytest.raises(RequestError, match="no token is left"):
        draw(_adjusted(_row(10), only_end, end_ids=[4]), only_end, 0.5)


@pytest.mark.parametrize(
    ("sampling", "end_ids", "match"),
    [
        (Sampling(logit_bias={10: 1.0}), (), "logit_bias names id 10: must be .* below 10"),
        (Sampling(min_tokens=1), (77,), "stop_ids names id 77"),
        (Sampling(constrain=lambda _: (3, -1)), (), "the constraint names id -1"),
    ],
)
def test_ids_outside_the_vocabulary_are_named(
    sampling: Sampling, end_ids: tuple[int, ...], match: str
) -> None:
    with pytest.raises(BadQuantity, match=match):
        _adjusted(_row(10), sampling, end_ids=end_ids)


def test_nothing_asked_for_nothing_changed() -> None:
    logits_V = _row(100)
    assert torch.equal(_adjusted(logits_V, Sampling(), [1, 2], [3, 3], [4]), logits_V)


def test_the_likeliest_come_with_their_log_probabilities() -> None:
    logits_V = _row(1000)
    logits_V[[900, 20, 500]] = 30.0
    lse = float(logits_V.logsumexp(0))
    best = top_logprobs(logits_V, lse, 5)
    wanted_V = logits_V.log_softmax(0)
    assert list(best)[:3] == [20, 500, 900]
    assert list(best)[3:] == logits_V.topk(5).indices[3:].tolist()
    assert list(best.values()) == pytest.approx(wanted_V.topk(5).values.tolist(), abs=1e-5)
    assert list(top_logprobs(logits_V, lse, 2)) == [20, 500]
    assert top_logprobs(logits_V, lse, 0) == {}
    assert len(top_logprobs(logits_V[:3], lse, 100)) == 3


@pytest.mark.parametrize(
    ("keys", "most_s"),
    [({"temperature": 0}, 0.01), ({}, 0.03), ({"top_p": 0.95}, 0.1), ({"top_k": 40}, 0.05)],
)
def test_a_large_vocabulary_does_not_slow_a_draw_down(keys: dict[str, Any], most_s: float) -> None:
    logits_V, sampling = _row(151_936, scale=1.0), Sampling(**keys)
    best_s = math.inf
    for position in range(5):
        start = time.perf_counter()
        draw(logits_V, sampling, uniform(0, 0, position))
        best_s = min(best_s, time.perf_counter() - start)
    assert best_s < most_s  # ten times what a quiet machine takes


@given(
    width=st.sampled_from([1, 5, 1023, 1024, 1025, 3000]),
    temperatures=st.lists(st.floats(0.01, 10), min_size=1, max_size=5),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_rows_are_drawn_as_each_is_alone(width: int, temperatures: list[float], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits_RV = torch.randn(len(temperatures), width, generator=generator) * 5
    uniforms = torch.rand(len(temperatures), generator=generator, dtype=torch.float64).tolist()
    uniforms[0] = 1 - 2.0**-53
    found = draw_rows(logits_RV.numpy(), temperatures, uniforms)
    alone = [
        draw(row, Sampling(temperature=t), u)
        for row, t, u in zip(logits_RV, temperatures, uniforms, strict=True)
    ]
    assert found.tolist() == alone


def test_without_counts_only_the_prompt_is_seen() -> None:
    state = PenaltyState([4, 5], counts=False)
    state.observe(7)
    assert state.seen()[0].tolist() == [4, 5]
    assert (state.num_generated, state.answer_ids) == (1, [7])
