"""The suite itself: that none succeeds, and that a success would be seen."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from penjing.errors import UnknownName
from penjing.tasks.sandbox import seccomp
from penjing.tasks.sandbox.attacks import (
    ATTACK_LIMITS,
    MARK,
    Attack,
    AttackResult,
    SandboxAttackReport,
    _signs,
    attacks,
    control_fault,
    run_attack,
    run_attacks,
    target,
)
from penjing.tasks.sandbox.canary import Canary
from penjing.tasks.sandbox.machine import interpreter
from penjing.tasks.sandbox.protections import SandboxRefused
from penjing.tasks.sandbox.sandbox import End, Outcome, Sandbox

ATTACKS = attacks()
SHOWN = [a for a in ATTACKS if a.shows_outside]


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return Sandbox(ATTACK_LIMITS)
    except SandboxRefused as refused:
        pytest.skip(str(refused))


def harmless(program: str, **more: object) -> Attack:
    base = Attack(group="files", name="x", tries="y", program=program)
    return dataclasses.replace(base, **more)  # type: ignore[arg-type]  # checked by Attack


def test_there_are_many_of_each_kind() -> None:
    groups = {a.group for a in ATTACKS}
    assert groups == {"resources", "files", "network", "processes", "kernel", "checker"}
    assert len(ATTACKS) >= 120
    names = [a.name for a in ATTACKS]
    assert len(set(names)) == len(names)
    assert all(a.tries and a.program.strip() for a in ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_each_is_a_program(attack: Attack) -> None:
    compile(attack.program, attack.name, "exec")


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("[[attack]]\nname = 'a'\nprogramm = ''\n", encoding="utf-8")
    with pytest.raises(UnknownName, match="'programm'; nearest: program"):
        attacks(tmp_path)


@pytest.mark.slow
def test_none_succeeds_and_a_harmless_program_passes(sandbox: Sandbox) -> None:
    report = run_attacks(sandbox, parallel=4)
    print(report)
    assert len(report.results) == len(ATTACKS)
    assert not report.succeeded, str(report)
    assert report.control is None


@pytest.mark.parametrize("attack", SHOWN, ids=lambda a: a.name)
def test_without_a_sandbox_they_would_be_seen(attack: Attack, tmp_path: Path) -> None:
    with Canary() as canary:
        (tmp_path / "attack.py").write_text(attack.program, encoding="utf-8")
        (tmp_path / "target.py").write_text(target(canary, ATTACK_LIMITS), encoding="utf-8")
        done = subprocess.run(
            [interpreter(), "attack.py"],
            cwd=tmp_path,
            env={"HOME": str(tmp_path), "KEY": canary.secret},
            capture_output=True,
            pass_fds=[canary.inherited],
            timeout=60,
            check=False,
        )
        outcome = finished(done.returncode, done.stdout, done.stderr)
        assert _signs(attack, outcome, canary, ATTACK_LIMITS, 0.0) + canary.signs()


def finished(code: int, stdout: bytes = b"", stderr: bytes = b"") -> Outcome:
    return Outcome(
        end=End.EXITED,
        exit_code=code,
        stdout=stdout,
        stderr=stderr,
        cpu_s=0.0,
        wall_s=0.0,
        detail="",
    )


def test_every_sign_is_seen() -> None:
    with Canary() as canary:

        def signs(outcome: Outcome, attack: Attack | None = None, took_s: float = 0.0) -> list[str]:
            return _signs(attack or harmless(""), outcome, canary, ATTACK_LIMITS, took_s)

        assert signs(finished(0, b"fine", b"as well")) == []
        assert signs(finished(0, f"a {MARK} it\nb".encode())) == ["it got what it tried for: it"]
        assert signs(finished(0, b"", canary.secret.encode())) == ["the secret was read"]
        assert signs(finished(0, bytes(1 << 17))) == ["more output than allowed"]
        assert signs(finished(0), took_s=100.0) == ["it ran on"]
        assert signs(finished(0), harmless("", honest_exit=7)) == ["another exit code"]
        assert signs(finished(7), harmless("", honest_exit=7)) == []


def test_a_success_is_a_line_of_the_report(sandbox: Sandbox) -> None:
    lucky = harmless("from target import won; won('luck')")
    result = run_attack(sandbox, lucky)
    assert result.signs == ("it got what it tried for: luck",)
    report = SandboxAttackReport(results=(result,), control=None)
    assert report.succeeded == (result,)
    assert "SUCCEEDED" in str(report)
    assert str(report).endswith("1 attacks, 1 succeeded; the harmless program passes")


def test_a_process_that_is_left_is_seen(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penjing.tasks.sandbox.attacks._command_lines", lambda: LABEL)
    monkeypatch.setattr("penjing.tasks.sandbox.attacks.secrets.token_hex", lambda n: LABEL)
    assert run_attack(sandbox, harmless("")).signs == ("a process is left",)


LABEL = "0123456789abcdef"


def test_a_harmless_program_that_fails_is_told(sandbox: Sandbox) -> None:
    assert control_fault(sandbox) is None
    tight = Sandbox(dataclasses.replace(ATTACK_LIMITS, processes=1))
    fault = control_fault(tight)
    assert fault is not None
    result = AttackResult(attack=ATTACKS[0], signs=(), ended="exited 0", wall_s=0.1)
    assert "FAILED: " in str(SandboxAttackReport(results=(result,), control=fault))


def test_attacks_know_what_they_need(tmp_path: Path) -> None:
    with Canary() as canary:
        (tmp_path / "target.py").write_text(target(canary, ATTACK_LIMITS), encoding="utf-8")
        code = "import target; target.won('x'); print(target.PARENT, target.NUMBERS['mount'])"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        )
    column = seccomp.machines().index(os.uname().machine)
    number = seccomp.DENIED["mount"][column]
    assert done.stdout == f"{MARK} x\n{os.getpid()} {number}\n"
