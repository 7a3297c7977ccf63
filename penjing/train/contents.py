"""What a recipe contains, beside its stages."""

from hashlib import sha256
from typing import Any, Literal

from pydantic import Field

from penjing.train.settings import Setting
from penjing.train.stages import AnyStage, Evaluation, Stage, Strict, Until

ThinkTokens = Literal["need", "add", "spell"]


class TaskChoice(Strict):
    """One of the catalogue by ``name``, or a ``mixture`` of others of the recipe by weights.

    ``options`` are for families of reasoning_gym; ``style`` None is the task's own template.
    """

    name: str = ""
    mixture: dict[str, int] = Field({})
    data: str | None = None
    judge: str | None = None
    options: dict[str, Any] = Field({})
    style: Literal["r1", "r1_zero", "plain"] | None = None


class ModelChoice(Strict):
    """A new model: its config.json as a table, and the folder of its tokenizer."""

    config: dict[str, Any]
    tokenizer: str


class CheckpointChoice(Strict):
    """One that others trained: a folder, or owner/name on the Hugging Face hub.

    ``think_tokens``, where its tokenizer has no single ``<think>`` and ``</think>``: ``need``
    refuses it, ``add`` makes them of two spare rows, ``spell`` leaves tags to be spelled out.
    """

    source: str
    think_tokens: ThinkTokens = Field("need", description="thinking is then told by ids")


class Recipe(Strict):
    """``text`` is the file as it was given, with ``settings`` behind it."""

    name: str
    about: str = ""
    seed: int = Field(0, description="as good as any")
    tasks: dict[str, TaskChoice]
    models: dict[str, ModelChoice] = Field({})
    checkpoints: dict[str, CheckpointChoice] = Field({})
    evaluation: Evaluation | None = None
    stages: list[Stage] = Field(min_length=1)
    settings: list[Setting] = Field([])
    text: str = ""

    @property
    def digest(self) -> str:
        return sha256(self.text.encode()).hexdigest()

    def evaluation_of(self, stage: AnyStage) -> Evaluation | None:
        """Its own, or else the recipe's."""
        return getattr(stage, "evaluation", None) or self.evaluation

    def until_of(self, stage: AnyStage) -> Until | None:
        """With its ``task`` and ``max_tokens`` filled in."""
        until: Until | None = getattr(stage, "until", None)
        if until is None:
            return None
        asked = self.evaluation_of(stage)
        task = until.task or getattr(stage, "task", None) or (asked and asked.task)
        most = until.max_tokens or getattr(stage, "max_tokens", None)
        most = most or (asked and asked.max_tokens)
        return until.model_copy(update={"task": task, "max_tokens": most})
