"""A user's function: what it may return, and that it stops nothing."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from penjing.errors import BadCommand
from penjing.tasks.problem import Problem, Split, Verdict
from penjing.tasks.user_judge import UserJudge, verdict

CODE = """
import time
def right(question, reference, response, metadata):
    return response.strip() == reference and metadata["level"] == 3
def half(question, reference, response, metadata): return 0.5
def words(question, reference, response, metadata): return "yes"
def nothing(question, reference, response, metadata): pass
def raises(question, reference, response, metadata): raise ValueError("no\\nway")
def hangs(question, reference, response, metadata): time.sleep(99)
def ends(question, reference, response, metadata): exit(3)
def date(question, reference, response, metadata): return metadata["day"] == "2025-01-22"
def few(question): return True
number = 3
"""
PROBLEM = Problem(
    id="q-1", prompt="6 x 7?", reference="42", split=Split.TRAIN, metadata={"level": 3}
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE, encoding="utf-8")
    return path


def test_it_judges(file: Path) -> None:
    judge = UserJudge(f"{file}:right")
    assert judge(PROBLEM, " 42 ").is_correct
    assert judge(PROBLEM, "41").verdict is Verdict.WRONG


def test_metadata_that_json_cannot_hold_are_texts(file: Path) -> None:
    problem = replace(PROBLEM, metadata={"day": date(2025, 1, 22)})
    assert UserJudge(f"{file}:date")(problem, "42").is_correct


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("half", "it returned 0.5; return True or False; there is no partial credit"),
        ("words", "it returned 'yes'; return True or False"),
        ("nothing", "it returned None"),
        ("raises", "ValueError: no way"),
        ("hangs", "no answer within 0.5 s"),
        ("ends", "SystemExit: 3"),
    ],
)
def test_what_it_does_wrong_is_a_fault_that_names_it(file: Path, name: str, reason: str) -> None:
    judge = UserJudge(f"{file}:{name}", limit_s=0.5)
    for _ in range(2):  # others go on
        grade = judge(PROBLEM, "42")
        assert grade.is_fault
        assert grade.reason.startswith(f"the judge {file}:{name} failed on q-1: ")
        assert reason in grade.reason


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("mine.py", "not spelled path.py:function"),
        ("lacking.py:f", "lacking.py is not there"),
        ("{file}:lacking", "cannot be loaded: AttributeError"),
        ("{file}:number", "number is no function"),
        ("{file}:few", r"it must take \(question, reference, response, metadata\)"),
    ],
)
def test_a_function_that_cannot_be_had(file: Path, spelled: str, message: str) -> None:
    with pytest.raises(BadCommand, match=message):
        UserJudge(spelled.format(file=file))


def test_a_file_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("def f(:\n", encoding="utf-8")
    with pytest.raises(BadCommand, match="cannot be loaded: SyntaxError"):
        UserJudge(f"{path}:f")


@pytest.mark.parametrize("value", [True, 1, 1.0])
def test_yes(value: object) -> None:
    assert verdict(value) is True
    assert verdict(False) is verdict(0) is verdict(0.0) is False


@pytest.mark.parametrize("value", [None, "yes", 0.5, 2, float("nan"), [], {}])
def test_neither_yes_nor_no(value: object) -> None:
    with pytest.raises(TypeError, match="return True or False"):
        verdict(value)
