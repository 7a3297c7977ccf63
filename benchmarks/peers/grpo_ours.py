"""Our side of grpo.py: Collector, Reinforce and Learner on one decoder, as in a recipe's stage.

python grpo_ours.py SETUP.json
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from grpo_step import Meter, is_right, read_setup, say

from penjing import __version__
from penjing.engine.engine import Engine
from penjing.engine.load import plan_for, read_dtype, read_tokenizer
from penjing.engine.memory import Limits
from penjing.engine.prompt import Prompt
from penjing.engine.sampling import Sampling
from penjing.models.checkpoint import load_weights, stored_config
from penjing.models.decoder import Decoder
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.reward import RewardConfig
from penjing.tasks.source import FileSource
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template
from penjing.train.advantage import Advantage
from penjing.train.aggregation import Aggregation
from penjing.train.collect import CollectConfig, Collected, Collector
from penjing.train.learner import Learner
from penjing.train.models import MAX_BATCH_TOKENS, MAX_SEQUENCES
from penjing.train.optimizer import AdamW, Optimizer
from penjing.train.policy_loss import PolicyLoss
from penjing.train.reinforce import Reinforce, ReinforceConfig
from penjing.train.schedule import Schedule

PROMPT_ROOM = 128


class Ending(Engine):
    """Ends each answer where ``lengths`` says, as an end token would."""

    lengths: Iterator[Sequence[int]]

    def add(self, prompt: Prompt, sampling: Sampling | None = None, **variables: object) -> int:
        key = super().add(prompt, sampling, **variables)
        for sample, length in zip(self._requests[key].samples, next(self.lengths), strict=True):
            sample.limit = length
        return key


@dataclass(frozen=True, kw_only=True)
class Metered(Collector):
    meter: Meter = field(default_factory=Meter)

    def collect(self, first: int) -> Collected:
        with self.meter.on("rollout"):
            return super().collect(first)


def main() -> None:
    setup = read_setup(sys.argv[1])
    torch.set_num_threads(setup["threads"])
    engine = engine_of(setup)
    engine.lengths = iter([group for step in setup["lengths"] for group in step])
    meter = Meter()
    work = reinforce(engine, setup, meter)
    work.step(0)
    with meter.on("step"):
        facts = work.step(1)
    lengths = [n for group in setup["lengths"][1] for n in group]
    assert facts["tokens"] == sum(lengths)
    say(f"penjing {__version__}", meter, lengths)


def engine_of(setup: dict) -> Ending:
    folder = Path(setup["model"])
    config = stored_config(folder)
    decoder = Decoder(config, dtype=read_dtype(setup["dtype"]))
    load_weights(folder, decoder, config)
    like = decoder.embedding
    limits = Limits(
        max_length=setup["longest"] + PROMPT_ROOM,
        max_sequences=min(MAX_SEQUENCES, len(setup["prompts"][1]) * setup["group_size"]),
        max_batch_tokens=MAX_BATCH_TOKENS,
    )
    plan = plan_for(config, like.dtype, like.device, limits, weights_held=True)
    return Ending(decoder, tokenizer=read_tokenizer(folder, config), plan=plan)


def reinforce(engine: Engine, setup: dict, meter: Meter) -> Reinforce:
    prompts = [text for step in setup["prompts"] for text in step]
    problems = [
        Problem(id=str(i), prompt=text, reference="", split=Split.TRAIN)
        for i, text in enumerate(prompts)
    ]
    collector = Metered(
        engine=engine,
        task=task_of(problems),
        problems=lambda first, count: problems[first : first + count],
        reward=RewardConfig(weights={"accuracy": 1.0}),
        config=CollectConfig(
            problems=len(prompts) // 2,
            group_size=setup["group_size"],
            sampling=Sampling(max_tokens=setup["longest"], ignore_eos=True),
        ),
        seed=0,
        meter=meter,
    )
    optimizer = Optimizer(dict(engine.decoder.named_parameters()), AdamW())
    config = ReinforceConfig(
        loss=PolicyLoss(), advantage=Advantage.GRPO, aggregation=Aggregation.SEQUENCE
    )
    learner = Learner(engine.decoder, optimizer, setup["our_tokens"], recompute=setup["recomputes"])
    return Reinforce(collector, learner, config, Schedule(peak=setup["rate"]), 2, seed=0)


def task_of(problems: Sequence[Problem]) -> Task:
    return Task(
        name="even",
        source=FileSource(problems),
        judge=judge,
        template=Template(style=Style.PLAIN, answer_format=AnswerFormat.BOXED),
    )


def judge(problem: Problem, response: str) -> Grade:
    verdict = Verdict.CORRECT if is_right(response) else Verdict.WRONG
    return Grade(verdict=verdict, reason="counted")


if __name__ == "__main__":
    main()
