"""``penjing train``: from the command to a checkpoint, stopped by Ctrl-C, and wrong commands."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from penjing.cli import main

TEXT = """
name = "tiny"
[tasks.sums]
name = "reasoning_gym/chain_sum"
options = { min_terms = 2, max_terms = 2, min_digits = 1, max_digits = 1 }
style = "plain"
[models.student]
tokenizer = "quickstart"
[models.student.config]
model_type = "qwen2"
architectures = ["Qwen2ForCausalLM"]
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 1
num_attention_heads = 4
num_key_value_heads = 2
vocab_size = 475
max_position_embeddings = 256
rms_norm_eps = 1e-6
rope_theta = 1e4
tie_word_embeddings = true
torch_dtype = "float32"
[evaluation]
task = "sums"
problems = 3
samples = 2
max_tokens = 8
[[stages]]
name = "base"
kind = "pretrain"
start = "student"
task = "sums"
steps = STEPS
batch = 4
learning_rate = 1e-2
snapshot_every = 1000
"""


def recipe(folder: Path, steps: int) -> str:
    path = folder / "tiny.toml"
    path.write_text(TEXT.replace("STEPS", str(steps)), encoding="utf-8")
    return str(path)


def test_a_run_from_the_command_to_a_checkpoint(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ["train", recipe(tmp_path, 3), "--run-dir", str(tmp_path / "run")]
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [stage["stage"] for stage in found["stages"]] == ["base"]
    assert (tmp_path / "run" / "base" / "checkpoint" / "config.json").is_file()
    assert main(asked) == 2
    assert "has a run already; give --resume to go on" in capsys.readouterr().err
    assert main([*asked, "--resume"]) == 0  # all is done
    assert "base" in capsys.readouterr().out


def test_ctrl_c_finishes_the_step_and_says_how_to_go_on(tmp_path: Path) -> None:
    asked = ["train", recipe(tmp_path, 3), "--run-dir", str(tmp_path / "run")]
    asked += ["--seed", "5", "--set", "base.steps=100_000"]
    command = [sys.executable, "-m", "penjing", *asked]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        record = tmp_path / "run" / "base" / "record.jsonl"
        ends = time.monotonic() + 60
        while not (record.exists() and record.stat().st_size) and time.monotonic() < ends:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 130
    again = shlex.join(["penjing", *asked, "--resume"])
    assert f"stopped; go on with: {again}" in said
    steps = len(record.read_text(encoding="utf-8").splitlines())
    assert [p.name for p in (tmp_path / "run/base/snapshots").iterdir()] == [f"{steps:08d}"]


def test_explain_says_where_each_value_comes_from_and_trains_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "r1_paper", "--explain", "--set", "zero.kl=0.5"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "zero kl 0.5 --set" in lines
    assert "zero steps 512 recipe" in lines
    assert any(line.startswith("rl1 kl 0.001 preset r1_paper: Nature 645") for line in lines)
    assert any(line.startswith("zero beta2 0.95 default: DeepSeek-V3") for line in lines)
    assert not list(tmp_path.iterdir())


def test_explain_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    def found(*asked: str) -> dict[str, Any]:
        assert main(["train", "quickstart", "--explain", "--json", *asked]) == 0
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    plain, changed = found(), found("--set", "zero.kl=0.5", "--seed", "4")
    assert plain["recipe"] == changed["recipe"] == "quickstart"
    assert plain["recipe_sha256"] != changed["recipe_sha256"]
    values = {(one["stage"], one["key"]): one for one in changed["values"]}
    assert values["zero", "kl"]["value"] == 0.5
    assert (values["", "seed"]["value"], values["", "seed"]["source"]) == (4, "--seed")
    before = {(one["stage"], one["key"]): one for one in plain["values"]}
    assert {key for key in values if values[key] != before[key]} == {("zero", "kl"), ("", "seed")}


def test_a_run_keeps_what_was_set(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = ["train", recipe(tmp_path, 9), "--run-dir", str(tmp_path / "run"), "--json"]
    assert main([*asked, "--set", "base.steps=2"]) == 0
    capsys.readouterr()
    record = tmp_path / "run" / "base" / "record.jsonl"
    assert len(record.read_text(encoding="utf-8").splitlines()) == 2
    assert main([*asked, "--resume"]) == 2
    assert "another recipe" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "run" / "recipe.toml"), *asked[2:], "--resume"]) == 0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["quickstar"], "nearest: quickstart"),
        (["nothing.toml"], "nothing.toml cannot be read"),
        (["--seed", "-1"], "--seed is -1"),
        (["--set", "zro.kl=1"], "nearest: zero"),
        (["--set", "zero.kll=1"], "nearest: kl"),
        (["--set", "zero.kl"], "is not KEY=VALUE"),
        (["--set", "zero.preset=dap"], "unknown preset 'dap'; nearest: dapo"),
    ],
)
def test_wrong_commands_are_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    argv: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *argv]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_learning_rate_of_ten_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = Path(recipe(tmp_path, 3))
    path.write_text(path.read_text().replace("1e-2", "10.0"), encoding="utf-8")
    assert main(["train", str(path), "--run-dir", str(tmp_path / "run")]) == 2
    assert "the learning rate is 10.0" in capsys.readouterr().err
