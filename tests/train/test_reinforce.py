"""Reinforcement learning as a whole: rewards rise, gaps are zero, a stop changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from penjing.engine.engine import Engine
from penjing.engine.sampling import Sampling
from penjing.errors import BadQuantity
from penjing.models.decoder import Decoder
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.reward import RewardConfig
from penjing.tasks.source import FileSource
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template
from penjing.train.advantage import Advantage
from penjing.train.collect import CollectConfig, Collector
from penjing.train.learner import Learner
from penjing.train.optimizer import AdamW, Optimizer
from penjing.train.policy_loss import PolicyLoss
from penjing.train.reinforce import Reinforce, ReinforceConfig
from penjing.train.schedule import Schedule
from penjing.train.stream import ProblemStream

PROBLEMS = [
    Problem(id=f"p{i}", prompt=prompt, reference="", split=Split.TRAIN)
    for i, prompt in enumerate(["ab", "cde", "f", "gh"])
]


def has_a(problem: Problem, response: str) -> Grade:
    verdict = Verdict.CORRECT if "a" in response.lower() else Verdict.WRONG
    return Grade(verdict=verdict, reason="looked")


def learner(model: Decoder) -> Learner:
    return Learner(model, Optimizer(dict(model.named_parameters()), AdamW()), 1000)


def reinforce(
    engine: Engine, reference: Decoder | None = None, steps: int = 4, **config: Any
) -> Reinforce:
    task = Task(
        name="few",
        source=FileSource(PROBLEMS),
        judge=has_a,
        template=Template(style=Style.PLAIN, answer_format=AnswerFormat.BOXED),
    )
    collector = Collector(
        engine=engine,
        task=task,
        problems=ProblemStream(task, 2).take,
        reward=RewardConfig(weights={"accuracy": 1.0}),
        config=CollectConfig(problems=4, group_size=6, sampling=Sampling(max_tokens=8)),
        seed=5,
    )
    given = {"loss": PolicyLoss(), "advantage": Advantage.GRPO, **config}
    return Reinforce(
        collector,
        learner(engine.decoder),
        ReinforceConfig(**given),
        Schedule(peak=3e-3),
        steps,
        seed=7,
        reference=None if reference is None else learner(reference),
    )


@pytest.mark.parametrize("kind", ["grouped", "latent"])
def test_rewards_rise_and_the_engine_is_never_off(engine: Callable[..., Engine], kind: str) -> None:
    work = reinforce(engine(kind), steps=12)
    facts = [work.step(number) for number in range(12)]
    assert [one["largest_gap"] for one in facts] == [0.0] * 12
    first, last = (sum(f["reward"] for f in part) / 3 for part in (facts[:3], facts[-3:]))
    assert last > first + 0.1
    assert facts[0]["least_ratio"] == facts[0]["most_ratio"] == 1.0
    assert facts[0]["problems"] == 4
    assert facts[-1]["problems"] == 48


def test_fast_numerics_have_a_gap_that_is_told(engine: Callable[..., Engine]) -> None:
    facts = reinforce(engine("grouped", torch.bfloat16, numerics="fast")).step(0)
    assert 0 < facts["largest_gap"] < 0.5


def test_later_minibatches_are_off_policy(engine: Callable[..., Engine]) -> None:
    facts = reinforce(engine(), minibatches=3).step(0)
    assert facts["most_ratio"] > 1 > facts["least_ratio"]


def test_one_response_a_problem_has_nothing_to_be_held_against(
    engine: Callable[..., Engine],
) -> None:
    work = reinforce(engine())
    alone = replace(work.collector, config=replace(work.collector.config, group_size=1))
    with pytest.raises(BadQuantity, match="group_size is 1; it must be at least 2"):
        replace(work, collector=alone)


def test_a_reference_is_renewed(
    engine: Callable[..., Engine], decoder: Callable[..., Decoder]
) -> None:
    made, reference = engine(), decoder()
    work = reinforce(made, reference, loss=PolicyLoss(kl=0.1), reference_every=2)
    first = reference.norm.detach().clone()
    work.step(0)
    work.step(1)
    assert torch.equal(reference.norm, first)
    policy = made.decoder.norm.detach().clone()
    work.step(2)
    assert torch.equal(reference.norm, policy)
    assert not torch.equal(made.decoder.norm, policy)


def test_truncated_responses_may_be_masked(engine: Callable[..., Engine]) -> None:
    work = reinforce(engine(), masks_truncated=True)
    collected = work.collector.collect(0)
    samples = work._samples(collected)
    flags = [not one.is_truncated for one in collected.rollouts]
    assert [one.counts for one in samples] == flags
    assert {True, False} == set(flags)


def test_tokens_that_were_forced_are_not_learnt(engine: Callable[..., Engine]) -> None:
    work = reinforce(engine())
    config = work.collector.config
    sampling = Sampling(max_tokens=8, thinking_budget=0, thinking_close="</think>")
    forced = replace(work.collector, config=replace(config, sampling=sampling))
    work.collector = forced
    collected = forced.collect(0)
    for one, sample in zip(collected.rollouts, work._samples(collected), strict=True):
        assert sample.document.num_learnt == one.completion.is_forced.count(False)


def test_it_goes_on_from_the_middle_to_the_same_bits(
    engine: Callable[..., Engine], decoder: Callable[..., Decoder]
) -> None:
    config: dict[str, Any] = {"loss": PolicyLoss(kl=0.05), "minibatches": 2, "reference_every": 3}
    straight = reinforce(engine("latent"), decoder("latent", seed=1), **config)
    facts = []
    for number in range(4):
        if number == 2:
            tensors, more = straight.state()
            held = {name: t.clone() for name, t in tensors.items()}
        facts.append(straight.step(number))
    other = engine(decoder("latent", seed=8))
    resumed = reinforce(other, decoder("latent", seed=9), **config)
    resumed.restore(held, more)
    assert [resumed.step(number) for number in (2, 3)] == facts[2:]
    for name, tensor in straight.state()[0].items():
        assert torch.equal(tensor, resumed.state()[0][name]), name


def test_settings_that_make_no_sense() -> None:
    for name, value in (("minibatches", 0), ("reference_every", -1)):
        given: dict[str, Any] = {name: value}
        with pytest.raises(BadQuantity, match=f"{name} is {value}"):
            ReinforceConfig(loss=PolicyLoss(), **given)
