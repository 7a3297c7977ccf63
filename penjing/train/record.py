"""What happened, step by step, as JSON lines.

``record.jsonl`` has what hangs on the seed alone, and is the same after any number of kills;
``times.jsonl`` has seconds and bytes, which never are.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penjing.errors import BadFile

Facts = Mapping[str, Any]


class Record:
    """Appends; what was written behind ``size_bytes`` by a run that was killed is dropped."""

    def __init__(self, folder: Path, size_bytes: int = 0) -> None:
        self._path, self._times = folder / "record.jsonl", folder / "times.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                if file.tell() < size_bytes:
                    raise BadFile(
                        f"{self._path} has {file.tell()} bytes, fewer than when the snapshot was "
                        "taken; restore it, or begin anew"
                    )
                file.truncate(size_bytes)
        except OSError as error:
            raise BadFile(f"{folder} cannot be written: {error.strerror}; give another") from None

    @property
    def size_bytes(self) -> int:
        return self._path.stat().st_size

    def append(self, facts: Facts, times: Facts) -> None:
        for path, values in ((self._path, facts), (self._times, {**times, "step": facts["step"]})):
            line = json.dumps({name: _plain(value) for name, value in values.items()})
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    def sync(self) -> None:
        """Before a snapshot that counts on it."""
        with self._path.open("rb") as file:
            os.fsync(file.fileno())


def read_record(folder: Path) -> list[Facts]:
    """Raises ``BadFile``."""
    path = folder / "record.jsonl"
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} cannot be read: {' '.join(str(error).split())}") from None


def _plain(value: Any) -> Any:
    """JSON has no infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
