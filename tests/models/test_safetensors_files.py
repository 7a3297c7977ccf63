import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from penjing.errors import BadFile
from penjing.models.safetensors_files import (
    pieces,
    stored_tensors,
    weight_file_bytes,
    weight_files,
    whole,
)

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def write_index(folder: Path, places: object) -> None:
    text = json.dumps({"metadata": {"total_size": 1}, "weight_map": places})
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    save_file({"a": torch.zeros(2, 3), "b": torch.ones(4).bfloat16()}, tmp_path / ONE)
    save_file({"c": torch.ones(1, dtype=torch.int64)}, tmp_path / TWO)
    write_index(tmp_path, {"a": ONE, "b": ONE, "c": TWO})
    return tmp_path


def test_headers_say_where_and_what(sharded: Path) -> None:
    found = stored_tensors(sharded)
    assert {n: (one.file.name, one.shape, one.dtype) for n, one in found.items()} == {
        "a": (ONE, (2, 3), "F32"),
        "b": (ONE, (4,), "BF16"),
        "c": (TWO, (1,), "I64"),
    }


def test_one_file_comes_before_an_index(sharded: Path) -> None:
    save_file({"d": torch.zeros(1)}, sharded / "model.safetensors")
    assert weight_files(sharded) == (sharded / "model.safetensors",)
    assert list(stored_tensors(sharded)) == ["d"]


def test_bytes_are_those_on_disk(sharded: Path) -> None:
    assert weight_file_bytes(sharded) == sum((sharded / f).stat().st_size for f in (ONE, TWO))


def test_a_tensor_is_read_whole(sharded: Path) -> None:
    found = stored_tensors(sharded)
    with safe_open(sharded / ONE, framework="pt") as shard:
        for name in ("a", "b"):
            assert torch.equal(whole(found[name]), shard.get_tensor(name))


def test_a_large_tensor_comes_in_pieces(tmp_path: Path) -> None:
    value = torch.arange(2**22 + 5, dtype=torch.float32)
    save_file({"large": value, "small": torch.ones(3)}, tmp_path / "model.safetensors")
    found = list(pieces(stored_tensors(tmp_path)["large"]))
    assert [start for start, _ in found] == [0, 2**22]
    assert torch.equal(torch.cat([values for _, values in found]), value)


def test_a_file_cut_short_after_its_header_was_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(1000)}, file)
    stored = stored_tensors(tmp_path)["a"]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BadFile, match="was cut short while it was read"):
        whole(stored)


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded / TWO).unlink()
    with pytest.raises(BadFile, match=rf"names {TWO}, which is not there \(1 of 2 shards"):
        stored_tensors(sharded)


def test_a_tensor_in_two_shards_is_named(sharded: Path) -> None:
    save_file({"c": torch.ones(1), "a": torch.zeros(2, 3)}, sharded / TWO)
    with pytest.raises(BadFile, match=f"{ONE} and {TWO} both hold a"):
        stored_tensors(sharded)


def test_a_tensor_listed_twice_is_named(sharded: Path) -> None:
    text = f'{{"weight_map": {{"a": "{ONE}", "a": "{TWO}"}}}}'
    (sharded / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadFile, match="a is listed twice"):
        stored_tensors(sharded)


@pytest.mark.parametrize("places", [{"a": ONE, "c": ONE}, {"gone": TWO, "a": ONE}])
def test_an_index_that_disagrees_with_its_shards_is_refused(
    sharded: Path, places: dict[str, str]
) -> None:
    (sharded / ONE).rename(sharded / "other.safetensors")
    save_file({"a": torch.zeros(1)}, sharded / ONE)
    write_index(sharded, {**places, "x": TWO})
    with pytest.raises(BadFile, match=r"places (c|gone) in .*, which does not hold it"):
        stored_tensors(sharded)


@pytest.mark.parametrize("shard", ["../secret.safetensors", "sub/x.safetensors", "x.bin", 3])
def test_an_index_stays_in_its_folder(tmp_path: Path, shard: object) -> None:
    write_index(tmp_path, {"a": shard})
    with pytest.raises(BadFile, match=r"must be a \.safetensors file beside the index"):
        weight_files(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": [1]}'])
def test_a_malformed_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadFile, match="download it again"):
        weight_files(tmp_path)


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda b: b[:-1], "file not fully covered"),
        (lambda b: b[:40], "header length"),
        (lambda b: b"", "header too small"),
        (lambda b: b"\x80\x02" + b"pickled" * 9, "header too large"),
        (lambda b: b[:8] + b"\xff" * 8 + b[16:], "header"),
    ],
)
def test_a_damaged_shard_is_refused(sharded: Path, damage: Damage, reason: str) -> None:
    whole = (sharded / ONE).read_bytes()
    (sharded / ONE).write_bytes(damage(whole))
    with pytest.raises(BadFile, match=f"{ONE} .*cut short or no safetensors file: .*{reason}"):
        stored_tensors(sharded)


def test_a_pointer_of_git_lfs_is_recognised(sharded: Path) -> None:
    (sharded / ONE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(BadFile, match="run git lfs pull"):
        stored_tensors(sharded)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "m.pth"])
def test_a_pickle_is_never_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(BadFile, match=rf"only in {name}, a pickle, which can run code"):
        stored_tensors(tmp_path)


def test_folders_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"holds neither model\.safetensors nor"):
        weight_files(tmp_path)
    with pytest.raises(BadFile, match="is not a folder"):
        weight_files(tmp_path / "gone")
    save_file({"a": torch.zeros(1)}, tmp_path / ONE)
    with pytest.raises(BadFile, match="download the index"):
        weight_files(tmp_path)
