"""Presets of reinforcement learning: values below those that a stage gives, each with its source.

One file a preset: a table for each key of the stage, with its ``value`` and ``source``. The preset
``default`` is what stages do where nobody says anything.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from penjing.errors import UnknownName

DEFAULT = "default"
_PRESETS = files("penjing.train") / "presets"


@dataclass(frozen=True)
class Sourced:
    """``source``: a paper and a place in it, or why."""

    value: Any
    source: str


Preset = Mapping[str, Sourced]
"""By the keys of a reinforce stage."""


@cache
def preset_names() -> tuple[str, ...]:
    found = (file.name for file in _PRESETS.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml")))


@cache
def preset(name: str) -> Preset:
    """Raises ``UnknownName``."""
    if name not in preset_names():
        raise UnknownName("preset", name, preset_names())
    text = (_PRESETS / f"{name}.toml").read_text(encoding="utf-8")
    return {key: Sourced(**entry) for key, entry in tomllib.loads(text).items()}
