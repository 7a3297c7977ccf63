"""The training forward: log-probabilities of chosen tokens, with the gradients they need."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from penjing.models.arithmetic import Arithmetic
from penjing.models.decoder import Decoder
from penjing.models.packed import Packed, pack_documents

T = TypeVar("T")

LOGIT_VALUES = 1 << 25  # of one chunk of logits: 128 MiB, whatever the vocabulary


@dataclass(frozen=True, kw_only=True)
class Document:
    """``is_learnt``: of each id, whether its probability is asked for; never of the first."""

    ids: tuple[int, ...]
    is_learnt: tuple[bool, ...]

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.is_learnt)
        assert not self.is_learnt[0], "nothing predicts the first token"

    @property
    def num_learnt(self) -> int:
        return sum(self.is_learnt)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of the learnt tokens of all documents, one behind the other; in nats. [X]"""

    logprobs_X: Tensor
    entropy_X: Tensor


def scores(
    decoder: Decoder,
    documents: Sequence[Document],
    arithmetic: Arithmetic,
    *,
    recompute: bool = False,
    entropy_has_gradient: bool = False,
) -> Scores:
    """The same bits as the engine's, with exact kernels. Differentiable where gradients are on.

    Logits of many rows are made for a few at a time, and again in the backward pass: at once,
    those of a vocabulary of 150,000 would outweigh everything else. ``recompute`` does so with
    each layer.
    """
    device = decoder.embedding.device
    packed = pack_documents([one.ids for one in documents], device, shared_prompts(documents))
    sources_X, ids_X = (x.to(device) for x in _learnt(documents, packed))
    run = decoder.run(packed, arithmetic)
    hidden_TD = decoder.embed(packed.ids_T, arithmetic)
    for index, block in enumerate(decoder.layers):
        layer = partial(block, run=run, layer=index)
        hidden_TD = _again(layer, hidden_TD) if recompute else layer(hidden_TD)
    if not len(ids_X):
        nothing = hidden_TD.new_zeros(0, dtype=torch.float32)
        return Scores(logprobs_X=nothing, entropy_X=nothing)
    hidden_XD = F.embedding(sources_X, hidden_TD)  # its gradient has one order, not indexing's
    rows = max(1, LOGIT_VALUES // decoder.config.vocab_size)
    head = partial(_head, decoder, arithmetic, entropy_has_gradient)
    if len(ids_X) <= rows:
        logprobs_X, entropy_X = head(hidden_XD, ids_X)
        return Scores(logprobs_X=logprobs_X, entropy_X=entropy_X)
    chunks = [
        _again(head, hidden_XD[at : at + rows], ids_X[at : at + rows])
        for at in range(0, len(ids_X), rows)
    ]
    logprobs, entropies = zip(*chunks, strict=True)
    return Scores(logprobs_X=torch.cat(logprobs), entropy_X=torch.cat(entropies))


def shared_prompts(documents: Sequence[Document]) -> list[int]:
    """Of each document, how many first tokens are the prompt of the one before, to compute once.

    Responses to one prompt must be neighbours. Their gradients are those of the prompt computed for
    each, summed before instead of after it.
    """
    found: list[int] = []
    before: tuple[int, ...] = ()
    for one in documents:
        given = one.is_learnt.index(True) if True in one.is_learnt else 0
        prompt = one.ids[:given]
        found.append(given if prompt == before[:given] and len(before) > given else 0)
        before = one.ids
    return found


def _learnt(documents: Sequence[Document], packed: Packed) -> tuple[Tensor, Tensor]:
    """The rows that the learnt tokens are predicted from, and those tokens. [X]"""
    places = [
        (b, p - 1, one.ids[p])
        for b, one in enumerate(documents)
        for p, is_learnt in enumerate(one.is_learnt)
        if is_learnt
    ]
    sequences_X, positions_X, ids_X = torch.tensor(places, dtype=torch.int64).reshape(-1, 3).T
    return packed.rows(sequences_X, positions_X), ids_X


def _head(
    decoder: Decoder,
    arithmetic: Arithmetic,
    entropy_has_gradient: bool,
    hidden_XD: Tensor,
    ids_X: Tensor,
) -> tuple[Tensor, Tensor]:
    logits_XV = decoder.logits(hidden_XD, arithmetic)
    lse_X, _ = arithmetic.log_sum_exp(logits_XV)
    logprobs_X = logits_XV.gather(1, ids_X[:, None])[:, 0] - lse_X
    with torch.set_grad_enabled(entropy_has_gradient and torch.is_grad_enabled()):
        entropy_X = lse_X - ((logits_XV - lse_X[:, None]).exp() * logits_XV).sum(1)
    return logprobs_X, entropy_X


def _again(function: Callable[..., T], *tensors: Tensor) -> T:
    """Keeps the inputs only, and computes once more when gradients are asked for."""
    if not torch.is_grad_enabled():
        return function(*tensors)
    found: T = checkpoint(function, *tensors, use_reentrant=False, preserve_rng_state=False)
    return found
