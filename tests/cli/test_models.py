import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penjing.cli import models
from penjing.cli.answer import Answer
from penjing.errors import BadFile, UnknownName
from penjing.models.catalogue import bundled_models, load_model
from penjing.models.provenance import configs_folder


def _run(*argv: str) -> Answer:
    parser = argparse.ArgumentParser()
    models.configure(parser)
    parser.add_argument("--json", action="store_true")
    return models.answer(parser.parse_args(argv))


def _document(*argv: str) -> Any:
    """The document as it comes out of JSON: nothing in it may need a special encoder."""
    return json.loads(json.dumps(_run(*argv).document, allow_nan=False))


def test_list_has_a_line_for_every_bundled_model() -> None:
    answer = _run("list")
    lines = answer.text.splitlines()
    assert [line.split()[0] for line in lines[2 : 2 + len(bundled_models())]] == list(
        bundled_models()
    )
    r1 = next(line for line in lines if line.startswith("DeepSeek-R1 "))
    for fact in ("deepseek_v3", "671 B", "37.55 B", "61", "latent 512+64", "70,272 B", "626.9 GiB"):
        assert fact in r1
    assert answer.exit_status == 0


def test_list_document() -> None:
    by_name = {m["name"]: m for m in _document("list")["models"]}
    assert tuple(by_name) == bundled_models()
    r1 = by_name["DeepSeek-R1"]
    assert r1["total_parameters"] == 671_026_419_200
    assert r1["cache_bytes_per_token_bf16"] == 70_272
    assert by_name["GPT-OSS-20B"]["attention"] == [
        "64/8 heads of 64, window 128",
        "64/8 heads of 64",
    ]


@pytest.mark.parametrize("name", bundled_models())
def test_show_tells_the_same_in_both_forms(name: str) -> None:
    answer, document = _run("show", name), _document("show", name)
    assert f"{document['parameters']['attention']:,}" in answer.text
    assert f"{document['cache_bytes_per_token_bf16']:,.0f} bytes a token" in answer.text
    assert document["provenance"]["config_source"] in answer.text
    assert sum(layer["count"] for layer in document["layers"]) == document["num_layers"]


def test_show_r1() -> None:
    text = _run("show", "deepseek-r1").text
    for fact in (
        "DeepSeek-R1 (deepseek_v3): width 7168, vocabulary 129280, 163840 positions",
        "8 of 256 experts of 2048, shared 2048; sigmoid, 4 of 8 groups, normalised, times 2.5",
        "671,026,419,200",
        "MTP 10.9 GiB more (attention fp8-block, dense fp8-block, experts fp8-block, "
        "embedding bf16)",
        "theta 10000 over 64 values, YaRN 40 times from 4096",
        "published: 684489845504 stored, counted here 684,489,845,504",
    ):
        assert fact in text


def test_show_document_names_the_kinds() -> None:
    document = _document("show", "DeepSeek-V3.2")
    assert [layer["feed_forward"]["kind"] for layer in document["layers"]] == ["dense", "moe"]
    assert document["layers"][0]["attention"]["kind"] == "latent"
    assert document["layers"][0]["attention"]["indexer"]["top_k"] == 2048
    assert document["rope"]["scaling_kind"] == "yarn"
    assert document["formats"]["experts"] == "fp8-block"
    assert len(document["mtp"]) == 1


@pytest.mark.parametrize(
    ("name", "rope"),
    [
        ("GPT-3", "none, learnt positions"),
        ("Llama-3.1-8B", "Llama 3 bands 8 times from 8192"),
        ("Qwen3-8B", "theta 1e+06 over 128 values"),
    ],
)
def test_show_other_ropes(name: str, rope: str) -> None:
    assert rope in _run("show", name).text


def test_show_a_file_has_no_provenance(tmp_path: Path) -> None:
    folder = tmp_path / "DeepSeek-R1"
    folder.mkdir()
    raw = json.loads((configs_folder() / "Llama-2-7B.json").read_text("utf-8"))
    scaling = {"rope_scaling": {"type": "linear", "factor": 4.0}}
    (folder / "config.json").write_text(json.dumps(raw | scaling))
    answer, document = _run("show", str(folder)), _document("show", str(folder))
    assert document["model_type"] == "llama"
    assert document["provenance"] is None
    assert "published" not in answer.text
    assert "linear 4 times" in answer.text


def test_json_is_known_before_and_after_the_subcommand() -> None:
    parser = argparse.ArgumentParser()
    models.configure(parser)
    parser.add_argument("--json", action="store_true")
    read: Callable[[list[str]], argparse.Namespace] = parser.parse_args
    assert read(["--json", "list"]).json
    assert read(["list", "--json"]).json
    assert read(["show", "x", "--json"]).json
    assert not read(["list"]).json


def test_errors_reach_the_front_door() -> None:
    with pytest.raises(UnknownName, match="DeepSeek-R1"):
        _run("show", "deepseek-r11")
    with pytest.raises(BadFile, match="does not exist"):
        _run("show", "./nowhere/config.json")


def test_show_resolves_an_alias_to_the_bundled_model() -> None:
    assert _document("show", "Hy3-preview")["name"] == load_model("Hy3").name
