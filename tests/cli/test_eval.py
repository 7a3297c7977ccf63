"""``penjing eval``: with a tiny random model, killed and resumed, compared, and attacked."""

import json
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
from tests.evaluate.endpoint_server import Server, server  # noqa: F401, a fixture

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


def started(arguments: list[str]) -> subprocess.Popen[str]:
    """Once it has written a sample."""
    command = [sys.executable, "-m", "penjing", *arguments]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    file = Path(arguments[arguments.index("--output") + 1]) / "samples.jsonl"
    ends = time.monotonic() + 60
    while not (file.exists() and file.stat().st_size) and time.monotonic() < ends:
        time.sleep(0.002)
    return run


def kept(run: Path) -> dict[tuple[str, int], tuple[str, int, str]]:
    _, samples = read_run(run)
    return {(s.problem, s.index): (s.response, s.num_tokens, s.grade.reason) for s in samples}


def test_a_run_that_was_killed_goes_on_to_the_same_samples(
    checkpoint: str, data: str, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    many = ("--samples", "30", "--max-tokens", "24")  # more than run at once
    assert main(asked(checkpoint, data, whole, *many)) == 0
    with started(asked(checkpoint, data, cut, *many)) as run:
        run.kill()
    before = (cut / "samples.jsonl").read_bytes()
    assert 0 < len(kept(cut)) < len(kept(whole)) == 180
    assert main(asked(checkpoint, data, cut, *many)) == 0
    assert (cut / "samples.jsonl").read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert kept(cut) == kept(whole)


def test_ctrl_c_says_how_to_go_on(checkpoint: str, data: str, tmp_path: Path) -> None:
    many = ("--samples", "30", "--max-tokens", "24")
    with started(asked(checkpoint, data, tmp_path / "run", *many)) as run:
        run.send_signal(signal.SIGINT)
        _, told = run.communicate(timeout=60)
    assert run.returncode == 130
    num_kept = len(kept(tmp_path / "run"))
    assert 0 < num_kept < 180
    assert f"{num_kept:,} samples are kept in {tmp_path / 'run'}; the same command" in told
    assert "Traceback" not in told


def test_a_judge_that_fails_is_told_and_others_go_on(
    capsys: pytest.CaptureFixture[str], checkpoint: str, data: str, tmp_path: Path
) -> None:
    judge = tmp_path / "mine.py"
    judge.write_text(
        "def judge(question, reference, response, metadata):\n"
        "    if reference in ('2', '4'):\n        raise ValueError('broken')\n    return True\n",
        encoding="utf-8",
    )
    command = asked(checkpoint, data, tmp_path / "run", "--judge", f"{judge}:judge")
    assert main(command) == 1
    told = capsys.readouterr().out
    assert "THE JUDGE FAILED on" in told
    assert "pass@1" in told
    reasons = [reason for _, _, reason in kept(tmp_path / "run").values()]
    assert len(reasons) == 12
    assert {"ValueError: broken" in reason for reason in reasons} == {True, False}
    judge.write_text(judge.read_text("utf-8").replace("raise ValueError('broken')", "return 1"))
    assert main(command) == 2
    assert "judge_sha256 was" in capsys.readouterr().err


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
    assert found["differ_in"] == ["sampling.temperature"]
    assert main(["eval", "--compare", str(first), str(second)]) == 0
    assert "differ in: sampling.temperature\n" in capsys.readouterr().out


def test_runs_on_other_files_are_no_pairs(
    capsys: pytest.CaptureFixture[str], checkpoint: str, data: str, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"question": "What?", "answer": 1}', encoding="utf-8")
    main(asked(checkpoint, data, tmp_path / "a"))
    main(asked(checkpoint, str(other), tmp_path / "b"))
    assert main(["eval", "--compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "cannot be compared: data_sha256 is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "--task is needed"),
        (["--task", "countdown"], "give a CHECKPOINT or an --endpoint"),
        (["x", "--task", "countdown", "--endpoint", "http://x"], "one of them"),
        (["x", "--task", "countdown", "--samples", "0"], "--samples is 0"),
        (["x", "--task", "countdown", "--size", "0"], "--size is 0"),
        (["x", "--task", "countdown", "--model", "y"], "--model goes with an --endpoint"),
        (["x", "--task", "countdown", "--temperature", "-1"], "temperature is -1.0"),
        (["--endpoint", "x", "--task", "countdown"], "'x' is no address"),
        (
            ["--endpoint", "http://x", "--task", "countdown", "--max-length", "9"],
            "takes --max-tokens",
        ),
        (["x", "--compare", "nowhere", "neither"], "--compare asks no model"),
        (["--task", "countdown", "--compare", "a", "b"], "are different things to do"),
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
    assert main(["eval", *argv]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_folder_of_another_run_is_left_alone(
    capsys: pytest.CaptureFixture[str], checkpoint: str, data: str, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    assert main(asked(checkpoint, data, output)) == 0
    before = (output / "samples.jsonl").read_bytes()
    assert main(asked(checkpoint, data, output, "--temperature", "0.5")) == 2
    assert "sampling.temperature was 1.0, is 0.5" in capsys.readouterr().err
    weights = next(Path(checkpoint).glob("*.safetensors"))
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # one bit of the last weight
    assert main(asked(checkpoint, data, output)) == 2
    assert "checkpoint_sha256 was" in capsys.readouterr().err
    weights.write_bytes(content)
    moved = Path(checkpoint).rename(tmp_path / "moved")
    assert main(asked(str(moved), data, output)) == 0
    assert (output / "samples.jsonl").read_bytes() == before


def test_an_endpoint_is_asked_and_the_key_is_told_nowhere(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    server: Server,  # noqa: F811
    data: str,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("MY_KEY", "sesame")
    command = ["eval", "--endpoint", server.url, "--api-key-env", "MY_KEY", "--task", "jsonl"]
    command += ["--data", data, "--output", str(tmp_path / "run"), "--concurrency", "1"]
    server.message = {"role": "assistant", "reasoning_content": "hm", "content": "\\boxed{4}"}
    server.script = ["", "bad", "bad"]
    assert main([*command, "--json"]) == 1
    out, err = capsys.readouterr()
    assert (json.loads(out)["missing"], json.loads(out)["settings"]["model"]) == (2, "only")
    assert len(kept(tmp_path / "run")) == 4
    num_asked = len(server.bodies)
    assert main(command) == 0
    assert len(server.bodies) == num_asked + 2
    told = capsys.readouterr()
    assert "pass@1" in told.out
    responses = {response for response, _, _ in kept(tmp_path / "run").values()}
    assert responses == {"<think>hm</think>\\boxed{4}"}
    assert set(server.keys) == {"Bearer sesame"}
    files = [file.read_text("utf-8") for file in (tmp_path / "run").iterdir()]
    assert "sesame" not in "".join([out, err, told.out, told.err, *files])


def test_an_endpoint_needs_no_torch(
    server: Server,  # noqa: F811
    data: str,
    tmp_path: Path,
) -> None:
    without = "import sys; sys.modules['torch'] = None; from penjing.cli import main; "
    command = [sys.executable, "-c", without + "raise SystemExit(main(sys.argv[1:]))"]
    command += ["eval", "--endpoint", server.url, "--task", "jsonl", "--data", data]
    command += ["--output", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(kept(tmp_path / "run")) == 6


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
