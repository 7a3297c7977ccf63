"""The figures of one run: how often it is right, how sure that is, and what it cost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from penjing.errors import BadQuantity
from penjing.evaluate.estimators import (
    consensus,
    grades_by_problem,
    has_votes,
    pass_at_k,
    sizes,
)
from penjing.evaluate.intervals import Estimate, estimate
from penjing.evaluate.sample import Sample
from penjing.tasks.problem import Grade, Verdict


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Of one number a sample. Percentiles lie between samples where they fall between them."""

    num_samples: int
    mean: float
    p50: float
    p95: float
    max: float

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Self | None:
        """None of nothing."""
        found = np.sort(np.fromiter(numbers, dtype=np.float64))
        if not found.size:
            return None
        p50, p95 = np.percentile(found, (50, 95))
        return cls(
            num_samples=found.size,
            mean=float(found.mean()),
            p50=float(p50),
            p95=float(p95),
            max=float(found[-1]),
        )


@dataclass(frozen=True, kw_only=True)
class Measures:
    """A fault of the judge counts neither for nor against the model, but its tokens count.

    ``num_unjudged_problems`` have nothing but faults: no figure of correctness rests on them.
    ``fewest_samples`` and ``most_samples`` are those of a problem that are no faults; where they
    differ, the run is incomplete, and each problem enters with as many as it has.

    ``pass_at_k`` is by k; its first, k = 1, is the mean over problems of the share of samples that
    are correct. Each rests on the problems with at least k samples. ``consensus`` is cons@n with
    all samples of each problem; None for one sample a problem, and where the judge does not say
    which answers it found correct. An ungradable sample is not correct.

    Shares are of all samples; that of ungradable ones leaves faults out, and that of thinking is
    of the tokens of the ``num_thinking_known`` samples that tell it. Prompts count once a sample.
    ``wall_s`` is each sample's own time; samples may have run side by side.
    """

    num_problems: int
    num_unjudged_problems: int
    num_samples: int
    num_faults: int
    fewest_samples: int
    most_samples: int
    num_correct: int
    pass_at_k: Mapping[int, Estimate] = field(hash=False)
    consensus: Estimate | None
    ungradable_share: float | None
    truncated_share: float
    thinking_share: float | None
    num_thinking_known: int
    lengths: Distribution  # generated tokens
    correct_lengths: Distribution | None
    wrong_lengths: Distribution | None  # ungradable ones too
    num_tokens: int
    tokens_per_problem: float
    tokens_per_correct: float | None  # what all samples took, for each that is correct
    num_prompt_tokens: int
    wall_s: Distribution

    @property
    def is_complete(self) -> bool:
        """Whether every problem has as many samples."""
        return self.fewest_samples == self.most_samples

    def to_json(self) -> dict[str, Any]:
        """Plain values; k is text, as JSON's keys are."""
        return asdict(self) | {
            "pass_at_k": {str(k): asdict(found) for k, found in self.pass_at_k.items()}
        }


def measure(samples: Sequence[Sample]) -> Measures:
    """All figures of a run.

    Raises ``BadQuantity`` without samples, ``Contradiction`` where one is there twice.
    """
    if not samples:
        raise BadQuantity("there are no samples to measure; at least one is needed")
    by_problem = grades_by_problem(samples)
    judged = [sample for sample in samples if not sample.grade.is_fault]
    correct = [sample for sample in judged if sample.grade.is_correct]
    wrong = [sample for sample in judged if not sample.grade.is_correct]
    ungradable = [sample for sample in wrong if sample.grade.verdict is Verdict.UNGRADABLE]
    counts = [len(grades) for grades in by_problem.values()]
    num_tokens = sum(sample.num_tokens for sample in samples)
    lengths = Distribution.of(sample.num_tokens for sample in samples)
    wall_s = Distribution.of(sample.wall_s for sample in samples)
    assert lengths is not None
    assert wall_s is not None
    return Measures(
        num_problems=len(by_problem),
        num_unjudged_problems=counts.count(0),
        num_samples=len(samples),
        num_faults=len(samples) - len(judged),
        fewest_samples=min(counts),
        most_samples=max(counts),
        num_correct=len(correct),
        pass_at_k=_pass_at_k(by_problem.values()),
        consensus=_consensus(by_problem.values()),
        ungradable_share=_share(len(ungradable), len(judged)),
        truncated_share=sum(sample.is_truncated for sample in samples) / len(samples),
        thinking_share=_thinking_share(samples),
        num_thinking_known=sum(sample.num_thinking_tokens is not None for sample in samples),
        lengths=lengths,
        correct_lengths=Distribution.of(sample.num_tokens for sample in correct),
        wrong_lengths=Distribution.of(sample.num_tokens for sample in wrong),
        num_tokens=num_tokens,
        tokens_per_problem=num_tokens / len(by_problem),
        tokens_per_correct=_share(num_tokens, len(correct)),
        num_prompt_tokens=sum(sample.num_prompt_tokens for sample in samples),
        wall_s=wall_s,
    )


def _pass_at_k(problems: Iterable[Sequence[Grade]]) -> dict[int, Estimate]:
    judged = [grades for grades in problems if grades]
    most = max(map(len, judged), default=0)
    return {
        k: estimate([pass_at_k(grades, k) for grades in judged if len(grades) >= k])
        for k in sizes(most)
    }


def _consensus(problems: Iterable[Sequence[Grade]]) -> Estimate | None:
    judged = [grades for grades in problems if grades]
    if max(map(len, judged), default=0) < 2 or not all(map(has_votes, judged)):
        return None
    return estimate([consensus(grades) for grades in judged])


def _thinking_share(samples: Iterable[Sample]) -> float | None:
    known = [sample for sample in samples if sample.num_thinking_tokens is not None]
    thinking = sum(sample.num_thinking_tokens or 0 for sample in known)
    return _share(thinking, sum(sample.num_tokens for sample in known))


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
