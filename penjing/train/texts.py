"""Texts to learn from, as documents: a prompt that is given, and a response that is learnt."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from penjing.engine.prompt import PromptReader
from penjing.errors import BadFile
from penjing.evaluate.generator import sample_seed
from penjing.tasks.rows import read_rows
from penjing.tasks.task import Task
from penjing.tasks.traces import Noise, trace
from penjing.train.models import Held
from penjing.train.scores import Document
from penjing.train.stream import ProblemStream


class TraceBatches:
    """Ever new problems with a trace of each; a function of the number of the step."""

    def __init__(self, held: Held, task: Task, noise: Noise, batch: int, seed: int) -> None:
        self._write = Writer(held)
        self._task, self._noise, self._batch, self._seed = task, noise, batch, seed
        self._stream = ProblemStream(task, seed)

    def __call__(self, step: int) -> Sequence[Document]:
        first = step * self._batch
        return [
            self._write(
                self._task.prompt(problem),
                trace(problem, self._noise, sample_seed(self._seed, "trace", first + place)),
            )
            for place, problem in enumerate(self._stream.take(first, self._batch))
        ]


class DataBatches:
    """Documents in another order each epoch; the last batch of one may be smaller."""

    def __init__(self, documents: Sequence[Document], batch: int, seed: int) -> None:
        self._documents, self._batch, self._seed = documents, batch, seed
        self.steps_an_epoch = -(-len(documents) // batch)

    def __call__(self, step: int) -> Sequence[Document]:
        epoch, place = divmod(step, self.steps_an_epoch)
        drawn = torch.Generator().manual_seed(sample_seed(self._seed, "epoch", epoch))
        order = torch.randperm(len(self._documents), generator=drawn).tolist()
        return [self._documents[i] for i in order[place * self._batch : (place + 1) * self._batch]]


class Writer:
    """Puts a prompt and its response together, with the end behind it."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._reader = PromptReader(held.tokenizer, held.decoder.config.vocab_size)

    def __call__(self, prompt: str | Sequence[Mapping[str, str]], response: str) -> Document:
        given = self._reader.ids(prompt)
        learnt = self._held.tokenizer.encode(response, add_special_tokens=False)
        ids = (*given, *learnt, self._held.end_id)
        flags = (False,) * len(given) + (True,) * (len(learnt) + 1)
        return Document(ids=ids, is_learnt=flags)


def read_documents(held: Held, paths: Sequence[Path]) -> list[Document]:
    """Rows of ``prompt`` (text or messages) and ``response``. Raises ``BadFile``."""
    write = Writer(held)
    longest = held.decoder.config.max_positions
    found = []
    for path in paths:
        for row in read_rows(path, ("prompt", "response")):
            document = write(_prompt(path, row.values["prompt"]), str(row.values["response"]))
            if len(document.ids) > longest:
                raise BadFile(
                    f"{path}: row {row.number} has {len(document.ids)} tokens; the model has "
                    f"{longest} positions: shorten it, or leave it out"
                )
            found.append(document)
    return found


def _prompt(path: Path, value: Any) -> str | Sequence[Mapping[str, str]]:
    if isinstance(value, str) or (isinstance(value, list) and value):
        return value
    raise BadFile(f"{path}: a prompt is {json.dumps(value)[:60]}; it must be text or messages")
