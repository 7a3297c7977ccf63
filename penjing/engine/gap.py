"""The difference between what was sampled from and what training computes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from penjing.engine.completion import Completion
from penjing.models.arithmetic import Arithmetic
from penjing.models.decoder import Decoder
from penjing.models.kernels.choice import choose_kernels
from penjing.models.packed import pack_documents


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Of |log p when sampling - log p in training| over generated tokens, in nats."""

    num_tokens: int
    largest: float
    mean: float
    num_different: int  # tokens whose bits differ at all


@torch.no_grad()
def measure_gap(decoder: Decoder, done: Sequence[Completion]) -> Gap:
    """Scores each completion by the exact forward pass of training, one document at a time."""
    arithmetic = Arithmetic(choose_kernels(decoder.embedding.device))
    differences: list[float] = []
    for one in done:
        packed = pack_documents([one.prompt_ids + one.ids], decoder.embedding.device)
        scores = decoder.logprobs(packed, arithmetic)[len(one.prompt_ids) :].tolist()
        differences += [abs(a - b) for a, b in zip(one.logprobs, scores, strict=True)]
    return Gap(
        num_tokens=len(differences),
        largest=max(differences, default=0.0),
        mean=sum(differences) / max(len(differences), 1),
        num_different=sum(difference != 0 for difference in differences),
    )
