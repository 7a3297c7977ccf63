"""One sample while it grows: what the next token depends on, and what is told of those before."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from penjing.engine.completion import Completion, Delta, Finish
from penjing.engine.draws import uniform
from penjing.engine.sampler import PenaltyState
from penjing.engine.sampling import Sampling
from penjing.engine.stops import TextStream
from penjing.engine.thinking import Thinking


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A generated token, with what the model thought of it and of its rivals."""

    id: int
    logprob: float
    top_logprobs: Mapping[int, float] | None
    is_forced: bool
    policy_version: int


@dataclass(kw_only=True, eq=False)
class Sample:
    """``limit`` tokens at most; ``end_ids`` end it, and so does a stop string of ``stream``."""

    index: int
    sampling: Sampling
    seed: int
    limit: int
    end_ids: frozenset[int]
    penalties: PenaltyState
    thinking: Thinking | None
    stream: TextStream | None
    tokens: list[Token] = field(default_factory=list)
    text: str = ""
    finish: Finish | None = None
    stop: str | int | None = None

    @property
    def is_thinking(self) -> bool:
        return self.thinking is not None and self.thinking.is_open

    @property
    def forced(self) -> int | None:
        return self.thinking.forced() if self.thinking else None

    def draw(self) -> float:
        """This position's random number."""
        return uniform(self.seed, self.index, len(self.tokens))

    def accept(self, token: Token) -> Delta:
        """Takes in the next token and ends the sample where that ends it."""
        thought = self.is_thinking
        if self.thinking:
            self.thinking.observe(token.id)
        is_answer = not (thought or self.is_thinking or token.is_forced)
        self.penalties.observe(token.id, is_answer=is_answer)
        self.tokens.append(token)
        shown = self._show(token)
        if self.finish is None and len(self.tokens) == self.limit:
            self.finish = Finish.LENGTH
        if self.finish is not None and self.stream is not None:
            shown += self._rest()
        self.text += shown
        return self._delta([token], shown)

    def end(self, finish: Finish) -> Delta:
        """Ends the sample where it stands."""
        shown = self.stream.finish() if self.stream else ""
        self.text += shown
        self.finish = finish
        return self._delta([], shown)

    def completion(
        self,
        prompt_ids: tuple[int, ...],
        prompt_logprobs: tuple[float | None, ...] | None,
        prompt_top_logprobs: tuple[Mapping[int, float] | None, ...] | None,
        num_cached: int,
        policy_version: int,
    ) -> Completion:
        assert self.finish is not None
        versions = [token.policy_version for token in self.tokens] or [policy_version]
        thinking = self.thinking
        return Completion(
            index=self.index,
            ids=tuple(token.id for token in self.tokens),
            text=self.text,
            logprobs=tuple(token.logprob for token in self.tokens),
            top_logprobs=self._tops(self.tokens),
            prompt_ids=prompt_ids,
            prompt_logprobs=prompt_logprobs,
            prompt_top_logprobs=prompt_top_logprobs,
            finish=self.finish,
            stop=self.stop,
            policy_version=min(versions),
            last_policy_version=max(versions),
            num_thinking=thinking.num_thinking if thinking else 0,
            num_answer=thinking.num_answer if thinking else len(self.tokens),
            is_forced=tuple(token.is_forced for token in self.tokens),
            num_cached=num_cached,
        )

    def _show(self, token: Token) -> str:
        """Text that the token made safe to show; sets ``finish`` for an id or string that stops."""
        may_stop = len(self.tokens) > self.sampling.min_tokens
        if token.id in self.end_ids and may_stop:
            self.finish, self.stop = Finish.STOP, token.id
            return ""
        shown = self.stream.push(token.id, may_stop=may_stop) if self.stream else ""
        if self.stream and self.stream.stopped is not None:
            self.finish, self.stop = Finish.STOP, self.stream.stopped
        return shown

    def _rest(self) -> str:
        """What the stream held back; it may complete a stop string at the very end."""
        assert self.stream is not None
        rest = self.stream.finish()
        if self.stream.stopped is not None and self.finish is Finish.LENGTH:
            self.finish, self.stop = Finish.STOP, self.stream.stopped
        return rest

    def _delta(self, tokens: list[Token], shown: str) -> Delta:
        return Delta(
            index=self.index,
            ids=tuple(token.id for token in tokens),
            text=shown,
            logprobs=tuple(token.logprob for token in tokens),
            top_logprobs=self._tops(tokens),
            finish=self.finish,
        )

    def _tops(self, tokens: list[Token]) -> tuple[Mapping[int, float], ...] | None:
        if self.sampling.logprobs is None:
            return None
        return tuple(token.top_logprobs or {} for token in tokens)
