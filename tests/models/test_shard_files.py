import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from penjing.models.shard_files import write_shards

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def contents(folder: Path) -> dict[str, torch.Tensor]:
    """As the library reads them; no tensor may be in two files."""
    files = [load_file(file) for file in sorted(folder.glob("*.safetensors"))]
    found = {name: tensor for file in files for name, tensor in file.items()}
    assert len(found) == sum(map(len, files))
    return found


@settings(max_examples=30)
@given(
    kinds=st.lists(st.tuples(st.sampled_from(DTYPES), st.integers(1, 5)), min_size=1, max_size=6),
    shard_bytes=st.integers(1, 60),
)
def test_the_library_reads_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    kinds: list[tuple[torch.dtype, int]],
    shard_bytes: int,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    tensors = {f"t{i}": torch.randn(n, 2).to(dtype) for i, (dtype, n) in enumerate(kinds)}
    write_shards(folder, tensors, shard_bytes)
    found = contents(folder)
    assert found.keys() == tensors.keys()
    assert all(found[name].dtype == tensors[name].dtype for name in tensors)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    shards = [load_file(file) for file in folder.glob("*.safetensors")]
    sizes = [(len(s), sum(t.nbytes for t in s.values())) for s in shards]
    assert all(size <= shard_bytes or count == 1 for count, size in sizes)


def test_one_shard_needs_no_index(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": torch.ones(2)}, 8)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_the_index_places_each_tensor(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": torch.ones(2), "b": torch.ones(1), "c": torch.ones(3)}, 12)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text("utf-8"))
    one, two = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    assert index == {"metadata": {"total_size": 24}, "weight_map": {"a": one, "b": one, "c": two}}


def test_views_are_written_without_what_surrounds_them(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(4, 3)
    write_shards(tmp_path, {"rows": whole[1:3], "columns": whole[:, 1]}, 10**9)
    found = contents(tmp_path)
    assert torch.equal(found["rows"], whole[1:3])
    assert torch.equal(found["columns"], whole[:, 1])


def test_values_are_aligned_to_their_width(tmp_path: Path) -> None:
    tensors = {"narrow": torch.ones(3).bfloat16(), "wide": torch.ones(2)}
    write_shards(tmp_path, tensors, 10**9)
    raw = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert length % 8 == 0
    assert header["wide"]["data_offsets"] == [0, 8]
    assert header["narrow"]["data_offsets"] == [8, 14]
