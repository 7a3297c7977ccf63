"""From a row of logits to a sample's next token."""

from torch import Tensor

from penjing.engine.sample import Sample, Token
from penjing.engine.sampler import adjust, check_finite, draw, top_logprobs


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
        and sampling.repetition_penalty == 1
        and not sampling.presence_penalty
        and not sampling.frequency_penalty
        and not sampling.logit_bias
        and sampling.constrain is None
        and len(sample.tokens) >= sampling.min_tokens
    )
