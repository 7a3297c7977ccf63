"""A folder that appears under its name only when it is complete."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """An empty sibling to fill, which becomes ``folder`` at the end and vanishes on an error.

    What was there before is moved aside first and deleted last; a process killed between the two
    renames leaves both, each complete, under hidden names beside it. Raises ``OSError``.
    """
    final = folder.resolve()
    final.parent.mkdir(parents=True, exist_ok=True)
    name = f".{final.name}.{token_hex(4)}"
    filling, old = final.with_name(f"{name}.partial"), final.with_name(f"{name}.old")
    filling.mkdir()
    try:
        yield filling
        for path in (*filling.rglob("*"), filling):
            _sync(path)
        _swap(filling, final, old)
    except BaseException:
        shutil.rmtree(filling, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _swap(new: Path, final: Path, old: Path) -> None:
    replaces = final.exists()
    if replaces:
        final.rename(old)
    try:
        new.rename(final)
    except BaseException:
        if replaces:
            old.rename(final)
        raise
    _sync(final.parent)


def _sync(path: Path) -> None:
    """A file's bytes or a folder's entries reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
