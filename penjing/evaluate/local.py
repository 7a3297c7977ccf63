"""Samples from our own engine."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from penjing.engine.completion import Completion, Finish
from penjing.engine.engine import Engine
from penjing.engine.prompt import Prompt
from penjing.engine.sampling import Sampling
from penjing.errors import PenjingError
from penjing.evaluate.generator import Ask, Missing, Reply
from penjing.models.tokenizer import Tokenizer
from penjing.tasks.task import Task
from penjing.tasks.template import begins_in_thinking


@dataclass(frozen=True, kw_only=True)
class LocalGenerator:
    """``sampling`` is for all; each sample has its own seed.

    A checkpoint without a chat template is asked the text of the messages, as it is.
    """

    engine: Engine
    task: Task
    sampling: Sampling

    @property
    def is_plain(self) -> bool:
        """Whether messages are asked as text, for want of a chat template."""
        return self._tokenizer.chat_template is None

    def replies(self, asks: Sequence[Ask]) -> Iterator[Reply | Missing]:
        """As many at once as the engine takes; what the engine refuses is missing."""
        left = list(reversed(asks))
        running: dict[int, tuple[Ask, float]] = {}
        try:
            while left or running:
                while left and len(running) < self.engine.plan.max_sequences:
                    ask, began = left.pop(), time.perf_counter()
                    try:
                        running[self._added(ask)] = (ask, began)
                    except PenjingError as error:
                        yield _missing(ask, error)
                done = [key for key, delta in self.engine.step() if delta.finish is not None]
                for key in done:
                    yield self._taken(key, *running.pop(key))
        finally:
            for key in running:
                self._forget(key)

    def _added(self, ask: Ask) -> int:
        sampling = replace(self.sampling, seed=ask.seed, n=1, detokenize=bool(self.sampling.stop))
        return self.engine.add(self._prompt(ask), sampling)

    def _taken(self, key: int, ask: Ask, began: float) -> Reply | Missing:
        try:
            (completion,) = self.engine.take(key)
        except PenjingError as error:  # such as logits that are no numbers
            return _missing(ask, error)
        return self._reply(ask, completion, time.perf_counter() - began)

    def _forget(self, key: int) -> None:
        self.engine.abort(key)
        with suppress(PenjingError):
            self.engine.take(key)

    def _prompt(self, ask: Ask) -> Prompt:
        prompt = self.task.prompt(ask.problem)
        if isinstance(prompt, str) or not self.is_plain:
            return prompt
        return "\n\n".join(message["content"] for message in prompt)

    def _reply(self, ask: Ask, completion: Completion, wall_s: float) -> Reply:
        ids = completion.ids
        if completion.finish is Finish.STOP and completion.stop == ids[-1]:
            ids = ids[:-1]
        decode = self._tokenizer.decode  # with the tags, which may be special tokens
        prompt = decode(completion.prompt_ids, skip_special_tokens=False)
        return Reply(
            ask=ask,
            response=decode(ids, skip_special_tokens=False),
            begins_in_thinking=begins_in_thinking(prompt),
            finish_reason=str(completion.finish),
            num_prompt_tokens=len(completion.prompt_ids),
            num_tokens=len(completion.ids),
            num_thinking_tokens=completion.num_thinking if self._tokenizer.thinking else None,
            wall_s=wall_s,
        )

    @property
    def _tokenizer(self) -> Tokenizer:
        assert self.engine.tokenizer is not None, "problems are text"
        return self.engine.tokenizer


def _missing(ask: Ask, error: PenjingError) -> Missing:
    return Missing(ask=ask, reason=" ".join(str(error).split()))
