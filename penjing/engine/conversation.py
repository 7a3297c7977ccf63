"""Turns of a user and the model, remembered as chat templates expect them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from penjing.engine.completion import Completion, Delta, Finish
from penjing.engine.engine import Engine
from penjing.engine.prompt import Message, Prompt, PromptReader
from penjing.engine.sampling import Sampling
from penjing.engine.stops import TextStream
from penjing.engine.thinking import Thinking
from penjing.errors import Contradiction
from penjing.models.tokenizer import Tokenizer

Show = Callable[[str, bool], None]
"""Takes text as it comes, and whether it is thinking."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A stretch of a reply that is all thinking, or none of it. Tags are not in its text."""

    text: str
    is_thinking: bool


@dataclass(frozen=True, kw_only=True)
class Reply:
    """``ttft_s`` is None where no token came, ``tokens_per_s`` of those after the first."""

    completion: Completion
    blocks: tuple[Block, ...]
    ttft_s: float | None
    tokens_per_s: float | None

    @property
    def thinking(self) -> str:
        return _joined(self.blocks, is_thinking=True)

    @property
    def answer(self) -> str:
        return _joined(self.blocks, is_thinking=False)

    @property
    def content(self) -> str:
        """For the history: R1's templates look for ``</think>`` and drop what precedes it.

        So a block that was cut short is closed here too, and one that the prompt opened is opened.
        """
        return "".join(
            f"<think>{block.text}</think>" if block.is_thinking else block.text
            for block in self.blocks
        )


class Conversation:
    """One user talks with one engine, which nobody else drives.

    Without a chat template nothing is remembered: the model goes on with each text as it is.
    """

    def __init__(self, engine: Engine, sampling: Sampling, system: str | None = None) -> None:
        """Raises ``Contradiction`` for what the checkpoint cannot do."""
        assert engine.tokenizer is not None, "a conversation is text"
        self._engine, self._sampling, self._tokenizer = engine, sampling, engine.tokenizer
        self._reader = PromptReader(engine.tokenizer, engine.decoder.config.vocab_size)
        self.is_plain = engine.tokenizer.chat_template is None
        if self.is_plain and system is not None:
            raise Contradiction(
                "a system message needs a chat template, and the checkpoint has none; leave it out"
            )
        if sampling.thinking_budget is not None and engine.tokenizer.thinking is None:
            raise Contradiction(
                "a thinking budget needs single tokens <think> and </think>, and the tokenizer has "
                "none; leave it out"
            )
        self._system = system
        self.messages: list[Message] = []
        self.reset()

    @property
    def has_history(self) -> bool:
        return any(message["role"] != "system" for message in self.messages)

    def reset(self) -> None:
        """Forgets all but the system message."""
        system = {"role": "system", "content": self._system}
        self.messages = [] if self._system is None else [system]

    def say(self, text: str, show: Show, is_stopped: Callable[[], bool] = lambda: False) -> Reply:
        """One turn; ``is_stopped`` is asked before each pass, and ends the reply where it stands.

        Raises what ``Engine.add`` raises, and the error of a sample that failed; the turn is then
        forgotten.
        """
        said: Message = {"role": "user", "content": text}
        prompt: Prompt = text if self.is_plain else [*self.messages, said]
        reply = self._reply(self._reader.ids(prompt), show, is_stopped)
        if not self.is_plain:
            self.messages += [said, {"role": "assistant", "content": reply.content}]
        return reply

    def _reply(self, ids: tuple[int, ...], show: Show, is_stopped: Callable[[], bool]) -> Reply:
        engine, split = self._engine, BlockStream(self._tokenizer, ids, show)
        times_s = [time.perf_counter()]
        key, finish = engine.add(ids, self._sampling), None
        while finish is None:
            increments = engine.abort(key) if is_stopped() else engine.step()
            for _, delta in increments:
                split.push(delta)
                times_s += [time.perf_counter()] * len(delta.ids)
                finish = delta.finish
        (completion,) = engine.take(key)
        return Reply(
            completion=completion,
            blocks=split.blocks,
            ttft_s=times_s[1] - times_s[0] if len(times_s) > 1 else None,
            tokens_per_s=_rate(times_s[1:]),
        )


class BlockStream:
    """Ids of a reply to its blocks, as they come: thinking begins and ends with ids, never text.

    Each block is decoded by itself, so a character cut in two by a tag is none.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int], show: Show) -> None:
        self._tokenizer, self._show = tokenizer, show
        tags = tokenizer.thinking
        self._thinking = (
            Thinking(begin_id=tags.open, end_id=tags.close, budget=None, prompt_ids=prompt_ids)
            if tags
            else None
        )
        self._closed: list[Block] = []
        self._begin()

    @property
    def blocks(self) -> tuple[Block, ...]:
        """In order, without answers of no text."""
        last = Block(text="".join(self._texts), is_thinking=self._is_thinking)
        return tuple(b for b in (*self._closed, last) if b.text or b.is_thinking)

    def push(self, delta: Delta) -> None:
        """The id that ended the reply stands for no text."""
        for token in delta.ids[: -1 if delta.finish is Finish.STOP else None]:
            self._push(token)
        if delta.finish is not None:
            self._put(self._stream.finish())

    def _push(self, token: int) -> None:
        if self._thinking is not None:
            self._thinking.observe(token)
            if self._thinking.is_open is not self._is_thinking:
                self._put(self._stream.finish())
                self._closed.append(Block(text="".join(self._texts), is_thinking=self._is_thinking))
                self._begin()
                return
        self._put(self._stream.push(token))

    def _begin(self) -> None:
        self._is_thinking = self._thinking is not None and self._thinking.is_open
        self._stream = TextStream(partial(self._tokenizer.decode, skip_special_tokens=True))
        self._texts: list[str] = []

    def _put(self, text: str) -> None:
        if text:
            self._texts.append(text)
            self._show(text, self._is_thinking)


def _joined(blocks: Sequence[Block], *, is_thinking: bool) -> str:
    """Without the lines that only part blocks from each other."""
    return "".join(b.text for b in blocks if b.is_thinking is is_thinking).strip("\n")


def _rate(times_s: Sequence[float]) -> float | None:
    """Tokens a second behind the first of those that came at these times."""
    if len(times_s) < 2 or times_s[-1] == times_s[0]:
        return None
    return (len(times_s) - 1) / (times_s[-1] - times_s[0])
