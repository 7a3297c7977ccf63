"""Contamination: which problems to train on share text with a benchmark.

As GPT-3 counts (arXiv 2005.14165, section 4 and appendix C), two problems overlap where they share
a run of 13 words, or where one of them has fewer and all of it stands in the other. DeepSeek-R1
takes runs of 10 (arXiv 2501.12948v2, B.3). Case, punctuation and white space count for nothing, but
signs of arithmetic do where a short problem is looked for: else 2 + 3 would be 2 * 3.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from penjing.errors import BadQuantity
from penjing.tasks.problem import Problem
from penjing.tasks.source import normalised

WORDS = 13
MAX_PROBLEMS = 10  # that a run may stand in: see _Runs

# Han and kana leave no spaces, so that each character counts as a word.
_UNSPACED = "\u3005\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
# A hyphen between letters is none.
_SIGN = r"[+*/^=<>×÷−]|(?<![^\W\d_])-|-(?![^\W\d_])"  # noqa: RUF001
_WORD_OR_SIGN = re.compile(f"{_WORD.pattern}|{_SIGN}")
_Text = Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """``text`` is what both have, normalised: the first such run, or all of the shorter one."""

    problem: Problem
    benchmark: Problem
    text: str


@dataclass(frozen=True, kw_only=True)
class _Hit:
    place: int  # of the benchmark's problem
    text: str


def overlaps(
    problems: Sequence[Problem], benchmark: Sequence[Problem], words: int = WORDS
) -> list[Overlap]:
    """At most one for each of ``problems``, in their order.

    Takes about 200 bytes a word of the benchmark, and 200 a problem of either.
    Raises ``BadQuantity`` for ``words`` below 1.
    """
    if words < 1:
        raise BadQuantity(f"runs of {words} words cannot be looked for; give 1 or more")
    shared_runs, wholes = _Runs(benchmark, words), _Wholes(benchmark, words)
    inside = _inside(problems, benchmark, words)
    found = []
    for place, problem in enumerate(problems):
        hit = shared_runs.first(problem) or wholes.first(problem) or inside.get(place)
        if hit:
            other = benchmark[hit.place]
            found.append(Overlap(problem=problem, benchmark=other, text=hit.text))
    return found


def split_words(text: str) -> list[str]:
    """Letters and digits only; a Chinese or Japanese character is a word."""
    return _WORD.findall(normalised(text))


def split_words_and_signs(text: str) -> list[str]:
    """As ``split_words``, with signs of arithmetic as words of their own."""
    return _WORD_OR_SIGN.findall(normalised(text))


def runs(text: _Text, size: int) -> Iterator[_Text]:
    """All runs of ``size``; none where there are fewer."""
    return (text[at : at + size] for at in range(len(text) - size + 1))


class _Runs:
    """Runs of words of a benchmark, each with the first problem that has it.

    What stands in more than ``MAX_PROBLEMS`` problems, or in all of several, is how the benchmark
    asks and not what. GPT-3 also passes over runs that more than 10 documents have; it counts them
    in what is trained on, where a question that was copied 11 times would be passed over.
    """

    def __init__(self, problems: Sequence[Problem], words: int) -> None:
        self._words = words
        places: dict[bytes, int] = {}
        counts: Counter[bytes] = Counter()
        texts: set[bytes] = set()
        for place, problem in enumerate(problems):
            text = split_words(problem.prompt)
            if _hash(text) in texts:  # one question in two dresses is one
                continue
            texts.add(_hash(text))
            for key in {_hash(run) for run in runs(text, words)}:
                places.setdefault(key, place)
                counts[key] += 1
        most = max(1, min(MAX_PROBLEMS, len(texts) - 1))
        self._places = {key: place for key, place in places.items() if counts[key] <= most}

    def first(self, problem: Problem) -> _Hit | None:
        for run in runs(split_words(problem.prompt), self._words):
            place = self._places.get(_hash(run))
            if place is not None:
                return _Hit(place=place, text=" ".join(run))
        return None


class _Wholes:
    """Whole texts: any may equal another, and those of fewer than ``words`` may stand in it."""

    def __init__(self, problems: Sequence[Problem], words: int) -> None:
        self._places: dict[bytes, list[int]] = {}
        self._sizes: dict[str, set[int]] = {}  # of short ones, by their first word
        for place, problem in enumerate(problems):
            num_words = len(split_words(problem.prompt))
            if num_words == 0:
                continue
            text = split_words_and_signs(problem.prompt)
            self._places.setdefault(_hash(text), []).append(place)
            if num_words < words:
                self._sizes.setdefault(text[0], set()).add(len(text))

    def first(self, problem: Problem) -> _Hit | None:
        found = next(self.within(problem), None)
        return found and _Hit(place=found[0][0], text=found[1])

    def within(self, problem: Problem) -> Iterator[tuple[list[int], str]]:
        """Places of the texts that are or stand in this one, and what they say."""
        text = split_words_and_signs(problem.prompt)
        sizes = [(0, len(text))] + [
            (at, size) for at, part in enumerate(text) for size in sorted(self._sizes.get(part, ()))
        ]
        for at, size in sizes:
            run = text[at : at + size]
            places = self._places.get(_hash(run)) if len(run) == size else None
            if places:
                yield places, " ".join(run)


def _inside(
    problems: Sequence[Problem], benchmark: Sequence[Problem], words: int
) -> dict[int, _Hit]:
    """Places of the short problems that stand in one of the benchmark, and in which."""
    wholes = _Wholes(problems, words)
    found: dict[int, _Hit] = {}
    for other_place, other in enumerate(benchmark):
        for places, text in wholes.within(other):
            for place in places:
                found.setdefault(place, _Hit(place=other_place, text=text))
    return found


def _hash(words: _Text) -> bytes:
    return blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest()
