"""Generates: many requests in one batch, each as if it were alone.

``add`` queues, ``step`` runs one pass for all and returns what it produced; ``generate``,
``stream`` and ``score`` are loops around these. One thread drives an engine.
"""

import secrets
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch

from penjing.engine.completion import Completion, Delta
from penjing.engine.core import Core, Increment, completions
from penjing.engine.gap import Gap, measure_gap
from penjing.engine.load import load_checkpoint, plan_for, read_numerics
from penjing.engine.memory import EnginePlan, Limits
from penjing.engine.prompt import Prompt, PromptReader
from penjing.engine.request import Request
from penjing.engine.sample import Sample
from penjing.engine.sampler import PenaltyState
from penjing.engine.sampling import Sampling
from penjing.engine.stops import TextStream
from penjing.engine.thinking import Thinking
from penjing.errors import BadQuantity, RequestError
from penjing.models.decoder import Decoder
from penjing.models.generation_config import GenerationDefaults
from penjing.models.kernels.choice import Numerics
from penjing.models.tokenizer import Tokenizer

T = TypeVar("T")

_SCORE = Sampling(max_tokens=0, prompt_logprobs=0)


class Engine:
    """Shares its weights with whoever holds the decoder: what an optimizer writes is used at once.

    ``decoder`` may be one that is being trained; ``tokenizer`` None takes and gives ids only.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        tokenizer: Tokenizer | None = None,
        defaults: GenerationDefaults | None = None,
        plan: EnginePlan | None = None,
        numerics: Numerics | str = Numerics.EXACT,
    ) -> None:
        """Without a ``plan``, one that fits into free memory. Raises ``DoesNotFit``."""
        like = decoder.embedding
        self.decoder, self.tokenizer = decoder, tokenizer
        self.defaults = defaults or GenerationDefaults()
        self.numerics = read_numerics(numerics)
        limits = Limits(expands_latents=self.numerics is Numerics.FAST)
        self.plan = plan or plan_for(
            decoder.config, like.dtype, like.device, limits, weights_held=True
        )
        self._core = Core(decoder, self.plan, self.numerics)
        self._reader = PromptReader(tokenizer, decoder.config.vocab_size)
        self._next_key = 0
        self._requests: dict[int, Request] = {}
        self._streamed: dict[int, list[Delta]] = {}  # came in a step that another caller took

    @classmethod
    def load(
        cls,
        path: str,
        device: str = "cpu",
        dtype: str | torch.dtype = "float32",
        *,
        max_length: int | None = None,
        max_sequences: int = 64,
        max_batch_tokens: int = 512,
        cache_bytes: float | None = None,
        numerics: Numerics | str = Numerics.EXACT,
    ) -> "Engine":
        """A folder in Hugging Face format, or a name on its hub.

        ``max_length`` None takes the model's context, as far as memory goes; ``max_batch_tokens``
        bounds one pass. Raises ``DoesNotFit`` before anything is read, ``BadFile`` and the like for
        a checkpoint that is not whole.
        """
        kind = read_numerics(numerics)
        limits = Limits(
            max_length=max_length,
            max_sequences=max_sequences,
            max_batch_tokens=max_batch_tokens,
            cache_bytes=cache_bytes,
            expands_latents=kind is Numerics.FAST,
        )
        found = load_checkpoint(str(path), device=device, dtype=dtype, limits=limits)
        return cls(
            found.decoder,
            tokenizer=found.tokenizer,
            defaults=found.defaults,
            plan=found.plan,
            numerics=kind,
        )

    @property
    def policy_version(self) -> int:
        """How often the weights changed since this engine was made."""
        return self._core.policy_version

    @property
    def digest(self) -> str:
        """Names everything that decides a rounding: equal digests, equal bits."""
        return self._core.forward.digest

    @property
    def core(self) -> Core:
        return self._core

    @property
    def default_sampling(self) -> Sampling:
        """What the checkpoint's publisher advises, and the model as it is for the rest."""
        said = self.defaults
        plain = Sampling()
        return Sampling(
            temperature=0.0
            if said.do_sample is False
            else _either(said.temperature, plain.temperature),
            top_p=_either(said.top_p, plain.top_p),
            top_k=_either(said.top_k, plain.top_k),
            min_p=_either(said.min_p, plain.min_p),
            repetition_penalty=_either(said.repetition_penalty, plain.repetition_penalty),
        )

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling | Sequence[Sampling] | None = None
    ) -> list[Completion]:
        """All samples of all prompts, prompt by prompt: ``n`` of the first, ``n`` of the second.

        ``sampling`` is for all prompts, or one for each; None: ``default_sampling``. Raises what
        ``add`` raises, before anything runs, and the error of a sample that failed, after the rest
        has run.
        """
        keys: list[int] = []
        try:
            for prompt, one in zip(prompts, self._per_prompt(prompts, sampling), strict=True):
                keys.append(self.add(prompt, one))
            while not all(self._requests[key].is_done for key in keys):
                self.step()
        except BaseException:
            for key in keys:
                self.abort(key)
                self._requests.pop(key, None)
            raise
        done = [self._requests.pop(key) for key in keys]
        failed = next((request.error for request in done if request.error), None)
        if failed is not None:
            raise failed
        return [one for request in done for one in completions(request, self.policy_version)]

    def stream(self, prompt: Prompt, sampling: Sampling | None = None) -> Iterator[Delta]:
        """Increments of one prompt as they come; leaving early aborts it. Raises as ``generate``.

        It is queued when the first increment is asked for. Other requests go on meanwhile.
        """
        return self._increments(self._request(prompt, sampling))

    def score(self, sequences: Sequence[Prompt]) -> list[list[float | None]]:
        """Of each sequence, the log-probability of every token given those before it, in nats.

        The first has none. With exact numerics these are the bits that generating the same tokens
        gave.
        """
        scored = self.generate(sequences, _SCORE)
        return [list(one.prompt_logprobs or ()) for one in scored]

    def gap(self, done: Sequence[Completion]) -> Gap:
        """How far the log-probabilities of completions are from those of the training forward.

        Zero with exact numerics, as long as the weights are those that generated.
        """
        return measure_gap(self.decoder, done)

    def add(self, prompt: Prompt, sampling: Sampling | None = None, **variables: object) -> int:
        """Queues a request and returns its key; ``variables`` go to the chat template.

        Raises ``BadQuantity`` for a prompt beyond the context or ids beyond the vocabulary, and
        ``RequestError`` for what cannot be read.
        """
        return self._queue(self._request(prompt, sampling, **variables))

    def _request(self, prompt: Prompt, sampling: Sampling | None, **variables: object) -> Request:
        sampling = sampling or self.default_sampling
        prompt_ids = self._reader.ids(prompt, **variables)
        limit = self._limit(prompt_ids, sampling)
        scored = sampling.prompt_logprobs is not None
        self._next_key += 1
        return Request(
            key=self._next_key - 1,
            prompt_ids=prompt_ids,
            sampling=sampling,
            samples=self._samples(prompt_ids, sampling, limit),
            prompt_logprobs=[None] * len(prompt_ids) if scored else None,
            prompt_top_logprobs=[None] * len(prompt_ids) if sampling.prompt_logprobs else None,
        )

    def _queue(self, request: Request) -> int:
        self._requests[request.key] = request
        self._core.add(request)
        return request.key

    def step(self) -> list[Increment]:
        """One pass for all requests: (request key, increment) of every sample that grew."""
        return self._kept(self._core.step())

    def abort(self, key: int) -> list[Increment]:
        """Ends a request where it stands; what it has is kept until ``take``."""
        return self._kept(self._core.abort(key))

    def is_done(self, key: int) -> bool:
        """Whether all samples of a request have ended, so that they can be taken."""
        return self._requests[key].is_done

    def take(self, key: int) -> list[Completion]:
        """The samples of a request that is done, which is then forgotten; raises its error."""
        request = self._requests[key]
        assert request.is_done, "the request still runs"
        del self._requests[key]
        if request.error is not None:
            raise request.error
        return completions(request, self.policy_version)

    def note_new_weights(self) -> None:
        """For writers that torch cannot count (through ``.data`` or a pointer); others show."""
        self._core.note_new_weights()

    def _increments(self, request: Request) -> Iterator[Delta]:
        key = self._queue(request)
        streamed = self._streamed[key] = []
        try:
            while streamed or not request.is_done:
                if not streamed:
                    self.step()
                while streamed:
                    yield streamed.pop(0)
            if request.error is not None:
                raise request.error
        finally:
            self.abort(key)
            del self._streamed[key], self._requests[key]

    def _kept(self, increments: list[Increment]) -> list[Increment]:
        for key, delta in increments:
            if key in self._streamed:
                self._streamed[key].append(delta)
        return increments

    def _per_prompt(
        self, prompts: Sequence[Prompt], sampling: Sampling | Sequence[Sampling] | None
    ) -> Sequence[Sampling | None]:
        if isinstance(prompts, str):
            raise RequestError("prompts is one text; give a list of prompts, even of one")
        if sampling is None or isinstance(sampling, Sampling):
            return [sampling] * len(prompts)
        if len(sampling) != len(prompts):
            raise BadQuantity(
                f"{len(sampling)} samplings for {len(prompts)} prompts; give one, or one for each"
            )
        return sampling

    def _limit(self, prompt_ids: tuple[int, ...], sampling: Sampling) -> int:
        """How many tokens may follow the prompt."""
        context, wanted = self.plan.max_length, sampling.max_tokens
        room = context - len(prompt_ids)
        if room < (1 if wanted != 0 else 0):
            raise BadQuantity(
                f"the prompt has {len(prompt_ids)} tokens, but prompt and completion together may "
                f"have {context}; shorten it, or load with a larger max_length (the model has "
                f"{self.decoder.config.max_positions} positions)"
            )
        return room if wanted is None else min(wanted, room)

    def _samples(self, prompt_ids: tuple[int, ...], sampling: Sampling, limit: int) -> list[Sample]:
        ends = () if sampling.ignore_eos else self.defaults.eos_ids
        end_ids = frozenset((*ends, *sampling.stop_ids))
        _check_ids(self.decoder.config.vocab_size, sampling)
        seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
        return [
            Sample(
                index=index,
                sampling=sampling,
                seed=seed,
                limit=limit,
                end_ids=end_ids,
                penalties=PenaltyState(prompt_ids, end_ids, counts=sampling.penalises),
                thinking=self._thinking(prompt_ids, sampling),
                stream=self._text_stream(sampling),
            )
            for index in range(sampling.n)
        ]

    def _thinking(self, prompt_ids: tuple[int, ...], sampling: Sampling) -> Thinking | None:
        tags = self.tokenizer.thinking if self.tokenizer else None
        if tags is None or self.tokenizer is None:
            if sampling.thinking_budget is None:
                return None
            raise BadQuantity(
                f"thinking_budget is {sampling.thinking_budget}, but the tokenizer has no single "
                "tokens <think> and </think>; leave the budget out"
            )
        closing = self.tokenizer.encode(sampling.thinking_close, add_special_tokens=False)
        return Thinking(
            begin_id=tags.open,
            end_id=tags.close,
            budget=sampling.thinking_budget,
            closing_ids=closing if sampling.thinking_budget is not None else (),
            prompt_ids=prompt_ids,
        )

    def _text_stream(self, sampling: Sampling) -> TextStream | None:
        if self.tokenizer is None:
            if sampling.stop:
                raise RequestError(
                    "stop strings need a tokenizer, and this engine has none; use stop_ids"
                )
            return None
        if not sampling.detokenize:
            return None
        return TextStream(partial(self.tokenizer.decode, skip_special_tokens=True), sampling.stop)


def _either(said: T | None, default: T) -> T:
    return default if said is None else said


def _check_ids(vocab_size: int, sampling: Sampling) -> None:
    named = {"stop_ids": sampling.stop_ids, "logit_bias": tuple(sampling.logit_bias)}
    for name, ids in named.items():
        outside = next((token for token in ids if token >= vocab_size), None)
        if outside is not None:
            raise BadQuantity(
                f"{name} names id {outside}; ids are below {vocab_size}, the size of the vocabulary"
            )
