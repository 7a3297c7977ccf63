"""Learning from texts: pretraining and supervised fine-tuning."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from penjing.train.learner import Learner
from penjing.train.record import Facts
from penjing.train.schedule import Schedule
from penjing.train.scores import Document

Batches = Callable[[int], Sequence[Document]]
"""The documents of a step: they hang on its number alone, so that there is no cursor to keep."""


@dataclass
class Fit:
    learner: Learner
    batches: Batches
    schedule: Schedule
    num_steps: int
    share: float = 1.0

    def step(self, number: int) -> Facts:
        rate = self.share * self.schedule.rate(number, self.num_steps)
        report = self.learner.learn(self.batches(number), rate)
        return {
            "loss": report.loss,
            "norm": report.norm,
            "entropy": report.entropy,
            "tokens": report.num_tokens,
            "rate": rate,
        }

    def state(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        return self.learner.state(), {}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        self.learner.restore(tensors)
