"""Where a bundled config comes from, and what its makers say it counts."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable

from penjing.models.config import ModelConfig
from penjing.models.parameters import count_parameters


class Counting(StrEnum):
    """What a published number of parameters includes."""

    MAIN = "main"  # the model without its multi-token-prediction layers
    WITH_MTP = "with-mtp"
    STORED = "stored"  # with them, and with the copies of embedding and head stored beside them
    ACTIVE = "active"  # what a token uses, embedding and head whole
    ACTIVE_WITHOUT_EMBEDDING = "active-without-embedding"
    ACTIVE_BODY = "active-body"  # without embedding and head


@dataclass(frozen=True, kw_only=True)
class Published:
    """A number as published, ``117B`` or all its digits, with what it includes and where it is."""

    figure: str
    counting: Counting
    source: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """One entry of ``configs/index.toml``; ``active`` is None where nobody published it."""

    name: str
    aliases: tuple[str, ...]
    config_source: str
    params: Published
    active: Published | None
    note: str


def configs_folder() -> Traversable:
    return files("penjing.models") / "configs"


def read_index() -> dict[str, Provenance]:
    """All bundled models by name, in the order of the file."""
    text = (configs_folder() / "index.toml").read_text(encoding="utf-8")
    return {name: _provenance(name, entry) for name, entry in tomllib.loads(text).items()}


def counted(config: ModelConfig, counting: Counting) -> int:
    """Our own count of what a published number includes."""
    count = count_parameters(config)
    match counting:
        case Counting.MAIN:
            return count.total
        case Counting.WITH_MTP:
            return count.total + count.mtp
        case Counting.STORED:
            copies = len(config.mtp) * (count.embedding + count.head)
            return count.total + count.mtp + copies
        case Counting.ACTIVE:
            return count.active
        case Counting.ACTIVE_WITHOUT_EMBEDDING:
            return count.active - count.embedding
        case Counting.ACTIVE_BODY:
            return count.active - count.embedding - count.head


def _provenance(name: str, entry: Mapping[str, object]) -> Provenance:
    """The file is ours, so a slip in it is a bug, not a user's error."""
    aliases, params, active = entry["aliases"], entry["params"], entry.get("active")
    assert isinstance(aliases, list)
    assert entry.keys() <= {"aliases", "config_source", "params", "active", "note"}, name
    return Provenance(
        name=name,
        aliases=tuple(str(a) for a in aliases),
        config_source=str(entry["config_source"]),
        params=_published(params),
        active=_published(active) if active else None,
        note=str(entry.get("note", "")),
    )


def _published(entry: object) -> Published:
    assert isinstance(entry, dict)
    assert entry.keys() == {"figure", "counting", "source"}, entry
    return Published(
        figure=str(entry["figure"]),
        counting=Counting(entry["counting"]),
        source=str(entry["source"]),
    )
