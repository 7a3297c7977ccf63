"""``penjing tasks``: what there is to train on and to measure with, and whether the two overlap."""

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from secrets import token_hex

from penjing.cli.answer import Answer, Json, table
from penjing.errors import BadCommand, BadFile
from penjing.tasks.catalogue import FAMILY, TASKS, data_path, load_task
from penjing.tasks.instruction import read_instructions
from penjing.tasks.math_files import read_math
from penjing.tasks.overlap import WORDS, Overlap, overlaps
from penjing.tasks.problem import Problem, Split
from penjing.tasks.rows import read_rows
from penjing.tasks.task import Task

NAME = "tasks"
HELP = "list the tasks, show their problems, find what overlaps with a benchmark"

SPLITS = {"train": Split.TRAIN, "held_out": Split.HELD_OUT, "all": None}
_MOST_SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="tasks_verb", required=True, metavar="list|show|overlap")
    listing = verbs.add_parser("list", help="all tasks, and what they read")
    listing.add_argument(
        "--families", action="store_true", help="the families of reasoning_gym, one by one"
    )
    showing = verbs.add_parser("show", help="problems as a model is asked them")
    _add_task(showing, "task", "TASK")
    showing.add_argument("--split", choices=SPLITS, default="all", help="(default: all)")
    showing.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    showing.add_argument("--size", type=int, default=3, metavar="N", help="(default: 3)")
    overlapping = verbs.add_parser(
        "overlap", help="problems that share a run of words with a benchmark"
    )
    _add_task(overlapping, "task", "TASK")
    _add_task(overlapping, "against", "--against")
    overlapping.add_argument(
        "--words", type=int, default=WORDS, metavar="N", help=f"of a run (default: {WORDS})"
    )
    overlapping.add_argument(
        "--write", metavar="FILE", help="a copy of the data without them, as JSON lines"
    )
    for sub in (listing, showing, overlapping):
        # The verb's own parser has --json too; only one that was given may speak.
        sub.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print one JSON document on stdout",
        )


def _add_task(parser: argparse.ArgumentParser, name: str, flag: str) -> None:
    named = "a name of `penjing tasks list`"
    if flag.startswith("--"):
        parser.add_argument(flag, metavar="TASK", help=named, required=True)
    else:
        parser.add_argument(name, metavar="TASK", help=named)
    data = f"{flag}-data" if flag.startswith("--") else "--data"
    parser.add_argument(data, metavar="FILE", help="its file, or hub:owner/name/path")


def answer(arguments: argparse.Namespace) -> Answer:
    match arguments.tasks_verb:
        case "list":
            return _families() if arguments.families else _list()
        case "show":
            return _show(arguments)
        case _:
            return _overlap(arguments)


def _list() -> Answer:
    rows = [(info.name, info.what, str(info.needs), info.columns) for info in TASKS]
    text = table(("task", "what is asked", "needs", "columns of the file"), rows)
    document: list[Json] = [
        {"name": name, "what": what, "needs": needs, "columns": columns}
        for name, what, needs, columns in rows
    ]
    return Answer(
        document={"tasks": document}, text=f"{text}\n\nFamilies: penjing tasks list --families"
    )


def _families() -> Answer:
    from penjing.tasks.reasoning_gym_families import families

    rows = [
        (f"{FAMILY}{name}", str(family.status), " ".join(family.reason.split()))
        for name, family in families().items()
    ]
    count = Counter(status for _, status, _ in rows)
    total = ", ".join(f"{n} {status}" for status, n in count.items())
    document: list[Json] = [{"name": n, "status": s, "reason": r} for n, s, r in rows]
    text = f"{table(('task', 'status', 'why'), rows)}\n\n{total}"
    return Answer(document={"families": document}, text=text)


def _show(arguments: argparse.Namespace) -> Answer:
    task = load_task(arguments.task, arguments.data)
    problems = task.problems(SPLITS[arguments.split], seed=arguments.seed, size=arguments.size)
    refused = _refused(arguments.task, arguments.data)
    parts = [_as_text(task, problem) for problem in problems]
    parts += [f"{count} rows left out: {why}" for why, count in refused.items()]
    document: dict[str, Json] = {
        "task": task.name,
        "problems": [_as_document(task, problem) for problem in problems],
        "refused": dict(refused),
    }
    return Answer(document=document, text="\n\n".join(parts))


def _as_text(task: Task, problem: Problem) -> str:
    asked = task.prompt(problem)
    text = asked if isinstance(asked, str) else "\n".join(str(m["content"]) for m in asked)
    return f"{problem.id}, {problem.split}\n{text}\nreference: {problem.reference or 'none'}"


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


def _overlap(arguments: argparse.Namespace) -> Answer:
    task = load_task(arguments.task, arguments.data)
    benchmark = load_task(arguments.against, arguments.against_data)
    problems = task.problems(None, size=None)
    found = overlaps(problems, benchmark.problems(None, size=None), arguments.words)
    if arguments.write:
        _write_without(arguments.data, Path(arguments.write), found)
    document: dict[str, Json] = {
        "problems": len(problems),
        "overlapping": [
            {"problem": o.problem.id, "benchmark": o.benchmark.id, "text": o.text} for o in found
        ],
        "words": arguments.words,
        "written": arguments.write,
    }
    rows = [(o.problem.id, o.benchmark.id, _short(o.text)) for o in found[:_MOST_SHOWN]]
    lines = [f"{len(found)} of {len(problems)} problems share {arguments.words} words in a row"]
    if rows:
        lines.append(table((arguments.task, arguments.against, "text"), rows))
    if len(found) > _MOST_SHOWN:
        lines.append(f"and {len(found) - _MOST_SHOWN} more; --json lists all")
    if arguments.write:
        lines.append(f"the rest is in {arguments.write}")
    return Answer(document=document, text="\n\n".join(lines), exit_status=1 if found else 0)


def _write_without(data: str | None, target: Path, found: Sequence[Overlap]) -> None:
    """Rows are told by their question: it is what overlaps."""
    if data is None:
        raise BadCommand("--write copies the rows of a file; give --data")
    asked = {" ".join(o.problem.prompt.split()) for o in found}
    kept = [row.values for row in read_rows(data_path(data)) if not asked & _texts(row.values)]
    if target.exists() and target.samefile(data_path(data)):
        raise BadCommand(f"--write {target} is the data itself, which is kept; give another name")
    partial = target.with_name(f".{target.name}.{token_hex(4)}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in kept)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BadFile(f"{target} cannot be written: {error.strerror}; give another") from None


def _texts(values: Mapping[str, object]) -> set[str]:
    found: Iterable[object] = values.values()
    return {" ".join(text.split()) for text in found if isinstance(text, str)}


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
