"""Learning from rewards: rollouts, advantages, updates, and the same again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from penjing.errors import BadQuantity
from penjing.evaluate.generator import sample_seed
from penjing.models.kernels.choice import Numerics
from penjing.train.advantage import Advantage, advantages
from penjing.train.aggregation import Aggregation
from penjing.train.collect import Collected, Collector, Rollout, of_rollouts
from penjing.train.learner import Learner, PolicyReport, Sampled, minibatches
from penjing.train.policy_loss import PolicyLoss
from penjing.train.record import Facts
from penjing.train.schedule import Schedule
from penjing.train.segments import Segments


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig:
    """``minibatches``: optimizer steps on one set of rollouts, each sample once.

    ``masks_truncated``: what ended for want of room teaches nothing (DAPO's overlong filtering).
    ``reference_every``: steps after which the reference becomes the policy; 0: never. DeepSeek-R1
    has 16 and 400 steps of an optimizer (Nature, Methods).
    """

    loss: PolicyLoss
    advantage: Advantage = Advantage.GRPO
    aggregation: Aggregation = Aggregation.SEQUENCE
    minibatches: int = 1
    masks_truncated: bool = False
    reference_every: int = 0

    def __post_init__(self) -> None:
        for name, least in (("minibatches", 1), ("reference_every", 0)):
            if getattr(self, name) < least:
                raise BadQuantity(f"{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass
class Reinforce:
    """``reference`` is needed where the loss has a divergence."""

    collector: Collector
    learner: Learner
    config: ReinforceConfig
    schedule: Schedule
    num_steps: int
    seed: int
    reference: Learner | None = None
    next_problem: int = 0
    share: float = 1.0

    def __post_init__(self) -> None:
        assert self.reference is not None or not self.config.loss.kl, "a divergence from what?"
        size = self.collector.config.group_size
        if size < 2:
            raise BadQuantity(
                f"group_size is {size}; it must be at least 2, as responses to one problem are "
                "held against one another"
            )

    def step(self, number: int) -> Facts:
        """One set of rollouts and the updates from it."""
        self._renew_reference(number)
        rate = self.share * self.schedule.rate(number, self.num_steps)
        collected = self.collector.collect(self.next_problem)
        self.next_problem = collected.next_problem
        facts = {**_of_rollouts(collected), "rate": rate, "problems": self.next_problem}
        samples = self._samples(collected)
        if not samples:
            return facts
        drawn = sample_seed(self.seed, "minibatches", number)
        parts = minibatches(samples, self.config.minibatches, drawn)
        reports = [self._update(part, rate, number) for part in parts]
        return {**facts, **_of_updates(reports)}

    def state(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        held = dict(self.learner.state())
        if self.reference is not None:
            weights = self.reference.decoder.named_parameters()
            held |= {f"reference.{name}": p.detach() for name, p in weights}
        return held, {"next_problem": self.next_problem}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        self.learner.restore(tensors)
        self.next_problem = facts["next_problem"]
        if self.reference is not None:
            for name, p in self.reference.decoder.named_parameters():
                p.copy_(tensors[f"reference.{name}"])

    @torch.no_grad()
    def _renew_reference(self, number: int) -> None:
        every = self.config.reference_every
        if self.reference is None or not every or number % every or not number:
            return
        policy = dict(self.learner.decoder.named_parameters())
        for name, p in self.reference.decoder.named_parameters():
            p.copy_(policy[name])

    def _samples(self, collected: Collected) -> list[Sampled]:
        rollouts = collected.rollouts
        if not rollouts:
            return []
        groups = Segments.of_lengths([len(group) for group in collected.groups])
        parts = {
            name: torch.tensor([one.reward.parts[name] for one in rollouts])
            for name in rollouts[0].reward.parts
        }
        found = advantages(parts, rollouts[0].reward.weights, groups, self.config.advantage)
        samples = [
            _sampled(one, advantage, masks_truncated=self.config.masks_truncated)
            for one, advantage in zip(rollouts, found.tolist(), strict=True)
        ]
        documents = [one.document for one in samples]
        if self.collector.engine.numerics is not Numerics.EXACT:  # else they are the same bits
            old = self.learner.score(documents)
            samples = [replace(s, old=o) for s, o in zip(samples, old, strict=True)]
        if self.reference is not None and self.config.loss.kl:
            reference = self.reference.score(documents)
            samples = [replace(s, reference=r) for s, r in zip(samples, reference, strict=True)]
        return samples

    def _update(self, samples: Sequence[Sampled], rate: float, number: int) -> PolicyReport:
        drawn = torch.Generator().manual_seed(sample_seed(self.seed, "tokens", number))
        return self.learner.reinforce(
            samples,
            rate,
            self.config.loss,
            self.config.aggregation,
            longest=self.collector.config.sampling.max_tokens or 1,
            generator=drawn,
        )


def _sampled(rollout: Rollout, advantage: float, *, masks_truncated: bool) -> Sampled:
    return Sampled(
        document=rollout.document,
        advantage=advantage,
        rollout=rollout.scores,
        old=rollout.scores,
        counts=not (masks_truncated and rollout.is_truncated),
    )


def _of_rollouts(collected: Collected) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "flat_groups": collected.num_flat,
        "faults": collected.num_faults,
        "tokens": collected.num_tokens,
        "wasted_tokens": collected.num_wasted,
    }
    rollouts = collected.rollouts
    if not rollouts:
        return facts
    parts = rollouts[0].reward.parts
    return {
        **facts,
        "reward": fmean(one.total for one in rollouts),
        **{f"reward.{name}": fmean(r.reward.parts[name] for r in rollouts) for name in parts},
        **of_rollouts(rollouts),
    }


def _of_updates(reports: Sequence[PolicyReport]) -> dict[str, Any]:
    return {
        "loss": fmean(one.loss for one in reports),
        "norm": max(one.norm for one in reports),
        "entropy": fmean(one.entropy for one in reports),
        "divergence": fmean(one.divergence for one in reports),
        "clipped": fmean(one.clipped_share for one in reports),
        "least_ratio": min(one.least_ratio for one in reports),
        "most_ratio": max(one.most_ratio for one in reports),
        "largest_gap": max(one.largest_gap for one in reports),
        "mean_gap": fmean(one.mean_gap for one in reports),
    }
