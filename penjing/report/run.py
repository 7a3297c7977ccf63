"""What a folder of a run holds, whole, unfinished or damaged."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from penjing.errors import BadFile
from penjing.evaluate.sample import Sample
from penjing.evaluate.store import read_run as read_samples
from penjing.report.recipe import parse_recipe, stage_tables

Facts = Mapping[str, Any]
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")  # of a stage; what else is said is no folder of ours


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """``settings`` are the recipe's, ``steps`` and ``times`` one object a step in their order.

    ``predicted`` is what was planned before the run. ``done`` is None of a stage that has not
    ended. ``samples`` are of the evaluation behind it.
    """

    name: str
    kind: str
    start: str
    settings: Facts = field(default_factory=dict)
    predicted: Facts = field(default_factory=dict)
    steps: tuple[Facts, ...] = ()
    times: tuple[Facts, ...] = ()
    done: Facts | None = None
    alarms: tuple[Facts, ...] = ()
    samples: tuple[Sample, ...] = ()

    @property
    def has_begun(self) -> bool:
        return bool(self.steps) or self.done is not None

    @property
    def wall_s(self) -> float | None:
        """Of the stage; where it was stopped and went on, at least of its steps."""
        steps = sum(number(facts.get("wall_s")) or 0.0 for facts in self.times)
        whole = number(found(self.done, "wall_s")) or 0.0
        return max(steps, whole) or None

    @property
    def peak_bytes(self) -> float | None:
        """Of the process that ran it, while it did."""
        seen = [number(facts.get("peak_bytes")) for facts in (*self.times, self.done or {})]
        return max((peak for peak in seen if peak), default=None)


@dataclass(frozen=True, kw_only=True)
class Run:
    """``facts`` are of run.json. ``complaints`` tell what could not be read."""

    folder: Path
    facts: Facts
    recipe: Facts
    stages: tuple[StageRun, ...]
    complaints: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return str(self.facts.get("recipe", self.folder.name))

    def stage(self, name: str) -> StageRun | None:
        return next((stage for stage in self.stages if stage.name == name), None)

    def model_of(self, stage: StageRun) -> str:
        """What the first of its forerunners began from."""
        seen = {stage.name}
        while (before := self.stage(stage.start)) is not None and before.name not in seen:
            seen.add(before.name)
            stage = before
        return stage.start


def read_run(folder: Path) -> Run:
    """Raises ``BadFile`` for a folder that is no run; other damage becomes a complaint."""
    complaints: list[str] = []
    facts = _run_facts(folder)
    recipe = _recipe(folder / "recipe.toml", complaints)
    own = _Own(
        settings=_settings(recipe, facts.get("explained")),
        predicted=_predicted(folder / "plan.json", complaints),
    )
    return Run(
        folder=folder,
        facts=facts,
        recipe=recipe,
        stages=tuple(_stage(folder, stage, own, complaints) for stage in _named(facts, complaints)),
        complaints=tuple(complaints),
    )


def found(facts: object, *path: str) -> Any:
    """What lies behind ``path``; None where any part of it is missing."""
    for name in path:
        if not isinstance(facts, Mapping):
            return None
        facts = facts.get(name)
    return facts


def number(value: object) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if isfinite(value) else None
    except OverflowError:
        return None


def _run_facts(folder: Path) -> Facts:
    path = folder / "run.json"
    if not path.is_file():
        raise BadFile(f"{folder} holds no run: it has no run.json; give what penjing train wrote")
    facts = _object(path)
    if not isinstance(facts.get("stages"), list):
        raise BadFile(f"{path} names no stages; give a folder that penjing train wrote")
    return facts


def _named(facts: Facts, complaints: list[str]) -> list[Facts]:
    """The stages that can be ours."""
    good: list[Facts] = []
    for stage in facts["stages"]:
        name = found(stage, "name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            complaints.append(f"run.json: {name!r:.60} is no name of a stage")
        else:
            good.append(stage)
    return good


def _recipe(path: Path, complaints: list[str]) -> Facts:
    try:
        return parse_recipe(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        complaints.append(f"{path.name} cannot be read: {_why(error)}")
        return {}


@dataclass(frozen=True, kw_only=True)
class _Own:
    """What other files say of each stage."""

    settings: Mapping[str, Facts]
    predicted: Mapping[str, Facts]


def _settings(recipe: Facts, explained: object) -> dict[str, Facts]:
    """What the recipe says of each stage, and over it what the run explains that it took."""
    tables = {name: dict(table) for name, table in stage_tables(recipe).items()}
    for row in explained if isinstance(explained, list) else ():
        stage, key = found(row, "stage"), found(row, "key")
        if isinstance(stage, str) and isinstance(key, str) and "value" in row:
            tables.setdefault(stage, {})[key] = row["value"]
    return dict(tables)


def _predicted(path: Path, complaints: list[str]) -> dict[str, Facts]:
    """Of each stage, in a run that was planned before its first step."""
    stages = found(_whole(path, complaints), "stages")
    rows = [row for row in stages if isinstance(row, Mapping)] if isinstance(stages, list) else []
    return {str(row.get("stage")): row for row in rows}


def _stage(folder: Path, stage: Facts, of: _Own, complaints: list[str]) -> StageRun:
    name = str(stage["name"])
    own = folder / name
    done = _whole(own / "done.json", complaints)
    predicted = found(done, "predicted")
    return StageRun(
        name=name,
        kind=str(stage.get("kind", "")),
        start=str(stage.get("start", "")),
        settings=of.settings.get(name, {}),
        predicted=predicted if isinstance(predicted, Mapping) else of.predicted.get(name, {}),
        steps=_last_of_each_step(_lines(own / "record.jsonl", complaints)),
        times=_last_of_each_step(_lines(own / "times.jsonl", complaints)),
        done=done,
        alarms=tuple(_lines(own / "alarms.jsonl", complaints)),
        samples=_samples(own / "evaluation", complaints),
    )


def _lines(path: Path, complaints: list[str]) -> list[Facts]:
    """Objects with a step; what else is there is counted in a complaint."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        complaints.append(f"{_short(path)} cannot be read: {_why(error)}")
        return []
    parsed = [_parsed(line) for line in text.split("\n") if line]
    good = [facts for facts in parsed if facts is not None and _step(facts) is not None]
    if len(good) < len(parsed):
        complaints.append(f"{_short(path)}: {len(parsed) - len(good)} lines are no steps")
    return good


def _step(facts: Facts) -> float | None:
    step = number(facts.get("step"))
    return step if step is not None and step >= 0 else None


def _last_of_each_step(lines: list[Facts]) -> tuple[Facts, ...]:
    """A run that was killed goes on from its last snapshot, and does some steps again."""
    by_step = {_step(facts) or 0.0: facts for facts in lines}
    return tuple(by_step[step] for step in sorted(by_step))


def _parsed(line: str) -> Facts | None:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def _whole(path: Path, complaints: list[str]) -> Facts | None:
    if not path.exists():
        return None
    try:
        return _object(path)
    except BadFile as error:
        complaints.append(str(error))
        return None


def _samples(folder: Path, complaints: list[str]) -> tuple[Sample, ...]:
    if not (folder / "samples.jsonl").is_file():
        return ()
    try:
        return tuple(read_samples(folder)[1])
    except BadFile as error:
        complaints.append(str(error))
        return ()


def _object(path: Path) -> Facts:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"{path} cannot be read: {_why(error)}") from None
    if not isinstance(facts, dict):
        raise BadFile(f"{path} holds no object; give a folder that penjing train wrote")
    return facts


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _why(error: Exception) -> str:
    return " ".join((getattr(error, "strerror", None) or str(error)).split())
