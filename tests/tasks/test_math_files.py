"""One row in each publisher's columns; problems are made up here."""

import json
from pathlib import Path
from typing import Any

import pytest

from penjing.errors import BadFile
from penjing.tasks.math_files import aime, math, read_math
from penjing.tasks.problem import Split
from penjing.tasks.source import split_of

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
    "verl's MATH": {
        "prompt": [
            {
                "role": "user",
                "content": "Half of 7? Let's think step by step and output the final answer within "
                r"\boxed{}.",
            }
        ],
        "reward_model": {"style": "rule", "ground_truth": r"\frac72"},
        "extra_info": {"split": "train", "index": 0},
    },
    "OlympiadBench": {"question": "Half of 7?", "final_answer": ["$3.5$"], "solution": ["s"]},
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
    (problem,) = math(written(tmp_path, {**ROWS["plain"], "id": "", "uuid": "u-2"})).problems(None)
    assert problem.id == "u-2"
    (problem,) = math(written(tmp_path, {**ROWS["plain"], "id": "", "uuid": None})).problems(None)
    assert problem.id == ids["MATH"] == ids["verl"] == ids["plain"]


@pytest.mark.parametrize(
    ("row", "split"),
    [
        ({"extra_info": {"split": "test"}}, Split.HELD_OUT),
        ({"extra_info": {"split": "train"}}, Split.TRAIN),
    ],
)
def test_a_row_of_verl_says_which_split_it_is_of(
    tmp_path: Path, row: dict[str, Any], split: Split
) -> None:
    rows = [{**row, "prompt": f"{n}?", "reward_model": {"ground_truth": "1"}} for n in range(20)]
    assert len(math(written(tmp_path, *rows)).problems(split)) == 20


CHOICES = r"Which? $\textbf{(A)}\ 1 \qquad \textbf{(B)}\ 2$"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"answer": ""}, "no answer, or a proof"),
        ({"answer": float("nan")}, "no answer, or a proof"),
        ({"answer": float("inf")}, "no answer, or a proof"),
        ({"answer": "N/A"}, "no answer, or a proof"),
        ({"answer": "Proof"}, "no answer, or a proof"),
        ({"solution": "It is so."}, "no answer, or a proof"),
        ({"answer": "7", "question_type": "proof"}, "no answer, or a proof"),
        (
            {"answer": "7", "question_type": "MCQ"},
            "a choice among letters, which guesses often hit",
        ),
        ({"problem": CHOICES, "answer": "B"}, "a choice among letters, which guesses often hit"),
        (
            {"problem": CHOICES, "solution": r"\boxed{\textbf{(B)}}"},
            "a choice among letters, which guesses often hit",
        ),
        ({"answer": ["1", "2"]}, "an answer that is no value"),
    ],
)
def test_rows_that_no_judge_could_pay_fairly(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    found = read_math(written(tmp_path, {"problem": "What?", **row}, ROWS["plain"]))
    assert found.refused == {reason: 1}
    assert [p.prompt for p in found.problems] == ["Half of 7?"]


def test_letters_are_answers_of_math_and_where_nothing_is_to_choose(tmp_path: Path) -> None:
    rows = [
        {"problem": CHOICES, "level": "Level 2", "solution": r"\boxed{\text{(B)}}"},
        {"problem": "Which vertex of ABCD is nearest?", "answer": "B"},
    ]
    assert len(read_math(written(tmp_path, *rows)).problems) == 2


def test_a_question_with_two_answers_is_left_out_whoever_asks_it(tmp_path: Path) -> None:
    rows = [{"problem": "Odd?", "answer": n, "uuid": f"u-{n}"} for n in ("1", "2")]
    found = read_math(written(tmp_path, *rows, ROWS["OpenR1"], {**ROWS["OpenR1"], "uuid": "u-3"}))
    assert [p.id for p in found.problems] == ["u-1"]
    assert found.refused == {
        "a question that stands there with another answer": 2,
        "a question that stands there already": 1,
    }


@pytest.mark.parametrize(
    ("answer", "reference"),
    [("$3$", "3"), ("$3$ and $5$", "$3$ and $5$"), (3.0, "3"), (1e-07, "0.0000001"), (["3"], "3")],
)
def test_how_an_answer_is_written(tmp_path: Path, answer: object, reference: str) -> None:
    (problem,) = math(written(tmp_path, {"problem": "?", "answer": answer})).problems(None)
    assert problem.reference == reference


def test_the_same_file_gives_the_same_problems_and_no_question_is_in_both_splits(
    tmp_path: Path,
) -> None:
    rows = [{"problem": f"What is {n} + 1?", "answer": n + 1} for n in range(50)]
    task, again = math(written(tmp_path, *rows)), math(written(tmp_path, *reversed(rows)))
    ids = {split: [p.id for p in task.problems(split)] for split in Split}
    assert ids == {split: [p.id for p in again.problems(split)] for split in Split}
    assert set(ids[Split.TRAIN]).isdisjoint(ids[Split.HELD_OUT])
    assert sum(map(len, ids.values())) == 50
    assert all(ids.values())


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
    assert len(math(tmp_path / "MATH" / "train").problems(Split.TRAIN)) == 1
    (tmp_path / "MATH" / "deep.json").write_text("[" * 200_000, encoding="utf-8")
    with pytest.raises(BadFile, match=r"deep\.json cannot be read"):
        math(tmp_path / "MATH")
    (tmp_path / "MATH" / "deep.json").unlink()
    (tmp_path / "MATH" / "bad.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(BadFile, match="holds no object"):
        math(tmp_path / "MATH")
    (tmp_path / "none").mkdir()
    with pytest.raises(BadFile, match=r"without \.json files"):
        math(tmp_path / "none")


def test_folders_above_the_data_say_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "test" / "MATH" / "train" / "algebra"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text(json.dumps(ROWS["MATH"]), encoding="utf-8")
    assert len(math(tmp_path / "test" / "MATH").problems(Split.TRAIN)) == 1
    folder = tmp_path / "test" / "mine" / "algebra"
    folder.mkdir(parents=True)
    eight = {"problem": "Half of 8?", "answer": "4"}
    (folder / "1.json").write_text(json.dumps(eight), encoding="utf-8")
    assert len(math(tmp_path / "test" / "mine").problems(Split.TRAIN)) == 1
    path = tmp_path / "test" / "all.json"
    path.write_text(json.dumps([eight]), encoding="utf-8")
    (problem,) = math(path).problems(None)
    assert problem.split is split_of("Half of 8?") is Split.TRAIN


@pytest.mark.parametrize("answer", ["025", 25, "25", 25.0])
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
    with pytest.raises(BadFile, match=r"the id 1 belongs to two questions, '0\?' and '1\?'"):
        math(written(tmp_path, *rows))
