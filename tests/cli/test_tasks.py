"""``penjing tasks``: what it lists and shows, what overlaps, and the clean copy."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from penjing.cli import main, tasks
from penjing.cli.answer import Answer
from penjing.errors import BadCommand, BadFile, BadQuantity, UnknownName
from penjing.tasks.catalogue import FAMILY
from penjing.tasks.catalogue import tasks as all_tasks

QUESTION = "A train leaves at noon and goes sixty miles an hour for three hours. How far is it?"
OTHER = "A ship has nine masts, and each of them carries four sails but the first, which has five."


def run(*argv: str) -> Answer:
    parser = argparse.ArgumentParser()
    tasks.configure(parser)
    parser.add_argument("--json", action="store_true")
    found = tasks.answer(parser.parse_args(argv))
    json.dumps(found.document, allow_nan=False)
    return found


def written(folder: Path, name: str, rows: Sequence[object]) -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def questions(folder: Path, name: str, *asked: str) -> str:
    return written(folder, name, [{"question": q, "answer": str(n)} for n, q in enumerate(asked)])


def against(train: str, benchmark: str, name: str = "jsonl") -> list[str]:
    return ["overlap", name, "--data", train, "--against", name, "--against-data", benchmark]


def test_the_list_has_every_name_and_the_families_counted() -> None:
    found: Any = run("list")
    named = [info for info in all_tasks() if not info.name.startswith(FAMILY)]
    assert [info["name"] for info in found.document["tasks"]] == [info.name for info in named]
    for info in named:
        assert f"\n{info.name} " in found.text
    status = Counter(i.status for i in all_tasks() if i.name.startswith(FAMILY))
    for name, count in status.items():
        assert f"{count} {name}" in found.text.splitlines()[-1]


def test_families_are_grouped_by_status_with_the_reason() -> None:
    found: Any = run("list", "--all")
    assert len(found.document["tasks"]) == len(all_tasks())
    headings = [line.split()[0] for line in found.text.splitlines() if " what is asked " in line]
    assert headings == ["task", "as", "repaired", "refused"]
    tail = found.text.split("\nrefused ")[1]
    for info in all_tasks():
        assert (info.status == "refused") == (f"\n{info.name} " in tail)
        assert info.reason in found.text


def test_a_word_picks_names_or_a_status() -> None:
    found: Any = run("list", "SUDOKU")
    names = [info["name"] for info in found.document["tasks"]]
    assert names
    assert all("sudoku" in name for name in names)
    assert "gsm8k" not in found.text
    refused: Any = run("list", "refused").document
    assert {info["status"] for info in refused["tasks"]} == {"refused"}
    with pytest.raises(UnknownName, match="nearest: gsm8k"):
        run("list", "gsmk")


def test_show_is_what_a_model_is_asked(tmp_path: Path) -> None:
    file = questions(tmp_path, "mine.jsonl", "How many?", "How few?")
    found: Any = run("show", "jsonl", "--data", file)  # three by default, two are there
    assert {p["reference"] for p in found.document["problems"]} == {"0", "1"}
    (message,) = found.document["problems"][0]["prompt"]
    assert message["role"] == "user"
    assert f"user: {message['content']}" in found.text
    assert r"\boxed{}" in found.text
    assert found.document["refused"] == {}


def test_show_draws_by_seed_and_size() -> None:
    first, again, other = (
        run("show", "countdown", "--size", "2", "--seed", seed).text for seed in ("0", "0", "1")
    )
    assert first == again != other
    assert first.count("# reference: ") == 2
    assert run("show", "countdown", "--split", "held_out").text.count(", held_out\n") == 3


def test_show_says_what_cannot_be_had(tmp_path: Path) -> None:
    rows = [{"question": "How many?", "answer": 1, "split": "train"}]
    file = written(tmp_path, "mine.jsonl", rows)
    with pytest.raises(BadQuantity, match="no problems of the held_out split"):
        run("show", "jsonl", "--data", file, "--split", "held_out")
    with pytest.raises(BadQuantity, match="3 problems cannot be had: there are 1"):
        run("show", "jsonl", "--data", file, "--size", "3")
    with pytest.raises(BadQuantity, match="0 problems"):
        run("show", "countdown", "--size", "0")


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        (
            "math",
            [{"problem": "a?", "answer": "1"}, {"problem": "b?", "answer": "proof"}],
            "1 rows left out by math: no answer, or a proof",
        ),
        (
            "instruction",
            [
                {"prompt": "a", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
                {"prompt": "b", "instruction_id_list": ["be:nice"], "kwargs": [{}]},
            ],
            "1 rows left out by instruction: nothing here checks be:nice",
        ),
    ],
)
def test_rows_left_out_are_told(tmp_path: Path, name: str, rows: list[object], said: str) -> None:
    file = written(tmp_path, "rows.jsonl", rows)
    shown = run("show", name, "--data", file)
    assert shown.text.endswith(said)
    compared: Any = run(*against(file, file, name))
    assert compared.text.count(said) == 2
    assert list(compared.document["refused"].values()) == [1]


def test_three_planted_questions_are_found_and_left_out(tmp_path: Path) -> None:
    third = "Eight friends share forty-eight pears so that nobody has more than any other has."
    planted = [f"Note: {QUESTION.upper()}", OTHER.replace(",", " ;"), third.replace("-", " - ")]
    ours = ["Another one.", planted[0], "Last?", *planted[1:]]
    train = questions(tmp_path, "train.jsonl", *ours)
    benchmark = questions(tmp_path, "test.jsonl", QUESTION, OTHER, third, "Not in there.")
    clean = tmp_path / "clean.jsonl"
    found: Any = run(*against(train, benchmark), "--write", str(clean))
    assert found.exit_status == 1
    assert len(found.document["overlapping"]) == 3
    assert found.text.startswith("3 of 5 problems overlap with 3 of the 4 of jsonl: 13 words")
    assert found.text.endswith(f"2 of 5 rows are in {clean}")
    kept = [json.loads(line) for line in clean.read_text(encoding="utf-8").splitlines()]
    assert kept == [
        {"question": "Another one.", "answer": "0"},
        {"question": "Last?", "answer": "2"},
    ]
    assert run(*against(str(clean), benchmark)).exit_status == 0
    assert Path(train).read_text(encoding="utf-8").count("\n") == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "clean.jsonl",
        "test.jsonl",
        "train.jsonl",
    ]


def test_runs_may_be_shorter(tmp_path: Path) -> None:
    train = questions(tmp_path, "train.jsonl", f"On Monday {QUESTION[:40]} and comes to {OTHER}")
    benchmark = questions(tmp_path, "test.jsonl", QUESTION)
    assert run(*against(train, benchmark)).exit_status == 0
    assert run(*against(train, benchmark), "--n", "8").exit_status == 1
    with pytest.raises(BadQuantity, match="give 1 or more"):
        run(*against(train, benchmark), "--n", "0")


def test_messages_of_a_chat_are_left_out_too(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"{asked}  \n"}],
            "reward_model": {"style": "rule", "ground_truth": "180"},
        }
        for asked in (QUESTION, "What is 2 + 30", "What is 2 + 3")
    ]
    train = written(tmp_path, "train.jsonl", rows)
    asked = [{"problem": asked, "answer": "1"} for asked in (QUESTION, "What is 2+3?")]
    benchmark = written(tmp_path, "test.jsonl", asked)
    clean = tmp_path / "clean.jsonl"
    run(*against(train, benchmark, "math"), "--write", str(clean))
    assert [json.loads(line) for line in clean.read_text().splitlines()] == [rows[1]]


def test_what_cannot_be_left_out_is_not_called_clean(tmp_path: Path) -> None:
    rows = [{"question": QUESTION, "choices": ["180", "60"], "answer": 0}]
    file = written(tmp_path, "choice.jsonl", rows)
    clean = tmp_path / "clean.jsonl"
    with pytest.raises(BadCommand, match="no row holds the question of choice-"):
        run(*against(file, file, "choice"), "--write", str(clean))
    assert not clean.exists()


def test_nothing_is_written_over_a_file(tmp_path: Path) -> None:
    train = questions(tmp_path, "train.jsonl", QUESTION)
    benchmark = questions(tmp_path, "test.jsonl", OTHER)
    asked = against(train, benchmark)
    (tmp_path / "nowhere.jsonl").symlink_to(tmp_path / "gone")
    for target in (train, benchmark, str(tmp_path / "nowhere.jsonl")):
        with pytest.raises(BadCommand, match="is there already; give a new name"):
            run(*asked, "--write", target)
    with pytest.raises(BadCommand, match=r"a name ending in \.jsonl"):
        run(*asked, "--write", str(tmp_path / "clean.csv"))
    with pytest.raises(BadCommand, match="there is no folder"):
        run(*asked, "--write", str(tmp_path / "no" / "clean.jsonl"))
    with pytest.raises(BadCommand, match="give --data"):
        run("overlap", "countdown", "--against", "countdown", "--write", "clean.jsonl")
    assert json.loads(Path(benchmark).read_text())["question"] == OTHER


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = questions(tmp_path, "train.jsonl", QUESTION)
    before = sorted(tmp_path.iterdir())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadFile, match="No space left on device; give another"):
        run(*against(train, train), "--write", str(tmp_path / "clean.jsonl"))
    assert sorted(tmp_path.iterdir()) == before


def test_tasks_that_make_their_own_are_compared_too(tmp_path: Path) -> None:
    made = ["overlap", "countdown", "--against", "countdown"]
    assert run(*made, "--size", "20").exit_status == 1
    with pytest.raises(BadQuantity, match="give a size"):
        run(*made)
    file = questions(tmp_path, "train.jsonl", QUESTION)
    with pytest.raises(BadCommand, match="--size is for a task that makes its own"):
        run(*against(file, file), "--size", "5")
    assert run("overlap", "countdown", *against(file, file)[4:], "--size", "5").exit_status == 0


def test_many_pairs_are_cut_short_but_not_in_json(tmp_path: Path) -> None:
    file = questions(tmp_path, "train.jsonl", *(f"Number {n}?" for n in range(30)))
    found: Any = run(*against(file, file))
    assert "and 10 more; --json lists all" in found.text
    assert len(found.document["overlapping"]) == 30


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["tasks", "show", "gsm8k"], "needs a file"),
        (["tasks", "show", "gsmk"], "nearest: gsm8k"),
        (["tasks", "show", "gsm8k", "--data", "/nowhere.jsonl"], "does not exist"),
        (["tasks", "show", "gsm8k", "--data", "/"], "is a folder"),
        (["tasks", "show", "gsm8k", "--data", "/x.jsonl", "--judge", "x.py:f"], "own judge"),
        (["tasks", "overlap", "gsm8k"], "the following arguments are required: --against"),
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
