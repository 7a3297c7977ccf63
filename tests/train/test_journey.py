"""A small recipe to its end: every stage's files, kills in between, and what must not change."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import transformers

from penjing.errors import BadFile, Contradiction
from penjing.evaluate.store import read_run
from penjing.train.journey import Journey
from penjing.train.loop import Interrupted
from penjing.train.recipe import Recipe, read_recipe
from penjing.train.record import read_record
from penjing.train.snapshot import latest_snapshot

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
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
vocab_size = 475
max_position_embeddings = 256
rms_norm_eps = 1e-6
rope_theta = 1e4
tie_word_embeddings = true
torch_dtype = "float32"
[models.teacher]
tokenizer = "quickstart"
[models.teacher.config]
model_type = "deepseek_v3"
architectures = ["DeepseekV3ForCausalLM"]
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 4
first_k_dense_replace = 1
q_lora_rank = 16
kv_lora_rank = 16
qk_nope_head_dim = 8
qk_rope_head_dim = 4
v_head_dim = 8
moe_intermediate_size = 16
n_routed_experts = 4
n_shared_experts = 1
num_experts_per_tok = 2
n_group = 1
topk_group = 1
norm_topk_prob = true
routed_scaling_factor = 1.0
vocab_size = 475
max_position_embeddings = 256
rms_norm_eps = 1e-6
rope_theta = 1e4
tie_word_embeddings = false
torch_dtype = "float32"
[evaluation]
task = "sums"
problems = 4
samples = 2
max_tokens = 12
[[stages]]
name = "base"
kind = "pretrain"
start = "MODEL"
task = "sums"
steps = 60
batch = 32
learning_rate = 1e-2
direct = 1.0
slips = 0.0
snapshot_every = 15
[[stages]]
name = "zero"
kind = "reinforce"
start = "base"
task = "sums"
steps = 4
problems = 6
group_size = 4
max_tokens = 12
learning_rate = 1e-3
kl = 0.01
minibatches = 2
reference_every = 2
snapshot_every = 2
[[stages]]
name = "data"
kind = "reject"
start = "zero"
task = "sums"
problems = 40
samples = 4
max_tokens = 12
must_think = false
[[stages]]
name = "tuned"
kind = "sft"
start = "base"
data = ["data"]
epochs = 2
batch = 4
learning_rate = 1e-3
adapter = { rank = 2 }
[[stages]]
name = "taught"
kind = "distil"
start = "base"
teacher = "zero"
task = "sums"
steps = 4
problems = 6
max_tokens = 12
learning_rate = 1e-3
snapshot_every = 2
until = { accuracy = 1.0, every = 2, problems = 4 }
"""


def recipe(model: str = "student") -> Recipe:
    return read_recipe(TEXT.replace("MODEL", model), "tiny")


def journey(folder: Path, model: str = "student", **given: Any) -> Journey:
    return Journey(recipe(model), folder, seed=3, **given)


def outcome(folder: Path) -> dict[str, Any]:
    """All that must be the same after any number of kills."""
    found: dict[str, Any] = {}
    for stage in recipe().stages:
        done = json.loads((folder / stage.name / "done.json").read_text(encoding="utf-8"))
        found[stage.name] = done.get("weights_sha256"), done.get("rows")
        for name in ("record.jsonl", "data.jsonl"):
            path = folder / stage.name / name
            found[f"{stage.name}/{name}"] = path.read_bytes() if path.exists() else None
        last, _ = latest_snapshot(folder / stage.name / "snapshots")
        if last is not None:
            tensors = {n: t.numpy().tobytes() for n, t in last.tensors.items()}
            found[f"{stage.name}/state"] = (last.step, last.facts, tensors)
    return found


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "straight"
    journey(folder).run()
    return folder


def test_every_stage_leaves_what_it_should(straight: Path) -> None:
    record = read_record(straight / "base")
    assert record[-1]["loss"] < record[0]["loss"] / 2
    for name in ("base", "zero", "tuned", "taught"):
        model = transformers.AutoModelForCausalLM.from_pretrained(straight / name / "checkpoint")
        assert model.config.vocab_size == 475
        done = json.loads((straight / name / "done.json").read_text(encoding="utf-8"))
        assert done["measures"]["num_samples"] == 8
        assert len(read_run(straight / name / "evaluation")[1]) == 8
    steps = read_record(straight / "zero")
    assert [facts["largest_gap"] for facts in steps] == [0.0] * 4
    assert steps[0]["least_ratio"] < 1 < steps[0]["most_ratio"]  # of the second minibatch
    assert [facts["largest_gap"] for facts in read_record(straight / "taught")] == [0.0] * 4
    assert (straight / "tuned" / "adapter" / "adapter_config.json").is_file()
    assert len(list((straight / "zero" / "events").iterdir())) == 1
    data = (straight / "data" / "data.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in data.splitlines()]
    assert rows
    assert all("<answer>" in row["response"] for row in rows)


def test_a_run_with_latents_and_experts_has_no_gap(tmp_path: Path) -> None:
    two = recipe("teacher")
    short = two.model_copy(update={"stages": two.stages[:2]})
    Journey(short, tmp_path / "run", seed=3).run()
    assert [facts["largest_gap"] for facts in read_record(tmp_path / "run" / "zero")] == [0.0] * 4


def test_kills_change_nothing(straight: Path, tmp_path: Path) -> None:
    """SIGKILL at instants drawn at random over the whole run, until it is done."""
    folder, random = tmp_path / "killed", Random(5)
    (tmp_path / "tiny.toml").write_text(recipe().text, encoding="utf-8")
    command = [sys.executable, "-m", "penjing", "train", str(tmp_path / "tiny.toml")]
    asked = [*command, "--run-dir", str(folder), "--seed", "3", "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kills = 0
    while True:
        process = subprocess.Popen(
            asked, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=60 if kills >= 4 else random.uniform(4, 9))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        assert process.returncode == 0
        break
    assert kills >= 1
    assert outcome(folder) == outcome(straight)


@pytest.mark.parametrize("stage", ["zero", "tuned", "taught"])
def test_a_stop_between_steps_changes_nothing(straight: Path, tmp_path: Path, stage: str) -> None:
    seen = 0

    def show(name: str, facts: Mapping[str, Any], num_steps: int) -> None:
        nonlocal seen
        seen += name == stage

    with pytest.raises(Interrupted):
        journey(tmp_path, show=show, is_stopping=lambda: seen == 3).run()
    journey(tmp_path).run()
    assert outcome(tmp_path) == outcome(straight)


def test_a_folder_of_another_run_is_left_alone(straight: Path) -> None:
    before = (straight / "run.json").read_bytes()
    with pytest.raises(Contradiction, match="is a run with another seed"):
        Journey(recipe(), straight, seed=4).run()
    other = read_recipe(TEXT.replace("MODEL", "student").replace("60", "61"), "x")
    with pytest.raises(Contradiction, match="is a run with another recipe"):
        Journey(other, straight, seed=3).run()
    assert (straight / "run.json").read_bytes() == before


def test_a_tokenizer_without_thinking_is_refused(tmp_path: Path) -> None:
    import tokenizers

    folder = tmp_path / "plain"
    folder.mkdir()
    inner = tokenizers.Tokenizer(tokenizers.models.BPE({c: i for i, c in enumerate("ab")}, []))
    inner.add_special_tokens(["<eos>"])
    inner.save(str(folder / "tokenizer.json"))
    said = json.dumps({"eos_token": "<eos>"})
    (folder / "tokenizer_config.json").write_text(said, encoding="utf-8")
    text = recipe().text.replace('tokenizer = "quickstart"', f'tokenizer = "{folder}"')
    with pytest.raises(BadFile, match="tokenizer"):
        Journey(read_recipe(text, "x"), tmp_path / "run", seed=0).run()


def test_a_stage_ends_where_enough_is_reached(tmp_path: Path) -> None:
    enough = "snapshot_every = 15\nuntil = { accuracy = 0.01, every = 10, problems = 20 }"
    text = TEXT.replace("MODEL", "student").replace("snapshot_every = 15", enough)
    told: list[str] = []
    found = read_recipe(text, "tiny")
    short = found.model_copy(update={"stages": found.stages[:1]})
    Journey(short, tmp_path / "run", seed=3, tell=told.append).run()
    steps = len(read_record(tmp_path / "run" / "base"))
    assert steps < 60
    assert told[-1].endswith(f"right after {steps} steps")


def test_a_plan_is_made_for_the_recipe_at_hand(straight: Path) -> None:
    """Whatever lies in the folder."""
    other = read_recipe(TEXT.replace("MODEL", "teacher"), "x")
    planned = Journey(other, straight, seed=9).plan()
    kept = json.loads((straight / "plan.json").read_text(encoding="utf-8"))["stages"]
    assert [one["stage"] for one in planned] == [one["stage"] for one in kept]
    assert planned[0]["parts"]["weights"] != kept[0]["parts"]["weights"]


def test_rows_that_are_not_there_are_missed_before_anything_runs(tmp_path: Path) -> None:
    text = TEXT.replace("MODEL", "student").replace('data = ["data"]', 'data = ["gone.jsonl"]')
    with pytest.raises(BadFile, match=r"gone\.jsonl"):
        Journey(read_recipe(text, "tiny"), tmp_path / "run", seed=3).run()
    assert not (tmp_path / "run").exists()
