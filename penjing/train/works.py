"""What a stage does, put together from its keys: a fit, a reinforcement, a distillation."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from penjing.evaluate.generator import sample_seed
from penjing.tasks.task import Task
from penjing.tasks.traces import Noise
from penjing.train.algorithm import (
    adam_of,
    adapter_of,
    distil_config_of,
    reinforce_config_of,
    reward_config_of,
    sampling_of,
    schedule_of,
)
from penjing.train.collect import CollectConfig, Collector
from penjing.train.distil import Distil, check_same_ids
from penjing.train.fit import Fit
from penjing.train.learner import Learner
from penjing.train.lora import LoraOptimizer
from penjing.train.models import PROMPT_ROOM, Held
from penjing.train.optimizer import Optimizer
from penjing.train.reinforce import Reinforce
from penjing.train.stages import DistilStage, Finetune, Pretrain, ReinforceStage, Trained
from penjing.train.stream import ProblemStream
from penjing.train.texts import DataBatches, TraceBatches, read_documents

Work = Fit | Reinforce | Distil


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """``begun`` gives what a stage left, or a model, by its name and for a stage."""

    seed: int
    task: Callable[[str], Task]
    data: Callable[[str], Path]
    begun: Callable[[str, Trained], Held]

    def work(self, stage: Trained, held: Held) -> Work:
        seed = sample_seed(self.seed, stage.name, 0)
        learner, schedule = learner_of(stage, held, seed), schedule_of(stage)
        match stage:
            case Pretrain():
                noise = Noise(direct=stage.direct, slips=stage.slips)
                batches = TraceBatches(held, self.task(stage.task), noise, stage.batch, seed)
                return Fit(learner, batches, schedule, stage.steps)
            case Finetune():
                documents = read_documents(held, [self.data(name) for name in stage.data])
                data = DataBatches(documents, stage.batch, seed)
                return Fit(learner, data, schedule, stage.epochs * data.steps_an_epoch)
            case ReinforceStage():
                return Reinforce(
                    self._collector(stage, held, seed),
                    learner,
                    reinforce_config_of(stage),
                    schedule,
                    stage.steps,
                    seed,
                    reference=self._reference(stage, seed),
                )
            case DistilStage():
                teacher = self.begun(stage.teacher, stage)
                check_same_ids(held.tokenizer, teacher.tokenizer)
                return Distil(
                    self._collector(stage, held, seed),
                    learner,
                    learner_of(stage, teacher, seed, reads=True),
                    distil_config_of(stage),
                    schedule,
                    stage.steps,
                    seed,
                )
            case _:
                assert_never(stage)

    def _reference(self, stage: ReinforceStage, seed: int) -> Learner | None:
        if not stage.kl:
            return None
        return learner_of(stage, self.begun(stage.start, stage), seed, reads=True)

    def _collector(self, stage: ReinforceStage | DistilStage, held: Held, seed: int) -> Collector:
        task = self.task(stage.task)
        refills = stage.refills if isinstance(stage, ReinforceStage) else 0
        return Collector(
            engine=held.engine(stage.max_tokens + PROMPT_ROOM, stage.numerics),
            task=task,
            problems=ProblemStream(task, seed).take,
            reward=reward_config_of(stage),
            config=CollectConfig(
                problems=stage.problems,
                group_size=stage.group_size,
                sampling=sampling_of(stage),
                refills=refills,
            ),
            seed=seed,
        )


def learner_of(stage: Trained, held: Held, seed: int, *, reads: bool = False) -> Learner:
    """``reads``: one that only scores, whose weights nobody changes."""
    adam, adapter = adam_of(stage), adapter_of(stage)
    optimizer: Optimizer | LoraOptimizer
    if adapter is None or reads:
        optimizer = Optimizer({} if reads else dict(held.decoder.named_parameters()), adam)
    else:
        optimizer = LoraOptimizer(held.decoder, adapter, adam, seed)
    return Learner(
        held.decoder,
        optimizer,
        stage.max_tokens_a_pass,
        balance=0.0 if adapter else stage.balance,  # no adapter's file could carry the biases
        numerics=stage.numerics,
    )
