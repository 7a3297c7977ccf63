"""Biases move against the load, and nothing else does."""

from collections.abc import Callable
from random import Random

import pytest
import torch

from penjing.engine.engine import Engine
from penjing.engine.sampling import Sampling
from penjing.models.decoder import Decoder
from penjing.models.feed_forward import MoEBlock
from penjing.train.balance import Balancer
from penjing.train.learner import Learner
from penjing.train.optimizer import AdamW, Optimizer
from penjing.train.scores import Document


def blocks(model: Decoder) -> list[MoEBlock]:
    return [m for m in model.modules() if isinstance(m, MoEBlock)]


def test_by_hand(decoder: Callable[..., Decoder]) -> None:
    model = decoder("latent")
    (block,) = blocks(model)
    assert block.correction_bias is not None
    before = block.correction_bias.detach().clone()
    balancer = Balancer(model)
    balancer.begin()
    assert block.load_E is not None
    block.load_E += torch.tensor([0.0, 8, 4, 4, 4, 4, 4, 4])
    balancer.end(0.5)
    moved = (block.correction_bias - before).tolist()
    assert moved == pytest.approx([0.5, -0.5, 0, 0, 0, 0, 0, 0])
    assert block.load_E is None


def test_a_step_counts_its_own_tokens_and_generation_none(engine: Callable[..., Engine]) -> None:
    made = engine("latent")
    (block,) = blocks(made.decoder)
    drawn = Random(1)
    ids = tuple(drawn.choices(range(60), k=20))
    document = Document(ids=ids, is_learnt=(False,) + (True,) * 19)
    optimizer = Optimizer(dict(made.decoder.named_parameters()), AdamW())
    learner = Learner(made.decoder, optimizer, 1000, balance=0.0)
    seen: list[float] = []
    ending = learner._balancer.end

    def end(speed: float) -> None:
        assert block.load_E is not None
        seen.append(float(block.load_E.sum()))
        ending(speed)

    learner._balancer.end = end  # type: ignore[method-assign]
    learner.learn([document], 1e-3)
    assert seen == [20 * 4]  # tokens x experts of each
    made.generate([[1, 2, 3]], Sampling(max_tokens=4))
    assert block.load_E is None


def test_an_uneven_load_becomes_even(decoder: Callable[..., Decoder]) -> None:
    model = decoder("latent")
    (block,) = blocks(model)
    assert block.correction_bias is not None
    with torch.no_grad():
        block.correction_bias.copy_(torch.tensor([3.0, 0, 0, 0, 0, 0, 0, 0]))
    drawn = Random(2)
    documents = [
        Document(ids=tuple(drawn.choices(range(60), k=16)), is_learnt=(False,) + (True,) * 15)
        for _ in range(8)
    ]
    optimizer = Optimizer(dict(model.named_parameters()), AdamW())
    learner = Learner(model, optimizer, 1000, balance=0.1)
    for _ in range(40):
        learner.learn(documents, 0.0)
    bias_E = block.correction_bias.detach()
    assert float(bias_E[0] - bias_E[1:].mean()) < 2.0


def test_models_without_biases_are_left_alone(decoder: Callable[..., Decoder]) -> None:
    for kind in ("grouped", "routed"):
        balancer = Balancer(decoder(kind))
        balancer.begin()
        balancer.end(1.0)
