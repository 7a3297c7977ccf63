"""What comes back: one finished sample, and the increments it is streamed in."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Finish(StrEnum):
    """Why a sample ended."""

    STOP = "stop"  # an end-of-text id, a stop id or a stop string
    LENGTH = "length"  # max_tokens, or the end of the context
    ABORT = "abort"  # the caller went away, or this request alone failed


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One sample of one prompt.

    ``ids`` are all generated tokens, with the id that ended the sample, so that a trainer has its
    log-probability. ``text`` is all of their text, thinking included, cut before the stop string;
    thinking is told from the answer by ids, never by text.

    Log-probabilities, in nats, are those of the model's own distribution: temperature 1, before
    any penalty, bias, constraint or cut. Those of the prompt begin with None, as nothing predicts
    its first token.

    Every token counts once. ``num_thinking`` are those strictly inside a thinking block; the tags
    that open and close blocks count neither way and are ``num_tags``; the rest, the ending id and
    forced text behind a closing tag included, are ``num_answer``.
    """

    index: int = 0  # of the sample among the n of its request
    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]  # one a generated token
    top_logprobs: tuple[Mapping[int, float], ...] | None = None  # id -> nats, likeliest first
    prompt_ids: tuple[int, ...]
    prompt_logprobs: tuple[float | None, ...] | None = None
    prompt_top_logprobs: tuple[Mapping[int, float] | None, ...] | None = None
    finish: Finish
    stop: str | int | None = None  # the stop string or id that ended it; None unless STOP
    policy_version: int  # the lowest that produced a token
    last_policy_version: int
    num_thinking: int = 0
    num_answer: int
    is_forced: tuple[bool, ...]  # the engine chose the token, not the policy: mask it in training
    num_cached: int = 0  # tokens of the prompt that came from the prefix cache

    def __post_init__(self) -> None:
        assert len(self.logprobs) == len(self.is_forced) == len(self.ids)
        assert self.top_logprobs is None or len(self.top_logprobs) == len(self.ids)
        for scores in (self.prompt_logprobs, self.prompt_top_logprobs):
            assert scores is None or len(scores) == len(self.prompt_ids)
            assert not scores or scores[0] is None
        assert min(self.num_thinking, self.num_answer, self.num_tags) >= 0
        assert self.policy_version <= self.last_policy_version
        assert 0 <= self.num_cached <= len(self.prompt_ids)
        assert (self.stop is not None) == (self.finish is Finish.STOP)

    @property
    def num_tags(self) -> int:
        """Generated tokens that open or close a thinking block."""
        return len(self.ids) - self.num_thinking - self.num_answer


@dataclass(frozen=True, kw_only=True)
class Delta:
    """What one step added to one sample.

    Of one sample, ``ids``, ``text``, ``logprobs`` and ``top_logprobs`` of all deltas, put together,
    are those of its ``Completion``. Text may come later than its ids: half a character, or what may
    become a stop string, is held back. ``finish`` is set on the last, and only there.
    """

    index: int
    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    top_logprobs: tuple[Mapping[int, float], ...] | None = None
    finish: Finish | None = None

    def __post_init__(self) -> None:
        assert len(self.logprobs) == len(self.ids)
        assert self.top_logprobs is None or len(self.top_logprobs) == len(self.ids)
