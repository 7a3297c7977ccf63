import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from penjing.errors import BadFile
from penjing.models.safetensors_files import (
    Stored,
    open_shard,
    stored_tensors,
    weight_file_bytes,
    weight_files,
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
    assert stored_tensors(sharded) == {
        "a": Stored(file=sharded / ONE, shape=(2, 3), dtype="F32"),
        "b": Stored(file=sharded / ONE, shape=(4,), dtype="BF16"),
        "c": Stored(file=sharded / TWO, shape=(1,), dtype="I64"),
    }


def test_one_file_comes_before_an_index(sharded: Path) -> None:
    save_file({"d": torch.zeros(1)}, sharded / "model.safetensors")
    assert weight_files(sharded) == (sharded / "model.safetensors",)
    assert list(stored_tensors(sharded)) == ["d"]


def test_bytes_are_those_on_disk(sharded: Path) -> None:
    assert weight_file_bytes(sharded) == sum((sharded / f).stat().st_size for f in (ONE, TWO))


def test_an_open_shard_reads_one_tensor(sharded: Path) -> None:
    with open_shard(sharded / ONE) as shard:
        assert torch.equal(shard.get_tensor("b"), torch.ones(4).bfloat16())


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
