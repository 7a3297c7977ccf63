"""The safetensors files of a model: which there are, what each holds, and reading one tensor.

Pickles are never read: loading one runs whatever code it carries.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import torch
from safetensors import SafetensorError, safe_open

from penjing.errors import BadFile

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_PICKLES = ("pytorch_model*.bin", "*.bin", "*.pt", "*.pth", "*.ckpt")
_PIECE = 2**22  # values
_DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
}
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor as its file describes it; ``dtype`` in the spelling of safetensors, as ``BF16``."""

    file: Path
    shape: tuple[int, ...]
    dtype: str
    offset: int  # bytes from the beginning of the file


class Description(Protocol):
    """What a header says of one tensor."""

    def get_shape(self) -> list[int]: ...
    def get_dtype(self) -> str: ...


class Header(Protocol):
    """An open safetensors file; the library's own class carries no types."""

    def keys(self) -> list[str]: ...
    def get_slice(self, name: str) -> Description: ...


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


def pieces(stored: Stored) -> Iterator[tuple[int, torch.Tensor]]:
    """(place of its first value, values) of a tensor, read piece by piece: nothing is mapped.

    Mapped pages would stay with the process until the file is closed, as a second copy of it.
    """
    dtype = _DTYPES[stored.dtype]
    total = math.prod(stored.shape)
    try:
        with stored.file.open("rb") as file:
            file.seek(stored.offset)
            for start in range(0, total, _PIECE):
                room = bytearray(min(_PIECE, total - start) * dtype.itemsize)
                if file.readinto(room) != len(room):
                    raise BadFile(f"{stored.file} was cut short while it was read; load it again")
                yield start, torch.frombuffer(room, dtype=dtype)
    except OSError as error:
        raise BadFile(f"{stored.file} cannot be read: {error.strerror or error}") from None


def whole(stored: Stored) -> torch.Tensor:
    """One tensor in memory."""
    parts = [values for _, values in pieces(stored)]
    return torch.cat(parts).view(stored.shape) if parts else torch.empty(stored.shape)


def _header(file: Path) -> dict[str, Stored]:
    """Read and checked by the library, but for the offsets, which it keeps to itself."""
    try:
        with safe_open(file, framework="pt") as opened:
            header = cast(Header, opened)
            said = {name: header.get_slice(name) for name in header.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(file, error) from None
    offsets = _offsets(file)
    return {
        name: Stored(
            file=file, shape=tuple(one.get_shape()), dtype=one.get_dtype(), offset=offsets[name]
        )
        for name, one in said.items()
    }


def _offsets(file: Path) -> dict[str, int]:
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        raw = json.loads(opened.read(size))
    return {
        name: 8 + size + one["data_offsets"][0]
        for name, one in raw.items()
        if name != "__metadata__"
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
