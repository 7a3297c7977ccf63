import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from penjing.tasks.code_judge import FunctionJudge, ProgramJudge, ProgramTest, how_it_ended
from penjing.tasks.code_values import MOST_DEPTH
from penjing.tasks.problem import Grade, Problem, Split, Verdict
from penjing.tasks.sandbox.limits import Limits
from penjing.tasks.sandbox.protections import SandboxRefused
from penjing.tasks.sandbox.sandbox import End, Outcome, Running, Sandbox

CORRECT, WRONG, UNGRADABLE = Verdict.CORRECT, Verdict.WRONG, Verdict.UNGRADABLE
SECRET = 7919
# The wall is far off, as other tests run beside; what computes is stopped by its CPU time.
LIMITS = Limits(wall_s=30, cpu_s=1, memory_bytes=256 << 20, output_bytes=1 << 20)
PROMPT = 'def shift(x, by=1):\n    """x and by added."""\n'
TEST = f"""
def check(candidate):
    assert candidate(1) == 2
    assert candidate({SECRET - 2}, by=2) == shift({SECRET - 2}, 2)
    assert candidate(-0.5, 0.25) == -0.25
"""


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return Sandbox(LIMITS)
    except SandboxRefused as refused:
        pytest.skip(str(refused))


def problem(
    test: str = TEST, prompt: str = PROMPT, solution: str = "    return x + by\n"
) -> Problem:
    metadata = {"entry_point": "shift", "test": test}
    return Problem(
        id="shift/1", prompt=prompt, reference=solution, split=Split.TRAIN, metadata=metadata
    )


def judged(sandbox: Sandbox, code: str, of: Problem | None = None) -> Grade:
    return FunctionJudge(sandbox=sandbox)(of or problem(), f"```python\n{code}\n```")


def test_a_right_function_is_correct(sandbox: Sandbox) -> None:
    code = "def shift(x, by=1):\n    print('on the way')\n    return x + by"
    grade = judged(sandbox, code)
    assert grade == Grade(verdict=CORRECT, reason="every test passed", answer=f"{code}\n")
    assert FunctionJudge(sandbox=sandbox)(problem(), "    return by + x\n").is_correct


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def shift(x, by=1): return x", "the tests failed after call 1: AssertionError"),
        ("def shift(x, by=1): return x + 1", "the tests failed after call 2: AssertionError"),
        ("def shift(x, by=1): return {}[x]", "the tests failed after call 1: KeyError"),
        ("def shift(x): return x + 1", "the tests failed after call 2: TypeError"),
        ("def shift(x, by=1): return iter([x])", "which is no plain value"),
        ("def shift(x, by=1):\n  while True: pass", "its process ran out of time"),
        ("def shift(x, by=1): return 1\nwhile True: pass", "while it was loaded its process ran"),
        ("def shift(x, by=1): return 1\nraise KeyError", "the code does not load: KeyError"),
        ("def shift(x, by=1): return bytes(1 << 28)", "call 1: MemoryError"),
        ("def shift(x, by=1): return ' ' * (3 << 20)", "wrote without end"),
        (
            "import os\ndef shift(x, by=1): os._exit(5)",
            "call 1 of the tests its process ended with",
        ),
    ],
)
def test_a_wrong_function_is_wrong_in_one_line(sandbox: Sandbox, code: str, reason: str) -> None:
    grade = judged(sandbox, code)
    assert grade.verdict is WRONG
    assert reason in grade.reason
    assert "\n" not in grade.reason
    assert str(SECRET) not in grade.reason
    assert grade.answer is not None
    assert not grade.is_fault


def test_the_name_of_the_function_means_the_problems_own_solution(sandbox: Sandbox) -> None:
    itself = problem("def check(candidate):\n    assert candidate(3) == shift(3)\n")
    assert judged(sandbox, "def shift(x, by=1): return x + 1", itself).is_correct
    assert judged(sandbox, "def shift(x, by=1): return 0", itself).verdict is WRONG


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("(1, [2.5, 'é'], {3: {4}}, b'5', 6j, None)", None),
        ("float('nan')", "nan"),
        ("float('-inf')", "-inf"),
        ("10 ** 5000", None),
        ("True", None),
    ],
)
def test_values_and_arguments_cross_unharmed(
    sandbox: Sandbox, value: str, literal: str | None
) -> None:
    same = f"got != got and got.__class__ is float and {literal == 'nan'}"
    test = f"def check(c):\n    got = c({value})\n    assert got == {value} or ({same})\n"
    assert judged(sandbox, "def shift(x): return x", problem(test)).is_correct


def test_arguments_are_copies(sandbox: Sandbox) -> None:
    test = "def check(c):\n    x = [2, 1]\n    assert c(x) == [] and x == [2, 1]\n"
    code = "def shift(x):\n    x.clear()\n    return x"
    assert judged(sandbox, code, problem(test)).is_correct


def test_state_lives_between_calls_but_not_between_gradings(sandbox: Sandbox) -> None:
    test = "def check(c):\n    assert [c(0), c(0)] == [1, 2]\n"
    code = "seen = []\ndef shift(x):\n    seen.append(x)\n    return len(seen)"
    assert judged(sandbox, code, problem(test)).is_correct
    assert judged(sandbox, code, problem(test)).is_correct


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("def check(c): pass", "its tests never call the solution"),
        ("def check(c): assert 1 == 2", "its tests fail before they call the solution"),
        ("def check(c) pass", "its tests do not load: SyntaxError"),
        ("import numpy\ndef check(c): pass", "its tests do not load: ModuleNotFoundError"),
        ("def chek(c): c(1)", "its tests do not load: KeyError"),
        ("def check(c): c(len)", "its tests pass a value of type builtin_function_or_method"),
        ("def check(c):\n  while True: pass", "its tests come to no end: their process ran out"),
        (
            "import os\ndef check(c):\n  c(1)\n  os.write(4, b'P 0\\n')\n  os._exit(0)",
            "its tests wrote what is no verdict",
        ),
        ("import os\ndef check(c): os._exit(0)", "their process ended with exit status 0"),
    ],
)
def test_a_problem_that_cannot_be_judged_is_a_fault(
    sandbox: Sandbox, test: str, reason: str
) -> None:
    grade = judged(sandbox, "def shift(x, by=1): return x + by", problem(test))
    assert (grade.verdict, grade.is_fault) == (UNGRADABLE, True)
    assert grade.reason.startswith("shift/1: ")
    assert reason in grade.reason


def test_tests_that_the_solution_stops_are_not_passed(sandbox: Sandbox) -> None:
    slow = problem("def check(c):\n    for _ in range(c(0)):\n        pass\n")
    grade = judged(sandbox, "def shift(x): return 1 << 60", slow)
    assert grade.verdict is WRONG
    assert grade.reason.startswith("the tests came to no end after call 1: a process ran out of")
    ending = problem("import os\ndef check(c):\n    os._exit(c(0))\n")
    assert judged(sandbox, "def shift(x): return 0", ending).verdict is WRONG


def test_a_value_that_tests_might_catch_ends_them(sandbox: Sandbox) -> None:
    """Bytes that ``encode`` never writes reach no except clause of the tests."""
    test = "def check(c):\n    try:\n        c(0)\n    except BaseException:\n        pass\n"
    forged = (
        "import os, sys\ndef shift(x):\n    line = sys._getframe(2).f_locals\n"
        "    os.write(line['lines']._to, f\"{line['token']} V [[[\\n\".encode())\n    os._exit(0)"
    )
    grade = judged(sandbox, forged, problem(test))
    assert grade.reason == "in call 1 of the tests it wrote to the judge's own line"
    deep = f"x = 1\n    for _ in range({MOST_DEPTH + 1}): x = [x]\n    return x"
    grade = judged(sandbox, f"def shift(x):\n    {deep}", problem(test))
    assert "levels deep" in grade.reason


def test_results_ahead_of_their_call_are_noticed(sandbox: Sandbox) -> None:
    code = (
        "import os, sys\ndef shift(x, by=1):\n    line = sys._getframe(2).f_locals\n"
        "    os.write(line['lines']._to, f\"{line['token']} V [\\\"N\\\"]\\n\".encode())\n"
        "    return x + by"
    )
    twice = problem("def check(c):\n    assert c(1) is None and c(1) == 2\n")
    reason = judged(sandbox, code, twice).reason
    assert reason == "in call 2 of the tests it wrote to the judge's own line"


class RefusedSandbox(Sandbox):
    def __init__(self) -> None:
        pass

    def run(self, *args: object, **named: object) -> Outcome:
        raise SandboxRefused("no room")

    def start(self, *args: object, **named: object) -> Running:
        raise SandboxRefused("no room")


def test_a_sandbox_that_refuses_is_a_fault() -> None:
    refused = RefusedSandbox()
    of_program = ProgramJudge(sandbox=refused)(adding(("1 2", "3")), "print(3)")
    for grade in (judged(refused, "def shift(x): return x"), of_program):
        assert (grade.verdict, grade.is_fault) == (UNGRADABLE, True)
        assert grade.reason.endswith("/1: no room")


def adding(*tests: tuple[str, str]) -> Problem:
    pairs = tuple(ProgramTest(input=given, output=expected) for given, expected in tests)
    return Problem(
        id="sum/1", prompt="Add.", reference="", split=Split.TRAIN, metadata={"tests": pairs}
    )


SUMS: Sequence[tuple[str, str]] = (("1 2\n", "3\n"), ("é 5\n", f"{SECRET}\n"), ("", "0.5\n"))
RIGHT = f"""
words = open(0).read().split()
print({SECRET} if "é" in words else sum(map(int, words)) or 0.5)
"""


def test_a_right_program_is_correct(sandbox: Sandbox) -> None:
    grade = ProgramJudge(sandbox=sandbox)(adding(*SUMS), f"```python{RIGHT}```")
    assert grade.is_correct
    assert grade.answer == RIGHT.lstrip("\n")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("print(3)", "test 2 of 3: its output is not the expected one"),
        ("", "there is no fenced block"),
        ("print(1 / 0)", "test 1 of 3: it ended with exit status 1 (ZeroDivisionError)"),
        ("print('x' 1)", "the whole is not Python"),
        ("```\nprint('x' 1)\n```", "test 1 of 3: it ended with exit status 1 (SyntaxError)"),
        ("print(3)\nimport sys\nsys.exit('P: 7919')", "test 1 of 3: it ended with exit status 1"),
        ("while True: pass", "test 1 of 3: it ran out of time: computed longer than 1 s"),
        ("x = []\nwhile True: x.append(bytes(1 << 20))", "exit status 1 (MemoryError)"),
        ("while True: print(3)", "test 1 of 3: it wrote without end"),
        ("import os\nprint(3, flush=True)\nos.abort()", "test 1 of 3: it was killed: died of"),
    ],
)
def test_a_wrong_program_is_not(sandbox: Sandbox, program: str, reason: str) -> None:
    grade = ProgramJudge(sandbox=sandbox)(adding(*SUMS), program)
    assert grade.verdict is not CORRECT
    assert reason in grade.reason
    assert "\n" not in grade.reason
    assert str(SECRET) not in grade.reason
    assert not grade.is_fault


def test_the_tolerance_is_for_fractions_and_can_be_waived(sandbox: Sandbox) -> None:
    judge = ProgramJudge(sandbox=sandbox)
    assert judge(adding(("", "0.5")), "print(0.5000001)").is_correct
    assert not judge(adding(("", "1")), "print(1.0)").is_correct
    strict = replace(judge, relative_tolerance=None)
    assert not strict(adding(("", "0.5")), "print(0.5000001)").is_correct


def test_all_tests_together_are_bounded_in_time(sandbox: Sandbox) -> None:
    judge = ProgramJudge(sandbox=sandbox, total_s=0.3)
    program = "import time\ntime.sleep(0.2)\nprint(3)"
    grade = judge(adding(*[("", "3")] * 50), program)
    assert grade.verdict is WRONG
    assert grade.reason.endswith(" of 50: not begun, as those before it took 0.3 s")


def test_grading_works_from_threads(sandbox: Sandbox) -> None:
    threads = threading.active_count()
    codes = [f"def shift(x, by=1): return x + by + {n % 2}" for n in range(12)]
    with ThreadPoolExecutor(4) as pool:
        grades = list(pool.map(lambda code: judged(sandbox, code), codes))
    assert [g.is_correct for g in grades] == [n % 2 == 0 for n in range(12)]
    assert threading.active_count() == threads


@pytest.mark.parametrize("end", End)
def test_every_end_is_told_in_one_line(end: End) -> None:
    outcome = Outcome(
        end=end, exit_code=3, stdout=b"", stderr=b"", cpu_s=0, wall_s=0, detail="ran on"
    )
    assert ("3" if end is End.EXITED else "ran on") in how_it_ended(outcome)
