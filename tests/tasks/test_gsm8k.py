"""Rows made up in the format of GSM8K; and its own files, where they are."""

import json
from pathlib import Path

import pytest

from penjing.errors import BadFile
from penjing.tasks.gsm8k import gsm8k
from penjing.tasks.problem import Split, Verdict

SHARED = Path(__file__).parents[3] / "shared/data/benchmarks/gsm8k"
ROW = {
    "question": "Ann has 1,000 pens and buys 200. How many are there?",
    "answer": "She has 1000+200=<<1000+200=1200>>1200 pens.\n#### 1,200",
}


def written(folder: Path, *rows: object) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_a_row_becomes_a_problem(tmp_path: Path) -> None:
    task = gsm8k(written(tmp_path, ROW))
    (problem,) = task.problems(None)
    assert problem.prompt == ROW["question"]
    assert problem.reference == "1,200"
    assert problem.metadata == {"solution": "She has 1000+200=1200 pens."}
    assert problem.id == gsm8k(written(tmp_path, ROW)).problems(None)[0].id
    asked = task.prompt(problem)
    assert not isinstance(asked, str)
    (message,) = asked
    assert message["content"].endswith(r"put your final answer within \boxed{}.")
    for right in ("1200", "1,200", r"\$1200", "1200 pens"):
        assert task.grade(problem, rf"<think>x</think>\boxed{{{right}}}").is_correct
    assert task.grade(problem, r"\boxed{1000+200}").verdict is Verdict.WRONG
    assert task.grade(problem, r"<think>\boxed{1200}</think>").verdict is Verdict.UNGRADABLE


@pytest.mark.parametrize("answer", ["1200", "#### ", "it is #### 4 #### 5 and so\n on ####"])
def test_an_answer_without_its_mark_is_named(tmp_path: Path, answer: str) -> None:
    with pytest.raises(BadFile, match=r"row 1: the answer does not end in '#### ' and a number"):
        gsm8k(written(tmp_path, {**ROW, "answer": answer}))


def test_a_column_that_lacks_and_a_question_twice(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="row 1 has nothing in 'answer'"):
        gsm8k(written(tmp_path, {"question": "x"}))
    with pytest.raises(BadFile, match="an id must belong to one problem"):
        gsm8k(written(tmp_path, ROW, ROW))


@pytest.mark.skipif(not SHARED.exists(), reason="GSM8K is not here")
def test_its_own_files() -> None:
    held, train = gsm8k(SHARED / "test.jsonl"), gsm8k(SHARED / "train.jsonl")
    assert len(held.problems(Split.HELD_OUT)) == 1319
    assert len(train.problems(Split.TRAIN)) == 7473
    ids = {p.id for p in held.problems(None)} & {p.id for p in train.problems(None)}
    assert not ids
    assert all("<<" not in p.metadata["solution"] for p in train.problems(None))
