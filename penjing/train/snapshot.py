"""What a run needs to go on from a step, on disk: whole, or not at all; checked when it is read."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from penjing.errors import BadFile
from penjing.models.replaced_folder import replaced_folder

KEPT = 2  # one to go on from, and the one before, should that be damaged
_TENSORS, _FACTS = "state.safetensors", "state.json"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state before step ``step``. ``facts`` are plain values."""

    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def save_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Under ``folder``, which keeps the last ``KEPT``. Raises ``BadFile``: the disk may be full."""
    try:
        with replaced_folder(folder / f"{snapshot.step:08d}") as filling:
            tensors = {name: t.detach().contiguous() for name, t in snapshot.tensors.items()}
            save_file(tensors, filling / _TENSORS)
            facts = {"sha256": _digest(filling / _TENSORS), "facts": dict(snapshot.facts)}
            (filling / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        why = " ".join(str(error).split())
        raise BadFile(
            f"{folder} cannot take a snapshot: {why}; the one before is kept: free some space and "
            "go on with --resume"
        ) from None
    for old in _steps(folder)[:-KEPT]:
        shutil.rmtree(folder / f"{old:08d}", ignore_errors=True)


def latest_snapshot(folder: Path) -> tuple[Snapshot | None, list[str]]:
    """The last that is whole, and what is wrong with later ones."""
    complaints: list[str] = []
    for step in reversed(_steps(folder)):
        try:
            return _read(folder / f"{step:08d}", step), complaints
        except BadFile as error:
            complaints.append(str(error))
    return None, complaints


def _read(folder: Path, step: int) -> Snapshot:
    try:
        found = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        if _digest(folder / _TENSORS) != found["sha256"]:
            raise BadFile(f"{folder} is damaged: its checksum differs")
        tensors = load_file(folder / _TENSORS)
        return Snapshot(step=step, tensors=tensors, facts=found["facts"])
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise BadFile(f"{folder} is damaged: {' '.join(str(error).split())}") from None


def _steps(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
