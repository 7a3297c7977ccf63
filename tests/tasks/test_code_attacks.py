import subprocess
import sys
from pathlib import Path

import pytest

from penjing.errors import UnknownName
from penjing.tasks.code_attacks import (
    CheckerAttackReport,
    checker_attacks,
    checker_problems,
    judge_code,
    run_checker_attacks,
)
from penjing.tasks.problem import Grade, Verdict
from penjing.tasks.sandbox.limits import Limits
from penjing.tasks.sandbox.protections import SandboxRefused
from penjing.tasks.sandbox.sandbox import Sandbox

LIMITS = Limits(wall_s=15, cpu_s=1, memory_bytes=256 << 20, output_bytes=4 << 20)
# In the process of the tests these do pass, so that a judge who ran them there would be seen.
DANGEROUS = {
    "exact": ["always_equal", "always_equal_int", "array_like", "lying_class"],
    "near": ["always_near", "array_like"],
    "mapped": ["stop_iteration", "always_equal"],
    "ordered": ["always_equal_list", "cleared_argument"],
    "drawn": ["patched_random"],
}


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return Sandbox(LIMITS)
    except SandboxRefused as refused:
        pytest.skip(str(refused))


def test_no_attack_is_taken_for_right_and_every_solution_is(sandbox: Sandbox) -> None:
    report = run_checker_attacks(sandbox)
    assert not report.succeeded, str(report)
    faults = [f"{a.name}: {g.reason}" for a, g in report.results if g.is_fault]
    assert not faults
    assert all(grade.is_correct for grade in report.controls.values()), str(report)
    assert len({a.name for a, _ in report.results}) >= 60
    assert len(report.controls) == 7


def test_attacks_are_of_several_kinds_and_named_once() -> None:
    attacks = checker_attacks()
    pairs = [(a.problem, a.name) for a in attacks]
    assert len(set(pairs)) == len(pairs)
    assert {a.problem for a in attacks} == set(checker_problems())
    assert all(a.tries and a.code.strip() for a in attacks)


@pytest.mark.parametrize("aim", DANGEROUS)
def test_attacks_do_succeed_where_code_and_tests_share_a_process(aim: str) -> None:
    problem = checker_problems()[f"functions/{aim}"]
    codes = {a.name: a.code for a in checker_attacks() if a.problem == problem.id}
    for name in DANGEROUS[aim]:
        assert _passes_in_one_process(problem.prompt + codes[name], problem.metadata["test"]), name


def _passes_in_one_process(code: str, test: str) -> bool:
    """In one of its own, as some change what all share."""
    program = f"{code}\n{test}\ncheck(solve)\nprint('passed')"
    command = [sys.executable, "-c", program]
    return b"passed" in subprocess.run(command, capture_output=True, timeout=60, check=False).stdout


def test_a_right_answer_among_attacks_shows_in_the_report(sandbox: Sandbox) -> None:
    attack = next(a for a in checker_attacks() if a.problem == "functions/exact")
    problem = checker_problems()["functions/exact"]
    grade = judge_code(sandbox, problem, problem.prompt + problem.reference)
    assert grade.is_correct
    refused = Grade(verdict=Verdict.WRONG, reason="no")
    report = CheckerAttackReport(results=[(attack, grade)], controls={"functions/exact": refused})
    assert report.succeeded == (attack,)
    assert str(report).endswith("1 attacks, 1 succeeded; right solutions refused: functions/exact")


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "attacks.toml"
    file.write_text(
        "program = []\n[[function]]\nname='a'\ntries='b'\ncode='c'\nagaints=['exact']\n"
    )
    with pytest.raises(UnknownName, match=r"'againts'; nearest: against"):
        checker_attacks(file)
