"""What the engines are asked, drawn anew for every round so that no cache knows it already."""

import math
from dataclasses import dataclass
from random import Random

Request = tuple[list[int], int]  # ids of the prompt, tokens to generate
_WARM_UP_TOKENS = 4


@dataclass(frozen=True, kw_only=True)
class Even:
    """A batch of unrelated prompts, all of one length, as are their answers."""

    batch: int
    tokens_in: int = 64
    tokens_out: int = 64

    @property
    def name(self) -> str:
        return f"{self.batch} x {self.tokens_in} in, {self.tokens_out} out"

    @property
    def max_length(self) -> int:
        return self.tokens_in + self.tokens_out

    def draw(self, vocab_size: int, seed: str) -> list[Request]:
        random = Random(f"{self.name} {seed}")
        return [
            (ids_of(random, self.tokens_in, vocab_size), self.tokens_out) for _ in range(self.batch)
        ]


@dataclass(frozen=True, kw_only=True)
class Ragged:
    """Groups of samples of one prompt, as in reinforcement learning; lengths are log-uniform.

    Lengths are the same in every round, ids are not. Groups come whole, one after another.
    """

    prompts: int = 16
    samples: int = 8
    shortest: int = 16
    longest: int = 512

    @property
    def batch(self) -> int:
        return self.prompts * self.samples

    @property
    def name(self) -> str:
        span = f"{self.shortest}-{self.longest}"
        return f"{self.prompts} prompts x {self.samples} samples, {span} in, {span} out"

    @property
    def max_length(self) -> int:
        return 2 * self.longest

    def draw(self, vocab_size: int, seed: str) -> list[Request]:
        lengths, random = Random(self.name), Random(f"{self.name} {seed}")
        found: list[Request] = []
        for _ in range(self.prompts):
            prompt = ids_of(random, self._length(lengths), vocab_size)
            found += [(prompt, self._length(lengths)) for _ in range(self.samples)]
        return found

    def _length(self, random: Random) -> int:
        low, high = math.log(self.shortest), math.log(self.longest + 1)
        return min(self.longest, int(math.exp(random.uniform(low, high))))


Case = Even | Ragged


def warm_up(case: Case, vocab_size: int, seed: str) -> list[Request]:
    """The same prompts in number and length, and a few tokens each."""
    drawn = case.draw(vocab_size, f"{seed} warm-up")
    return [(ids, min(tokens, _WARM_UP_TOKENS)) for ids, tokens in drawn]


def ids_of(random: Random, count: int, vocab_size: int) -> list[int]:
    return [random.randrange(vocab_size) for _ in range(count)]
