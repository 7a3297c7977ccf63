"""A recipe: stages of training in a TOML file, each with its data, its algorithm and its figures.

Every key is checked before anything runs; an unknown one is refused, with the nearest known.
"""

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from penjing.errors import BadFile, RequestError, UnknownName, nearest_names
from penjing.train.complaints import complain
from penjing.train.contents import CheckpointChoice, ModelChoice, Recipe, TaskChoice
from penjing.train.settings import apply_settings, with_settings
from penjing.train.stages import (
    KINDS,
    DistilStage,
    Evaluation,
    Finetune,
    Pretrain,
    ReinforceStage,
    Reject,
    Until,
)

__all__ = [
    "CheckpointChoice",
    "DistilStage",
    "Evaluation",
    "Finetune",
    "ModelChoice",
    "Pretrain",
    "Recipe",
    "ReinforceStage",
    "Reject",
    "TaskChoice",
    "Until",
    "load_recipe",
    "read_recipe",
    "recipe_names",
    "tokenizer_folder",
]

_RECIPES = files("penjing.train") / "recipes"


def recipe_names() -> list[str]:
    """Those that ship."""
    found = (file.name for file in _RECIPES.iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def load_recipe(name_or_path: str, settings: Sequence[str] = ()) -> Recipe:
    """One that ships, such as ``quickstart``, or a file; ``settings`` as in ``with_settings``.

    Raises ``BadFile``, ``UnknownName`` and what ``read_recipe`` raises.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadFile(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    elif name_or_path in recipe_names():
        text = (_RECIPES / f"{name_or_path}.toml").read_text("utf-8")
    else:
        hint = "or give a file that ends in .toml"
        raise UnknownName("recipe", name_or_path, recipe_names(), hint=hint)
    return read_recipe(with_settings(text, settings), name_or_path)


def read_recipe(text: str, where: str) -> Recipe:
    """Raises ``BadFile``, and what parts of an algorithm raise, in one line that names the key."""
    try:
        raw = tomllib.loads(text)
        apply_settings(raw)
        recipe = Recipe.model_validate({**raw, "text": text})
        complain(recipe)
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"{where} is no TOML: {error}") from None
    except ValidationError as error:
        raise BadFile(f"{where}: {_said(error)}") from None
    except RequestError as error:
        error.args = (f"{where}: {error}",)
        raise
    return recipe


def tokenizer_folder(named: str) -> Path:
    """A folder of one's own, or one that ships."""
    shipped = _RECIPES / named
    return Path(str(shipped)) if shipped.is_dir() else Path(named)


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
        Recipe, TaskChoice, ModelChoice, CheckpointChoice, Evaluation, Until, *KINDS
    )  # fmt: skip
    return sorted({name for kind in kinds for name in kind.model_fields})
