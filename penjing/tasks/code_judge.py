"""Judges of code. What is expected never enters the sandbox in which the model's code runs.

A function is called from a second sandbox that holds the tests; arguments and results cross as
plain values (``code_values``), so that no object of the model's meets an assertion. Whether all
passed is told by a nonce that only the tests' sandbox knows, never by how a process ends. A program
is run once a test, and its output compared here.

Where protections of the sandbox were waived, code may reach the processes beside it: then none of
this holds.
"""

import json
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from penjing.tasks.code_answer import function_of, program_of
from penjing.tasks.code_output import is_same_output
from penjing.tasks.problem import Grade, Problem, Verdict
from penjing.tasks.sandbox.limits import Limits
from penjing.tasks.sandbox.protections import SandboxRefused
from penjing.tasks.sandbox.sandbox import End, Outcome, Sandbox

# Everything that crosses counts as output. Start to end of all tests, the sandbox's wall time.
FUNCTION_LIMITS = Limits(wall_s=10.0, cpu_s=10.0, output_bytes=8 << 20)
PROGRAM_LIMITS = Limits(wall_s=10.0, cpu_s=10.0, output_bytes=4 << 20)  # for each test
_MOST_LINE_BYTES = 4 << 20
_EXCEPTION = re.compile(r"([A-Z][A-Za-z]{2,38})(?=:|$)")
_PACKAGE = "penjing/tasks"
_MODULES = ("code_values.py", "code_ends.py")
_START = "import sys; sys.path.insert(0, '.'); from penjing.tasks import code_ends; code_ends."


@dataclass(frozen=True, kw_only=True)
class FunctionJudge:
    """Of problems in HumanEval's format: see ``humaneval`` for what their metadata holds."""

    sandbox: Sandbox

    def __call__(self, problem: Problem, answer: str) -> Grade:
        entry_point = problem.metadata["entry_point"]
        sources = function_of(answer, problem.prompt, entry_point)
        if isinstance(sources, Grade):
            return sources
        try:
            _run_tests(self.sandbox, problem, sources)
        except _Failed as why:
            return Grade(verdict=Verdict.WRONG, reason=str(why), answer=sources[-1])
        except (_Broken, SandboxRefused) as why:
            reason = f"{problem.id}: {why}"
            return Grade(verdict=Verdict.UNGRADABLE, reason=reason, is_fault=True)
        return Grade(verdict=Verdict.CORRECT, reason="every test passed", answer=sources[-1])


@dataclass(frozen=True, kw_only=True)
class ProgramTest:
    input: str
    output: str


@dataclass(frozen=True, kw_only=True)
class ProgramJudge:
    """Of programs that read stdin; ``metadata["tests"]`` of a problem has its ``ProgramTest``s.

    Stops at the first test that fails, and starts none once all together took ``total_s``.
    ``relative_tolerance`` holds where a decimal fraction is expected; None: words must be equal.
    """

    sandbox: Sandbox
    total_s: float = 60.0
    relative_tolerance: float | None = 1e-6

    def __call__(self, problem: Problem, answer: str) -> Grade:
        program = program_of(answer)
        if isinstance(program, Grade):
            return program
        tests: Sequence[ProgramTest] = problem.metadata["tests"]
        assert tests, problem.id
        end_s = time.monotonic() + self.total_s
        try:
            for number, test in enumerate(tests, 1):
                failure = self._failure(program, test, end_s)
                if failure:
                    reason = f"test {number} of {len(tests)}: {failure}"
                    return Grade(verdict=Verdict.WRONG, reason=reason, answer=program)
        except SandboxRefused as refusal:
            reason = f"{problem.id}: {refusal}"
            return Grade(verdict=Verdict.UNGRADABLE, reason=reason, is_fault=True)
        return Grade(verdict=Verdict.CORRECT, reason="every test passed", answer=program)

    def _failure(self, program: str, test: ProgramTest, end_s: float) -> str | None:
        if time.monotonic() > end_s:
            return f"not begun, as those before it took {self.total_s:g} s"
        files = {"program.py": program}
        argv = ["python", "program.py"]
        outcome = self.sandbox.run(
            argv, files=files, stdin=test.input.encode("utf-8", "surrogatepass")
        )
        if outcome.end is not End.EXITED or outcome.exit_code:
            return f"it {how_it_ended(outcome)}{_last_exception(outcome.stderr)}"
        got = outcome.stdout.decode("utf-8", "replace")
        is_right = is_same_output(test.output, got, self.relative_tolerance)
        return None if is_right else "its output is not the expected one"


class _Failed(Exception):
    """What the solution did wrong."""


class _Broken(Exception):
    """What is wrong with the problem or the machine."""


class _Ended(Exception):
    """The process at the other end closed its line, or wrote one beyond the limit."""


def _run_tests(sandbox: Sandbox, problem: Problem, sources: Sequence[str]) -> None:
    """Raises ``_Failed``, ``_Broken`` and ``SandboxRefused``; passes where it returns."""
    entry_point = problem.metadata["entry_point"]
    with _End(sandbox, "serve") as solution, _End(sandbox, "check") as tests:
        run = _Run(solution, tests)
        run.load({"sources": sources, "entry_point": entry_point})
        run.carry_calls(
            {"sources": [problem.prompt + problem.reference], "test": problem.metadata["test"]}
        )


class _End:
    """A process in a sandbox of its own and the lines to and from it."""

    def __init__(self, sandbox: Sandbox, name: str) -> None:
        argv = ["python", "-I", "-S", "-c", f"{_START}{name}()"]
        self._running = sandbox.start(argv, files=_files())

    def send(self, line: str) -> None:
        try:
            self._running.stdin.write(line.encode("ascii") + b"\n")
            self._running.stdin.flush()
        except BrokenPipeError:
            raise _Ended from None

    def receive(self) -> str:
        """One line of ASCII; empty where it was anything else. Ends at the sandbox's wall time."""
        line = self._running.stdout.readline(_MOST_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise _Ended
        return line[:-1].decode("ascii") if line.isascii() else ""

    def outcome(self) -> Outcome:
        return self._running.finish()

    def __enter__(self) -> Self:
        self._running.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running.__exit__(kind, value, traceback)


class _Run:
    """One grading: the calls are carried from the tests to the solution and back."""

    def __init__(self, solution: _End, tests: _End) -> None:
        self._solution, self._tests = solution, tests
        self._calls = 0

    def load(self, given: dict[str, object]) -> None:
        try:
            self._solution.send(json.dumps(given))
            said = self._solution.receive()
        except _Ended:
            self._solution_ended("while it was loaded")
        if said != "ready":
            raise _Failed(f"the code does not load: {_exception(said.partition(' ')[2])}")

    def carry_calls(self, given: dict[str, object]) -> None:
        nonce = secrets.token_hex(16)
        try:
            self._tests.send(json.dumps({**given, "nonce": nonce}))
            while True:
                kind, _, text = self._tests.receive().partition(" ")
                if kind != "C":
                    return self._verdict(kind, text, nonce)
                self._calls += 1
                self._tests.send(self._call(text))
        except _Ended:
            self._tests_ended()

    def _call(self, call: str) -> str:
        """What the tests get. A token holds results back that were written ahead of their call."""
        token = secrets.token_hex(8)
        at = f"in call {self._calls} of the tests"
        try:
            self._solution.send(f"{token} {call}")
            echoed, _, result = self._solution.receive().partition(" ")
        except _Ended:
            self._solution_ended(at)
        kind, _, text = result.partition(" ")
        if echoed != token or kind not in ("V", "E", "U"):
            raise _Failed(f"{at} it wrote to the judge's own line")
        if kind == "U":
            raise _Failed(f"{at} it returned {_printable(text)}, which is no plain value")
        return result

    def _verdict(self, kind: str, text: str, nonce: str) -> None:
        if kind == "P" and text != nonce:
            kind = "no verdict"
        if kind == "P" and self._calls:
            return
        if kind == "F" and self._calls:
            raise _Failed(f"the tests failed after call {self._calls}: {_exception(text)}")
        if kind == "G":
            raise _Failed(f"in call {self._calls} of the tests it wrote to the judge's own line")
        raise _Broken(
            {
                "P": "its tests never call the solution",
                "F": f"its tests fail before they call the solution: {_exception(text)}",
                "S": f"its tests do not load: {_exception(text)}",
                "U": f"its tests pass {_printable(text)}, and only plain values can be passed",
            }.get(kind, "its tests wrote what is no verdict")
        )

    def _solution_ended(self, at: str) -> NoReturn:
        raise _Failed(f"{at} its process {how_it_ended(self._solution.outcome())}")

    def _tests_ended(self) -> NoReturn:
        how = how_it_ended(self._tests.outcome())
        if self._calls:  # they hold what the solution returned
            raise _Failed(f"the tests came to no end after call {self._calls}: a process {how}")
        raise _Broken(f"its tests come to no end: their process {how}")


def how_it_ended(outcome: Outcome) -> str:
    match outcome.end:
        case End.EXITED:
            return f"ended with exit status {outcome.exit_code}"
        case End.KILLED_TIME | End.KILLED_CPU:
            return f"ran out of time: {outcome.detail}"
        case End.KILLED_MEMORY:
            return f"ran out of memory: {outcome.detail}"
        case End.KILLED_OUTPUT:
            return f"wrote without end: {outcome.detail}"
        case End.KILLED_SIGNAL:
            return f"was killed: {outcome.detail}"


def _files() -> dict[str, str | bytes]:
    folder = Path(__file__).parent
    modules: dict[str, str | bytes] = {
        f"{_PACKAGE}/{name}": (folder / name).read_bytes() for name in _MODULES
    }
    return {"penjing/__init__.py": "", f"{_PACKAGE}/__init__.py": "", **modules}


def _exception(name: str) -> str:
    return name if name.isidentifier() and name.isascii() and len(name) < 40 else "an exception"


def _last_exception(stderr: bytes) -> str:
    """Its type, of a traceback at the end; text of the program's choosing is left out."""
    last = stderr.decode("utf-8", "replace").rstrip().rpartition("\n")[2]
    found = _EXCEPTION.match(last)
    return f" ({found[1]})" if found else ""


def _printable(text: str) -> str:
    return "".join(c for c in text[:80] if c.isprintable())
