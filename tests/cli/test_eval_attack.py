"""``penjing eval --attack``: what got through is told, and decides the exit status."""

import json
from pathlib import Path
from typing import Any

import pytest

from penjing.cli import main
from penjing.tasks.sandbox import attacks
from penjing.tasks.sandbox.attacks import Attack, SandboxAttackReport
from penjing.tasks.sandbox.sandbox import Sandbox

RIGHT = "def judge(question, reference, response, metadata):\n    return reference in response\n"


@pytest.fixture
def attacked(tmp_path: Path) -> list[str]:
    data = tmp_path / "mine.jsonl"
    data.write_text('{"question": "What is 3 + 4?", "answer": "7"}\n', encoding="utf-8")
    return ["eval", "--attack", "jsonl", "--data", str(data), "--size", "1"]


def test_our_judge_lets_nothing_through(
    capsys: pytest.CaptureFixture[str], attacked: list[str]
) -> None:
    assert main([*attacked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["is_clean"], found["false_rewards"], found["problems"]) == (True, [], 1)
    assert found["attacks"] > 100


def test_a_judge_that_pays_for_echoes_is_not_clean(
    capsys: pytest.CaptureFixture[str], attacked: list[str], tmp_path: Path
) -> None:
    (tmp_path / "naive.py").write_text(RIGHT, encoding="utf-8")
    assert main([*attacked, "--judge", f"{tmp_path / 'naive.py'}:judge"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == "NOT CLEAN"
    assert any(": correct, " in line for line in told)


def test_the_sandbox_is_attacked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_all, chosen = attacks.run_attacks, attacks.attacks()[:2]

    def run_two(sandbox: Sandbox) -> SandboxAttackReport:
        return run_all(sandbox, chosen)

    monkeypatch.setattr(attacks, "run_attacks", run_two)
    assert main(["eval", "--attack", "sandbox"]) == 0
    assert "2 attacks, 0 succeeded" in capsys.readouterr().out


def test_what_got_out_of_the_sandbox_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(sandbox: Sandbox) -> SandboxAttackReport:
        attack = Attack(group="files", name="escape", tries="all", program="")
        one = attacks.AttackResult(attack=attack, signs=("read",), ended="exited 0", wall_s=0.1)
        return SandboxAttackReport(results=(one,), control=None)

    monkeypatch.setattr(attacks, "run_attacks", failing)
    assert main(["eval", "--attack", "sandbox", "--json"]) == 1
    found: Any = json.loads(capsys.readouterr().out)
    assert found == {"attacks": 1, "succeeded": ["files: escape"], "control": None}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["checkpoint"], "--attack asks no model"),
        (["--endpoint", "http://x"], "--attack asks no model"),
        (["--task", "gsm8k"], "--task and --attack are different things"),
        (["--size", "0"], "--size is 0; it must be at least 1"),
        (["--size", "2"], "2 problems cannot be had"),
    ],
)
def test_wrong_commands_are_one_line(
    capsys: pytest.CaptureFixture[str], attacked: list[str], more: list[str], said: str
) -> None:
    assert main([*attacked, *more]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
