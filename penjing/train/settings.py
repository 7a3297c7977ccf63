"""Keys of a recipe set from outside: ``STAGE.KEY=VALUE``, with a value as TOML writes it.

They are put behind the text of the recipe as tables ``[[settings]]``, which the reader applies. So
the text of a run is a whole recipe, with a digest of its own, and says what was set.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from penjing.errors import BadCommand, UnknownName
from penjing.train.presets import DEFAULT, preset
from penjing.train.stages import KINDS, Strict, kind_name

_KEY = re.compile(r"\w+(?:\.[\w-]+)*", re.ASCII)
_WORD = re.compile(r"[A-Za-z~./][\w./:@~+-]*")  # a text that TOML wants quoted, and shells do not
_PLAIN = ("name", "about", "seed")
_TABLES = ("tasks", "models", "checkpoints")
RESERVED = (*_PLAIN, *_TABLES, "evaluation", "settings", "stages", "text")
"""Names that a stage cannot have, since a setting would not know which is meant."""


class Setting(Strict):
    """``key`` is a path: of a stage by its name, or of the recipe, as ``tasks.sums.data``."""

    key: str
    value: Any


def with_settings(text: str, asked: Sequence[str]) -> str:
    """The text of a recipe with ``KEY=VALUE`` behind it. Raises ``BadCommand``."""
    tables = [f"\n[[settings]]\n{_toml(one)}\n" for one in asked]
    return "\n".join([text.rstrip("\n"), *tables]) if tables else text


def apply_settings(raw: dict[str, Any]) -> None:
    """What the tables ``settings`` of a recipe say, in their order, where it belongs.

    Raises ``UnknownName`` and ``BadCommand``.
    """
    for given in raw.get("settings", ()):
        setting = Setting.model_validate(given)
        *path, last = setting.key.split(".")
        table = _table(raw, path, last, setting.key)
        table[last] = setting.value


def _toml(asked: str) -> str:
    key, equals, value = (part.strip() for part in asked.partition("="))
    if not equals or not _KEY.fullmatch(key):
        raise BadCommand(
            f"--set {asked!r} is not KEY=VALUE; write STAGE.KEY=VALUE, as zero.kl=0.001"
        )
    line = f"value = {value}"
    if _parsed(line) is None and _WORD.fullmatch(value):
        line = f"value = {json.dumps(value)}"
    if _parsed(line) is None:
        raise BadCommand(
            f"--set {key}: {value!r} is no value of TOML; give a number, true, "
            '["a", "b"], {a = 1.0} or a "text", in quotes that the shell leaves alone'
        )
    return f"key = {json.dumps(key)}\n{line}"


def _parsed(line: str) -> Any | None:
    """None where it is not one key with a value."""
    try:
        found = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    return found["value"] if list(found) == ["value"] else None


def _table(raw: dict[str, Any], path: Sequence[str], last: str, whole: str) -> dict[str, Any]:
    """Where ``last`` stands."""
    if not path:
        if last not in _PLAIN:
            raise UnknownName("key of a recipe", whole, _firsts(raw))
        return raw
    first, *rest = path
    stage = _stages(raw).get(first)
    if stage is not None:
        return _in_stage(stage, first, [*rest, last], whole)
    if first in _TABLES:
        named = raw.get(first, {})
        if not rest or rest[0] not in named:
            raise UnknownName(f"entry of {first}", rest[0] if rest else last, named)
    elif first != "evaluation":
        raise UnknownName("stage or key of a recipe", first, _firsts(raw))
    return _inner(raw, path, whole)


def _in_stage(stage: dict[str, Any], name: str, path: Sequence[str], whole: str) -> dict[str, Any]:
    known = _keys(stage)
    if path[0] not in known:
        raise UnknownName(f"key of the stage {name}", path[0], known)
    if len(path) > 1 and path[0] not in stage:
        below = _of_preset(stage, path[0])
        if isinstance(below, Mapping):  # one part of a reward is changed, and the others stay
            stage[path[0]] = dict(below)
    return _inner(stage, path[:-1], whole)


def _inner(table: dict[str, Any], path: Sequence[str], whole: str) -> dict[str, Any]:
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise BadCommand(f"{whole} cannot be set: {part} is no table but {table!r:.40}")
    return table


def _of_preset(stage: Mapping[str, Any], key: str) -> Any | None:
    if stage.get("kind") != "reinforce":
        return None
    found = {**preset(DEFAULT), **preset(str(stage.get("preset", DEFAULT)))}
    return found[key].value if key in found else None


def _keys(stage: Mapping[str, Any]) -> list[str]:
    """All but what others call the stage by, and what decides its other keys."""
    kind = next((one for one in KINDS if kind_name(one) == stage.get("kind")), None)
    return sorted(set(kind.model_fields) - {"name", "kind"}) if kind else []


def _stages(raw: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    stages = raw.get("stages")
    found = stages if isinstance(stages, list) else []
    return {str(one.get("name")): one for one in found if isinstance(one, dict)}


def _firsts(raw: Mapping[str, Any]) -> list[str]:
    return [*_stages(raw), *_PLAIN, *_TABLES, "evaluation"]
