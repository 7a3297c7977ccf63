"""One row of logits to one token: penalties, cuts and the draw, each a function of that row alone.

Rows are fp32 and hold one logit a word of the vocabulary. Nothing here sees a batch, so a token
cannot depend on one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import index

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from penjing.engine.sampling import Constraint, Sampling
from penjing.errors import BadQuantity, RequestError

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_BLOCK = 1024
_BINS = 4096
_DEEPEST = 40.0  # nats; all that is less likely than e^-40 of the likeliest shares a bin
_LEAST_TEMPERATURE = 1e-30  # fp32 must not divide by zero


class PenaltyState:
    """What the adjustments of one sample look back on; ``observe`` costs the same at any length.

    ``end_ids`` are the ids that would end the sample: the model's own, unless they are ignored,
    and the stop ids. After a preemption, keep the object or observe the ids again. Without
    ``counts``, which penalties need, ``seen`` has the prompt alone.
    """

    def __init__(
        self, prompt_ids: Iterable[int], end_ids: Iterable[int] = (), *, counts: bool = True
    ) -> None:
        self._has_counts = counts
        self.end_ids = tuple(sorted(set(end_ids)))
        self.num_generated = 0
        self.answer_ids: list[int] = []
        self._places: dict[int, int] = {t: i for i, t in enumerate(dict.fromkeys(prompt_ids))}
        self._num_prompt = len(self._places)
        self._ids = torch.tensor(list(self._places), dtype=torch.int64)
        self._counts = torch.zeros(self._num_prompt)

    def observe(self, token: int, *, is_answer: bool = True) -> None:
        """Count a generated token; ``is_answer`` is false for thinking, its tags and forced ids."""
        self.num_generated += 1
        if is_answer:
            self.answer_ids.append(token)
        if not self._has_counts:
            return
        place = self._places.setdefault(token, len(self._places))
        if place == len(self._ids):
            room = max(64, place)
            self._ids = torch.cat([self._ids, self._ids.new_zeros(room)])
            self._counts = torch.cat([self._counts, self._counts.new_zeros(room)])
        self._ids[place] = token
        self._counts[place] += 1

    def seen(self) -> tuple[Tensor, Tensor]:
        """Distinct ids of prompt and generation, and how often each was generated, from 0."""
        return self._ids[: len(self._places)], self._counts[: len(self._places)]


def adjust(
    logits_V: Tensor, sampling: Sampling, state: PenaltyState, *, is_thinking: bool = False
) -> None:
    """Change the row in place, in this order; log-probabilities are to be taken before.

    1. repetition penalty over prompt and generated ids: positive logits are divided by it, others
       multiplied (Hugging Face's convention);
    2. presence and frequency penalties over generated ids (OpenAI's, and vLLM's);
    3. ``logit_bias``;
    4. ids that would end the sample are out until ``min_tokens`` were generated;
    5. outside thinking, all but what ``constrain`` allows are out.

    Raises ``BadQuantity`` for an id outside the vocabulary and ``RequestError`` for a constraint
    that allows nothing or fails; both concern this request only.
    """
    _penalise(logits_V, sampling, state)
    if sampling.logit_bias:
        ids = _known(logits_V, sampling.logit_bias, "logit_bias")
        logits_V[ids] += torch.tensor(list(sampling.logit_bias.values())).to(logits_V)
    if state.num_generated < sampling.min_tokens and state.end_ids:
        logits_V[_known(logits_V, state.end_ids, "stop_ids")] = -math.inf
    if sampling.constrain is None or is_thinking:
        return
    allowed = _allowed(sampling.constrain, state.answer_ids)
    if allowed is None:
        return
    ids = _known(logits_V, allowed, "the constraint")
    kept = logits_V[ids]
    logits_V.fill_(-math.inf)
    logits_V[ids] = kept


def draw(logits_V: Tensor, sampling: Sampling, uniform: float) -> int:
    """The token at ``uniform``, a number in [0, 1), of the adjusted row's distribution.

    At temperature 0 the likeliest token, the lowest id among equals. Else the inverse of the
    cumulative distribution over ``survivors`` in order of ids, summed in fp64 in a fixed order: the
    same arguments give the same token. NumPy, as threads would wait for one another longer than a
    row takes.

    Raises ``RequestError`` where no token is left, or a logit is not a number.
    """
    assert logits_V.dtype == torch.float32
    assert logits_V.dim() == 1
    row_V = logits_V.numpy(force=True)
    top = float(row_V.max())  # a NaN anywhere comes out as one
    if top == -math.inf:
        raise RequestError(
            "no token is left to draw: constraint, min_tokens and logit_bias together rule out "
            "every one; loosen one of them"
        )
    check_finite(top)
    if sampling.temperature == 0:
        return int(row_V.argmax())  # documented to be the first of equals
    if not sampling.cuts:
        return int(draw_rows(row_V[None], [sampling.temperature], [uniform])[0])
    ids_K, weights_K = survivors(logits_V, sampling)
    return int(ids_K[_inverse(weights_K[None], [uniform])[0]])


def draw_rows(
    logits_RV: Floats, temperatures_R: Sequence[float], uniforms_R: Sequence[float]
) -> Ids:
    """``draw`` of many rows at once, at temperatures above 0 and without cuts. [R]

    All logits are finite, or some: each row has one at least.
    """
    heights_RV = _heights(logits_RV, temperatures_R)
    return _inverse(np.exp(heights_RV, out=heights_RV), uniforms_R)


def survivors(logits_V: Tensor, sampling: Sampling) -> tuple[Ids, Floats]:
    """Ids that may be drawn at a temperature above 0, ascending, and their weights (likeliest: 1).

    In this order, each over what the one before left: temperature, top-k, top-p, min-p, as
    ``generate`` of Hugging Face does; vLLM's V1 sampler cuts by min-p ahead of top-p, which differs
    where both are set. Tokens equal to the last of top-k all stay, as in both. Top-p keeps the
    fewest tokens whose mass reaches ``top_p``, the crossing one included and the lowest ids first
    among equals.
    """
    assert sampling.temperature > 0
    row_V = logits_V.numpy(force=True)
    is_kept_V = row_V > -math.inf
    if 0 < sampling.top_k < len(row_V):
        is_kept_V &= row_V >= np.partition(row_V, -sampling.top_k)[-sampling.top_k]
    ids_K = np.flatnonzero(is_kept_V)
    heights_K = _heights(row_V[None, ids_K], [sampling.temperature])[0]
    weights_K = np.exp(heights_K)
    if sampling.top_p < 1:
        places = _nucleus(heights_K, weights_K, sampling.top_p)
        ids_K, weights_K = ids_K[places], weights_K[places]
    if sampling.min_p:
        is_kept_K = weights_K >= sampling.min_p
        ids_K, weights_K = ids_K[is_kept_K], weights_K[is_kept_K]
    return ids_K, weights_K


def check_finite(top: float) -> None:
    """``top`` is the largest of a row, or its logsumexp: either is NaN where any logit is."""
    if not math.isfinite(top):
        raise RequestError(
            f"a logit is {top}, not a finite number: the weights or their number format are "
            "broken; try a wider format"
        )


def top_logprobs(logits_V: Tensor, lse: float, k: int) -> Mapping[int, float]:
    """The ``k`` likeliest ids, likeliest first and lowest first among equals, with their nats.

    ``logits_V`` is the model's own row, before any adjustment, and ``lse`` its logsumexp.
    """
    if k == 0:
        return {}
    floor = logits_V.topk(min(k, len(logits_V)), sorted=False).values.min()
    ids_K = (logits_V >= floor).nonzero()[:, 0]  # which of several equals topk picks is left open
    ids_K = ids_K[logits_V[ids_K].sort(descending=True, stable=True).indices[:k]]
    return dict(zip(ids_K.tolist(), (logits_V[ids_K] - lse).tolist(), strict=True))


def _penalise(logits_V: Tensor, sampling: Sampling, state: PenaltyState) -> None:
    if not sampling.penalises:
        return
    repetition = sampling.repetition_penalty
    presence, frequency = sampling.presence_penalty, sampling.frequency_penalty
    ids_K, counts_K = (seen.to(logits_V.device) for seen in state.seen())
    logits_K = logits_V[ids_K]
    logits_K = torch.where(logits_K > 0, logits_K / repetition, logits_K * repetition)
    logits_K -= frequency * counts_K + presence * (counts_K > 0)
    logits_V[ids_K] = logits_K


def _allowed(constrain: Constraint, answer_ids: list[int]) -> Ids | None:
    """It is the caller's code, and whatever comes out of it must not end other requests."""
    try:
        found = constrain(answer_ids)
        allowed = None if found is None else np.fromiter(map(index, found), np.int64)
    except Exception as error:
        raise RequestError(
            f"the constraint failed after {len(answer_ids)} tokens of the answer: "
            f"{type(error).__name__}: {' '.join(str(error).split())}; it must give ids, or None"
        ) from error
    if allowed is not None and not len(allowed):
        raise RequestError(
            f"the constraint allows no token after {len(answer_ids)} of the answer; let it "
            "allow an end-of-text id where the answer is complete"
        )
    return allowed


def _known(logits_V: Tensor, ids: Iterable[int], what: str) -> Tensor:
    ids_K = torch.from_numpy(np.fromiter(ids, np.int64))
    outside = ids_K[(ids_K < 0) | (ids_K >= len(logits_V))]
    if len(outside):
        raise BadQuantity(
            f"{what} names id {int(outside[0])}: must be at least 0 and below {len(logits_V)}, the "
            "size of the vocabulary; check that it was made for this model"
        )
    return ids_K.to(logits_V.device)


def _heights(rows_RK: Floats, temperatures_R: Sequence[float]) -> Floats:
    """Nats against each row's likeliest, at its temperature, in fp32 like logits: at most 0."""
    heights_RK: Floats = rows_RK - rows_RK.max(1, keepdims=True)
    heights_RK /= np.maximum(temperatures_R, _LEAST_TEMPERATURE).astype(np.float32)[:, None]
    return heights_RK


def _inverse(weights_RK: Floats, uniforms_R: Sequence[float]) -> Ids:
    """In each row the first place where the running sum exceeds so much of the total.

    Never one of weight 0. Sums whole blocks first, and one by one inside the block of the place.
    """
    width = weights_RK.shape[1]
    starts = np.arange(0, width, _BLOCK)
    sums_RB = np.add.reduceat(weights_RK, starts, axis=1, dtype=np.float64).cumsum(1)
    wanted_R1 = sums_RB[:, -1:] * np.asarray(uniforms_R)[:, None]
    blocks_R = np.minimum((sums_RB <= wanted_R1).sum(1), len(starts) - 1)
    inside_RX, before_R1 = weights_RK, np.zeros_like(wanted_R1)
    if len(starts) > 1:
        columns_RX = blocks_R[:, None] * _BLOCK + np.arange(_BLOCK)
        inside_RX = np.take_along_axis(weights_RK, np.minimum(columns_RX, width - 1), 1)
        inside_RX[columns_RX >= width] = 0
        shifted_RB = np.concatenate((before_R1, sums_RB), 1)
        before_R1 = np.take_along_axis(shifted_RB, blocks_R[:, None], 1)
    reached_RX = before_R1 + inside_RX.cumsum(1, dtype=np.float64)
    places_R = (reached_RX <= wanted_R1).sum(1)
    # Rounded otherwise, the block may end just short of its sum.
    last_R = inside_RX.shape[1] - 1 - (inside_RX[:, ::-1] > 0).argmax(1)
    found: Ids = blocks_R * _BLOCK + np.minimum(places_R, last_R)
    return found


def _nucleus(heights_K: Floats, weights_K: Floats, top_p: float) -> Ids:
    """Places of the fewest weights whose mass reaches ``top_p`` of all, ascending.

    Weights are put into bins by height, and only the bin where the mass is reached is sorted.
    """
    lowest = max(float(heights_K.min()), -_DEEPEST)
    scaled_K = heights_K * np.float32((_BINS - 1) / min(lowest, -_LEAST_TEMPERATURE))
    bins_K = np.minimum(scaled_K, _BINS - 1, out=scaled_K).astype(np.int64)
    sums = np.bincount(bins_K, weights_K, _BINS).cumsum()
    wanted = top_p * sums[-1]
    crossing = int(sums.searchsorted(wanted))  # the first bin that reaches it
    before = sums[crossing - 1] if crossing else 0.0
    inside = np.flatnonzero(bins_K == crossing)
    inside = inside[(-heights_K[inside]).argsort(kind="stable")]
    num_short = int((before + weights_K[inside].cumsum(dtype=np.float64) < wanted).sum())
    is_kept_K = bins_K < crossing
    is_kept_K[inside[: num_short + 1]] = True
    return np.flatnonzero(is_kept_K)
