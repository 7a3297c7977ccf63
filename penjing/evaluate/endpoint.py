"""Samples from a server that speaks OpenAI's protocol, through its own client."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from openai import OpenAI

from penjing.errors import BadCommand, RequestError
from penjing.evaluate.generator import Ask, Missing, Reply
from penjing.tasks.task import Task
from penjing.tasks.template import begins_in_thinking
from penjing.tasks.thinking import CLOSE, OPEN

RETRIES = 5  # of the client: 408, 409, 429 (when the server says), 5xx, lost connections
TIMEOUT_S = 1800.0  # a long thought takes its time
_MODELS_TIMEOUT_S = 30.0
_THINKING = ("reasoning_content", "reasoning")


def public(url: str) -> str:
    """Without a name and a password. Raises ``BadCommand`` for what is no address."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bracket too many, a port that is no number
        is_address = False
    if not is_address:
        raise BadCommand(f"the endpoint {url!r:.100} is no address such as http://host:8000/v1")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


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
    """``key`` is sent, never told. ``model`` None: the only one that the server has.

    Raises ``BadCommand`` for what is no address, and ``RequestError`` where the server cannot be
    asked which models it has.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        task: Task,
        sampling: EndpointSampling,
        *,
        model: str | None = None,
        concurrency: int = 8,
        retries: int = RETRIES,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.url = public(url)
        self._key = key
        self._client = OpenAI(
            base_url=url, api_key=key or "none", max_retries=retries, timeout=timeout_s
        )
        self._task, self._sampling, self._concurrency = task, sampling, concurrency
        self.model = model or self._only_model()

    def replies(self, asks: Sequence[Ask]) -> Iterator[Reply | Missing]:
        """``concurrency`` at once; what fails for good is missing.

        Who leaves early waits for nothing: what is still on its way is then lost.
        """
        given, done = SimpleQueue[Ask | None](), SimpleQueue[Reply | Missing]()
        at_once = min(self._concurrency, len(asks))
        for ask in asks[:at_once]:
            given.put(ask)
            Thread(target=self._serve, args=(given, done), daemon=True).start()
        try:
            for place in range(len(asks)):
                reply = done.get()
                if place + at_once < len(asks):
                    given.put(asks[place + at_once])
                yield reply
        finally:
            for _ in range(at_once):
                given.put(None)

    def _serve(
        self, given: "SimpleQueue[Ask | None]", done: "SimpleQueue[Reply | Missing]"
    ) -> None:
        while (ask := given.get()) is not None:
            done.put(self._reply(ask))

    def _only_model(self) -> str:
        client = self._client.with_options(max_retries=1, timeout=_MODELS_TIMEOUT_S)
        try:
            models = [model.id for model in client.models.list()]
        except Exception as error:  # garbage comes in many kinds
            raise RequestError(
                f"{self.url} does not say which models it has ({self._line(error)}); check the "
                "address and the key, or name the model"
            ) from None
        if len(models) != 1:
            raise RequestError(
                f"{self.url} has {len(models)} models; name one of {', '.join(models)}"
            )
        return models[0]

    def _reply(self, ask: Ask) -> Reply | Missing:
        began = time.perf_counter()
        try:
            prompt = self._task.prompt(ask.problem)
            if isinstance(prompt, str):
                return self._completed(ask, prompt, began)
            return self._answered(ask, prompt, began)
        except Exception as error:  # garbage comes in many kinds
            return Missing(ask=ask, reason=self._line(error))

    def _line(self, error: Exception) -> str:
        """Without the key, which some servers repeat."""
        because = f" ({error.__cause__})" if error.__cause__ else ""
        text = " ".join(f"{type(error).__name__}: {error}{because}".split())
        return (text.replace(self._key, "***") if self._key else text)[:300]

    def _completed(self, ask: Ask, prompt: str, began: float) -> Reply:
        done = self._client.completions.create(
            model=self.model,
            prompt=prompt,
            seed=ask.seed,
            extra_body=dict(self._sampling.extra),
            **self._sampling.named(),
        )
        choice = done.choices[0]
        return _reply(ask, _text(choice.text), choice.finish_reason, done.usage, began, prompt)

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
        thinking = next((_text(text) for text in told if text), "")
        content = _text(choice.message.content or "")
        if thinking:  # one that was cut off has no answer behind it
            is_whole = bool(content) or choice.finish_reason != "length"
            content = f"{OPEN}{thinking}{CLOSE}{content}" if is_whole else f"{OPEN}{thinking}"
        return _reply(ask, content, choice.finish_reason, done.usage, began, "")


def _reply(
    ask: Ask, response: str, finish_reason: object, usage: Any, began: float, prompt: str
) -> Reply:
    details = getattr(usage, "completion_tokens_details", None)
    num_tokens = _count(getattr(usage, "completion_tokens", None)) or 0
    thinking = _count(getattr(details, "reasoning_tokens", None))
    return Reply(
        ask=ask,
        response=response,
        begins_in_thinking=begins_in_thinking(prompt),
        finish_reason=str(finish_reason or "unknown"),
        num_prompt_tokens=_count(getattr(usage, "prompt_tokens", None)) or 0,
        num_tokens=num_tokens,
        num_thinking_tokens=None if thinking is None or thinking > num_tokens else thinking,
        wall_s=time.perf_counter() - began,
    )


def _text(told: object) -> str:
    if not isinstance(told, str):
        raise TypeError(f"the response has {told!r:.60}, which is no text")
    return told


def _count(told: object) -> int | None:
    """Servers tell nothing, or nonsense."""
    return told if isinstance(told, int) and told >= 0 else None
