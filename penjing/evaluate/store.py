"""A run on disk: what was asked in ``run.json``, and every sample in ``samples.jsonl``.

A sample is written when it is graded, so a run that was killed goes on where it stood; the line
that was being written then is dropped. What was asked must not change in between.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

from penjing.errors import BadFile, Contradiction
from penjing.evaluate.sample import Sample

SYNC_EVERY = 32  # samples
_SETTINGS, _SAMPLES = "run.json", "samples.jsonl"
Settings = Mapping[str, Any]
"""Plain values; those of ``_FREE`` may differ when a run goes on."""
_FREE = frozenset({"penjing", "checkpoint_path"})


class Store:
    """Holds the folder for this process alone while it is open.

    Raises ``BadFile`` for what cannot be read or written or is held by another, and
    ``Contradiction`` for a folder of another run.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self._file = _opened(folder)
        try:
            _lock(self._file, folder)
            _check(folder, settings)
            self.samples, whole_bytes = _read(folder)
            os.truncate(self._file.fileno(), whole_bytes)
        except BaseException:
            self._file.close()
            raise
        self._num_written = 0

    def append(self, sample: Sample) -> None:
        """On the disk within ``SYNC_EVERY`` samples, and at the end."""
        line = json.dumps(sample.to_json(), ensure_ascii=False).encode() + b"\n"
        try:
            while line:
                line = line[self._file.write(line) :]
            self._num_written += 1
            if self._num_written % SYNC_EVERY == 0:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        self.samples.append(sample)

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_run(folder: Path) -> tuple[Settings, list[Sample]]:
    """Of a run that may still go on. Raises ``BadFile``."""
    if not (folder / _SETTINGS).is_file():
        raise BadFile(
            f"{folder} holds no run: it has no {_SETTINGS}; give a folder of penjing eval"
        )
    return _settings(folder), _read(folder)[0]


def _opened(folder: Path) -> FileIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileIO(folder / _SAMPLES, "a")  # no buffer: what could not be written is not kept
    except OSError as error:
        raise BadFile(f"{folder} cannot be written: {error.strerror}; give another") from None


def _unwritable(folder: Path, error: OSError) -> BadFile:
    return BadFile(
        f"{folder} cannot be written: {error.strerror}; free some space and give the same command "
        "again"
    )


def _lock(file: FileIO, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BadFile(f"{folder} is being written by another run; wait, or give another") from None
    except OSError as error:
        raise BadFile(
            f"{folder} cannot be locked: {error.strerror}; give one on another file system"
        ) from None


def _check(folder: Path, settings: Settings) -> None:
    if not (folder / _SETTINGS).exists():
        if (folder / _SAMPLES).stat().st_size:
            raise BadFile(f"{folder} has a {_SAMPLES} but no {_SETTINGS}; give another folder")
        _write_settings(folder, settings)
        return
    before = _settings(folder)
    now = json.loads(json.dumps(settings))
    names = sorted((before.keys() | now.keys()) - _FREE)
    other = [n for n in names if before.get(n) != now.get(n)]
    if other:
        told = "; ".join(f"{n} was {before.get(n)!r:.60}, is {now.get(n)!r:.60}" for n in other)
        raise Contradiction(f"{folder} holds another run: {told}; give another folder")


def _write_settings(folder: Path, settings: Settings) -> None:
    """Whole or not at all."""
    partial = folder / f".{_SETTINGS}.{token_hex(4)}"
    try:
        with partial.open("w", encoding="utf-8") as file:
            json.dump(settings, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / _SETTINGS)
    except OSError as error:
        raise _unwritable(folder, error) from None
    finally:
        partial.unlink(missing_ok=True)


def _settings(folder: Path) -> Settings:
    path = folder / _SETTINGS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise BadFile(f"{path} holds no object; it was not written by penjing eval")
    return found


def _read(folder: Path) -> tuple[list[Sample], int]:
    """The samples, and how many bytes they take: without a line that was never ended."""
    path = folder / _SAMPLES
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}") from None
    whole = content[: content.rfind(b"\n") + 1]
    samples = []
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            samples.append(Sample.from_json(json.loads(line)))
        except (BadFile, ValueError) as error:
            why = " ".join(str(error).split())
            raise BadFile(
                f"{path}: line {number} is no sample: {why}; mend or remove that line"
            ) from None
    return samples, len(whole)
