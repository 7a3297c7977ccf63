"""Every name leads to its task, and every wrong call to one line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from penjing.errors import BadCommand, BadFile, RequestError, UnknownName
from penjing.tasks.catalogue import FAMILY, Needs, data_path, find_task, load_task, tasks
from penjing.tasks.reasoning_gym_families import Status, families
from penjing.tasks.sandbox.protections import SandboxRefused

TESTS = {"inputs": ["1\n"], "outputs": ["2\n"]}
FILES: dict[str, dict[str, object]] = {
    "aime": {"problem": "a?", "answer": "25"},
    "choice": {"question": "a?", "choices": ["1", "2"], "answer": 0},
    "countdown": {"target": 10, "nums": [5, 2]},
    "gsm8k": {"question": "a?", "answer": "#### 4"},
    "humaneval": {
        "task_id": "a/0",
        "prompt": "def one():\n",
        "entry_point": "one",
        "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
    },
    "instruction": {
        "key": 1,
        "prompt": "Write.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
    },
    "jsonl": {"question": "a?", "answer": "4"},
    "math": {"problem": "a?", "answer": "4"},
    "programs": {"question": "a?", "input_output": TESTS},
}
NEED_FILE = sorted(info.name for info in tasks() if info.needs is Needs.FILE)


def written(folder: Path, row: object) -> str:
    path = folder / "data.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return str(path)


def test_every_name_is_listed_once_and_tested_here() -> None:
    names = [info.name for info in tasks()]
    assert len(set(names)) == len(names)
    assert {n for n in names if not n.startswith(FAMILY)} == FILES.keys()
    assert {n.removeprefix(FAMILY) for n in names if n.startswith(FAMILY)} == families().keys()
    assert all(info.reason for info in tasks() if info.status is not Status.AS_IS)


@pytest.mark.parametrize("name", sorted(FILES))
def test_names_lead_to_tasks_of_a_file(tmp_path: Path, name: str) -> None:
    try:
        task = load_task(name, written(tmp_path, FILES[name]))
    except SandboxRefused as refused:  # of humaneval and programs
        pytest.skip(str(refused))
    assert task.name == name
    assert len(task.problems(None)) == 1


@pytest.mark.parametrize("name", ["countdown", "instruction", "reasoning_gym/chain_sum"])
def test_some_make_their_own(name: str) -> None:
    task = load_task(name)
    assert task.name == name
    assert len(task.problems(None, size=2)) == 2


@pytest.mark.parametrize("name", NEED_FILE)
def test_those_that_need_a_file_say_which(name: str) -> None:
    columns = find_task(name).columns
    assert columns
    with pytest.raises(BadCommand) as error:
        load_task(name)
    assert f"needs a file with the columns {columns}" in str(error.value)
    with pytest.raises(BadFile, match=r"nowhere\.jsonl does not exist"):
        load_task(name, "nowhere.jsonl")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("gsmk", "gsm8k"),
        ("GSM-8K", "gsm8k"),
        ("human_eval", "humaneval"),
        ("chain_sum", "reasoning_gym/chain_sum"),
        ("reasoning_gym/chain_sm", "reasoning_gym/chain_sum"),
    ],
)
def test_unknown_names_are_told_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownName) as error:
        load_task(name)
    assert error.value.nearest[0] == nearest


def test_what_does_not_go_together() -> None:
    with pytest.raises(BadCommand, match="leave the file x out"):
        load_task("reasoning_gym/chain_sum", "x")
    with pytest.raises(BadCommand, match="a judge goes with the task jsonl"):
        load_task("countdown", None, "x.py:f")
    refused = next(info for info in tasks() if info.status is Status.REFUSED)
    with pytest.raises(RequestError, match="is refused"):
        load_task(refused.name)


def test_a_judge_goes_with_rows_of_a_user(tmp_path: Path) -> None:
    judge = tmp_path / "mine.py"
    judge.write_text("def right(question, reference, response, metadata):\n    return True\n")
    data = written(tmp_path, {"question": "a?"})  # no answer: the judge needs none
    task = load_task("jsonl", data, f"{judge}:right")
    (problem,) = task.problems(None)
    assert task.grade(problem, "anything").is_correct


@pytest.mark.parametrize("data", ["", "a" * 5000, "x/" * 3000, "no\0where"])
def test_paths_that_are_none_are_one_line(data: str) -> None:
    with pytest.raises(BadFile, match="check the path") as error:
        data_path(data)
    assert len(str(error.value)) < 300


def test_home_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, {})
    assert data_path("~/data.jsonl") == tmp_path / "data.jsonl"


def hub(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[], object], has: Callable[[], str]
) -> list[dict[str, object]]:
    """A hub that answers so, and what it was asked to download."""
    asked: list[dict[str, object]] = []

    def info(self: HfApi, repository: str, **named: object) -> object:
        return answer()

    def download(repository: str, path: str, **named: object) -> str:
        asked.append({"repository": repository, "path": path, **named})
        return has()

    monkeypatch.setattr(HfApi, "dataset_info", info)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked


def raising(error: Exception) -> Callable[[], str]:
    def act() -> str:
        raise error

    return act


def without_response(kind: type[Exception]) -> Exception:
    """These are made from an answer of the hub; their kind is all that is looked at."""
    return kind.__new__(kind)


def test_the_hub_is_asked_for_a_file_of_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, lambda: None, lambda: "/cache/test.jsonl")
    assert data_path("hub:owner/name/data/test.jsonl") == Path("/cache/test.jsonl")
    (one,) = asked
    assert (one["repository"], one["path"]) == ("owner/name", "data/test.jsonl")
    assert (one["repo_type"], one["local_files_only"]) == ("dataset", False)


def test_without_a_network_a_copy_from_before_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, raising(OSError("no network")), lambda: "/cache/test.jsonl")
    assert data_path("hub:owner/name/test.jsonl") == Path("/cache/test.jsonl")
    assert asked[0]["local_files_only"] is True


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LocalEntryNotFoundError("no copy\nat all"), "cannot be reached, and no copy is here"),
        (without_response(GatedRepoError), "open only to those who accepted its terms"),
        (without_response(RepositoryNotFoundError), "the hub has no such public data set"),
        (EntryNotFoundError("404"), "the data set has no such file"),
        (OSError("disk full\nbad"), "could not be fetched from the hub: disk full; try again"),
        (TimeoutError(), "could not be fetched from the hub: TimeoutError; try again"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    hub(monkeypatch, lambda: None, raising(error))
    with pytest.raises(BadFile, match=r"^hub:owner/name/x\.jsonl: ") as refused:
        data_path("hub:owner/name/x.jsonl")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_wrong_name_is_not_taken_for_a_silent_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, raising(HFValidationError("bad name")), lambda: "/cache/x")
    with pytest.raises(BadFile, match="bad name"):
        data_path("hub:owner/na--me/x.jsonl")
    assert asked == []


@pytest.mark.parametrize("data", ["hub:", "hub:owner", "hub:owner/name", "hub:owner/name/"])
def test_the_hub_takes_an_owner_a_name_and_a_path(data: str) -> None:
    with pytest.raises(BadFile, match="is not spelled hub:owner/name/path"):
        data_path(data)


def test_listing_imports_neither_torch_nor_reasoning_gym() -> None:
    code = (
        "import sys; from penjing.tasks.catalogue import tasks; tasks()\n"
        "print(sorted({'torch', 'reasoning_gym', 'huggingface_hub', 'sympy'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
