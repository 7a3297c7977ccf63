"""Wrong code that tries to be taken for right by the judges of code, as data, and what they say."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penjing.errors import UnknownName
from penjing.tasks.code_judge import FunctionJudge, ProgramJudge, ProgramTest
from penjing.tasks.problem import Grade, Problem, Split
from penjing.tasks.sandbox.sandbox import Sandbox

FILE = Path(__file__).with_name("checker_attacks.toml")
_SUM = "programs/sum"
_SUM_SOLUTION = "print(sum(map(int, input().split())))\n"
_SUM_TESTS = (("1 2 3\n", "6\n"), ("40 2\n", "42\n"), ("5 -5\n", "0\n"))


@dataclass(frozen=True, kw_only=True)
class CheckerAttack:
    """``problem`` is the id of what it pretends to solve."""

    name: str
    tries: str
    code: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class CheckerAttackReport:
    """``controls`` are the grades of the problems' own solutions, by the problem's id."""

    results: Sequence[tuple[CheckerAttack, Grade]]
    controls: Mapping[str, Grade]

    @property
    def succeeded(self) -> tuple[CheckerAttack, ...]:
        return tuple(attack for attack, grade in self.results if grade.is_correct)

    def __str__(self) -> str:
        rows = [
            f"{a.problem:<18} {a.name:<26} {'SUCCEEDED' if g.is_correct else 'blocked':<10}"
            f"{g.verdict}: {g.reason}"
            for a, g in self.results
        ]
        refused = [name for name, grade in self.controls.items() if not grade.is_correct]
        control = f"refused: {', '.join(refused)}" if refused else "pass"
        count = f"{len(self.results)} attacks, {len(self.succeeded)} succeeded"
        return "\n".join([*rows, f"{count}; right solutions {control}"])


def checker_attacks(file: Path = FILE) -> tuple[CheckerAttack, ...]:
    """One for each problem an attack is tried on; ``UnknownName`` for a key without meaning."""
    found = _read(file)
    return tuple(
        CheckerAttack(problem=problem, **entry)
        for kind in ("function", "program")
        for entry, problems in _entries(found[kind], kind)
        for problem in problems
    )


def checker_problems(file: Path = FILE) -> dict[str, Problem]:
    """By id."""
    functions = [
        _problem(
            f"functions/{name}",
            given["prompt"],
            given["solution"].removeprefix("\n"),
            {"entry_point": "solve", "test": given["test"]},
        )
        for name, given in _read(file)["problem"].items()
    ]
    tests = tuple(ProgramTest(input=given, output=expected) for given, expected in _SUM_TESTS)
    asked = "Read whole numbers from a line of stdin and write their sum."
    return {p.id: p for p in (*functions, _problem(_SUM, asked, _SUM_SOLUTION, {"tests": tests}))}


def run_checker_attacks(
    sandbox: Sandbox, chosen: Sequence[CheckerAttack] | None = None, *, parallel: int = 2
) -> CheckerAttackReport:
    """All, or those chosen. Some take the wall time of the sandbox, so keep that short."""
    problems = checker_problems()
    attacks = checker_attacks() if chosen is None else chosen
    with ThreadPoolExecutor(parallel) as pool:
        grades = pool.map(lambda a: judge_code(sandbox, problems[a.problem], a.code), attacks)
        results = list(zip(attacks, grades, strict=True))
        controls = pool.map(lambda p: judge_code(sandbox, p, _right(p)), problems.values())
        return CheckerAttackReport(
            results=results, controls=dict(zip(problems, controls, strict=True))
        )


def judge_code(sandbox: Sandbox, problem: Problem, code: str) -> Grade:
    judge = (ProgramJudge if problem.id == _SUM else FunctionJudge)(sandbox=sandbox)
    return judge(problem, f"```python\n{code}\n```\n")


def _right(problem: Problem) -> str:
    return problem.reference if problem.id == _SUM else problem.prompt + problem.reference


def _read(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _entries(
    entries: Sequence[Mapping[str, Any]], kind: str
) -> Iterator[tuple[dict[str, str], list[str]]]:
    known = {"name", "tries", "code"} | ({"against"} if kind == "function" else set())
    for entry in entries:
        for key in entry.keys() - known:
            raise UnknownName("key of an attack", key, known)
        problems = [f"functions/{name}" for name in entry.get("against", ())] or [_SUM]
        yield {key: entry[key] for key in ("name", "tries", "code")}, problems


def _problem(id: str, prompt: str, reference: str, metadata: Mapping[str, Any]) -> Problem:
    return Problem(
        id=id, prompt=prompt, reference=reference, split=Split.HELD_OUT, metadata=metadata
    )
