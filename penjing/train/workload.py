"""How much a stage has to do: tokens to generate and to learn from, and its largest piece."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import assert_never

from penjing.engine.prompt import PromptReader
from penjing.errors import BadQuantity
from penjing.tasks.problem import Split
from penjing.tasks.task import Task
from penjing.tasks.traces import Noise
from penjing.train.algorithm import adapter_of
from penjing.train.contents import Recipe
from penjing.train.footprint import Batch
from penjing.train.forecast import Work
from penjing.train.models import PROMPT_ROOM, Held
from penjing.train.scores import Document
from penjing.train.stages import (
    AnyStage,
    DistilStage,
    Evaluation,
    Finetune,
    Pretrain,
    ReinforceStage,
    Reject,
)
from penjing.train.texts import TraceBatches, read_documents

_SAMPLED = 64  # problems whose lengths stand for all
_YIELD = 0.75  # of the problems of a rejection that leave rows


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Tokens of a task's prompts."""

    mean: float
    longest: int


def prompts_of(held: Held, task: Task, split: Split = Split.TRAIN) -> Prompts:
    read = PromptReader(held.tokenizer, held.decoder.config.vocab_size)
    try:
        problems = task.problems(split, seed=0, size=_SAMPLED)
    except BadQuantity:  # fewer than that, all told
        problems = task.problems(split, seed=0, size=1)
    lengths = [len(read.ids(task.prompt(problem))) for problem in problems]
    return Prompts(mean=fmean(lengths), longest=max(lengths))


def work_of(recipe: Recipe, stage: AnyStage, held: Held, task: Callable[[str], Task]) -> Work:
    """Of the stage itself, without its evaluation."""
    match stage:
        case Pretrain():
            return _pretrain(stage, held, task(stage.task))
        case Finetune():
            return _finetune(recipe, stage, held, task)
        case ReinforceStage() | DistilStage():
            return _reinforce(stage, prompts_of(held, task(stage.task)))
        case Reject():
            return _reject(stage, prompts_of(held, task(stage.task)))
        case _:
            assert_never(stage)


def evaluation_work(evaluation: Evaluation, held: Held, task: Callable[[str], Task]) -> Work:
    """Of all its tasks."""
    names = (evaluation.task, *evaluation.others)
    prompts = [prompts_of(held, task(name), Split.HELD_OUT) for name in names]
    response = mean_tokens(evaluation)
    return Work(
        generated=len(names) * evaluation.problems * evaluation.samples * response,
        prompt=fmean(one.mean for one in prompts),
        response=response,
        length=PROMPT_ROOM + evaluation.max_tokens,
    )


def mean_tokens(part: ReinforceStage | DistilStage | Reject | Evaluation) -> float:
    """What the recipe expects of a response, or half of the most that it may have."""
    return part.mean_tokens or part.max_tokens / 2


def _pretrain(stage: Pretrain, held: Held, task: Task) -> Work:
    noise = Noise(direct=stage.direct, slips=stage.slips)
    documents = TraceBatches(held, task, noise, stage.batch, 0)(0)
    tokens = sum(len(one.ids) for one in documents)
    learnt = sum(one.num_learnt for one in documents)
    longest = max(len(one.ids) for one in documents)
    share = min(1.0, stage.max_tokens_a_pass / tokens)
    return Work(
        learnt_from=stage.steps * tokens,
        prompt=(tokens - learnt) / len(documents),
        response=learnt / len(documents),
        recompute=stage.recompute,
        adapter=adapter_of(stage),
        numerics=stage.numerics,
        batch=Batch(tokens=round(tokens * share), learnt=round(learnt * share), longest=longest),
    )


def _finetune(recipe: Recipe, stage: Finetune, held: Held, task: Callable[[str], Task]) -> Work:
    """On what rejections will leave, as nobody has counted it yet; on files as they are."""
    sources = {one.name: one for one in recipe.stages if isinstance(one, Reject)}
    rows = prompt = response = longest = 0.0
    for name in stage.data:
        source = sources.get(name)
        if source is None:
            documents = read_documents(held, [Path(name)])
            rows += len(documents)
            response += sum(one.num_learnt for one in documents)
            prompt += sum(len(one.ids) - one.num_learnt for one in documents)
            longest = max(longest, *(len(one.ids) for one in documents))
            continue
        kept = source.problems * source.keep * _YIELD
        prompts = prompts_of(held, task(source.task))
        rows += kept
        prompt += kept * prompts.mean
        response += kept * mean_tokens(source)
        longest = max(longest, prompts.longest + source.max_tokens)
    rows = rows or 1.0
    batch_tokens = stage.batch * (prompt + response) / rows
    share = min(1.0, stage.max_tokens_a_pass / max(batch_tokens, 1.0))
    return Work(
        learnt_from=stage.epochs * (prompt + response),
        prompt=prompt / rows,
        response=response / rows,
        recompute=stage.recompute,
        adapter=adapter_of(stage),
        numerics=stage.numerics,
        batch=Batch(
            tokens=round(batch_tokens * share),
            learnt=round(stage.batch * response / rows * share),
            longest=round(longest),
        ),
    )


def _reinforce(stage: ReinforceStage | DistilStage, prompts: Prompts) -> Work:
    """A group's prompt goes through an update once, whatever its size."""
    samples, response = stage.problems * stage.group_size, mean_tokens(stage)
    updated = stage.problems * prompts.mean + samples * response
    whole = prompts.longest + stage.max_tokens
    count = max(1, min(samples, stage.max_tokens_a_pass // whole))
    groups = -(-count // stage.group_size)
    return Work(
        generated=stage.steps * samples * response,
        learnt_from=stage.steps * updated,
        prompt=prompts.mean,
        response=response,
        length=PROMPT_ROOM + stage.max_tokens,
        recompute=stage.recompute,
        adapter=adapter_of(stage),
        numerics=stage.numerics,
        batch=Batch(
            tokens=count * stage.max_tokens + groups * prompts.longest,
            learnt=count * stage.max_tokens,
            longest=whole,
        ),
        has_reference=isinstance(stage, DistilStage) or stage.kl > 0,
    )


def _reject(stage: Reject, prompts: Prompts) -> Work:
    response = mean_tokens(stage)
    return Work(
        generated=stage.problems * stage.samples * response,
        prompt=prompts.mean,
        response=response,
        length=PROMPT_ROOM + stage.max_tokens,
    )


def worst_case(batch: Batch, most: int) -> list[Document]:
    """Documents that fill a piece: each of the longest, its learnt part at the end."""
    longest = min(batch.longest, most)
    count = max(1, batch.tokens // longest)
    learnt = max(1, min(longest - 1, batch.learnt // count))
    given = longest - learnt
    flags = (False,) * given + (True,) * learnt
    return [Document(ids=(k % 7,) * longest, is_learnt=flags) for k in range(count)]
