"""Writing tensors as safetensors: one file, or shards with an index, as transformers names them.

The format: 8 bytes with the length of a JSON header, the header, then the values in its order.
Written here tensor by tensor, because the library wants a whole shard of them in host memory.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from penjing.models.safetensors_files import INDEX_FILE, SINGLE_FILE

_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_ALIGNMENT = 8


def write_shards(folder: Path, tensors: Mapping[str, torch.Tensor], shard_bytes: int) -> None:
    """Files of at most ``shard_bytes`` of values each; a larger tensor has one of its own.

    Raises ``OSError``.
    """
    shards = _split(tensors, shard_bytes)
    if len(shards) == 1:
        _write(folder / SINGLE_FILE, tensors)
        return
    places: dict[str, str] = {}
    for i, names in enumerate(shards, start=1):
        file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        _write(folder / file, {name: tensors[name] for name in names})
        places |= dict.fromkeys(names, file)
    size = sum(t.nbytes for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _split(tensors: Mapping[str, torch.Tensor], shard_bytes: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.nbytes
    return shards


def _write(file: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """The widest values first, so that each tensor is aligned to its own width."""
    names = sorted(tensors, key=lambda name: -tensors[name].element_size())
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name in names:
        tensor = tensors[name]
        stop = start + tensor.nbytes
        dtype = _DTYPES[tensor.dtype]
        header[name] = {"dtype": dtype, "shape": [*tensor.shape], "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            out.write(_bytes(tensors[name]))
        out.flush()
        os.fsync(out.fileno())


def _bytes(tensor: torch.Tensor) -> memoryview:
    """Without a copy where the tensor is contiguous in host memory."""
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data
