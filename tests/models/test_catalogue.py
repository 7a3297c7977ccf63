import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penjing.errors import BadFile, UnknownName
from penjing.models.catalogue import bundled_models, find_bundled, load_model
from penjing.models.provenance import configs_folder, read_index


@pytest.mark.parametrize(
    "label",
    [
        # Labels of whole models in the collected measurements.
        *("DeepSeek-R1", "DeepSeek-V3", "DeepSeek-V3.2", "GPT-3-175B", "GPT-OSS-120B"),
        *("GPT-OSS-20B", "Hy3", "Hy3-preview", "Kimi-K2", "Llama-2-13B", "Llama-2-70B"),
        *("Llama-2-7B", "Llama-3-70B", "Llama-3-8B", "Llama-3.1-405B", "Llama-3.1-70B"),
        *("Llama-3.1-8B", "Llama-3.2-3B", "Llama-3.3-70B", "Mixtral-8x7B", "Qwen1.5-MoE-14B"),
        *("Qwen2.5-72B", "Qwen2.5-Math-7B", "Qwen3-0.6B", "Qwen3-1.7B", "Qwen3-14B"),
        *("Qwen3-235B-A22B", "Qwen3-30B-A3B", "Qwen3-32B", "Qwen3-4B", "Qwen3-8B"),
        *("Qwen3-VL-235B", "R1-Distill-Llama-70B", "R1-Distill-Qwen-14B"),
    ],
)
def test_labels_of_measurements_resolve(label: str) -> None:
    assert load_model(label).layers


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("deepseek-r1", "DeepSeek-R1"),
        ("Deep Seek R1", "DeepSeek-R1"),
        ("deepseek-ai/DeepSeek-R1", "DeepSeek-R1"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", "R1-Distill-Qwen-14B"),
        ("openai/gpt-oss-120b", "GPT-OSS-120B"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "Llama-3.1-8B"),
        ("DeepSeek-V3.2-Exp", "DeepSeek-V3.2"),
        ("zai-org/GLM-4.5-Air/", "GLM-4.5-Air"),
    ],
)
def test_names_compare_without_case_spaces_dashes_or_owner(asked: str, name: str) -> None:
    assert load_model(asked).name == name


def test_names_and_aliases_are_all_apart() -> None:
    names = [n for entry in read_index().values() for n in (entry.name, *entry.aliases)]
    folded = ["".join(c for c in n.lower() if c.isalnum()) for n in names]
    assert len(set(folded)) == len(folded)


def test_the_index_lists_just_the_files() -> None:
    files = {f.name for f in configs_folder().iterdir()}
    assert files == {f"{name}.json" for name in bundled_models()} | {"index.toml"}


def test_a_path_a_folder_and_a_path_object(tmp_path: Path, bundled: Callable[[str], Any]) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    file = folder / "config.json"
    file.write_text(json.dumps(bundled("Qwen3-4B")))
    for asked in (str(folder), str(file), folder, file):
        config = load_model(asked)
        assert (config.name, config.width) == ("my-model", 2560)
    other = tmp_path / "mine.json"
    other.write_bytes(file.read_bytes())
    assert load_model(other).name == "mine"


def test_formats_may_stand_in_a_file_beside_the_config(
    tmp_path: Path, bundled: Callable[[str], Any]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(bundled("Qwen3-8B")))
    beside = tmp_path / "hf_quant_config.json"
    excluded = {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}
    beside.write_text(json.dumps({"producer": {"name": "modelopt"}, "quantization": excluded}))
    assert load_model(tmp_path).formats.dense.name == "nvfp4"
    inside = bundled("Qwen3-8B") | {"quantization_config": {"quant_method": "fp8"}}
    (tmp_path / "config.json").write_text(json.dumps(inside))
    assert load_model(tmp_path).formats.dense.name == "fp8"
    (tmp_path / "config.json").write_text(json.dumps(bundled("Qwen3-8B")))
    beside.write_text("{}")
    with pytest.raises(BadFile, match="no object under quantization"):
        load_model(tmp_path)


def test_a_bare_name_is_not_taken_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundled: Callable[[str], Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Qwen3-8B").mkdir()
    Path("Qwen3-8B/config.json").write_text(json.dumps(bundled("Qwen3-0.6B")))
    Path("mine").mkdir()
    Path("mine/config.json").write_text(json.dumps(bundled("Qwen3-0.6B")))
    assert load_model("Qwen3-8B").width == 4096
    assert load_model("./Qwen3-8B").width == 1024
    assert load_model(Path("Qwen3-8B")).width == 1024
    assert load_model("mine").width == 1024


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"model_type": "llama",\n  "hidden_size" 3}', r"line 2, column 17: Expecting ':'"),
        ("[1, 2]", "holds a list"),
        ('"llama"', "holds a str"),
        ("", "line 1, column 1"),
        ('{"vocab_size": 1, "vocab_size": 2}', "'vocab_size' occurs twice"),
        ("[" * 100_000, "not usable JSON"),
        ('{"vocab_size": ' + "9" * 5000 + "}", "not usable JSON"),
        ('{"model_type": "llama"}', "num_attention_heads is missing"),
    ],
)
def test_malformed_files_say_where(text: str, match: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(BadFile, match=match):
        load_model(file)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"has no config\.json"):
        load_model(tmp_path)
    binary = tmp_path / "weights.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match="not text in UTF-8"):
        load_model(binary)
    if os.geteuid() != 0:
        binary.chmod(0)
        with pytest.raises(BadFile, match="Permission denied"):
            load_model(binary)


@pytest.mark.parametrize("asked", ["./none/config.json", "no/such/folder", Path("none"), "a\0b/c"])
def test_a_path_to_nothing(asked: str | Path) -> None:
    with pytest.raises(BadFile, match="does not exist"):
        load_model(asked)


def test_a_mistyped_repository_offers_the_nearest() -> None:
    with pytest.raises(BadFile, match="such as DeepSeek-R1"):
        load_model("deepseek-ai/DepSeek-R1")


@pytest.mark.parametrize(
    ("asked", "nearest"), [("deepsek-r1", "DeepSeek-R1"), ("qwen3-235b", "Qwen3-235B-A22B")]
)
def test_an_unknown_name_offers_the_nearest(asked: str, nearest: str) -> None:
    with pytest.raises(UnknownName) as error:
        load_model(asked)
    assert error.value.nearest[0] == nearest


def test_a_name_like_none_lists_the_names_without_aliases() -> None:
    with pytest.raises(UnknownName, match=f"and {len(bundled_models()) - 12} more; or give a path"):
        load_model("zzz")


@pytest.mark.parametrize("asked", ["", "/", "---", "x" * 5000])
def test_nonsense_is_an_error_of_ours(asked: str) -> None:
    with pytest.raises((UnknownName, BadFile)):
        load_model(asked)


def test_find_bundled_knows_aliases_and_admits_ignorance() -> None:
    found = find_bundled("Meta-Llama-3-8B")
    assert found is not None
    assert found.name == "Llama-3-8B"
    assert find_bundled("GPT-5") is None
