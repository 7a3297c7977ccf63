"""Every name leads to its task, and every wrong call to one line."""

import json
from pathlib import Path

import pytest

from penjing.errors import BadCommand, BadFile, PenjingError, UnknownName
from penjing.tasks.catalogue import TASKS, Needs, data_path, find_task, load_task

FILES: dict[str, dict[str, object]] = {
    "aime": {"problem": "a?", "answer": "25"},
    "choice": {"question": "a?", "choices": ["1", "2"], "answer": 0},
    "countdown": {"target": 10, "nums": [5, 2]},
    "gsm8k": {"question": "a?", "answer": "#### 4"},
    "jsonl": {"question": "a?", "answer": "4"},
    "math": {"problem": "a?", "answer": "4"},
}


def written(folder: Path, row: object) -> str:
    path = folder / "data.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", sorted(FILES))
def test_names_lead_to_tasks_of_a_file(tmp_path: Path, name: str) -> None:
    task = load_task(name, written(tmp_path, FILES[name]))
    assert task.name == name
    assert len(task.problems(None)) == 1


@pytest.mark.parametrize("name", ["countdown", "instruction", "reasoning_gym/chain_sum"])
def test_some_make_their_own(name: str) -> None:
    task = load_task(name)
    assert task.name == name
    assert len(task.problems(None, size=2)) == 2


@pytest.mark.parametrize("info", [i for i in TASKS if i.needs is Needs.FILE], ids=lambda i: i.name)
def test_those_that_need_a_file_say_which(info: object) -> None:
    assert isinstance(info, type(TASKS[0]))
    with pytest.raises(BadCommand, match="needs a file with the columns"):
        load_task(info.name)
    with pytest.raises(BadFile, match=r"nowhere\.jsonl does not exist"):
        load_task(info.name, "nowhere.jsonl")


def test_what_does_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(BadCommand, match="leave the file x out"):
        load_task("reasoning_gym/chain_sum", "x")
    with pytest.raises(BadCommand, match="a judge goes with the task jsonl"):
        load_task("countdown", None, "x.py:f")
    with pytest.raises(UnknownName, match="unknown task 'gsmk'; nearest: gsm8k"):
        load_task("gsmk")
    with pytest.raises(PenjingError, match="nothing"):
        load_task("reasoning_gym/nothing")
    assert find_task("reasoning_gym/any").needs is Needs.NOTHING


def test_the_hub_is_asked_for_a_file_of_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def download(repository: str, path: str, **named: object) -> str:
        if repository == "owner/absent":
            raise OSError("no network\nhere")
        return f"/cache/{named['repo_type']}/{repository}/{path}"

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert data_path("hub:owner/name/data/test.jsonl") == Path(
        "/cache/dataset/owner/name/data/test.jsonl"
    )
    with pytest.raises(BadFile, match="cannot be had from the hub: no network here; give a path"):
        data_path("hub:owner/absent/x.jsonl")
    with pytest.raises(BadFile, match="is not spelled hub:owner/name/path"):
        data_path("hub:owner")
