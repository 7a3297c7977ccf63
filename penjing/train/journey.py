"""A recipe from its first stage to its last, and on from wherever it was stopped.

A stage that is done has a ``done.json``; one that was stopped goes on from its last snapshot, to
the same weights. Every stage leaves a checkpoint in Hugging Face format, or data for the next.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, assert_never

import torch

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
from penjing.tasks.rows import read_rows
from penjing.tasks.task import Task
from penjing.tasks.template import Style, Template
from penjing.train.accuracy import sampled_accuracy
from penjing.train.adapter_files import save_adapter
from penjing.train.algorithm import sampling_of
from penjing.train.board import event_files
from penjing.train.contents import Recipe, TaskChoice, ThinkTokens
from penjing.train.explain import explained
from penjing.train.forecast import recomputes
from penjing.train.loop import Loop, forget_peak, peak_bytes
from penjing.train.lora import LoraOptimizer
from penjing.train.models import PROMPT_ROOM, Held, new_model, stored_model
from penjing.train.recipe_plan import plan_recipe, require_trainable, root_of
from penjing.train.record import Facts
from penjing.train.reject import kept, write_rows
from penjing.train.stages import (
    AnyStage,
    DistilStage,
    Dtype,
    Finetune,
    Pretrain,
    ReinforceStage,
    Reject,
    Trained,
)
from penjing.train.stream import ProblemStream
from penjing.train.workload import work_of, worst_case
from penjing.train.works import Workshop

_DTYPES = {Dtype.FP32: torch.float32, Dtype.BF16: torch.bfloat16}


@dataclass
class Journey:
    """``folder`` is the run's. ``show`` hears each step, ``tell`` what matters beside them.

    ``planned`` hears the plan, before anything runs.
    """

    recipe: Recipe
    folder: Path
    seed: int
    show: Callable[[str, Facts, int], None] = lambda stage, facts, num_steps: None
    tell: Callable[[str], None] = lambda text: None
    is_stopping: Callable[[], bool] = lambda: False
    planned: Callable[[Sequence[Mapping[str, Any]]], None] = lambda stages: None

    def run(self) -> list[Mapping[str, Any]]:
        """What ``done.json`` of each stage says. Raises ``Interrupted`` when it was stopped."""
        self._require_ours()
        self._require_data()
        is_begun = (self.folder / "run.json").exists()
        stages = _read(self.folder / "plan.json")["stages"] if is_begun else self.plan()
        if not is_begun:
            self._claim(stages)
        self.planned(stages)
        predicted = {one["stage"]: one for one in stages}
        return [self._stage(stage, predicted[stage.name]) for stage in self.recipe.stages]

    def plan(self) -> list[Mapping[str, Any]]:
        """What each stage will take; raises ``DoesNotFit``."""
        require_trainable(self.recipe)
        forget_peak()
        with TemporaryDirectory() as scratch:

            def fresh(name: str, dtype: Dtype) -> Held:
                return self._model(name, Path(scratch), _DTYPES[dtype])

            found = plan_recipe(self.recipe, fresh, self._task)
        return [{"stage": one.stage, **one.to_json()} for one in found]

    def _require_ours(self) -> None:
        """A folder that has a run has one of this recipe, with this seed."""
        path = self.folder / "run.json"
        before = _read(path) if path.exists() else None
        for name, own in (("recipe_sha256", self.recipe.digest), ("seed", self.seed)):
            if before is not None and before.get(name) != own:
                raise Contradiction(
                    f"{self.folder} is a run with another {name.partition('_')[0]}; give another "
                    "folder, or the recipe and seed that it began with"
                )

    def _require_data(self) -> None:
        """Files that a later stage needs are read now: days later is too late for an error."""
        for stage in self.recipe.stages:
            for name in getattr(stage, "data", ()):
                if name.endswith(".jsonl"):
                    read_rows(Path(name), ("prompt", "response"))

    def _claim(self, plan: Sequence[Mapping[str, Any]]) -> None:
        """From now on there is a run here."""
        facts = {
            "penjing": __version__,
            "recipe": self.recipe.name,
            "seed": self.seed,
            "recipe_sha256": self.recipe.digest,
            "stages": [
                {"name": s.name, "kind": s.kind, "start": s.start} for s in self.recipe.stages
            ],
            "explained": [one.to_json() for one in explained(self.recipe, self.seed)],
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "recipe.toml").write_text(self.recipe.text, encoding="utf-8")
        except OSError as error:
            raise BadFile(f"{self.folder} cannot be written: {error.strerror}") from None
        _write(self.folder / "plan.json", {"stages": list(plan)})
        _write(self.folder / "run.json", facts)

    def _stage(self, stage: AnyStage, predicted: Mapping[str, Any]) -> Mapping[str, Any]:
        folder = self.folder / stage.name
        done = folder / "done.json"
        if done.exists():
            return _read(done)
        folder.mkdir(parents=True, exist_ok=True)
        forget_peak()
        began = time.perf_counter()
        held = self._begun(stage.start, stage)
        match stage:
            case Reject():
                facts = self._reject(stage, held, folder)
            case Pretrain() | Finetune() | ReinforceStage() | DistilStage():
                facts = self._train(stage, held, folder)
            case _:
                assert_never(stage)
        facts = {
            "stage": stage.name,
            "kind": stage.kind,
            **facts,
            "wall_s": time.perf_counter() - began,
            "peak_bytes": peak_bytes(),
            "predicted": {name: predicted[name] for name in ("seconds", "bytes")},
        }
        _write(done, facts)
        return _read(done)

    def _begun(self, name: str, stage: AnyStage) -> Held:
        """What a stage left, or a model as no stage has touched it; in the dtype of ``stage``."""
        dtype = _DTYPES[stage.dtype] if isinstance(stage, Trained) else torch.float32
        own = self.folder / name / "checkpoint"
        if own.is_dir():
            return stored_model(str(own), dtype, think_tokens=self._tags(name))
        return self._model(name, self.folder / "models", dtype)

    def _model(self, name: str, folder: Path, dtype: torch.dtype = torch.float32) -> Held:
        """New, or a checkpoint of others."""
        choice = self.recipe.models.get(name)
        if choice is not None:
            seed = sample_seed(self.seed, name, 0) % (1 << 31)
            return new_model(name, choice, folder / name, seed, dtype)
        known = self.recipe.checkpoints.get(name)
        source = name if known is None else known.source
        tags = self._tags(name)
        return stored_model(source, dtype, think_tokens=tags, scratch=folder / name)

    def _tags(self, name: str) -> ThinkTokens:
        known = self.recipe.checkpoints.get(root_of(self.recipe, name))
        return "need" if known is None else known.think_tokens

    def _train(self, stage: Trained, held: Held, folder: Path) -> dict[str, Any]:
        loop = Loop(
            folder=folder,
            snapshot_every=stage.snapshot_every,
            show=lambda facts, num_steps: self.show(stage.name, facts, num_steps),
            tell=self.tell,
            is_stopping=self.is_stopping,
            watch=stage.watch,
            boards=lambda first: [event_files(folder / "events", first)],
            is_enough=self._until(stage, held),
        )
        work = self._workshop.work(stage, held)
        asked = work_of(self.recipe, stage, held, self._task)
        work.learner.recompute = recomputes(asked, held)
        assert asked.batch is not None, "what is trained has one"
        worst = worst_case(asked.batch, held.decoder.config.max_positions)
        loop.prepare = partial(work.learner.rehearse, worst)
        loop.run(work)
        if isinstance(work.learner.optimizer, LoraOptimizer):
            save_adapter(folder / "adapter", work.learner.optimizer, str(held.source))
        del work  # and with it gradients and moments, before the evaluation
        checkpoint = folder / "checkpoint"
        save_checkpoint(checkpoint, held.decoder, held.decoder.config, held.source)
        return {"weights_sha256": _digest(checkpoint), **self._evaluation(stage, held, folder)}

    @property
    def _workshop(self) -> Workshop:
        return Workshop(seed=self.seed, task=self._task, data=self._data, begun=self._begun)

    def _until(self, stage: Trained, held: Held) -> Callable[[int], bool]:
        """Whether what the stage is trained for is reached, asked after each step."""
        until = self.recipe.until_of(stage)
        if until is None:
            return lambda step: False
        assert until.task is not None, "checked with the recipe"
        task = self._task(until.task)
        problems = task.problems(Split.HELD_OUT, seed=1, size=until.problems)
        sampling = Sampling(temperature=until.temperature, max_tokens=until.max_tokens)

        def is_enough(step: int) -> bool:
            if step % until.every:
                return False
            engine = held.engine((until.max_tokens or 0) + PROMPT_ROOM, stage.numerics)
            generator = LocalGenerator(engine=engine, task=task, sampling=sampling)
            right = sampled_accuracy(task, problems, generator, self.seed)
            self.tell(f"{stage.name}: {right:.1%} right after {step} steps")
            return right >= until.accuracy

        return is_enough

    def _reject(self, stage: Reject, held: Held, folder: Path) -> dict[str, Any]:
        task = self._task(stage.task)
        seed = sample_seed(self.seed, stage.name, 0)
        problems = ProblemStream(task, seed).different(stage.problems)
        sampling = sampling_of(stage)
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

    def _evaluation(self, stage: Trained, held: Held, folder: Path) -> dict[str, Any]:
        """``measures`` of the task, and of each other beside it in ``others``."""
        name, asked = stage.name, self.recipe.evaluation_of(stage)
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
                Sampling(
                    temperature=asked.temperature, top_p=asked.top_p, max_tokens=asked.max_tokens
                ),
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
