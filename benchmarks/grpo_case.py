"""What both sides of grpo.py are given: a random model, its words, prompts, and lengths of answers.

Lengths are drawn beforehand and forced on both sides, as random weights would never stop.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice, product
from pathlib import Path
from random import Random
from typing import Any

from checkpoints import bundled, write_checkpoint
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from penjing.cli.answer import Json

END = "<|endoftext|>"
_WARM_UP_TOKENS = 4

TINY_QWEN2: Mapping[str, Json] = {
    "model_type": "qwen2",
    "hidden_act": "silu",
    "hidden_size": 192,
    "intermediate_size": 512,
    "max_position_embeddings": 2048,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 512,
}


@dataclass(frozen=True, kw_only=True)
class LogNormal:
    """Of the lengths of answers, in tokens; what is drawn beyond ``most`` is ``most``."""

    mean: float
    spread: float  # of the logarithm
    least: int
    most: int

    def draw(self, random: Random) -> int:
        found = random.lognormvariate(math.log(self.mean) - self.spread**2 / 2, self.spread)
        return min(self.most, max(self.least, round(found)))


@dataclass(frozen=True, kw_only=True)
class Case:
    """``longest`` is the limit that both sides are told of.

    ``lengths`` None: every answer has ``longest`` tokens. ``trl_rows`` go through TRL's model at
    once when it learns, ``our_tokens`` through ours. ``recomputes``: both sides compute activations
    twice instead of keeping them, which is TRL's default.
    """

    name: str
    model: str
    config: Mapping[str, Json]
    problems: int
    group_size: int
    prompt_bytes: int
    longest: int
    our_tokens: int
    trl_rows: int
    recomputes: bool
    lengths: LogNormal | None = None

    @property
    def answers(self) -> int:
        return self.problems * self.group_size

    def smaller(self) -> "Case":
        """For a look at whether all runs: its figures say little."""
        if self.lengths is None:
            return replace(self, problems=8, longest=8, trl_rows=min(self.trl_rows, 64))
        lengths = replace(self.lengths, mean=16, most=64)
        return replace(self, problems=1, longest=64, lengths=lengths)


CASES = (
    Case(
        name="tiny",
        model="Qwen2, 4 layers of 192",
        config=TINY_QWEN2,
        problems=64,
        group_size=8,
        prompt_bytes=32,
        longest=32,
        our_tokens=8192,
        trl_rows=128,
        recomputes=False,
    ),
    Case(
        name="half-billion",
        model="Qwen2.5-0.5B",
        config=bundled("Qwen2.5-0.5B"),
        problems=4,
        group_size=8,
        prompt_bytes=128,
        longest=512,
        our_tokens=1024,
        trl_rows=8,
        recomputes=True,
        lengths=LogNormal(mean=128, spread=0.8, least=8, most=512),
    ),
)


def setup(folder: Path, case: Case, dtype: str, threads: int, number: int) -> dict[str, Any]:
    """What a side reads: all of one round, whose texts and lengths ``number`` decides.

    Of two steps, the first to warm up on answers of a few tokens.
    """
    random = Random(f"{case.name} {number}")
    drawn = lengths(case, random)
    short = [[min(n, _WARM_UP_TOKENS) for n in group] for group in drawn]
    return {
        "model": str(folder),
        "dtype": dtype,
        "threads": threads,
        "prompts": [list(texts(case, random)) for _ in range(2)],
        "lengths": [short, drawn],
        "group_size": case.group_size,
        "longest": case.longest,
        "our_tokens": case.our_tokens,
        "trl_rows": case.trl_rows,
        "recomputes": case.recomputes,
        "rate": 1e-6,
    }


def lengths(case: Case, random: Random) -> list[list[int]]:
    """Of each answer of each group."""
    law = case.lengths
    return [
        [law.draw(random) if law else case.longest for _ in range(case.group_size)]
        for _ in range(case.problems)
    ]


def texts(case: Case, random: Random) -> Iterator[str]:
    for _ in range(case.problems):
        yield "".join(random.choice("0123456789+-*= ") for _ in range(case.prompt_bytes))


def write_model(folder: Path, case: Case) -> Path:
    """A checkpoint of random weights, with a tokenizer that has a text for nearly every id."""
    write_checkpoint(folder, case.config)
    tokenizer(int(str(case.config["vocab_size"]))).save(str(folder / "tokenizer.json"))
    named = {"eos_token": END, "pad_token": END, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named), encoding="utf-8")
    return folder


def tokenizer(size: int) -> Tokenizer:
    """Byte-level pair encoding: bytes, then pairs of bytes, then pairs with one byte more."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = ((a, b) for a, b in product(letters, letters))
    triples = ((a + b, c) for a, b, c in product(letters, letters, letters))
    merges = list(islice(chain(pairs, triples), size - len(letters) - 1))
    words = [*letters, *(a + b for a, b in merges)]
    made = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([END])
    return made
