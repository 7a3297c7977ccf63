"""Contamination: which problems to train on share text with a benchmark.

A problem overlaps where it shares a run of so many words, as GPT-3 counts (arXiv 2005.14165,
appendix C: 13); DeepSeek-R1 takes 10 (arXiv 2501.12948v2, B.3). A shorter problem overlaps where
all of it stands in the other.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from penjing.errors import BadQuantity
from penjing.tasks.problem import Problem
from penjing.tasks.source import normalised

WORDS = 13
_Words = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """``text`` is the first run of words that both have, normalised."""

    problem: Problem
    benchmark: Problem
    text: str


class Benchmark:
    """Its runs of ``words`` words, as hashes of 8 bytes: 1 GB holds those of ten million words."""

    def __init__(self, problems: Iterable[Problem], words: int = WORDS) -> None:
        if words < 1:
            raise BadQuantity(f"runs of {words} words cannot be looked for; give 1 or more")
        self._words = words
        self._problems = list(problems)
        self._places: dict[bytes, int] = {}
        self._short_sizes: set[int] = set()
        for place, problem in enumerate(self._problems):
            split = split_words(problem.prompt)
            if len(split) < words:
                self._short_sizes.add(len(split))
            for run in runs(split, words):
                self._places.setdefault(_hash(run), place)

    def overlap(self, problem: Problem) -> Overlap | None:
        """The first, from the beginning of ``problem``; None: they share nothing."""
        split = split_words(problem.prompt)
        sizes = {min(self._words, len(split)), *self._short_sizes}
        for size in sorted(sizes, reverse=True):
            for run in runs(split, size):
                place = self._places.get(_hash(run))
                if place is not None:
                    other = self._problems[place]
                    return Overlap(problem=problem, benchmark=other, text=" ".join(run))
        return self._within(problem, split)

    def _within(self, problem: Problem, split: _Words) -> Overlap | None:
        """A problem shorter than a run may stand inside a longer one."""
        if len(split) >= self._words or not split:
            return None
        for other in self._problems:
            if split in set(runs(split_words(other.prompt), len(split))):
                return Overlap(problem=problem, benchmark=other, text=" ".join(split))
        return None


def overlaps(
    problems: Sequence[Problem], benchmark: Iterable[Problem], words: int = WORDS
) -> list[Overlap]:
    """At most one for each problem, in their order."""
    held = Benchmark(benchmark, words)
    return [found for problem in problems if (found := held.overlap(problem)) is not None]


def split_words(text: str) -> _Words:
    """Letters and digits only: case, punctuation and spaces hide nothing."""
    folded = "".join(c if c.isalnum() else " " for c in normalised(text))
    return tuple(folded.split())


def runs(words: _Words, size: int) -> Iterator[_Words]:
    """All runs of ``size`` words; the whole where there are fewer."""
    if 0 < len(words) < size:
        yield words
    for at in range(len(words) - size + 1):
        yield words[at : at + size]


def _hash(words: _Words) -> bytes:
    return blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest()
