"""Samples from a server that speaks OpenAI's protocol, through its own client."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

from openai import OpenAI, OpenAIError

from penjing.errors import RequestError
from penjing.evaluate.generator import Ask, Missing, Reply
from penjing.tasks.task import Task
from penjing.tasks.template import begins_in_thinking
from penjing.tasks.thinking import CLOSE, OPEN

RETRIES = 5  # of the client: 408, 409, 429 (when the server says), 5xx, lost connections
TIMEOUT_S = 1800.0  # a long thought takes its time
_THINKING = ("reasoning_content", "reasoning")


@dataclass(frozen=True, kw_only=True)
class EndpointSampling:
    """``extra`` goes into the body as it is: what only some servers know, such as ``top_k``."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def named(self) -> dict[str, Any]:
        names = ("temperature", "top_p", "max_tokens")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class EndpointGenerator:
    """``key`` is sent and kept nowhere. ``model`` None: the only one that the server has.

    Raises ``RequestError`` where the server cannot be asked which models it has.
    """

    def __init__(
        self,
        url: str,
        key: str,
        task: Task,
        sampling: EndpointSampling,
        *,
        model: str | None = None,
        concurrency: int = 8,
        retries: int = RETRIES,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._client = OpenAI(base_url=url, api_key=key, max_retries=retries, timeout=timeout_s)
        self._task, self._sampling, self._concurrency = task, sampling, concurrency
        self.model = model or self._only_model(url)

    def replies(self, asks: Sequence[Ask]) -> Iterator[Reply | Missing]:
        """``concurrency`` at once; what fails for good is missing."""
        with ThreadPoolExecutor(self._concurrency) as pool:
            futures = [pool.submit(self._reply, ask) for ask in asks]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

    def _only_model(self, url: str) -> str:
        try:
            models = [model.id for model in self._client.models.list()]
        except (OpenAIError, ValueError) as error:
            raise RequestError(
                f"{url} does not say which models it has ({_line(error)}); check the address and "
                "the key, or name the model"
            ) from None
        if len(models) != 1:
            raise RequestError(f"{url} has {len(models)} models; name one of {', '.join(models)}")
        return models[0]

    def _reply(self, ask: Ask) -> Reply | Missing:
        prompt = self._task.prompt(ask.problem)
        began = time.perf_counter()
        try:
            if isinstance(prompt, str):
                return self._completed(ask, prompt, began)
            return self._answered(ask, prompt, began)
        except (OpenAIError, ValueError, LookupError, AttributeError, TypeError) as error:
            return Missing(ask=ask, reason=_line(error))  # garbage comes in many kinds

    def _completed(self, ask: Ask, prompt: str, began: float) -> Reply:
        done = self._client.completions.create(
            model=self.model,
            prompt=prompt,
            seed=ask.seed,
            extra_body=dict(self._sampling.extra),
            **self._sampling.named(),
        )
        choice = done.choices[0]
        return _reply(ask, choice.text, choice.finish_reason, done.usage, began, prompt)

    def _answered(self, ask: Ask, messages: Sequence[Mapping[str, str]], began: float) -> Reply:
        done = self._client.chat.completions.create(
            model=self.model,
            messages=list(messages),  # type: ignore[arg-type]
            seed=ask.seed,
            extra_body=dict(self._sampling.extra),
            **self._sampling.named(),
        )
        choice = done.choices[0]
        told = [getattr(choice.message, name, None) for name in _THINKING]
        thinking = next((text for text in told if text), "")
        content = choice.message.content or ""
        if thinking:  # one that was cut off has no answer behind it
            is_whole = bool(content) or choice.finish_reason != "length"
            content = f"{OPEN}{thinking}{CLOSE}{content}" if is_whole else f"{OPEN}{thinking}"
        return _reply(ask, content, choice.finish_reason, done.usage, began, "")


def _reply(
    ask: Ask, response: str, finish_reason: str | None, usage: Any, began: float, prompt: str
) -> Reply:
    details = getattr(usage, "completion_tokens_details", None)
    num_tokens = _count(getattr(usage, "completion_tokens", None)) or 0
    thinking = _count(getattr(details, "reasoning_tokens", None))
    return Reply(
        ask=ask,
        response=response,
        begins_in_thinking=begins_in_thinking(prompt),
        finish_reason=finish_reason or "unknown",
        num_prompt_tokens=_count(getattr(usage, "prompt_tokens", None)) or 0,
        num_tokens=num_tokens,
        num_thinking_tokens=None if thinking is None or thinking > num_tokens else thinking,
        wall_s=time.perf_counter() - began,
    )


def _count(told: object) -> int | None:
    """Servers tell nothing, or nonsense."""
    return told if isinstance(told, int) and told >= 0 else None


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
