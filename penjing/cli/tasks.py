"""``penjing tasks``: what there is to train on and to measure with, and whether the two overlap."""

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from secrets import token_hex

from penjing.cli.answer import Answer, Json, table
from penjing.errors import BadCommand, BadFile, UnknownName
from penjing.tasks.catalogue import FAMILY, TaskInfo, data_path, load_task, tasks
from penjing.tasks.instruction import read_instructions
from penjing.tasks.math_files import read_math
from penjing.tasks.overlap import WORDS, Overlap, overlaps
from penjing.tasks.problem import Problem, Split
from penjing.tasks.reasoning_gym_families import Status
from penjing.tasks.rows import Row, read_rows
from penjing.tasks.task import Task

NAME = "tasks"
HELP = "list the tasks, show their problems, find what overlaps with a benchmark"

SPLITS = {"train": Split.TRAIN, "held_out": Split.HELD_OUT, "all": None}
_SHOWN = 3
_MOST_PAIRS = 20


def configure(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="tasks_verb", required=True, metavar="list|show|overlap")
    listing = verbs.add_parser("list", help="all tasks, and what they read")
    listing.add_argument(
        "word", metavar="WORD", nargs="?", help="names with this in them, or a status"
    )
    listing.add_argument("--all", action="store_true", help="each family of reasoning_gym too")
    showing = verbs.add_parser("show", help="problems as a model is asked them")
    _add_task(showing)
    showing.add_argument("--split", choices=SPLITS, default="all", help="(default: all)")
    showing.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    showing.add_argument(
        "--size", type=int, metavar="N", help=f"(default: {_SHOWN}, or all where a file has fewer)"
    )
    _configure_overlap(
        verbs.add_parser("overlap", help="problems that share a run of words with a benchmark")
    )
    for sub in verbs.choices.values():
        # The verb's own parser has --json too; only one that was given may speak.
        sub.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print one JSON document on stdout",
        )


def _add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="a name of `penjing tasks list`")
    parser.add_argument("--data", metavar="FILE", help="its file, or hub:owner/name/path")
    parser.add_argument("--judge", metavar="FILE.py:FUNCTION", help="your own, for the task jsonl")


def _configure_overlap(parser: argparse.ArgumentParser) -> None:
    _add_task(parser)
    parser.add_argument("--against", metavar="TASK", required=True, help="the benchmark's name")
    parser.add_argument("--against-data", metavar="FILE", help="the benchmark's file")
    parser.add_argument(
        "--n", type=int, default=WORDS, metavar="N", help=f"words of a run (default: {WORDS})"
    )
    parser.add_argument(
        "--write", metavar="NEW.jsonl", help="a copy of the data without what overlaps"
    )
    parser.add_argument(
        "--size", type=int, metavar="N", help="problems of a task that makes its own"
    )


def answer(arguments: argparse.Namespace) -> Answer:
    match arguments.tasks_verb:
        case "list":
            return _list(arguments)
        case "show":
            return _show(arguments)
        case _:
            return _overlap(arguments)


def _list(arguments: argparse.Namespace) -> Answer:
    named, made = _named(arguments.word)
    has_families = arguments.all or arguments.word is not None
    parts = [_named_table(named)]
    if has_families:
        parts += [_made_table(status, made) for status in Status]
    parts.append(_counted(made) + ("" if has_families else "; each: penjing tasks list --all"))
    listed = [*named, *made] if has_families else named
    return Answer(
        document={"tasks": [_info_document(info) for info in listed]},
        text="\n\n".join(part for part in parts if part),
    )


def _named(word: str | None) -> tuple[list[TaskInfo], list[TaskInfo]]:
    """Tasks of their own name, and families of reasoning_gym."""
    every, wanted = tasks(), (word or "").casefold()
    found = [info for info in every if wanted in info.name or wanted == info.status]
    if not found:
        raise UnknownName("task", wanted, [info.name for info in every])
    made = [info for info in found if info.name.startswith(FAMILY)]
    return [info for info in found if info not in made], made


def _named_table(infos: Sequence[TaskInfo]) -> str:
    rows = [(info.name, info.what, str(info.needs), info.columns) for info in infos]
    return table(("task", "what is asked", "needs", "columns of the file"), rows) if rows else ""


def _made_table(status: Status, infos: Sequence[TaskInfo]) -> str:
    rows = [(info.name, info.what, info.reason) for info in infos if info.status is status]
    return table((str(status), "what is asked", "why"), rows) if rows else ""


def _counted(infos: Sequence[TaskInfo]) -> str:
    count = Counter(info.status for info in infos)
    told = ", ".join(f"{count[status]} {status}" for status in Status if count[status])
    return f"{FAMILY}FAMILY: {told}" if infos else ""


def _info_document(info: TaskInfo) -> dict[str, Json]:
    return {
        "name": info.name,
        "what": info.what,
        "needs": str(info.needs),
        "columns": info.columns,
        "status": str(info.status),
        "reason": info.reason,
    }


def _show(arguments: argparse.Namespace) -> Answer:
    task = load_task(arguments.task, arguments.data, arguments.judge)
    problems = _shown(task, arguments)
    refused = _refused(arguments.task, arguments.data)
    parts = [_as_text(task, problem) for problem in problems]
    parts.append(_told(arguments.task, refused))
    document: dict[str, Json] = {
        "task": task.name,
        "problems": [_as_document(task, problem) for problem in problems],
        "refused": dict(refused),
    }
    return Answer(document=document, text="\n\n".join(part for part in parts if part))


def _shown(task: Task, arguments: argparse.Namespace) -> Sequence[Problem]:
    split, seed, size = SPLITS[arguments.split], arguments.seed, arguments.size
    if size is None and arguments.data is not None:
        size = min(_SHOWN, len(task.problems(split, seed=seed)))
    return task.problems(split, seed=seed, size=_SHOWN if size is None else size)


def _as_text(task: Task, problem: Problem) -> str:
    asked = task.prompt(problem)
    text = (
        asked
        if isinstance(asked, str)
        else "\n".join(f"{message['role']}: {message['content']}" for message in asked)
    )
    return f"# {problem.id}, {problem.split}\n{text}\n# reference: {problem.reference or 'none'}"


def _as_document(task: Task, problem: Problem) -> dict[str, Json]:
    asked = task.prompt(problem)
    prompt: Json = asked if isinstance(asked, str) else [dict(message) for message in asked]
    return {
        "id": problem.id,
        "split": str(problem.split),
        "prompt": prompt,
        "reference": problem.reference,
    }


def _refused(name: str, data: str | None) -> Mapping[str, int]:
    """Rows of a file that are no problems here, by reason."""
    if data is None:
        return {}
    if name in ("math", "aime"):
        return read_math(data_path(data), name=name).refused
    if name == "instruction":
        return Counter(one.reason for one in read_instructions(data_path(data)).refused)
    return {}


def _told(name: str, refused: Mapping[str, int]) -> str:
    return "\n".join(f"{count} rows left out by {name}: {why}" for why, count in refused.items())


def _overlap(arguments: argparse.Namespace) -> Answer:
    _check(arguments)
    task = load_task(arguments.task, arguments.data, arguments.judge)
    benchmark = load_task(arguments.against, arguments.against_data)
    problems = _all(task, arguments.data, arguments.size)
    asked = _all(benchmark, arguments.against_data, arguments.size)
    found = overlaps(problems, asked, arguments.n)
    refused = _refused(arguments.task, arguments.data)
    not_asked = _refused(arguments.against, arguments.against_data)
    touched = len({one.benchmark.id for one in found})
    parts = [
        f"{len(found)} of {len(problems)} problems overlap with {touched} of the {len(asked)} of "
        f"{arguments.against}: {arguments.n} words in a row, or all of a shorter one",
        _pairs(arguments, found),
        _told(arguments.task, refused),
        _told(arguments.against, not_asked),
        _written(arguments, found),
    ]
    document: dict[str, Json] = {
        "words": arguments.n,
        "problems": len(problems),
        "refused": dict(refused),
        "benchmark_problems": len(asked),
        "benchmark_refused": dict(not_asked),
        "overlapping": [
            {"problem": one.problem.id, "benchmark": one.benchmark.id, "text": one.text}
            for one in found
        ],
        "written": arguments.write,
    }
    text = "\n\n".join(part for part in parts if part)
    return Answer(document=document, text=text, exit_status=1 if found else 0)


def _check(arguments: argparse.Namespace) -> None:
    """What the work would be in vain for, or would lose a file."""
    if arguments.size is not None and None not in (arguments.data, arguments.against_data):
        raise BadCommand("--size is for a task that makes its own; all of a file is compared")
    if arguments.write is None:
        return
    target = Path(arguments.write)
    if arguments.data is None:
        raise BadCommand("--write copies the rows of a file; give --data")
    if target.suffix != ".jsonl":
        raise BadCommand(f"--write {target}: it will be JSON lines; give a name ending in .jsonl")
    if os.path.lexists(target):
        raise BadCommand(f"--write {target} is there already; give a new name")
    if not target.parent.is_dir():
        raise BadCommand(f"--write {target}: there is no folder {target.parent}; make it first")


def _all(task: Task, data: str | None, size: int | None) -> Sequence[Problem]:
    return task.problems(None, size=size if data is None else None)


def _pairs(arguments: argparse.Namespace, found: Sequence[Overlap]) -> str:
    if not found:
        return ""
    rows = [(one.problem.id, one.benchmark.id, _short(one.text)) for one in found[:_MOST_PAIRS]]
    more = len(found) - len(rows)
    pairs = table((arguments.task, f"against {arguments.against}", "text of both"), rows)
    return f"{pairs}\nand {more} more; --json lists all" if more else pairs


def _written(arguments: argparse.Namespace, found: Sequence[Overlap]) -> str:
    if arguments.write is None:
        return ""
    rows = read_rows(data_path(arguments.data))
    kept = _without(arguments.data, rows, found)
    _write(Path(arguments.write), kept)
    return f"{len(kept)} of {len(rows)} rows are in {arguments.write}"


def _without(data: str, rows: Sequence[Row], found: Sequence[Overlap]) -> list[Row]:
    """Rows are told by their texts: one that holds all of a question overlaps as the question does.

    Raises ``BadCommand`` where no row holds a question, since it is made of several columns: what
    would be written would still overlap.
    """
    ids = {_spaced(one.problem.prompt): one.problem.id for one in found}
    held: list[set[str]] = []
    for row in rows:
        text = "\n".join(_texts(row.values))
        held.append({question for question in ids if question in text})
    lacking = ids.keys() - set().union(*held)
    if lacking:
        raise BadCommand(
            f"{data}: no row holds the question of {min(ids[question] for question in lacking)} as "
            "one text, so that --write cannot leave it out; take out by hand what --json lists"
        )
    return [row for row, questions in zip(rows, held, strict=True) if not questions]


def _texts(value: object) -> Iterator[str]:
    """All in a row, also in lists and objects, such as messages of a chat."""
    match value:
        case str():
            yield _spaced(value)
        case Mapping():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)


def _spaced(text: str) -> str:
    """With a space at both ends, so that 2 + 3 is not found in 2 + 30."""
    return f" {' '.join(text.split())} "


def _write(target: Path, rows: Sequence[Row]) -> None:
    """Whole or not at all."""
    partial = target.with_name(f".{target.name}.{token_hex(4)}")
    try:
        with partial.open("x", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row.values, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise BadFile(f"{target} cannot be written: {error.strerror}; give another") from None
    except TypeError as error:  # what parquet holds and JSON has not, such as dates
        raise BadFile(f"{target} cannot be written: {error}; convert that column first") from None
    finally:
        partial.unlink(missing_ok=True)


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
