"""Learning from texts, and going on from the middle."""

from collections.abc import Callable, Sequence
from random import Random

import pytest
import torch

from penjing.models.decoder import Decoder
from penjing.train.fit import Fit
from penjing.train.learner import Learner
from penjing.train.optimizer import AdamW, Optimizer
from penjing.train.schedule import Schedule, Shape
from penjing.train.scores import Document


def batch(step: int) -> Sequence[Document]:
    drawn = Random(step)
    start = drawn.randrange(50)
    ids = tuple((start + i) % 50 for i in range(8))  # what comes next is always one more
    return [Document(ids=ids, is_learnt=(False,) + (True,) * 7)] * 3


def fit(model: Decoder, steps: int = 8) -> Fit:
    learner = Learner(model, Optimizer(dict(model.named_parameters()), AdamW()), 1000)
    return Fit(learner, batch, Schedule(peak=5e-3, shape=Shape.COSINE, warmup_steps=2), steps)


def test_it_learns_and_tells(decoder: Callable[..., Decoder]) -> None:
    work = fit(decoder(), 40)
    facts = [work.step(number) for number in range(40)]
    assert facts[-1]["loss"] < facts[0]["loss"] / 3
    assert facts[0]["tokens"] == 21
    assert facts[0]["rate"] == pytest.approx(2.5e-3)
    assert facts[-1]["rate"] == pytest.approx(5e-4)


@pytest.mark.parametrize("kind", ["grouped", "latent"])
def test_it_goes_on_from_the_middle_to_the_same_bits(
    decoder: Callable[..., Decoder], kind: str
) -> None:
    straight = fit(decoder(kind))
    facts = []
    for number in range(8):
        if number == 4:
            tensors, more = straight.state()
            held = {name: t.clone() for name, t in tensors.items()}
        facts.append(straight.step(number))
    resumed = fit(decoder(kind, seed=9))
    resumed.restore(held, more)
    assert [resumed.step(number) for number in range(4, 8)] == facts[4:]
    ends = zip(straight.state()[0].items(), resumed.state()[0].items(), strict=True)
    for (name, one), (other_name, other) in ends:
        assert name == other_name
        assert torch.equal(one, other), name
