"""A recipe: stages of training in a TOML file, each with its data, its algorithm and its figures.

Every key is checked before anything runs; an unknown one is refused, with the nearest known.
"""

import tomllib
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penjing.errors import BadFile, UnknownName, nearest_names
from penjing.train.advantage import Advantage
from penjing.train.aggregation import Aggregation
from penjing.train.schedule import Shape

_RECIPES = files("penjing.train") / "recipes"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskChoice(_Strict):
    """One of the catalogue by ``name``, or a ``mixture`` of others of the recipe by weights.

    ``options`` are for families of reasoning_gym; ``style`` None is the task's own template.
    """

    name: str = ""
    mixture: dict[str, int] = {}
    data: str | None = None
    judge: str | None = None
    options: dict[str, Any] = {}
    style: Literal["r1", "r1_zero", "plain"] | None = None


class ModelChoice(_Strict):
    """A new model: its config.json as a table, and the folder of its tokenizer."""

    config: dict[str, Any]
    tokenizer: str


class Evaluation(_Strict):
    """After each stage, on held-out problems; ``others`` are measured beside the task."""

    task: str
    others: list[str] = []
    problems: int = Field(ge=1)
    samples: int = Field(ge=1)
    max_tokens: int = Field(ge=1)
    temperature: float = Field(default=1.0, ge=0)


class _Stage(_Strict):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    start: str  # a model of the recipe, an earlier stage, or a checkpoint


class _Trained(_Stage):
    learning_rate: float
    shape: Shape = Shape.CONSTANT
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_norm: float = 1.0
    beta2: float = 0.95
    balance: float = Field(default=0.001, ge=0)  # of experts, a step: see train/balance.py
    max_tokens_a_pass: int = Field(default=8192, ge=1)
    snapshot_every: int = Field(default=20, ge=1)


class Pretrain(_Trained):
    """On traces: see ``penjing.tasks.traces``."""

    kind: Literal["pretrain"]
    task: str
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    direct: float = 0.5
    slips: float = 0.4


class Finetune(_Trained):
    """Supervised, on the data of ``reject`` stages, or on rows of prompt and response."""

    kind: Literal["sft"]
    data: list[str] = Field(min_length=1)
    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)


class ReinforceStage(_Trained):
    kind: Literal["reinforce"]
    task: str
    steps: int = Field(ge=1)
    problems: int = Field(ge=1)
    group_size: int = Field(ge=2)
    max_tokens: int = Field(ge=1)
    temperature: float = Field(default=1.0, gt=0)
    advantage: Advantage = Advantage.DR_GRPO
    aggregation: Aggregation = Aggregation.CONSTANT
    clip_low: float = 0.2
    clip_high: float = 0.28
    kl: float = 0.0
    minibatches: int = Field(default=1, ge=1)
    reference_every: int = Field(default=0, ge=0)
    refills: int = Field(default=0, ge=0)
    masks_truncated: bool = False
    rewards: dict[str, float] = {"accuracy": 1.0}


class Reject(_Stage):
    """Keeps up to ``keep`` right responses of ``samples`` to each problem, the shortest first."""

    kind: Literal["reject"]
    task: str
    problems: int = Field(ge=1)
    samples: int = Field(ge=1)
    max_tokens: int = Field(ge=1)
    keep: int = Field(default=1, ge=1)
    must_think: bool = True
    temperature: float = Field(default=1.0, gt=0)


Stage = Annotated[Pretrain | Finetune | ReinforceStage | Reject, Field(discriminator="kind")]


class Recipe(_Strict):
    """``text`` is the file, as it was given."""

    name: str
    about: str = ""
    seed: int = 0
    tasks: dict[str, TaskChoice]
    models: dict[str, ModelChoice] = {}
    evaluation: Evaluation | None = None
    stages: list[Stage] = Field(min_length=1)
    text: str = ""

    @property
    def digest(self) -> str:
        return sha256(self.text.encode()).hexdigest()


def load_recipe(name_or_path: str) -> Recipe:
    """One that ships, such as ``quickstart``, or a file. Raises ``BadFile`` and ``UnknownName``."""
    path = Path(name_or_path)
    if path.suffix == ".toml":
        try:
            return read_recipe(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise BadFile(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    known = sorted(
        f.name.removesuffix(".toml") for f in _RECIPES.iterdir() if f.name.endswith(".toml")
    )
    if name_or_path not in known:
        raise UnknownName("recipe", name_or_path, known, hint="or give a file that ends in .toml")
    return read_recipe((_RECIPES / f"{name_or_path}.toml").read_text("utf-8"), name_or_path)


def read_recipe(text: str, where: str) -> Recipe:
    """Raises ``BadFile``, in one line that names the key."""
    try:
        recipe = Recipe.model_validate({**tomllib.loads(text), "text": text})
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"{where} is no TOML: {error}") from None
    except ValidationError as error:
        raise BadFile(f"{where}: {_said(error)}") from None
    for complaint in _complaints(recipe):
        raise BadFile(f"{where}: {complaint}")
    return recipe


def tokenizer_folder(named: str) -> Path:
    """A folder of one's own, or one that ships."""
    shipped = _RECIPES / named
    return Path(str(shipped)) if shipped.is_dir() else Path(named)


def _complaints(recipe: Recipe) -> Iterator[str]:
    """What names something that is not there."""
    earlier: dict[str, str] = {}
    for stage in recipe.stages:
        if stage.name in earlier or stage.name in recipe.models:
            yield f"two things are called {stage.name}; rename the stage"
        is_path = "/" in stage.start or "." in stage.start
        trained = [n for n, kind in earlier.items() if kind != "reject"]
        if not is_path and stage.start not in (*recipe.models, *trained):
            yield _unknown(
                f"stage {stage.name} starts from", stage.start, [*recipe.models, *trained]
            )
        task = getattr(stage, "task", None)
        if task is not None and task not in recipe.tasks:
            yield _unknown(f"stage {stage.name} has the task", task, list(recipe.tasks))
        for data in getattr(stage, "data", ()):
            sources = [n for n, kind in earlier.items() if kind == "reject"]
            if not data.endswith(".jsonl") and data not in sources:
                yield _unknown(f"stage {stage.name} has the data", data, sources)
        earlier[stage.name] = stage.kind
    if recipe.evaluation and recipe.evaluation.task not in recipe.tasks:
        yield _unknown("the evaluation has the task", recipe.evaluation.task, list(recipe.tasks))


def _unknown(what: str, name: str, known: list[str]) -> str:
    return f"{what} {name!r}, which is not there; there are: {', '.join(known) or 'none'}"


def _said(error: ValidationError) -> str:
    found: list[Mapping[str, Any]] = list(error.errors())
    unknown = [one for one in found if one["type"] == "extra_forbidden"]
    first = (unknown or found)[0]  # a slip of the pen makes two errors: this one says more
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        near = nearest_names(key, _keys(), limit=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{where} is no key that is known{hint}"
    given = first.get("input")
    shown = "" if isinstance(given, dict | list) else f" (given: {given!r:.60})"
    return f"{where}: {first['msg']}{shown}"


def _keys() -> list[str]:
    kinds: tuple[type[BaseModel], ...] = (
        Recipe, TaskChoice, ModelChoice, Evaluation, Pretrain, Finetune, ReinforceStage, Reject
    )  # fmt: skip
    return sorted({name for kind in kinds for name in kind.model_fields})
