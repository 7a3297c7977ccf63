"""``penjing tasks``: what it lists and shows, and what overlaps."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from penjing.cli import main, tasks
from penjing.cli.answer import Answer
from penjing.errors import BadCommand, BadQuantity
from penjing.tasks.catalogue import TASKS

QUESTION = "A train leaves at noon and goes sixty miles an hour for three hours. How far is it?"


def run(*argv: str) -> Answer:
    parser = argparse.ArgumentParser()
    tasks.configure(parser)
    parser.add_argument("--json", action="store_true")
    found = tasks.answer(parser.parse_args(argv))
    json.dumps(found.document, allow_nan=False)
    return found


def written(folder: Path, name: str, *questions: str) -> str:
    path = folder / name
    rows = [json.dumps({"question": q, "answer": str(n)}) for n, q in enumerate(questions)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


def test_list() -> None:
    found = run("list")
    for info in TASKS:
        assert f"\n{info.name} " in found.text
    families = run("list", "--families")
    assert families.text.endswith("53 as is, 50 repaired, 3 refused")


def test_show(tmp_path: Path) -> None:
    file = written(tmp_path, "mine.jsonl", "How many?", "How few?")
    found: Any = run("show", "jsonl", "--data", file, "--size", "2").document
    assert {p["reference"] for p in found["problems"]} == {"0", "1"}
    assert found["refused"] == {}
    text = run("show", "reasoning_gym/chain_sum", "--size", "1").text
    assert "<answer>" in text
    with pytest.raises(BadQuantity, match="3 problems cannot be had: there are 2"):
        run("show", "jsonl", "--data", file)


def test_rows_left_out_are_told(tmp_path: Path) -> None:
    path = tmp_path / "math.jsonl"
    rows = [{"problem": "a?", "answer": "1"}, {"problem": "b?", "answer": "proof"}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = run("show", "math", "--data", str(path), "--size", "1")
    assert found.text.endswith("1 rows left out: no answer, or a proof")


def test_overlap_is_told_and_left_out(tmp_path: Path) -> None:
    train = written(tmp_path, "train.jsonl", "Another one.", f"Note: {QUESTION.upper()}", "Last?")
    benchmark = written(tmp_path, "test.jsonl", QUESTION)
    clean = tmp_path / "clean.jsonl"
    asked = ["overlap", "jsonl", "--data", train, "--against", "jsonl", "--against-data", benchmark]
    found = run(*asked, "--write", str(clean))
    assert found.exit_status == 1
    assert found.text.startswith("1 of 3 problems share 13 words in a row")
    kept = [json.loads(line)["question"] for line in clean.read_text().splitlines()]
    assert kept == ["Another one.", "Last?"]
    again = ["overlap", "jsonl", "--data", str(clean), *asked[4:]]
    assert run(*again).exit_status == 0
    assert len(Path(train).read_text().splitlines()) == 3
    with pytest.raises(BadCommand, match="is the data itself"):
        run(*asked, "--write", train)
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["tasks", "show", "gsm8k"], "needs a file"),
        (["tasks", "show", "gsmk"], "nearest: gsm8k"),
        (["tasks", "show", "gsm8k", "--data", "/nowhere.jsonl"], "does not exist"),
        (["tasks"], "the following arguments are required"),
    ],
)
def test_wrong_commands_are_one_line(
    capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
