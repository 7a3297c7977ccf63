"""One row in each publisher's columns; problems are made up here."""

import json
from pathlib import Path
from typing import Any

import pytest

from penjing.errors import BadFile
from penjing.tasks.math_files import aime, math, read_math
from penjing.tasks.problem import Split

ROWS: dict[str, dict[str, Any]] = {
    "MATH": {"problem": "Half of 7?", "solution": r"So \boxed{\frac{7}{2}}.", "level": "Level 1"},
    "MATH-500": {
        "problem": "Half of 7?",
        "solution": "s",
        "answer": r"\frac{7}{2}",
        "unique_id": "test/algebra/1.json",
    },
    "DeepScaleR": {"problem": "Half of 7?", "answer": r"$\frac72$", "solution": ""},
    "verl": {
        "data_source": "x",
        "prompt": [{"role": "user", "content": "Half of 7?"}],
        "reward_model": {"style": "rule", "ground_truth": "3.5"},
    },
    "OpenR1": {"problem": "Half of 7?", "answer": "7/2", "uuid": "u-1", "problem_type": "Algebra"},
    "plain": {"question": "Half of 7?", "answer": 3.5},
}


def written(folder: Path, *rows: object) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(ROWS))
def test_every_publishers_columns(tmp_path: Path, name: str) -> None:
    task = math(written(tmp_path, ROWS[name]))
    (problem,) = task.problems(None)
    assert problem.prompt == "Half of 7?"
    for right in ("3.5", r"\frac{7}{2}", r"3\frac12"):
        assert task.grade(problem, rf"\boxed{{{right}}}").is_correct
    assert not task.grade(problem, r"\boxed{4}").is_correct


def test_ids_are_the_publishers_or_hang_on_the_question(tmp_path: Path) -> None:
    ids = {n: math(written(tmp_path, row)).problems(None)[0].id for n, row in ROWS.items()}
    assert ids["MATH-500"] == "test/algebra/1.json"
    assert ids["OpenR1"] == "u-1"
    assert ids["MATH"] == ids["verl"] == ids["plain"]


def test_rows_without_an_answer_are_counted(tmp_path: Path) -> None:
    proofs = [{"problem": f"Prove {n}.", "answer": "proof"} for n in range(2)]
    odd = {"problem": "Sum?", "answer": r"\sum_{k} k"}
    twice = ROWS["plain"], ROWS["plain"]
    found = read_math(written(tmp_path, *proofs, odd, *twice))
    assert len(found.problems) == 1
    assert found.refused == {
        "no answer, or a proof": 2,
        "an answer that is no value": 1,
        "a question that stands there already": 1,
    }
    with pytest.raises(BadFile, match=r"no problem with an answer .*: no answer, or a proof \(2\)"):
        math(written(tmp_path, *proofs))


def test_maths_own_folder(tmp_path: Path) -> None:
    for split, number in (("train", 6), ("test", 7)):
        folder = tmp_path / "MATH" / split / "algebra"
        folder.mkdir(parents=True)
        row = {"problem": f"Half of {number}?", "solution": rf"\boxed{{{number / 2}}}"}
        (folder / "1.json").write_text(json.dumps(row), encoding="utf-8")
    task = math(tmp_path / "MATH")
    assert [p.reference for p in task.problems(Split.TRAIN)] == ["3.0"]
    assert [p.reference for p in task.problems(Split.HELD_OUT)] == ["3.5"]
    (tmp_path / "MATH" / "bad.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(BadFile, match="holds no object"):
        math(tmp_path / "MATH")
    (tmp_path / "none").mkdir()
    with pytest.raises(BadFile, match=r"without \.json files"):
        math(tmp_path / "none")


@pytest.mark.parametrize("answer", ["025", 25, "25"])
def test_aime_has_leading_zeros_or_not(tmp_path: Path, answer: object) -> None:
    task = aime(written(tmp_path, {"ID": "2024-I-1", "Problem": "How many?", "Answer": answer}))
    (problem,) = task.problems(None)
    assert problem.id == "2024-I-1"
    assert task.grade(problem, r"\boxed{25}").is_correct
    assert task.grade(problem, r"\boxed{025}").is_correct
    assert not task.grade(problem, r"\boxed{250}").is_correct


@pytest.mark.parametrize("answer", ["1000", "-1", "7/2", "2.5"])
def test_other_answers_are_not_of_aime(tmp_path: Path, answer: str) -> None:
    with pytest.raises(BadFile, match="whole numbers from 0 to 999"):
        aime(written(tmp_path, {"problem": "How many?", "answer": answer}))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "x"}, "row 1 has no question"),
        ({"problem": "x"}, "row 1 has no answer"),
        ({"problem": "", "answer": "1"}, "row 1 has no question"),
    ],
)
def test_columns_that_lack_are_named(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(BadFile, match=message):
        math(written(tmp_path, row))


def test_one_id_for_two_questions(tmp_path: Path) -> None:
    rows = [{"id": 1, "problem": f"{n}?", "answer": "1"} for n in range(2)]
    with pytest.raises(BadFile, match="the id 1 belongs to two rows"):
        math(written(tmp_path, *rows))
