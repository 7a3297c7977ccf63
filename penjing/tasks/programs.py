"""Programs that read stdin and write stdout, with examples of both.

The tests of a row are all that stand in its columns of tests, each a JSON text or an object: lists
of inputs and outputs under these names (APPS, TACO) or in the singular (CodeContests), or a list of
objects with an input and an output (LiveCodeBench).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from penjing.errors import BadFile
from penjing.tasks.code_judge import PROGRAM_LIMITS, ProgramJudge, ProgramTest
from penjing.tasks.problem import Problem
from penjing.tasks.rows import Row, read_rows
from penjing.tasks.sandbox.sandbox import Sandbox
from penjing.tasks.source import FileSource, file_split
from penjing.tasks.task import Task
from penjing.tasks.template import AnswerFormat, Style, Template

QUESTIONS = ("question", "problem", "prompt", "description", "question_content")
TESTS = (
    "input_output",
    "tests",
    "test_cases",
    "public_tests",
    "private_tests",
    "generated_tests",
    "public_test_cases",
    "private_test_cases",
)
_NOTHING = (None, "")  # the latter in CSV
IDS = ("id", "task_id", "problem_id", "question_id", "name")


def programs(data: Path, sandbox: Sandbox | None = None) -> Task:
    """Raises ``BadFile``, and ``SandboxRefused`` where no ``sandbox`` is given and none can be had.

    Rows without an id are called by their number. References are empty: a problem's metadata have
    its ``tests``, as ``ProgramTest``.
    """
    return Task(
        name="programs",
        source=FileSource([_problem(data, row) for row in read_rows(data)]),
        judge=ProgramJudge(sandbox=sandbox or Sandbox(PROGRAM_LIMITS)),
        template=Template(style=Style.R1, answer_format=AnswerFormat.CODE),
    )


def _problem(data: Path, row: Row) -> Problem:
    where = f"{data}: row {row.number}"
    name = _present(where, row, QUESTIONS)[0]
    question = row.values[name]
    if not isinstance(question, str) or not question.strip():
        raise BadFile(f"{where}: {name} is {question!r:.60}; it must be a text")
    names = _present(where, row, TESTS)
    tests = tuple(test for n in names for test in _tests(f"{where}: {n}", row.values[n]))
    if not any(test.output.strip() for test in tests):
        raise BadFile(
            f"{where}: none of its {len(tests)} tests in {', '.join(names)} expects any output, so "
            "that an empty program would pass; give one that does, or leave the row out"
        )
    return Problem(
        id=str(next((row.values[n] for n in IDS if row.values.get(n) not in _NOTHING), row.number)),
        prompt=question,
        reference="",
        split=file_split(data, question),
        metadata={"tests": tests},
    )


def _present(where: str, row: Row, names: Sequence[str]) -> list[str]:
    found = [name for name in names if row.values.get(name) not in _NOTHING]
    if not found:
        has = ", ".join(map(repr, list(row.values)[:20])) or "none"
        raise BadFile(f"{where} has nothing in any of {', '.join(names)}; its columns: {has}")
    return found


def _tests(where: str, value: Any) -> Iterator[ProgramTest]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            why = " ".join(str(error).split())[:100]
            raise BadFile(f"{where} is no JSON: {why}; write the tests as JSON, unpacked") from None
    match value:
        case {"fn_name": str(name)}:
            raise _calls(where, name)
        case {"inputs": list(inputs), "outputs": list(outputs)}:
            yield from _pairs(where, inputs, outputs)
        case {"input": list(inputs), "output": list(outputs)}:
            yield from _pairs(where, inputs, outputs)
        case list():
            yield from _pairs(where, *_columns(where, value))
        case _:
            raise _shape(where)


def _columns(where: str, items: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    for item in items:
        if not isinstance(item, Mapping) or not {"input", "output"} <= item.keys():
            raise _shape(where)
        if item.get("fn_name") or item.get("testtype") == "functional":
            raise _calls(where, str(item.get("fn_name") or "a function"))
    return [item["input"] for item in items], [item["output"] for item in items]


def _pairs(where: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> Iterator[ProgramTest]:
    if len(inputs) != len(outputs):
        raise BadFile(f"{where} has {len(inputs)} inputs and {len(outputs)} outputs; pair them")
    for number, (given, expected) in enumerate(zip(inputs, outputs, strict=True), 1):
        test = ProgramTest(
            input=_text(f"{where}: input {number}", given),
            output=_text(f"{where}: output {number}", expected),
        )
        if len(test.output) > PROGRAM_LIMITS.output_bytes:
            raise BadFile(
                f"{where}: output {number} has {len(test.output)} characters; a program may write "
                f"{PROGRAM_LIMITS.output_bytes} bytes, leave this test out"
            )
        yield test


def _text(where: str, value: Any) -> str:
    """A list of texts is one of lines."""
    match value:
        case str():
            return value
        case list() if all(isinstance(line, str) for line in value):
            return "\n".join(value) + "\n"
    raise BadFile(f"{where} is {value!r:.60}; it must be a text, or a list of lines")


def _shape(where: str) -> BadFile:
    return BadFile(
        f"{where} holds no tests in a known shape; it must be an object with the lists inputs and "
        "outputs, or a list of objects with input and output"
    )


def _calls(where: str, name: str) -> BadFile:
    return BadFile(
        f"{where} calls a function, {name!r:.60}; only programs that read stdin are judged here: "
        "leave the row out, or bring it into HumanEval's format"
    )
