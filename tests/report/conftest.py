"""A small run, written by hand: a base, RL on it, its data, and a student of that."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from penjing.evaluate.measures import measure
from penjing.evaluate.sample import Sample
from penjing.report.run import Run, read_run
from penjing.tasks.problem import Grade, Verdict

PROBLEMS = tuple(f"p{number}" for number in range(6))
STAGES = (
    ("base", "pretrain", "teacher"),
    ("zero", "reinforce", "base"),
    ("data", "reject", "zero"),
    ("student_base", "pretrain", "student"),
    ("distilled", "sft", "student_base"),
)
RECIPE = """
name = "tiny"
about = "a run for tests"

[tasks.sums]
name = "jsonl"
data = "PROBLEMS"

[models.teacher]
tokenizer = "quickstart"
config = { hidden_size = 32, tie_word_embeddings = true }

[evaluation]
task = "sums"
problems = 6
samples = 2
max_tokens = 8

[[stages]]
name = "base"
kind = "pretrain"
start = "teacher"
steps = 4
batch = 32
learning_rate = 2e-3

[[stages]]
name = "zero"
kind = "reinforce"
start = "base"
steps = 4
problems = 16
group_size = 8
rewards = { accuracy = 1.0 }

[[stages]]
name = "data"
kind = "reject"
start = "zero"
problems = 50
samples = 4

[[stages]]
name = "student_base"
kind = "pretrain"
start = "student"
steps = 4
batch = 8

[[stages]]
name = "distilled"
kind = "sft"
start = "student_base"
data = ["data"]
epochs = 2
batch = 8
"""
RIGHT = {"base": "100000", "zero": "111100", "student_base": "000000", "distilled": "110000"}


def sample(problem: str, index: int, *, right: bool, response: str = "") -> Sample:
    verdict = Verdict.CORRECT if right else Verdict.WRONG
    return Sample(
        problem=problem,
        index=index,
        seed=index,
        response=response or f"<think>1+1</think>\n\\boxed{{{int(right)}}}",
        finish_reason="stop",
        num_prompt_tokens=4,
        num_tokens=7,
        num_thinking_tokens=3,
        wall_s=0.1,
        grade=Grade(verdict=verdict, reason="counted", answer="1"),
    )


def samples(right: str) -> list[Sample]:
    """Two of each problem, alike."""
    return [
        sample(problem, index, right=flag == "1")
        for problem, flag in zip(PROBLEMS, right, strict=True)
        for index in (1, 0)
    ]


def rl_step(step: int, **changed: Any) -> dict[str, Any]:
    facts = {
        "step": step,
        "flat_groups": 2,
        "tokens": 100,
        "wasted_tokens": 10,
        "reward": 0.2 * step,
        "reward.accuracy": 0.1 * step,
        "length": 20.0 + step,
        "truncated": 0.25,
        "entropy": 2.0 - 0.1 * step,
        "divergence": 0.0,
        "clipped": 0.0,
        "least_ratio": 1.0,
        "most_ratio": 1.0,
        "largest_gap": 0.0,
        "mean_gap": 0.0,
    }
    return facts | changed


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def write_stage(folder: Path, name: str, kind: str) -> None:
    own = folder / name
    done: dict[str, Any] = {"stage": name, "kind": kind, "wall_s": 60.0, "peak_bytes": 3 << 30}
    done["predicted"] = {"seconds": 50.0, "bytes": 2 << 30}
    if kind == "reinforce":
        write_lines(own / "record.jsonl", [rl_step(step) for step in range(4)])
    elif kind != "reject":
        steps = [{"step": s, "loss": 4.0 - s, "entropy": 2.0, "tokens": 50} for s in range(4)]
        write_lines(own / "record.jsonl", steps)
    if kind == "reject":
        of_training = {"value": 0.9, "interval": {"low": 0.8, "high": 0.95}}
        measures = {"num_samples": 200, "lengths": {"mean": 12.5}, "consensus": of_training}
        done |= {"rows": 30, "measures": measures | {"pass_at_k": {"1": of_training}}}
    else:
        times = [{"step": s, "wall_s": 2.0, "peak_bytes": 1 << 30} for s in range(4)]
        write_lines(own / "times.jsonl", times)
        write_samples(own, samples(RIGHT[name]))
        done["measures"] = measure(samples(RIGHT[name])).to_json()
    (own / "done.json").parent.mkdir(exist_ok=True)
    (own / "done.json").write_text(json.dumps(done), encoding="utf-8")


def write_samples(stage: Path, found: Sequence[Sample]) -> None:
    write_lines(stage / "evaluation" / "samples.jsonl", [one.to_json() for one in found])
    (stage / "evaluation" / "run.json").write_text("{}", encoding="utf-8")


def write_run(folder: Path) -> None:
    facts = {
        "penjing": "0.1.0",
        "recipe": "tiny",
        "seed": 0,
        "recipe_sha256": "0123456789abcdef",
        "stages": [{"name": n, "kind": k, "start": s} for n, k, s in STAGES],
    }
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    rows = [
        {"id": p, "question": f"What is 1 + {p}?", "answer": "2", "split": "held_out"}
        for p in PROBLEMS
    ]
    write_lines(folder / "problems.jsonl", rows)
    text = RECIPE.replace("PROBLEMS", str(folder / "problems.jsonl"))
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    for name, kind, _ in STAGES:
        write_stage(folder, name, kind)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a whole run; tests may change it."""
    write_run(tmp_path / "tiny-0")
    return tmp_path / "tiny-0"


@pytest.fixture
def run(folder: Path) -> Run:
    return read_run(folder)


@pytest.fixture
def change(folder: Path) -> Callable[..., None]:
    """Changes an object of the run: ``change("zero/done.json", predicted=None)``."""

    def to(path: str, **changed: Any) -> None:
        facts = json.loads((folder / path).read_text(encoding="utf-8"))
        (folder / path).write_text(json.dumps(facts | changed), encoding="utf-8")

    return to
