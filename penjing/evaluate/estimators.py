"""What the grades of one problem say of the model: pass@k and cons@k."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from math import comb

from penjing.errors import Contradiction
from penjing.evaluate.sample import Sample
from penjing.tasks.answer import normalised
from penjing.tasks.problem import Grade


def grades_by_problem(samples: Iterable[Sample]) -> Mapping[str, Sequence[Grade]]:
    """The grades of every problem without faults, which say nothing of the model.

    A problem is left without grades where all are faults. Problems are in the order of their ids,
    grades in that of their samples, so that nothing hangs on the order in which samples ended.
    Raises ``Contradiction`` where a sample is there twice.
    """
    ordered = sorted(samples, key=lambda sample: (sample.problem, sample.index))
    for one, other in pairwise(ordered):
        if (one.problem, one.index) == (other.problem, other.index):
            raise Contradiction(
                f"sample {one.index} of problem {one.problem!r} is there twice; take one of them "
                "out, as it would count twice"
            )
    return {
        problem: [sample.grade for sample in group if not sample.grade.is_fault]
        for problem, group in groupby(ordered, key=lambda sample: sample.problem)
    }


def sizes(most: int) -> list[int]:
    """The k of pass@k: powers of two up to ``most``, and ``most``; none of 0."""
    return sorted({1 << i for i in range(most.bit_length())} | {most} - {0})


def pass_at_k(grades: Sequence[Grade], k: int) -> float:
    """How likely at least one of k samples is correct: arXiv 2107.03374, equation 1.

    The k are drawn from all n without replacement, which makes it unbiased:
    1 - C(n - c, k) / C(n, k), for 1 <= k <= n and c correct. Exact but for the last division.
    """
    num_samples, num_correct = len(grades), sum(grade.is_correct for grade in grades)
    assert 1 <= k <= num_samples
    draws = comb(num_samples, k)
    return (draws - comb(num_samples - num_correct, k)) / draws


def consensus(grades: Sequence[Grade]) -> float:
    """How likely the answer given most often is correct: arXiv 2203.11171.

    Answers equal as text are one. A sample without one does not vote; where none votes, nothing is
    answered, which is 0. A tie is broken by a fair draw, of which this is the expected value. All
    grades vote: this is cons@n, no mean over smaller subsets.
    """
    assert grades
    votes: dict[str, list[bool]] = defaultdict(list)
    for grade in grades:
        if answer := _vote(grade):
            votes[answer].append(grade.is_correct)
    most = max(map(len, votes.values()), default=0)
    leading = [group for group in votes.values() if len(group) == most]
    return sum(map(sum, leading)) / (most * len(leading)) if leading else 0.0


def has_votes(grades: Iterable[Grade]) -> bool:
    """Whether consensus means anything: a judge need not say which answer it found correct."""
    return all(_vote(grade) for grade in grades if grade.is_correct)


def _vote(grade: Grade) -> str:
    return normalised(grade.answer) if grade.answer is not None else ""
