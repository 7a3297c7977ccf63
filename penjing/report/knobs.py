"""Every setting of a run, and where it came from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from penjing.report.recipe import settings, stage_tables
from penjing.report.run import Run

RECIPE, SET = "recipe", "--set"


@dataclass(frozen=True, kw_only=True)
class Knob:
    """``stage`` is that of a stage, or the table of the recipe it stands in."""

    stage: str
    key: str
    value: str
    source: str


def knobs_of(run: Run) -> list[Knob]:
    """As the run explains them, and as its recipe has what it does not."""
    rows, others = explained(run.facts.get("explained")), knobs(run.recipe)
    order = list(dict.fromkeys(knob.stage for knob in (*others, *rows)))
    there = {knob.stage for knob in rows}
    found = [*(knob for knob in others if knob.stage not in there), *rows]
    return sorted(found, key=lambda knob: order.index(knob.stage))


def knobs(recipe: Mapping[str, Any]) -> list[Knob]:
    """What the file says; defaults that it leaves unsaid are not among them."""
    given = tuple(f"{path}." for path in settings(recipe))
    return [
        Knob(
            stage=label,
            key=key,
            value=_shown(value),
            source=SET if f"{path}.{key}.".startswith(given) else RECIPE,
        )
        for label, path, table in _tables(recipe)
        for key, value in _flat(table)
        if key != "name" or path.startswith("tasks.")  # a stage's is its label
    ]


def explained(found: object) -> list[Knob]:
    """Of a list of objects with ``stage``, ``key``, ``value`` and ``source``; others are passed."""
    rows = found if isinstance(found, list) else []
    return [
        Knob(
            stage=str(row["stage"]),
            key=str(row["key"]),
            value=_shown(row["value"]),
            source=str(row["source"]),
        )
        for row in rows
        if isinstance(row, Mapping) and {"stage", "key", "value", "source"} <= row.keys()
    ]


def _tables(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """What it is called here, its path in the recipe, and itself."""
    for many in ("tasks", "models", "checkpoints"):
        tables = recipe.get(many)
        for name, table in tables.items() if isinstance(tables, Mapping) else ():
            if isinstance(table, Mapping):
                yield f"{many.removesuffix('s')} {name}", f"{many}.{name}", table
    if isinstance(evaluation := recipe.get("evaluation"), Mapping):
        yield "evaluation", "evaluation", evaluation
    for name, stage in stage_tables(recipe).items():
        yield name, name, stage


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, object]]:
    """Tables inside the table get keys with dots."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _shown(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case Mapping():
            return ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items())
        case list():
            return ", ".join(map(_shown, value))
        case _:
            return str(value)
