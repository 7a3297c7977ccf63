"""Documents: what is given, what is learnt, and in which order they come."""

import json
from pathlib import Path

import pytest

from penjing.errors import BadFile
from penjing.tasks.traces import Noise
from penjing.train.journey import made_task
from penjing.train.models import Held, new_model
from penjing.train.recipe import load_recipe
from penjing.train.texts import DataBatches, TraceBatches, Writer, read_documents


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    student = load_recipe("quickstart").models["student"]
    return new_model("student", student, tmp_path_factory.mktemp("m"), 0)


def written(folder: Path, *rows: object) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_the_response_and_its_end_are_learnt(held: Held) -> None:
    document = Writer(held)("1 + 2 =", "<think>1+2=3</think><answer>3</answer>")
    given = len(held.tokenizer.encode("1 + 2 ="))
    assert document.is_learnt == (False,) * given + (True,) * (len(document.ids) - given)
    assert document.ids[-1] == held.end_id
    text = held.tokenizer.decode(list(document.ids[:-1]), skip_special_tokens=False)
    assert text == "1 + 2 =<think>1+2=3</think><answer>3</answer>"


def test_traces_hang_on_the_number_of_the_step(held: Held) -> None:
    task = made_task(load_recipe("quickstart").tasks["sums"])
    one, same = (TraceBatches(held, task, Noise(), 6, seed=4) for _ in range(2))
    assert one(0) == same(0)
    assert same(3) == one(3)
    assert one(0) != one(1)
    assert one(0) != TraceBatches(held, task, Noise(), 6, seed=5)(0)
    assert len(one(0)) == 6


def test_an_epoch_has_every_document_once(held: Held) -> None:
    write = Writer(held)
    documents = [write("q", str(n)) for n in range(7)]
    data = DataBatches(documents, 3, seed=1)
    assert data.steps_an_epoch == 3
    epochs = [[d for step in range(3) for d in data(3 * e + step)] for e in range(2)]
    for epoch in epochs:
        assert sorted(d.ids for d in epoch) == sorted(d.ids for d in documents)
    assert epochs[0] != epochs[1]
    assert data(4) == DataBatches(documents, 3, seed=1)(4)


def test_rows_that_cannot_be_learnt(held: Held, tmp_path: Path) -> None:
    good = {"prompt": "1 + 1 =", "response": "2"}
    assert len(read_documents(held, [written(tmp_path, good, good)])) == 2
    with pytest.raises(BadFile, match="has nothing in 'response'"):
        read_documents(held, [written(tmp_path, {"prompt": "a"})])
    with pytest.raises(BadFile, match="a prompt is 3; it must be text or messages"):
        read_documents(held, [written(tmp_path, {"prompt": 3, "response": "a"})])
    with pytest.raises(BadFile, match=r"row 1 has \d+ tokens; the model has 256 positions"):
        read_documents(held, [written(tmp_path, {"prompt": "a", "response": "b" * 400})])
