"""Problems made again from a recipe, without running what it names."""

from pathlib import Path

import pytest

from penjing.report.questions import questions
from penjing.report.run import Run, read_run
from penjing.tasks.problem import Split
from penjing.tasks.reasoning_gym_tasks import reasoning_gym
from tests.report.conftest import PROBLEMS


def test_questions_of_a_file(run: Run) -> None:
    found, why = questions(run)
    assert why == ""
    assert sorted(found) == sorted(PROBLEMS)
    assert found["p0"].prompt == "What is 1 + p0?"


def rewritten(folder: Path, before: str, after: str) -> Run:
    path = folder / "recipe.toml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    return read_run(folder)


def test_questions_of_a_family_are_those_that_were_asked(folder: Path) -> None:
    data = f'name = "jsonl"\ndata = "{folder / "problems.jsonl"}"'
    options = "min_terms = 2, max_terms = 2"
    run = rewritten(folder, data, f'name = "reasoning_gym/chain_sum"\noptions = {{ {options} }}')
    task = reasoning_gym("chain_sum", {"min_terms": 2, "max_terms": 2})
    asked = task.problems(Split.HELD_OUT, seed=0, size=6)
    assert questions(run) == ({problem.id: problem for problem in asked}, "")


def test_a_judge_of_a_user_is_not_loaded(folder: Path) -> None:
    judge = folder / "judge.py"
    judge.write_text("raise SystemExit('it was run')")
    run = rewritten(folder, 'name = "jsonl"', f'name = "jsonl"\njudge = "{judge}:grade"')
    assert sorted(questions(run)[0]) == sorted(PROBLEMS)


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ('data = "', 'data = "hub:a/b/', "a report fetches nothing"),
        ('data = "', 'data = "nowhere', "does not exist"),
        ('"jsonl"', '"no_such_task"', "unknown task"),
        ("problems = 6", "problems = 10000000000", "names no held-out problems"),
        ("problems = 6", "problems = 7", "cannot be made again"),
        ('task = "sums"', 'task = "other"', "names no held-out problems"),
    ],
)
def test_why_there_are_none(folder: Path, before: str, after: str, why: str) -> None:
    found, said = questions(rewritten(folder, before, after))
    assert found == {}
    assert why in said
