"""A recipe from its first stage to its last, and on from wherever it was stopped.

A stage that is done has a ``done.json``; one that was stopped goes on from its last snapshot, to
the same weights. Every stage leaves a checkpoint in Hugging Face format, or data for the next.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, assert_never

from penjing import __version__
from penjing.engine.sampling import Sampling
from penjing.errors import BadFile, Contradiction, RequestError
from penjing.evaluate.generator import sample_seed
from penjing.evaluate.local import LocalGenerator
from penjing.evaluate.measures import measure
from penjing.evaluate.run import Progress, evaluate
from penjing.evaluate.sample import Sample
from penjing.evaluate.store import Store
from penjing.models.saving import save_checkpoint
from penjing.tasks.catalogue import FAMILY, load_task
from penjing.tasks.mixture import Part, mixture
from penjing.tasks.problem import Problem, Split
from penjing.tasks.reward import RewardConfig
from penjing.tasks.task import Task
from penjing.tasks.template import Style, Template
from penjing.tasks.traces import Noise
from penjing.train.clip import Ppo
from penjing.train.collect import CollectConfig, Collector
from penjing.train.fit import Fit
from penjing.train.learner import Learner
from penjing.train.loop import Loop, Stepped, peak_bytes
from penjing.train.models import Held, new_model, stored_model
from penjing.train.optimizer import AdamW, Optimizer
from penjing.train.policy_loss import PolicyLoss
from penjing.train.recipe import Finetune, Pretrain, Recipe, ReinforceStage, Reject, TaskChoice
from penjing.train.record import Facts
from penjing.train.reinforce import Reinforce, ReinforceConfig
from penjing.train.reject import kept, write_rows
from penjing.train.schedule import Schedule
from penjing.train.stream import ProblemStream
from penjing.train.texts import DataBatches, TraceBatches, read_documents

Trained = Pretrain | Finetune | ReinforceStage
AnyStage = Trained | Reject
PROMPT_ROOM = 512  # tokens of a prompt that an engine of a stage leaves room for


@dataclass
class Journey:
    """``folder`` is the run's. ``show`` hears each step, ``tell`` what matters beside them."""

    recipe: Recipe
    folder: Path
    seed: int
    show: Callable[[str, Facts, int], None] = lambda stage, facts, num_steps: None
    tell: Callable[[str], None] = lambda text: None
    is_stopping: Callable[[], bool] = lambda: False

    def run(self) -> list[Mapping[str, Any]]:
        """What ``done.json`` of each stage says. Raises ``Interrupted`` when it was stopped."""
        self._claim()
        return [self._stage(stage) for stage in self.recipe.stages]

    def _claim(self) -> None:
        """The folder is this recipe's, with this seed."""
        facts = {
            "penjing": __version__,
            "recipe": self.recipe.name,
            "seed": self.seed,
            "recipe_sha256": self.recipe.digest,
            "stages": [
                {"name": s.name, "kind": s.kind, "start": s.start} for s in self.recipe.stages
            ],
        }
        path = self.folder / "run.json"
        if path.exists():
            before = _read(path)
            for name in ("recipe_sha256", "seed"):
                if before.get(name) != facts[name]:
                    raise Contradiction(
                        f"{self.folder} is a run with another {name.partition('_')[0]}; give "
                        "another folder, or the recipe and seed that it began with"
                    )
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "recipe.toml").write_text(self.recipe.text, encoding="utf-8")
        except OSError as error:
            raise BadFile(f"{self.folder} cannot be written: {error.strerror}") from None
        _write(path, facts)

    def _stage(self, stage: AnyStage) -> Mapping[str, Any]:
        folder = self.folder / stage.name
        done = folder / "done.json"
        if done.exists():
            return _read(done)
        folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        held = self._start(stage)
        match stage:
            case Reject():
                facts = self._reject(stage, held, folder)
            case Pretrain() | Finetune() | ReinforceStage():
                facts = self._train(stage, held, folder)
            case _:
                assert_never(stage)
        facts = {
            "stage": stage.name,
            "kind": stage.kind,
            **facts,
            "wall_s": time.perf_counter() - began,
            "peak_bytes": peak_bytes(),
            "predicted": None,
        }
        _write(done, facts)
        return _read(done)

    def _start(self, stage: AnyStage) -> Held:
        choice = self.recipe.models.get(stage.start)
        if choice is not None:
            seed = sample_seed(self.seed, stage.start, 0) % (1 << 31)
            return new_model(stage.start, choice, self.folder / "models" / stage.start, seed)
        own = self.folder / stage.start / "checkpoint"
        return stored_model(str(own) if own.is_dir() else stage.start)

    def _train(self, stage: Trained, held: Held, folder: Path) -> dict[str, Any]:
        loop = Loop(
            folder=folder,
            snapshot_every=stage.snapshot_every,
            show=lambda facts, num_steps: self.show(stage.name, facts, num_steps),
            tell=self.tell,
            is_stopping=self.is_stopping,
        )
        loop.run(self._work(stage, held))
        checkpoint = folder / "checkpoint"
        save_checkpoint(checkpoint, held.decoder, held.decoder.config, held.source)
        return {"weights_sha256": _digest(checkpoint), **self._evaluation(stage.name, held, folder)}

    def _work(self, stage: Trained, held: Held) -> Stepped:
        learner = _learner(stage, held)
        seed = sample_seed(self.seed, stage.name, 0)
        schedule = Schedule(
            peak=stage.learning_rate, shape=stage.shape, warmup_steps=stage.warmup_steps
        )
        match stage:
            case Pretrain():
                noise = Noise(direct=stage.direct, slips=stage.slips)
                batches = TraceBatches(held, self._task(stage.task), noise, stage.batch, seed)
                return Fit(learner, batches, schedule, stage.steps)
            case Finetune():
                documents = read_documents(held, [self._data(name) for name in stage.data])
                data = DataBatches(documents, stage.batch, seed)
                return Fit(learner, data, schedule, stage.epochs * data.steps_an_epoch)
            case ReinforceStage():
                return self._reinforce(stage, held, learner, schedule, seed)
            case _:
                assert_never(stage)

    def _reinforce(
        self, stage: ReinforceStage, held: Held, learner: Learner, schedule: Schedule, seed: int
    ) -> Reinforce:
        task = self._task(stage.task)
        sampling = Sampling(temperature=stage.temperature, max_tokens=stage.max_tokens)
        collector = Collector(
            engine=held.engine(stage.max_tokens + PROMPT_ROOM),
            task=task,
            problems=ProblemStream(task, seed).take,
            reward=RewardConfig(weights=stage.rewards),
            config=CollectConfig(
                problems=stage.problems,
                group_size=stage.group_size,
                sampling=sampling,
                refills=stage.refills,
            ),
            seed=seed,
        )
        config = ReinforceConfig(
            loss=PolicyLoss(clip=Ppo(low=stage.clip_low, high=stage.clip_high), kl=stage.kl),
            advantage=stage.advantage,
            aggregation=stage.aggregation,
            minibatches=stage.minibatches,
            masks_truncated=stage.masks_truncated,
            reference_every=stage.reference_every,
        )
        reference = _learner(stage, self._start(stage)) if stage.kl else None
        return Reinforce(
            collector, learner, config, schedule, stage.steps, seed, reference=reference
        )

    def _reject(self, stage: Reject, held: Held, folder: Path) -> dict[str, Any]:
        task = self._task(stage.task)
        seed = sample_seed(self.seed, stage.name, 0)
        problems = ProblemStream(task, seed).take(0, stage.problems)
        sampling = Sampling(temperature=stage.temperature, max_tokens=stage.max_tokens)
        samples = self._samples(
            f"{stage.name}: sampling",
            held,
            folder / "samples",
            task,
            problems,
            sampling,
            stage.samples,
        )
        by_id = {problem.id: problem for problem in problems}
        rows = kept(task, samples, by_id, stage.keep, must_think=stage.must_think)
        if not rows:
            raise RequestError(
                f"stage {stage.name}: none of {len(samples)} samples is right and well formed; "
                "start from a better model, or take more samples"
            )
        write_rows(folder / "data.jsonl", rows)
        return {"rows": len(rows), "measures": measure(samples).to_json()}

    def _evaluation(self, name: str, held: Held, folder: Path) -> dict[str, Any]:
        """``measures`` of the task, and of each other beside it in ``others``."""
        asked = self.recipe.evaluation
        if asked is None:
            return {"measures": None}
        found = {}
        for task_name in (asked.task, *asked.others):
            task = self._task(task_name)
            samples = self._samples(
                f"{name}: evaluating {task_name}",
                held,
                folder / ("evaluation" if task_name == asked.task else f"evaluation_{task_name}"),
                task,
                task.problems(Split.HELD_OUT, seed=0, size=asked.problems),
                Sampling(temperature=asked.temperature, max_tokens=asked.max_tokens),
                asked.samples,
            )
            found[task_name] = measure(samples).to_json()
        return {"measures": found.pop(asked.task), "others": found}

    def _samples(
        self,
        what: str,
        held: Held,
        folder: Path,
        task: Task,
        problems: Sequence[Problem],
        sampling: Sampling,
        count: int,
    ) -> list[Sample]:
        engine = held.engine((sampling.max_tokens or 0) + PROMPT_ROOM)
        generator = LocalGenerator(engine=engine, task=task, sampling=sampling)

        def show(progress: Progress) -> None:
            facts = {"step": progress.num_done - 1, "right": progress.num_correct}
            self.show(what, facts, progress.num_all)

        settings = {"recipe_sha256": self.recipe.digest, "task": task.name, "seed": self.seed}
        with Store(folder, settings) as store:
            missing = evaluate(
                task, problems, generator, store, samples=count, seed=self.seed, show=show
            )
            if missing:
                raise RequestError(f"{what}: {len(missing)} failed: {missing[0].reason}")
            order = {problem.id: place for place, problem in enumerate(problems)}
            return sorted(store.samples, key=lambda s: (order[s.problem], s.index))

    def _task(self, name: str) -> Task:
        choice = self.recipe.tasks[name]
        if not choice.mixture:
            return made_task(choice)
        parts = [Part(task=self._task(n), weight=w) for n, w in choice.mixture.items()]
        return mixture(name, parts)

    def _data(self, name: str) -> Path:
        own = self.folder / name / "data.jsonl"
        return own if own.is_file() else Path(name)


def made_task(choice: TaskChoice) -> Task:
    """Raises what the task's reader raises."""
    if choice.options:
        if not choice.name.startswith(FAMILY):
            raise BadFile(f"the task {choice.name} takes no options; families of reasoning_gym do")
        from penjing.tasks.reasoning_gym_tasks import reasoning_gym  # takes a second to import

        task = reasoning_gym(choice.name.removeprefix(FAMILY), choice.options)
    else:
        task = load_task(choice.name, choice.data, choice.judge)
    if choice.style is None:
        return task
    answer_format = task.template.answer_format
    return replace(task, template=Template(style=Style(choice.style), answer_format=answer_format))


def _learner(stage: Trained, held: Held) -> Learner:
    config = AdamW(
        beta1=0.9, beta2=stage.beta2, weight_decay=stage.weight_decay, max_norm=stage.max_norm
    )
    optimizer = Optimizer(dict(held.decoder.named_parameters()), config)
    return Learner(held.decoder, optimizer, stage.max_tokens_a_pass, balance=stage.balance)


def _digest(checkpoint: Path) -> str:
    found = sha256()
    for file in sorted(checkpoint.glob("*.safetensors")):
        found.update(file.read_bytes())
    return found.hexdigest()


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} cannot be read: {' '.join(str(error).split())}") from None


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(facts, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
