"""``penjing eval``: with a tiny random model, killed and resumed, compared, and attacked."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penjing.cli import main
from penjing.evaluate.store import read_run
from tests.engine.conftest import decoder, folder, one_thread  # noqa: F401, fixtures

SHARED = Path(__file__).parents[3] / "shared/data/benchmarks"


@pytest.fixture
def checkpoint(folder: Callable[..., Path]) -> str:  # noqa: F811
    return str(folder("latent", max_position_embeddings=4096))


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "mine.jsonl"
    rows = [json.dumps({"question": f"What is {n} + {n}?", "answer": 2 * n}) for n in range(1, 7)]
    path.write_text("\n".join(rows), encoding="utf-8")
    return str(path)


def asked(checkpoint: str, data: str, output: Path, *more: str) -> list[str]:
    plain = ["--task", "jsonl", "--data", data, "--samples", "2", "--max-tokens", "16"]
    return ["eval", checkpoint, *plain, "--max-length", "512", "--output", str(output), *more]


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_figures_are_told_and_samples_kept(
    capsys: pytest.CaptureFixture[str], checkpoint: str, data: str, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    assert main([*asked(checkpoint, data, output), "--json"]) == 0
    found = document(capsys)
    assert found["measures"]["num_samples"] == 12
    assert found["measures"]["num_problems"] == 6
    assert found["missing"] == 0
    settings, samples = read_run(output)
    assert settings == found["settings"]
    assert settings["sampling.max_tokens"] == 16
    assert {(s.problem, s.index) for s in samples} == {
        (s.problem, k) for s in samples for k in range(2)
    }
    before = (output / "samples.jsonl").read_bytes()
    assert main(asked(checkpoint, data, output)) == 0  # nothing is left to do
    assert (output / "samples.jsonl").read_bytes() == before
    assert "pass@1" in capsys.readouterr().out


def test_a_run_that_was_killed_goes_on_to_the_same_samples(
    checkpoint: str, data: str, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(asked(checkpoint, data, whole)) == 0
    command = [sys.executable, "-m", "penjing", *asked(checkpoint, data, killed)]
    file = killed / "samples.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        ends = time.monotonic() + 60
        while not (file.exists() and file.stat().st_size) and time.monotonic() < ends:
            time.sleep(0.002)
        os.kill(run.pid, signal.SIGKILL)
    assert main(asked(checkpoint, data, killed)) == 0

    def kept(run: Path) -> dict[tuple[str, int], tuple[str, int, str]]:
        _, samples = read_run(run)
        return {(s.problem, s.index): (s.response, s.num_tokens, s.grade.reason) for s in samples}

    assert len(kept(whole)) == 12
    assert kept(killed) == kept(whole)


def test_two_runs_are_compared(
    capsys: pytest.CaptureFixture[str], checkpoint: str, data: str, tmp_path: Path
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    main(asked(checkpoint, data, first))
    main(asked(checkpoint, data, second, "--temperature", "0"))
    capsys.readouterr()
    assert main(["eval", "--compare", str(first), str(second), "--json"]) == 0
    found = document(capsys)
    assert (found["num_problems"], found["difference"]) == (6, 0.0)


def test_a_judge_is_attacked(capsys: pytest.CaptureFixture[str], data: str, tmp_path: Path) -> None:
    assert main(["eval", "--attack", "jsonl", "--data", data, "--size", "1"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("nothing got through")
    naive = tmp_path / "naive.py"
    naive.write_text(
        "def judge(question, reference, response, metadata):\n    return reference in response\n",
        encoding="utf-8",
    )
    attacked = ["eval", "--attack", "jsonl", "--data", data, "--size", "1"]
    assert main([*attacked, "--judge", f"{naive}:judge"]) == 1
    assert "NOT CLEAN" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "--task is needed"),
        (["--task", "countdown"], "give a CHECKPOINT or an --endpoint"),
        (["x", "--task", "countdown", "--endpoint", "http://x"], "one of them"),
        (["x", "--task", "countdown", "--samples", "0"], "--samples is 0"),
        (["nowhere", "--task", "countdown"], "'nowhere' does not exist"),
        (["x", "--task", "gsmk"], "nearest: gsm8k"),
        (["--compare", "nowhere", "neither"], "nowhere holds no run"),
        (
            ["--endpoint", "http://127.0.0.1:9/v1", "--task", "countdown", "--size", "1"],
            "which models",
        ),
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
    monkeypatch.setattr("penjing.evaluate.endpoint.RETRIES", 0)
    assert main(["eval", *argv]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_folder_of_another_run_is_left_alone(
    capsys: pytest.CaptureFixture[str], checkpoint: str, data: str, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    assert main(asked(checkpoint, data, output)) == 0
    assert main(asked(checkpoint, data, output, "--temperature", "0.5")) == 2
    assert "sampling.temperature was 1.0, is 0.5" in capsys.readouterr().err


@pytest.mark.skipif(not SHARED.exists(), reason="the benchmarks are not here")
@pytest.mark.parametrize(
    ("task", "file"), [("gsm8k", "gsm8k/test.jsonl"), ("humaneval", "humaneval/HumanEval.jsonl.gz")]
)
def test_benchmarks_end_to_end(
    capsys: pytest.CaptureFixture[str], checkpoint: str, tmp_path: Path, task: str, file: str
) -> None:
    command = ["eval", checkpoint, "--task", task, "--data", str(SHARED / file), "--size", "4"]
    limits = ["--max-tokens", "12", "--max-length", "2048", "--output", str(tmp_path / "run")]
    assert main([*command, *limits, "--json"]) == 0
    found = document(capsys)["measures"]
    assert found["num_samples"] == 4
    assert found["num_faults"] == 0
