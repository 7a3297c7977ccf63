"""The safetensors files of a model: which there are, what each holds, and reading one tensor.

Pickles are never read: loading one runs whatever code it carries.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import torch
from safetensors import SafetensorError, safe_open

from penjing.errors import BadFile

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_PICKLES = ("pytorch_model*.bin", "*.bin", "*.pt", "*.pth", "*.ckpt")
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor as its file describes it; ``dtype`` in the spelling of safetensors, as ``BF16``."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


class Description(Protocol):
    """What a header says of one tensor."""

    def get_shape(self) -> list[int]: ...
    def get_dtype(self) -> str: ...


class Shard(Protocol):
    """An open safetensors file; the library's own class carries no types."""

    def keys(self) -> list[str]: ...
    def get_slice(self, name: str) -> Description: ...
    def get_tensor(self, name: str) -> torch.Tensor: ...


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor in the weight files, by name; only headers are read.

    Raises ``BadFile`` where a file lacks, is cut short or is no safetensors, where two hold one
    tensor, and where the index disagrees with the files.
    """
    index = _read_index(folder)
    found: dict[str, Stored] = {}
    for file in weight_files(folder):
        for name, stored in _header(file).items():
            if name in found:
                raise BadFile(
                    f"{folder}: {found[name].file.name} and {file.name} both hold {name}; "
                    "remove the file that does not belong to this model"
                )
            found[name] = stored
    for name, shard in index.items():
        if name not in found or found[name].file.name != shard:
            raise BadFile(
                f"{folder / INDEX_FILE} places {name} in {shard}, which does not hold it; "
                "download index and shards again, from one revision"
            )
    return found


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files with the weights: ``model.safetensors``, or else the shards that the index names.

    In this order, as transformers does it.
    """
    if (folder / SINGLE_FILE).is_file():
        return (folder / SINGLE_FILE,)
    if not (folder / INDEX_FILE).is_file():
        raise _no_weights(folder)
    shards = sorted(set(_read_index(folder).values()))
    gone = [shard for shard in shards if not (folder / shard).is_file()]
    if gone:
        raise BadFile(
            f"{folder / INDEX_FILE} names {gone[0]}, which is not there ({len(gone)} of "
            f"{len(shards)} shards are missing); download the rest"
        )
    return tuple(folder / shard for shard in shards)


def weight_file_bytes(folder: Path) -> int:
    """Bytes of the weight files, headers included; nothing is opened."""
    return sum(file.stat().st_size for file in weight_files(folder))


@contextmanager
def open_shard(file: Path) -> Iterator[Shard]:
    """The file mapped into memory; its pages are let go when it closes."""
    try:
        shard = safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise _unreadable(file, error) from None
    with shard:
        yield cast(Shard, shard)


def _header(file: Path) -> dict[str, Stored]:
    with open_shard(file) as shard:
        said = {name: shard.get_slice(name) for name in shard.keys()}  # noqa: SIM118
    return {
        name: Stored(file=file, shape=tuple(one.get_shape()), dtype=one.get_dtype())
        for name, one in said.items()
    }


def _read_index(folder: Path) -> dict[str, str]:
    """Tensor to shard; empty where the one file needs no index."""
    file = folder / INDEX_FILE
    if (folder / SINGLE_FILE).is_file() or not file.is_file():
        return {}
    try:
        raw = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError, OSError) as error:
        raise BadFile(f"{file} cannot be read: {error}; download it again") from None
    places = raw.get("weight_map") if isinstance(raw, dict) else None
    if not isinstance(places, dict) or not places:
        raise BadFile(f"{file} has no object under weight_map; download it again")
    for name, shard in places.items():
        if not isinstance(shard, str) or not _is_shard_name(shard):
            raise BadFile(
                f"{file} places {name} in {shard!r}; it must be a .safetensors file beside the "
                "index"
            )
    return places


def _is_shard_name(text: str) -> bool:
    """A bare file name: an index must not lead out of its folder."""
    return text.endswith(".safetensors") and not set(text) & set("/\\\0")


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key} is listed twice")
        found[key] = value
    return found


def _no_weights(folder: Path) -> BadFile:
    if not folder.is_dir():
        return BadFile(f"{folder} is not a folder; give the folder of a downloaded model")
    shards = sorted(folder.glob("*.safetensors"))
    if shards:
        return BadFile(
            f"{folder} holds {shards[0].name}, but no {SINGLE_FILE} and no {INDEX_FILE}; download "
            "the index"
        )
    pickles = [file for pattern in _PICKLES for file in sorted(folder.glob(pattern))]
    if pickles:
        return BadFile(
            f"{folder} has its weights only in {pickles[0].name}, a pickle, which can run code "
            "when it is loaded and so is never read; take the model's safetensors files, or "
            "convert it where you trust it"
        )
    return BadFile(
        f"{folder} holds neither {SINGLE_FILE} nor {INDEX_FILE}; give the folder of a downloaded "
        "model"
    )


def _unreadable(file: Path, error: Exception) -> BadFile:
    if isinstance(error, OSError):
        return BadFile(f"{file} cannot be read: {error.strerror or error}")
    with file.open("rb") as opened:
        if opened.read(len(_LFS_POINTER)) == _LFS_POINTER:
            return BadFile(f"{file} is a git-lfs pointer, not the weights; run git lfs pull")
    reason = str(error).removeprefix("Error while deserializing header: ")
    size = file.stat().st_size
    return BadFile(
        f"{file} ({size} bytes) is cut short or no safetensors file: {reason}; download it again"
    )
