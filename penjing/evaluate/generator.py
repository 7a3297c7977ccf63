"""What is asked of a model, and what comes back, wherever the model runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from penjing.tasks.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One sample of one problem; ``index`` counts from 0."""

    problem: Problem
    index: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Reply:
    """``response`` has the tags of its thinking, whatever way they came."""

    ask: Ask
    response: str
    begins_in_thinking: bool
    finish_reason: str
    num_prompt_tokens: int
    num_tokens: int
    num_thinking_tokens: int | None
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A sample that could not be had; asking again may help."""

    ask: Ask
    reason: str  # one line


class Generator(Protocol):
    def replies(self, asks: Sequence[Ask]) -> Iterator[Reply | Missing]:
        """One for each, in any order, as they come."""


def sample_seed(seed: int, problem: str, index: int) -> int:
    """63 bits that hang on these alone: a run that was stopped goes on with the same samples."""
    text = f"{seed}\0{problem}\0{index}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 1
