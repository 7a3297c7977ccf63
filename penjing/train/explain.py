"""Every value of a recipe that counts, and where it comes from."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from penjing.train.contents import Recipe
from penjing.train.presets import DEFAULT, preset
from penjing.train.ratio import Ratio
from penjing.train.stages import AnyStage, ClipKind, ReinforceStage, clip_bounds

GIVEN, SET = "recipe", "--set"


@dataclass(frozen=True, kw_only=True)
class Explained:
    """``stage`` is empty for what is of the whole recipe; ``value`` is as JSON has it."""

    stage: str
    key: str
    value: Any
    source: str

    def to_json(self) -> dict[str, Any]:
        return {"stage": self.stage, "key": self.key, "value": self.value, "source": self.source}


def explained(recipe: Recipe, seed: int | None = None) -> list[Explained]:
    """In the order of the recipe; ``seed`` is one given in place of its own."""
    raw = tomllib.loads(recipe.text)
    own = {one["name"]: one for one in raw["stages"]}
    found = list(_of_recipe(recipe, raw, seed))
    for stage in recipe.stages:
        found += _of_stage(stage, own[stage.name], recipe)
    return found


def _of_recipe(recipe: Recipe, raw: Mapping[str, Any], seed: int | None) -> Iterator[Explained]:
    if seed is None:
        source = _with_settings("seed", _given("seed", raw, Recipe), recipe)
        yield Explained(stage="", key="seed", value=recipe.seed, source=source)
    else:
        yield Explained(stage="", key="seed", value=seed, source="--seed")
    for group in ("tasks", "models", "checkpoints"):
        for name, choice in getattr(recipe, group).items():
            yield from _of_table(choice, f"{group}.{name}", raw.get(group, {}).get(name), recipe)
    if recipe.evaluation is not None:
        yield from _of_table(recipe.evaluation, "evaluation", raw.get("evaluation"), recipe)


def _of_table(
    table: BaseModel, path: str, given: Mapping[str, Any] | None, recipe: Recipe
) -> Iterator[Explained]:
    """What was given, and defaults that have a reason."""
    for key, value in table.model_dump(mode="json").items():
        where = f"{path}.{key}"
        source = _with_settings(where, _given(key, given or {}, type(table)), recipe)
        if source:
            yield Explained(stage="", key=where, value=value, source=source)


def _of_stage(stage: AnyStage, given: Mapping[str, Any], recipe: Recipe) -> Iterator[Explained]:
    for key, value in stage.model_dump(mode="json").items():
        if key == "name":
            continue
        source = _given(key, given, type(stage))
        if key not in given and isinstance(stage, ReinforceStage):
            source = _below(key, stage) or source
        source = _with_settings(f"{stage.name}.{key}", source, recipe)
        yield Explained(stage=stage.name, key=key, value=value, source=source)


def _given(key: str, given: Mapping[str, Any], kind: type[BaseModel]) -> str:
    """Empty for a default that nobody has to know of."""
    if key in given:
        return GIVEN
    reason = kind.model_fields[key].description
    return f"default: {reason}" if reason else ""


def _below(key: str, stage: ReinforceStage) -> str | None:
    """Of what the preset says, or the clip."""
    named = {} if stage.preset == DEFAULT else preset(stage.preset)
    if key in named:
        return f"preset {stage.preset}: {named[key].source}"
    is_plain = stage.clip is ClipKind.PPO and stage.ratio is Ratio.TOKEN
    bounds = {} if is_plain else clip_bounds(stage.clip, stage.ratio)
    return f"default: {bounds[key].source}" if key in bounds else None


def _with_settings(path: str, source: str, recipe: Recipe) -> str:
    keys = [setting.key for setting in recipe.settings]
    if path in keys:
        return SET
    inner = [key.removeprefix(f"{path}.") for key in keys if key.startswith(f"{path}.")]
    if not inner:
        return source
    return f"{SET} of {', '.join(dict.fromkeys(inner))}; the rest: {source}" if source else SET
