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
    asked = task.prompt(problem)
    assert not isinstance(asked, str)
    (message,) = asked
    assert message["content"].endswith(r"put your final answer within \boxed{}.")
    for right in ("1200", "1,200", r"\$1200", "1200 pens"):
        assert task.grade(problem, rf"<think>x</think>\boxed{{{right}}}").is_correct
    assert task.grade(problem, r"\boxed{1000+200}").verdict is Verdict.WRONG
    assert task.grade(problem, r"<think>\boxed{1200}</think>").verdict is Verdict.UNGRADABLE


VERL = {
    "data_source": "openai/gsm8k",
    "prompt": [{"role": "user", "content": f"{ROW['question']} Think, and end in ####."}],
    "reward_model": {"style": "rule", "ground_truth": "1200"},
    "extra_info": {"split": "test", "index": 0, **ROW},
}


def test_a_row_of_verl_is_the_same_problem(tmp_path: Path) -> None:
    (problem,) = gsm8k(written(tmp_path, VERL)).problems(Split.HELD_OUT)
    (original,) = gsm8k(written(tmp_path, ROW)).problems(None)
    assert (problem.id, problem.prompt) == (original.id, original.prompt)
    assert (problem.reference, problem.metadata) == ("1200", original.metadata)
    lean = {name: VERL[name] for name in ("prompt", "reward_model")}
    (problem,) = gsm8k(written(tmp_path, lean)).problems(None)
    assert problem.prompt.endswith("Think, and end in ####.")
    assert problem.metadata == {"solution": ""}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"reward_model": {"ground_truth": "many"}}, "does not end in '#### ' and a number"),
        ({"prompt": [], "extra_info": {}}, "row 1 has a reward_model, but no prompt that asks"),
    ],
)
def test_rows_of_verl_that_are_no_problems(
    tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(BadFile, match=message):
        gsm8k(written(tmp_path, {**VERL, **changed}))


def test_the_same_file_gives_the_same_problems_and_no_question_is_in_both_splits(
    tmp_path: Path,
) -> None:
    rows = [{"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(50)]
    task, again = gsm8k(written(tmp_path, *rows)), gsm8k(written(tmp_path, *reversed(rows)))
    ids = {split: [p.id for p in task.problems(split)] for split in Split}
    assert ids == {split: [p.id for p in again.problems(split)] for split in Split}
    assert set(ids[Split.TRAIN]).isdisjoint(ids[Split.HELD_OUT])
    assert sum(map(len, ids.values())) == 50
    assert all(ids.values())


@pytest.mark.parametrize(
    "answer", ["1200", "#### ", "#### many", "it is #### 4 #### 5 and so\n on ####"]
)
def test_an_answer_without_its_mark_is_named(tmp_path: Path, answer: str) -> None:
    with pytest.raises(BadFile, match=r"row 1: the answer does not end in '#### ' and a number"):
        gsm8k(written(tmp_path, {**ROW, "answer": answer}))


def test_a_column_that_lacks_and_a_question_twice(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="row 1 has nothing in 'answer'"):
        gsm8k(written(tmp_path, {"question": "x"}))
    with pytest.raises(BadFile, match="row 1: question is ' '; it must be a text"):
        gsm8k(written(tmp_path, {**ROW, "question": " "}))
    with pytest.raises(BadFile, match="row 1: question is 3; it must be a text"):
        gsm8k(written(tmp_path, {**ROW, "question": 3}))
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
