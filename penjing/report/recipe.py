"""The recipe of a run as plain tables, with what was set from outside where it belongs.

Without the reader of ``penjing.train``: that needs torch, and refuses what a later version wrote.
"""

import tomllib
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

Tables = Mapping[str, Any]


def parse_recipe(text: str) -> Tables:
    """Raises ``ValueError`` for what is no TOML."""
    recipe = tomllib.loads(text)
    for path, value in settings(recipe).items():
        _put(recipe, path.split("."), value)
    return recipe


def settings(recipe: Tables) -> dict[str, Any]:
    """By their paths, as ``zero.kl`` of a stage or ``tasks.sums.data`` of the recipe."""
    found = recipe.get("settings")
    return {
        one["key"]: one["value"]
        for one in (found if isinstance(found, list) else ())
        if isinstance(one, Mapping) and isinstance(one.get("key"), str) and "value" in one
    }


def stage_tables(recipe: Tables) -> dict[str, dict[str, Any]]:
    """The tables of stages by their names."""
    found = recipe.get("stages")
    tables = found if isinstance(found, list) else []
    return {str(table.get("name")): table for table in tables if isinstance(table, dict)}


def _put(recipe: dict[str, Any], path: list[str], value: Any) -> None:
    """What leads nowhere is left: the run would have refused it."""
    stage = stage_tables(recipe).get(path[0])
    table, keys = (recipe, path) if stage is None else (stage, path[1:])
    for key in keys[:-1]:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        table = inner
    if keys:
        table[keys[-1]] = deepcopy(value)
