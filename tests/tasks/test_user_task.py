"""A user's rows: what may stand in them, and how they are judged without a judge of theirs."""

import json
from pathlib import Path

import pytest

from penjing.errors import BadFile
from penjing.tasks.problem import Split, Verdict
from penjing.tasks.user_task import user_task


def written(folder: Path, *rows: object, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("answer", "box", "is_right"),
    [
        ("42", "42.0", True),
        (42, "42", True),
        (0.5, r"\frac12", True),
        ("42", "6*7", False),
        ("Paris", "paris", True),
        ("Paris", r"\text{Paris}.", True),
        ("Paris", r"\textbf{ Paris. }", True),
        ("cat", "act", False),  # no product of letters
        ("no", "on", False),
        ("yes", "Yes", True),
        ("x", "X", False),
        ("pi", r"\pi", True),
        ("a*b", "ba", True),
        ("$ab$", "ba", True),
        (1e-07, "0.0000001", True),
        (1e16, "10000000000000000", True),
        (10**400, "1", False),
        ("the blue whale", "The  Blue Whale", True),
        ("the blue whale", "whale", False),
        ("Paris", "\uff30aris", False),
        (["4", "four"], "Four", True),
        (["4", "four"], "4", True),
        (["4", "four"], "5", False),
        ("sometimes: it depends!", "sometimes: it depends!", True),
    ],
)
def test_answers(tmp_path: Path, answer: object, box: str, is_right: bool) -> None:
    task = user_task(written(tmp_path, {"question": "What?", "answer": answer}))
    (problem,) = task.problems(None)
    assert task.grade(problem, rf"\boxed{{{box}}}").is_correct is is_right
    assert task.grade(problem, box).verdict is Verdict.UNGRADABLE


def test_ids_splits_and_other_columns(tmp_path: Path) -> None:
    rows = [
        {"question": "a?", "answer": "1", "id": 7, "split": "train", "level": 3},
        {"question": "b?", "answer": "2", "split": "test"},
    ]
    task = user_task(written(tmp_path, *rows))
    (first,) = task.problems(Split.TRAIN)
    (second,) = task.problems(Split.HELD_OUT)
    assert (first.id, first.metadata) == ("7", {"level": 3, "accepted": ["1"]})
    assert second.id.startswith("jsonl-")


def test_empty_cells_of_a_table_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("id,question,answer,split\n,a?,1,\n,b?,2,\n7,c?,3,train\n", encoding="utf-8")
    ids = {p.prompt: p.id for p in user_task(path).problems(None)}
    assert ids["c?"] == "7"
    assert ids["a?"].startswith("jsonl-")
    assert len(set(ids.values())) == 3


def test_the_same_file_gives_the_same_problems_and_no_question_is_in_both_splits(
    tmp_path: Path,
) -> None:
    rows = [{"question": f"What is {n} + 1?", "answer": n + 1} for n in range(50)]
    task, again = user_task(written(tmp_path, *rows)), user_task(written(tmp_path, *reversed(rows)))
    ids = {split: [p.id for p in task.problems(split)] for split in Split}
    assert ids == {split: [p.id for p in again.problems(split)] for split in Split}
    assert set(ids[Split.TRAIN]).isdisjoint(ids[Split.HELD_OUT])
    assert sum(map(len, ids.values())) == 50
    assert all(ids.values())


def test_a_judge_of_theirs_needs_no_answers(tmp_path: Path) -> None:
    judge = tmp_path / "mine.py"
    judge.write_text("def f(question, reference, response, metadata): return len(response) > 3\n")
    task = user_task(written(tmp_path, {"question": "Write."}), f"{judge}:f")
    (problem,) = task.problems(None)
    assert task.grade(problem, "long enough").is_correct
    assert not task.grade(problem, "no").is_correct


def test_a_table_will_do(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("question,answer\nWhat?,42\n", encoding="utf-8")
    assert user_task(path).problems(None)[0].reference == "42"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question": "a?"}], "row 1 has nothing in 'answer'"),
        ([{"question": 3, "answer": "1"}], "row 1: question is 3; it must be a text"),
        ([{"question": "a?", "answer": {}}], "row 1: answer is {}"),
        ([{"question": "a?", "answer": []}], r"row 1: answer is \[\]"),
        ([{"question": "a?", "answer": True}], "row 1: answer is True"),
        ([{"question": "a?", "answer": " "}], "row 1: answer is ' '"),
        ([{"question": "a?", "answer": "1", "split": "dev"}], "split is 'dev'; it must be one of"),
        ([{"question": "a?", "answer": float("nan")}], "row 1: answer is nan; .* a finite number"),
        ([{"question": "a?", "answer": ["1", float("inf")]}], "row 1: answer is "),
        ([{"question": "a?", "answer": "1", "split": ["train"]}], "it must be one of"),
        ([{"question": "a?", "answer": "1", "id": [1]}], r"row 1: id is \[1\]"),
        ([{"question": "a?", "answer": "1", "id": True}], "row 1: id is True; it must be a text"),
        (
            [{"question": f"{n}?", "answer": "1", "id": n % 2} for n in range(3)],
            "rows 1 and 3 have the id '0'; keep one",
        ),
        ([{"question": q, "answer": "1"} for q in ("a?", "A?")], "rows 1 and 2 ask the same"),
        ([], "holds no rows"),
    ],
)
def test_rows_that_are_no_problems(tmp_path: Path, rows: list[object], message: str) -> None:
    with pytest.raises(BadFile, match=message):
        user_task(written(tmp_path, *rows))
