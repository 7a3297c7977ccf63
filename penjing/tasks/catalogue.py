"""All tasks by name, and where their data may lie."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from penjing.errors import BadCommand, BadFile, UnknownName
from penjing.tasks.choice import choice
from penjing.tasks.countdown import countdown
from penjing.tasks.gsm8k import gsm8k
from penjing.tasks.humaneval import humaneval
from penjing.tasks.instruction import instruction
from penjing.tasks.math_files import aime, math
from penjing.tasks.programs import programs
from penjing.tasks.reasoning_gym_families import Family, Status, families
from penjing.tasks.task import Task
from penjing.tasks.user_task import user_task

HUB = "hub:"
FAMILY = "reasoning_gym/"
_PATIENCE_S = 10.0
_ON_HUB = re.compile(r"(\w[\w.-]*/\w[\w.-]*)/(.+)", re.ASCII)


class Needs(StrEnum):
    FILE = "a file"
    MAY_FILE = "nothing, or a file"
    NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """``columns`` are those of the file, in words; ``reason``: why it is repaired or refused."""

    name: str
    what: str
    needs: Needs
    columns: str = ""
    status: Status = Status.AS_IS
    reason: str = ""


_TASKS = (
    TaskInfo(name="aime", what="AIME, whole numbers from 0 to 999", needs=Needs.FILE,
             columns="problem, answer"),
    TaskInfo(name="choice", what="multiple choice as in GPQA, MMLU, ARC", needs=Needs.FILE,
             columns="those of GPQA, MMLU or ARC"),
    TaskInfo(name="countdown", what="reach a target with given numbers", needs=Needs.MAY_FILE,
             columns="target, nums"),
    TaskInfo(name="gsm8k", what="word problems with a number for an answer", needs=Needs.FILE,
             columns="question, answer ending in #### number"),
    TaskInfo(name="humaneval", what="functions to be completed", needs=Needs.FILE,
             columns="task_id, prompt, entry_point, canonical_solution, test"),
    TaskInfo(name="instruction", what="constraints on form, as in IFEval", needs=Needs.MAY_FILE,
             columns="those of IFEval"),
    TaskInfo(name="jsonl", what="your own problems, with your own judge if you want",
             needs=Needs.FILE, columns="question, answer; id and split if you like"),
    TaskInfo(name="math", what="MATH, MATH-500, OpenR1-Math, NuminaMath, rows of verl",
             needs=Needs.FILE, columns="problem, answer or solution"),
    TaskInfo(name="programs", what="programs judged by input and output", needs=Needs.FILE,
             columns="those of APPS, CodeContests or LiveCodeBench"),
)  # fmt: skip

_FROM_FILE: dict[str, Callable[[Path], Task]] = {
    "aime": aime,
    "choice": choice,
    "gsm8k": gsm8k,
    "humaneval": humaneval,
    "math": math,
    "programs": programs,
}


def tasks() -> list[TaskInfo]:
    """Every name, and last the families of reasoning_gym, with those that ``load_task`` refuses."""
    return [*_TASKS, *(_of_family(family) for family in families().values())]


def load_task(name: str, data: str | None = None, judge: str | None = None) -> Task:
    """``data`` is a path, or ``hub:owner/name/path`` of a data set; ``judge`` is for ``jsonl``.

    Raises ``UnknownName``, ``BadCommand`` for what is lacking or too much, and what the task's own
    reader raises.
    """
    info = find_task(name)
    if judge is not None and name != "jsonl":
        raise BadCommand(f"the task {name} has its own judge; a judge goes with the task jsonl")
    if data is None and info.needs is Needs.FILE:
        raise BadCommand(
            f"the task {name} needs a file with the columns {info.columns}; give its path, or "
            "hub:owner/name/path of one on the Hugging Face hub"
        )
    if data is not None and info.needs is Needs.NOTHING:
        raise BadCommand(f"the task {name} makes its own problems; leave the file {data} out")
    path = None if data is None else data_path(data)
    if name.startswith(FAMILY):
        from penjing.tasks.reasoning_gym_tasks import reasoning_gym  # takes a second to import

        return reasoning_gym(name.removeprefix(FAMILY))
    if name == "countdown":
        return countdown(path)
    if name == "instruction":
        return instruction(path)
    assert path is not None
    return user_task(path, judge) if name == "jsonl" else _FROM_FILE[name](path)


def find_task(name: str) -> TaskInfo:
    """Raises ``UnknownName``; a refused one is found too."""
    found = {info.name: info for info in tasks()}
    if name not in found:
        raise UnknownName("task", name, found)
    return found[name]


def data_path(data: str) -> Path:
    """A path on this disk; what is on the hub is fetched first, or found where it was before.

    Raises ``BadFile`` where it is in neither place.
    """
    if data.startswith(HUB):
        found = _ON_HUB.fullmatch(data.removeprefix(HUB))
        if found is None:
            raise BadFile(f"{data} is not spelled hub:owner/name/path/of/a/file")
        return _from_hub(data, *found.groups())
    path = Path(os.path.expanduser(data))
    try:
        is_there = bool(data) and path.exists()
    except OSError as error:  # a name that is too long, a folder that is closed
        raise BadFile(f"{data:.200} cannot be read: {error.strerror}; check the path") from None
    if not is_there:
        raise BadFile(f"{data or 'an empty path'} does not exist; check the path")
    return path


def _from_hub(data: str, repository: str, path: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise BadFile(
            f"{data}: to fetch it takes the package huggingface_hub; install that, or give a path"
        ) from None
    try:
        found = hf_hub_download(
            repository,
            path,
            repo_type="dataset",
            etag_timeout=_PATIENCE_S,
            local_files_only=not _answers(repository),
        )
    # Whatever is in the way of a download (names, rights, network, disk) has types of its own.
    except Exception as error:
        raise BadFile(f"{data}: {_why(error)}") from None
    return Path(found)


def _answers(repository: str) -> bool:
    """Whether the hub answers, asked once: the download itself tries again for half a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        HfApi().dataset_info(repository, timeout=_PATIENCE_S)
    except (RepositoryNotFoundError, HFValidationError):
        raise
    # No network, a proxy, a hub that is down or switched off: a copy from before may do.
    except Exception:
        return False
    return True


def _why(error: Exception) -> str:
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    match error:  # the first and the third are kinds of those behind them
        case GatedRepoError():
            return "it is open only to those who accepted its terms; accept them, set HF_TOKEN"
        case RepositoryNotFoundError():
            return "the hub has no such public data set; check the name, or set HF_TOKEN"
        case LocalEntryNotFoundError():
            return (
                "the hub cannot be reached, and no copy is here; give a path, set HF_HOME to a "
                "cache that holds one, or unset HF_HUB_OFFLINE where it is set"
            )
        case EntryNotFoundError():
            return "the data set has no such file; check the path in it"
        case _:
            what = (str(error).splitlines() or [""])[0] or type(error).__name__
            return f"it could not be fetched from the hub: {what:.200}; try again, or give a path"


def _of_family(family: Family) -> TaskInfo:
    return TaskInfo(
        name=f"{FAMILY}{family.name}",
        what=f"{family.group}, made without end",
        needs=Needs.NOTHING,
        status=family.status,
        reason=" ".join(family.reason.split()),
    )
