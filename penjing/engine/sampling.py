"""What a request asks of the sampler, checked once, when it is made.

Names and conventions are those that clients of vLLM and of OpenAI's API already use. No torch here:
the server reads this file before a model is loaded.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral, Real
from typing import Any

from penjing.errors import BadQuantity, Contradiction

Constraint = Callable[[Sequence[int]], Sequence[int] | None]
"""Given the ids of the answer so far, the ids that may come next; ``None``: any.

It is asked outside thinking only, and sees the answer alone: neither what stands inside a thinking
block, nor its tags, nor ids that the engine forced. It must be a pure function, as it is asked
again after a preemption. An empty sequence is an error of this request.
"""


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """Where a number may lie, ends included unless ``is_above``, and what the ends mean."""

    low: float = -math.inf
    high: float = math.inf
    is_above: bool = False  # ``low`` itself is out
    is_whole: bool = False
    hint: str

    def check(self, name: str, value: object) -> None:
        if not self._holds(value):
            raise BadQuantity(f"{name} is {value!r}: must be {self._words()}; {self.hint}")

    def _holds(self, value: Any) -> bool:
        is_number = isinstance(value, Integral if self.is_whole else Real)
        if not is_number or isinstance(value, bool) or (self.is_above and value == self.low):
            return False
        is_finite = self.is_whole or abs(value) <= sys.float_info.max
        return bool(self.low <= value <= self.high) and is_finite

    def _words(self) -> str:
        kind = "a whole number" if self.is_whole else "a finite number"
        above = f"{'above' if self.is_above else 'of at least'} {self.low:g}"
        if math.isinf(self.low):
            return kind
        if math.isinf(self.high):
            return f"{kind} {above}"
        return f"{kind} {above} and at most {self.high:g}"


_PENALTY = "0 is none, more than 0 discourages tokens that were generated before"
_LOGPROBS = "0 gives each token's own alone"
_LIMITS = {
    "temperature": _Limits(low=0, hint="0 takes the likeliest token, 1 leaves the model as it is"),
    "top_k": _Limits(low=0, is_whole=True, hint="0 keeps every token"),
    "top_p": _Limits(low=0, high=1, is_above=True, hint="1 keeps every token"),
    "min_p": _Limits(low=0, high=1, hint="0 keeps every token"),
    "repetition_penalty": _Limits(low=0, is_above=True, hint="1 is none, 1.1 is mild"),
    "presence_penalty": _Limits(low=-2, high=2, hint=_PENALTY),
    "frequency_penalty": _Limits(low=-2, high=2, hint=_PENALTY),
    "seed": _Limits(is_whole=True, hint="leave it out for one drawn anew"),
    "min_tokens": _Limits(low=0, is_whole=True, hint="0 lets the model stop at once"),
    "max_tokens": _Limits(low=0, is_whole=True, hint="leave it out to go to the context's end"),
    "n": _Limits(low=1, is_whole=True, hint="1 is a single sample"),
    "logprobs": _Limits(low=0, high=100, is_whole=True, hint=_LOGPROBS),
    "prompt_logprobs": _Limits(low=0, high=100, is_whole=True, hint=_LOGPROBS),
    "thinking_budget": _Limits(low=0, is_whole=True, hint="leave it out to let the model think on"),
}
_MAY_BE_NONE = {"seed", "max_tokens", "logprobs", "prompt_logprobs", "thinking_budget"}
_ID = _Limits(low=0, is_whole=True, hint="give a token id of the model's vocabulary")
_BIAS = _Limits(low=-100, high=100, hint="-100 all but forbids a token, 100 all but forces it")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn, and when to stop.

    Made with a value out of its range it raises ``BadQuantity``, and ``Contradiction`` where two
    cannot both hold. Which ids exist is known to the model only: the sampler checks that.
    """

    temperature: float = 1.0  # 0: greedy
    top_k: int = 0  # 0: off
    top_p: float = 1.0  # 1: off
    min_p: float = 0.0  # share of the likeliest token's probability; 0: off
    repetition_penalty: float = 1.0  # over prompt and generated tokens; 1: off
    presence_penalty: float = 0.0  # over generated tokens
    frequency_penalty: float = 0.0  # over generated tokens, times their count
    seed: int | None = None  # any whole number, taken modulo 2^64; None: the engine picks one
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()  # beside the model's own end-of-text ids
    min_tokens: int = 0  # before any id or string may end it
    max_tokens: int | None = None  # thinking included; 0 only scores the prompt
    ignore_eos: bool = False
    n: int = 1
    logprobs: int | None = None  # likeliest tokens a position; the sampled one's is always there
    prompt_logprobs: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)  # id -> nats
    thinking_budget: int | None = None  # tokens between the tags; see penjing/engine/thinking.py
    thinking_close: str = "\n</think>\n\n"  # forced when the budget is spent
    constrain: Constraint | None = None
    detokenize: bool = True  # False leaves ``text`` empty: whoever needs ids alone saves its cost

    @cached_property
    def penalises(self) -> bool:
        """Whether what was generated before counts."""
        return bool(self.repetition_penalty != 1 or self.presence_penalty or self.frequency_penalty)

    @cached_property
    def cuts(self) -> bool:
        """Whether some tokens of the distribution may not be drawn."""
        return bool(self.top_k or self.top_p != 1 or self.min_p)

    @cached_property
    def adjusts(self) -> bool:
        """Whether anything but temperature and cuts comes between a row and its token."""
        return bool(self.penalises or self.logit_bias or self.min_tokens or self.constrain)

    def __post_init__(self) -> None:
        for name, limits in _LIMITS.items():
            value = getattr(self, name)
            if value is not None or name not in _MAY_BE_NONE:
                limits.check(name, value)
        _check_tuple("stop", self.stop)
        _check_tuple("stop_ids", self.stop_ids)
        _check_strings("stop", self.stop)
        _check_strings("thinking_close", [self.thinking_close])
        for token in self.stop_ids:
            _ID.check("an id of stop_ids", token)
        for token, bias in self.logit_bias.items():
            _ID.check("a key of logit_bias", token)
            _BIAS.check(f"logit_bias of id {token}", bias)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise Contradiction(
                f"min_tokens is {self.min_tokens} but max_tokens {self.max_tokens}: it must be at "
                "most that; lower min_tokens or raise max_tokens"
            )
        if self.stop and not self.detokenize:
            raise Contradiction(
                "stop strings are found in text; leave detokenize on, or use stop_ids"
            )
        object.__setattr__(self, "logit_bias", dict(self.logit_bias))  # the caller keeps its own


def _check_tuple(name: str, values: object) -> None:
    if not isinstance(values, tuple):
        raise BadQuantity(f"{name} is {values!r}: must be a tuple; for a single one write (one,)")


def _check_strings(name: str, values: Iterable[object]) -> None:
    for value in values:
        if not isinstance(value, str) or not value:
            raise BadQuantity(
                f"{name} holds {value!r}: must be text of at least one character; leave it out"
            )
