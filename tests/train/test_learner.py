"""Steps on texts and responses: pieces change nothing, and what is rewarded becomes likelier."""

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
import torch

from penjing.engine.engine import Engine
from penjing.engine.sampling import Sampling
from penjing.models.decoder import Decoder
from penjing.train.aggregation import Aggregation
from penjing.train.learner import Learner, Sampled, minibatches, pieces
from penjing.train.optimizer import AdamW, Optimizer
from penjing.train.policy_loss import PolicyLoss
from penjing.train.scores import Document

PLAIN = AdamW(max_norm=0.0)


def learner(model: Decoder, max_tokens: int = 10_000, *, recompute: bool = False) -> Learner:
    optimizer = Optimizer(dict(model.named_parameters()), PLAIN)
    return Learner(model, optimizer, max_tokens, recompute=recompute)


def texts(count: int = 5) -> list[Document]:
    drawn = Random(2)
    sizes = [drawn.randint(4, 12) for _ in range(count)]
    return [
        Document(
            ids=tuple(drawn.choices(range(60), k=n)), is_learnt=(False, False) + (True,) * (n - 2)
        )
        for n in sizes
    ]


def sampled(made: Engine) -> list[Sampled]:
    done = made.generate([[1, 2], [3, 4, 5]], Sampling(n=3, seed=2, max_tokens=9))
    return [
        Sampled(
            document=Document(
                ids=one.prompt_ids + one.ids,
                is_learnt=(False,) * len(one.prompt_ids) + (True,) * len(one.ids),
            ),
            advantage=(-1.0) ** place,
            rollout=one.logprobs,
            old=one.logprobs,
        )
        for place, one in enumerate(done)
    ]


def weights(model: Decoder) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_loss_of_texts_is_their_mean_cross_entropy(decoder: Callable[..., Decoder]) -> None:
    one = learner(decoder())
    scores = [score for row in one.score(texts()) for score in row]
    report = one.learn(texts(), 1e-3)
    assert report.loss == pytest.approx(-sum(scores) / len(scores), rel=1e-5)
    assert report.num_tokens == len(scores)
    assert 0 < report.entropy < math.log(64)
    assert one.learn(texts(), 1e-3).loss < report.loss


@pytest.mark.parametrize("max_tokens", [1, 14, 23])
@pytest.mark.parametrize("recompute", [False, True])
def test_pieces_change_nothing_but_roundings(
    decoder: Callable[..., Decoder], engine: Callable[..., Engine], max_tokens: int, recompute: bool
) -> None:
    samples = sampled(engine())
    ends = []
    for size, again in ((10_000, False), (max_tokens, recompute)):
        model = decoder()
        one = learner(model, size, recompute=again)
        told = one.learn(texts(), 1e-3)
        other = one.reinforce(samples, 1e-3, PolicyLoss(), Aggregation.TOKEN, longest=9)
        ends.append((weights(model), told.loss, told.norm, other.loss, other.norm))
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=0, atol=2e-4)
    assert ends[0][1:] == pytest.approx(ends[1][1:], rel=1e-4, abs=1e-6)


def test_what_is_rewarded_becomes_likelier(engine: Callable[..., Engine]) -> None:
    made = engine()
    samples = sampled(made)
    one = learner(made.decoder)
    report = one.reinforce(samples, 1e-3, PolicyLoss(), Aggregation.SEQUENCE, longest=9)
    assert report.largest_gap == report.mean_gap == 0.0
    assert (report.least_ratio, report.most_ratio, report.clipped_share) == (1.0, 1.0, 0.0)
    assert report.loss == pytest.approx(0, abs=1e-6)  # advantages add up to none, on policy
    after = one.score([s.document for s in samples])
    rose = [sum(new) - sum(s.old) for new, s in zip(after, samples, strict=True)]
    assert sum(r * s.advantage for r, s in zip(rose, samples, strict=True)) > 0
    (fresh,) = made.generate([[1, 2]], Sampling(max_tokens=1))
    assert (fresh.policy_version, fresh.num_cached) == (1, 0)
    moved = one.reinforce(samples, 1e-3, PolicyLoss(), Aggregation.SEQUENCE, longest=9)
    assert moved.most_ratio > 1 > moved.least_ratio
    assert moved.divergence > 0


def test_a_gap_is_told(engine: Callable[..., Engine]) -> None:
    made = engine()
    off = [replace(s, rollout=tuple(r - 0.5 for r in s.rollout)) for s in sampled(made)]
    report = learner(made.decoder).reinforce(off, 1e-3, PolicyLoss(), Aggregation.TOKEN, longest=9)
    assert report.largest_gap == pytest.approx(0.5)
    assert report.mean_gap == pytest.approx(0.5)


def test_masked_responses_teach_nothing(engine: Callable[..., Engine]) -> None:
    made = engine()
    before = weights(made.decoder)
    masked = [replace(s, counts=False) for s in sampled(made)]
    one = learner(made.decoder)
    report = one.reinforce(masked, 1e-3, PolicyLoss(), Aggregation.TOKEN, longest=9)
    assert report.norm == 0
    assert torch.equal(before, weights(made.decoder))


def test_pieces_are_runs_within_the_bound() -> None:
    sizes = [3, 4, 9, 1, 1, 5]
    assert [list(p) for p in pieces(sizes, sizes, 7)] == [[3, 4], [9], [1, 1, 5]]
    assert list(pieces([], [], 7)) == []


def test_minibatches_share_items_out_and_keep_neighbours_in_order() -> None:
    items = list(range(24))
    parts = minibatches(items, 3, seed=1)
    assert [len(part) for part in parts] == [8, 8, 8]
    assert sorted(item for part in parts for item in part) == items
    assert all(list(part) == sorted(part) for part in parts)
    assert parts == minibatches(items, 3, seed=1)
    assert parts != minibatches(items, 3, seed=2)
    assert minibatches(items, 1, seed=1) == [items]
    assert [len(part) for part in minibatches(items[:2], 5, seed=1)] == [1, 1]


def test_a_rehearsal_changes_nothing(decoder: Callable[..., Decoder]) -> None:
    """Neither weights nor moments nor gradients, and the step after it is the same."""
    plain, rehearsed = (learner(decoder("routed")) for _ in range(2))
    rehearsed.rehearse(texts())
    assert not rehearsed.optimizer.state()
    assert all(p.grad is None for p in rehearsed.decoder.parameters())
    assert plain.learn(texts(), 1e-2) == rehearsed.learn(texts(), 1e-2)
    ours, theirs = rehearsed.state(), plain.state()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
