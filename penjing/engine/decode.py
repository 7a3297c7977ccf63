"""From rows of logits to samples' next tokens."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from penjing.engine.sample import Sample, Token
from penjing.engine.sampler import adjust, check_finite, draw, draw_rows, top_logprobs
from penjing.errors import RequestError

_MOST_VALUES = 1 << 18  # of logits drawn from at once: more would leave the cache


def next_tokens(
    logits_RV: Tensor,
    lse_R: Tensor,
    best_R: Tensor,
    rows_S: Sequence[int],
    samples: Sequence[Sample],
    policy_version: int,
) -> list[Token | RequestError | None]:
    """Each sample's next token from its row, what is wrong with it alone, or None: it wants none.

    Samples that only have a temperature are drawn together: with the bits that each has alone.
    """
    nats_R, best = lse_R.tolist(), best_R.tolist()
    found: list[Token | RequestError | None] = [None] * len(samples)
    plain = []
    for place, (row, sample) in enumerate(zip(rows_S, samples, strict=True)):
        if sample.limit == 0:
            continue
        if is_plain_draw(sample) and math.isfinite(nats_R[row]):
            plain.append(place)
            continue
        try:
            found[place] = next_token(logits_RV[row], lse_R[row], best[row], sample, policy_version)
        except RequestError as error:
            found[place] = error
    most = max(1, _MOST_VALUES // logits_RV.shape[1])
    for start in range(0, len(plain), most):
        part = plain[start : start + most]
        rows_P = torch.tensor([rows_S[place] for place in part], device=logits_RV.device)
        drawn = _drawn(logits_RV[rows_P], lse_R[rows_P], [samples[place] for place in part])
        for place, (token, logprob) in zip(part, drawn, strict=True):
            found[place] = _token(token, logprob, policy_version)
    return found


def next_token(
    logits_V: Tensor, lse: Tensor, best: int, sample: Sample, policy_version: int
) -> Token:
    """Draws, or takes what is forced; log-probabilities are the model's own in either case.

    ``best`` is the likeliest id of the row. Raises ``RequestError`` for what concerns this sample
    alone. The row is left as it was.
    """
    sampling, forced = sample.sampling, sample.forced
    nats = float(lse)
    check_finite(nats)
    tops = None
    if sampling.logprobs is not None:
        tops = top_logprobs(logits_V, nats, sampling.logprobs)
    if forced is not None:
        token = forced
    elif is_plain_greedy(sample):
        token = best
    else:
        adjusted_V = logits_V.clone()
        adjust(adjusted_V, sampling, sample.penalties, is_thinking=sample.is_thinking)
        token = draw(adjusted_V, sampling, sample.draw())
    return Token(
        id=token,
        logprob=float(logits_V[token] - lse),
        top_logprobs=tops,
        is_forced=forced is not None,
        policy_version=policy_version,
    )


def is_plain_greedy(sample: Sample) -> bool:
    """Whether the likeliest id is what adjusting and drawing would give."""
    sampling = sample.sampling
    return (
        sampling.temperature == 0
        and not sampling.penalises
        and not sampling.logit_bias
        and sampling.constrain is None
        and len(sample.tokens) >= sampling.min_tokens
    )


def is_plain_draw(sample: Sample) -> bool:
    """Whether the next token is drawn from the row as it is, at some temperature."""
    sampling = sample.sampling
    return (
        sampling.temperature > 0
        and not sampling.adjusts
        and not sampling.cuts
        and sampling.logprobs is None
        and sample.forced is None
    )


def _drawn(logits_PV: Tensor, lse_P: Tensor, samples: Sequence[Sample]) -> list[tuple[int, float]]:
    """Tokens and their log-probabilities, a sample a row."""
    temperatures = [sample.sampling.temperature for sample in samples]
    ids = draw_rows(logits_PV.numpy(force=True), temperatures, [one.draw() for one in samples])
    chosen_P1 = torch.from_numpy(ids).to(logits_PV.device)[:, None]
    logprobs_P = logits_PV.gather(1, chosen_P1)[:, 0] - lse_P
    return list(zip(ids.tolist(), logprobs_P.tolist(), strict=True))


def _token(token: int, logprob: float, policy_version: int) -> Token:
    return Token(
        id=token,
        logprob=logprob,
        top_logprobs=None,
        is_forced=False,
        policy_version=policy_version,
    )
