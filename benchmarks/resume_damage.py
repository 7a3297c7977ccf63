"""What a kill, a full disk or a bad one may leave of a stage that is not done."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

TOLD = "is damaged: "  # by penjing train, of each snapshot that it passes over
_TENSORS, _FACTS = "state.safetensors", "state.json"


def told_damages(log: Path) -> int:
    return log.read_text(encoding="utf-8", errors="replace").count(TOLD)


def spoil(stage: Path, random: Random) -> str | None:
    """Returns the kind, drawn from those that the stage has something for."""
    if not stage.is_dir():
        return None
    snapshots = _snapshots(stage)
    kinds = list(_OF_FILES)
    if snapshots:
        kinds += _OF_SNAPSHOTS
    kind = random.choice(kinds)
    if kind in _OF_FILES:
        return kind if _OF_FILES[kind](stage, random) else None
    chosen = snapshots if kind == "all snapshots" else snapshots[-1:]
    spoilt = [snapshot for snapshot in chosen if _is_readable(snapshot)]
    if not spoilt:
        return None
    for snapshot in spoilt:
        _OF_SNAPSHOTS[kind](snapshot, random)
    return kind


def _snapshots(stage: Path) -> list[Path]:
    folder = stage / "snapshots"
    return sorted(p for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []


def _is_readable(snapshot: Path) -> bool:
    """Not spoilt already, or not so that nothing more can be."""
    tensors = snapshot / _TENSORS
    try:
        return (
            "facts" in json.loads((snapshot / _FACTS).read_bytes()) and tensors.stat().st_size > 0
        )
    except (OSError, ValueError):
        return False


def _flip(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def _cut(path: Path, random: Random) -> None:
    path.write_bytes(path.read_bytes()[: random.randrange(path.stat().st_size)])


def _other_digit(path: Path, random: Random) -> None:
    """Still JSON, and another number: what no parser would notice."""
    text = path.read_text(encoding="utf-8")
    begin = text.index('"facts"')
    at = random.choice([i for i in range(begin, len(text)) if text[i].isdigit()])
    other = random.choice([d for d in "123456789" if d != text[at]])
    path.write_text(text[:at] + other + text[at + 1 :], encoding="utf-8")


def _torn_folder(stage: Path, random: Random) -> bool:
    """A snapshot or a checkpoint half written, as by a kill or on a full disk."""
    whole = [*_snapshots(stage)[-1:], *(p for p in (stage / "checkpoint",) if p.is_dir())]
    if not whole:
        return False
    folder = random.choice(whole)
    torn = folder.with_name(f".{folder.name}.{random.randrange(1 << 32):08x}.partial")
    shutil.copytree(folder, torn)
    files = sorted(path for path in torn.rglob("*") if path.is_file() and path.stat().st_size)
    _cut(random.choice(files), random)
    random.choice(files).unlink()
    return True


def _torn_line(stage: Path, random: Random) -> bool:
    """Lines whose end never came."""
    has_torn = False
    for path in (stage / "record.jsonl", *stage.glob("*/samples.jsonl")):
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        if lines and lines[-1].endswith(b"}\n"):
            with path.open("ab") as file:
                file.write(lines[-1][: random.randrange(1, len(lines[-1]))])
            has_torn = True
    return has_torn


_OF_SNAPSHOTS: Mapping[str, Callable[[Path, Random], None]] = {
    "a flipped bit": lambda folder, random: _flip(folder / _TENSORS, random),
    "cut tensors": lambda folder, random: _cut(folder / _TENSORS, random),
    "no tensors": lambda folder, random: (folder / _TENSORS).unlink(),
    "cut facts": lambda folder, random: _cut(folder / _FACTS, random),
    "another digit in the facts": lambda folder, random: _other_digit(folder / _FACTS, random),
    "all snapshots": lambda folder, random: _flip(folder / _TENSORS, random),
}
_OF_FILES: Mapping[str, Callable[[Path, Random], bool]] = {  # whether there was anything to spoil
    "a torn folder": _torn_folder,
    "a torn line": _torn_line,
}
