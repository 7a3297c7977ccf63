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
            facts = dict(snapshot.facts)
            said = {"sha256": _digest(filling / _TENSORS, facts), "facts": facts}
            (filling / _FACTS).write_text(json.dumps(said), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        why = " ".join(str(error).split())
        raise BadFile(
            f"{folder} cannot take a snapshot: {why}; the one before is kept: free some space and "
            "go on with --resume"
        ) from None
    tidy(folder, snapshot.step)


def latest_snapshot(folder: Path) -> tuple[Snapshot | None, list[str]]:
    """The last that is whole, and what is wrong with later ones."""
    complaints: list[str] = []
    for step in reversed(_steps(folder)):
        try:
            return _read(folder / f"{step:08d}", step), complaints
        except BadFile as error:
            complaints.append(str(error))
    return None, complaints


def tidy(folder: Path, step: int) -> None:
    """Keeps the last ``KEPT`` up to ``step``, which is whole, and deletes all else.

    Later ones are damaged, or it would have gone on from them; hidden ones were never whole.
    """
    whole = [one for one in _steps(folder) if one <= step][-KEPT:]
    for path in folder.iterdir():
        if path.is_dir() and path.name not in {f"{one:08d}" for one in whole}:
            shutil.rmtree(path, ignore_errors=True)


def _read(folder: Path, step: int) -> Snapshot:
    try:
        found = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        if _digest(folder / _TENSORS, found["facts"]) != found["sha256"]:
            raise BadFile(f"{folder} is damaged: its checksum differs")
        tensors = load_file(folder / _TENSORS)
        return Snapshot(step=step, tensors=tensors, facts=found["facts"])
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise BadFile(f"{folder} is damaged: {' '.join(str(error).split())}") from None


def _steps(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def _digest(tensors: Path, facts: object) -> str:
    """Of both: another digit in the facts would still be JSON."""
    with tensors.open("rb") as file:
        found = file_digest(file, "sha256")
    found.update(json.dumps(facts, sort_keys=True).encode())
    return found.hexdigest()
