"""Where problems come from: a file's rows, or a generator without end; and who is held out."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from penjing.errors import BadFile, BadQuantity
from penjing.tasks.benchmark_files import benchmark_of
from penjing.tasks.problem import Problem, Split

_HELD_OUT_SHARE = 8  # one in so many
# A space of n equally likely problems keeps one of them back for n draws on average.
_IDLE_DRAWS, _IDLE_DRAWS_PER_PROBLEM = 1_000, 10
_DRAWS, _DRAWS_PER_PROBLEM = 10_000, 100


def normalised(text: str) -> str:
    """One spelling for texts that differ in case, white space or kinds of one character only."""
    if not text.isascii():  # compatibility caseless matching: Unicode 15, chapter 3.13, D146
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
        text = unicodedata.normalize("NFKC", folded.casefold())
    return " ".join(text.casefold().split())


def split_of(prompt: str) -> Split:
    """The same for a question wherever it turns up, so that no seed and no file moves it across."""
    is_held_out = _number("split", normalised(prompt)) % _HELD_OUT_SHARE == 0
    return Split.HELD_OUT if is_held_out else Split.TRAIN


def file_split(path: Path, prompt: str) -> Split:
    """What the publisher of a known benchmark's file says of it, else ``split_of``."""
    benchmark = benchmark_of(path)
    return split_of(prompt) if benchmark is None else benchmark.split


class FileSource:
    """Problems that are all there. Ids twice, or one question in both splits: ``BadFile``."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        _check_ids(problems)
        _check_splits(problems)
        self._problems = tuple(problems)

    def problems(self, split: Split | None, *, seed: int, size: int | None) -> Sequence[Problem]:
        """See ``Source.problems``; what a smaller size gives is the beginning of a bigger one."""
        found = [p for p in self._problems if split in (None, p.split)]
        if size is not None and not 0 < size <= len(found):
            raise BadQuantity(
                f"{size} {_of(split)} cannot be had: there are {len(found)}, and "
                f"{len(self._problems)} in both splits; ask for 1 to {len(found)}"
                if found
                else f"there are no {_of(split)} here, and {len(self._problems)} of the other split"
            )
        # Not random.shuffle: its draws may change between versions of Python.
        found.sort(key=lambda p: (_number(seed, p.id), p.id))
        return tuple(found[:size])


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A problem that has no id yet. ``reference`` and ``metadata`` are those of ``Problem``."""

    prompt: str
    reference: str
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


class GeneratedSource:
    """Problems made from numbers: ``draw`` gives the same problem for the same 63-bit number."""

    def __init__(self, name: str, draw: Callable[[int], Drawn]) -> None:
        self._name = name
        self._draw = draw

    def problems(self, split: Split | None, *, seed: int, size: int | None) -> Sequence[Problem]:
        """See ``Source.problems``; what a smaller size gives is the beginning of a bigger one."""
        if size is None:
            raise BadQuantity(f"{self._name} makes problems without end; give a size")
        if size < 1:
            raise BadQuantity(f"{size} problems of {self._name} cannot be had; ask for 1 or more")
        found: list[Problem] = []
        seen: set[str] = set()
        idle = 0
        for index in range(_DRAWS + _DRAWS_PER_PROBLEM * size):
            drawn = self._draw(_number(self._name, seed, index) >> 1)
            question = normalised(drawn.prompt)
            idle = idle + 1 if question in seen else 0
            if idle > _IDLE_DRAWS + _IDLE_DRAWS_PER_PROBLEM * len(seen):
                break
            if question in seen:
                continue
            seen.add(question)
            problem = self._problem(drawn, question)
            if split in (None, problem.split):
                found.append(problem)
            if len(found) == size:
                return tuple(found)
        raise BadQuantity(
            f"{self._name} makes no more than {len(found)} different {_of(split)}, and {len(seen)} "
            f"in both splits: that is what {index + 1} draws gave; {size} were asked for"
        )

    def _problem(self, drawn: Drawn, question: str) -> Problem:
        return Problem(
            id=problem_id(self._name, question),
            prompt=drawn.prompt,
            reference=drawn.reference,
            split=split_of(drawn.prompt),
            metadata=drawn.metadata,
        )


def problem_id(name: str, question: str) -> str:
    """Of a problem that has none: it hangs on ``normalised`` text, so a question has one."""
    return f"{name}-{_number('id', question):016x}"


def _number(*parts: str | int) -> int:
    """64 bits that hang on the parts alone: not on the process, the machine or its Python."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def _of(split: Split | None) -> str:
    return f"problems of the {split} split" if split else "problems"


def _check_ids(problems: Sequence[Problem]) -> None:
    twice = [id for id, count in Counter(p.id for p in problems).items() if count > 1]
    if twice:
        some = ", ".join(map(repr, twice[:5])) + (", ..." if twice[5:] else "")
        raise BadFile(f"an id must belong to one problem; these do to several: {some}")


def _check_splits(problems: Sequence[Problem]) -> None:
    splits: dict[str, Problem] = {}
    for problem in problems:
        other = splits.setdefault(normalised(problem.prompt), problem)
        if other.split is not problem.split:
            raise BadFile(
                f"{other.id} and {problem.id} ask the same, one to train on and one held out; "
                "keep one of them"
            )
