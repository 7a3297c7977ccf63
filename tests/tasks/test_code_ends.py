"""The ends as functions; ``test_code_judge`` runs them where they belong."""

import builtins
import json
import os
import random
import subprocess
import sys
from typing import Any

import pytest

from penjing.tasks.code_ends import Candidate, Lines, _answer, _builtin_name, _exception
from penjing.tasks.code_values import decode, encode


class Told(Lines):
    """Answers are given beforehand; what is written is kept."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.written = list(answers), list[str]()

    def read(self) -> str:
        return self.answers.pop(0)

    def write(self, line: str) -> None:
        self.written.append(line)


def call(*args: object, **named: object) -> str:
    return encode((args, named))


def test_a_call_and_its_value() -> None:
    assert _answer(lambda a, b: [a, b], call(1, b="x")) == "V " + encode([1, "x"])


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (IndexError, "IndexError"),
        (SystemExit(0), "SystemExit"),
        (KeyboardInterrupt, "KeyboardInterrupt"),
        (type("Own", (KeyError,), {}), "KeyError"),
        (type("ValueError", (Exception,), {}), "Exception"),
        (UnicodeDecodeError("ascii", b"", 0, 1, "x"), "UnicodeDecodeError"),
        (OSError(2, "x"), "FileNotFoundError"),
    ],
)
def test_an_exception_crosses_as_its_builtin_name(error: Any, name: str) -> None:
    def candidate() -> None:
        raise error

    assert _answer(candidate, call()) == f"E {name}"
    raised = error if isinstance(error, BaseException) else error()
    assert _builtin_name(raised) == name


def test_a_value_that_is_not_plain_is_named_in_one_line() -> None:
    kind = type("a\nP 0é", (), {})
    assert _answer(lambda: kind(), call()) == "U a value of type a\\nP 0\\xe9"


def test_too_deep_a_recursion_is_an_exception() -> None:
    def candidate() -> Any:
        return candidate()

    assert _answer(candidate, call()) == "E RecursionError"


@pytest.mark.parametrize(
    "name",
    ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "StopIteration", "StopAsyncIteration"],
)
def test_what_would_end_more_than_a_call_is_a_runtime_error(name: str) -> None:
    assert type(_exception(name)) is RuntimeError


@pytest.mark.parametrize("name", ["print", "int", "", "no such", "__import__", "ExceptionGroup"])
def test_what_is_no_exception_is_a_runtime_error(name: str) -> None:
    assert type(_exception(name)) is RuntimeError


def test_every_builtin_exception_can_be_raised() -> None:
    kinds = [v for v in vars(builtins).values() if isinstance(v, type)]
    for kind in (k for k in kinds if issubclass(k, Exception)):
        assert isinstance(_exception(kind.__name__), Exception)
    assert type(_exception("ZeroDivisionError")) is ZeroDivisionError


def test_the_candidate_of_the_tests_sends_and_takes_values() -> None:
    lines = Told("V " + encode({"a": (1, 2.5)}), "E IndexError")
    candidate = Candidate(lines)
    assert candidate([1], x=None) == {"a": (1, 2.5)}
    assert decode(lines.written[0].removeprefix("C ")) == (([1],), {"x": None})
    with pytest.raises(IndexError):
        candidate()


def started(end: str, *lines: str) -> list[str]:
    command = f"from penjing.tasks import code_ends; code_ends.{end}()"
    said = subprocess.run(
        [sys.executable, "-c", command],
        input="".join(line + "\n" for line in lines).encode(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert said.stderr == b""
    return said.stdout.decode("ascii").splitlines()


def test_what_the_code_prints_and_reads_is_not_the_line() -> None:
    code = (
        "import sys\nprint('V 1')\ndef f(x):\n    print(x, file=sys.stderr)\n"
        "    return sys.stdin.read()\n"
    )
    given = json.dumps({"sources": [code], "entry_point": "f"})
    assert started("serve", given, f"t1 {call(5)}", f"t2 {call()}") == [
        "ready",
        "t1 V " + encode(""),
        "t2 E TypeError",
    ]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("def f(:\n", "SyntaxError"),
        ("def g(): pass\n", "KeyError"),
        ("import sys\nsys.exit(0)\n", "SystemExit"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_code_that_does_not_load(code: str, name: str) -> None:
    given = json.dumps({"sources": [code], "entry_point": "f"})
    assert started("serve", given, "t " + call()) == [f"E {name}"]


def test_modules_are_found_by_what_looks_for_them() -> None:
    code = (
        "from __future__ import annotations\nfrom dataclasses import dataclass, astuple\n"
        "@dataclass\nclass P:\n    x: int\ndef f():\n    return astuple(P(3))\n"
    )
    given = json.dumps({"sources": ["import math", code], "entry_point": "f"})
    assert started("serve", given, "t " + call()) == ["ready", "t V " + encode((3,))]


CHECK = {"sources": ["def double(x):\n    return 2 * x\n"], "nonce": "1234"}


@pytest.mark.parametrize(
    ("test", "answers", "said"),
    [
        ("def check(c):\n    assert c(2) == double(2)\n", ["V " + encode(4)], "P 1234"),
        ("def check(c):\n    assert c(2) == double(2)\n", ["V " + encode(5)], "F AssertionError"),
        ("def check(c):\n    assert c(2) == 4\n", ["E IndexError"], "F IndexError"),
        ("def check(c):\n    print('P 1234')\n    import os\n    os._exit(0)\n", [], None),
        ("def check(c):\n    raise SystemExit(0)\n", [], "F SystemExit"),
        (
            "def check(c):\n    try:\n        c()\n    except BaseException:\n        pass\n",
            ["V ["],
            "G",
        ),
        ("def check(c):\n    c(len)\n", [], "U a value of type builtin_function_or_method"),
        ("def check(c) pass\n", [], "S SyntaxError"),
        ("def chek(c): pass\n", [], "S KeyError"),
    ],
)
def test_verdicts(test: str, answers: list[str], said: str | None) -> None:
    lines = started("check", json.dumps({**CHECK, "test": test}), *answers)
    assert [line for line in lines if not line.startswith("C ")] == ([said] if said else [])


def test_tests_draw_the_same_each_time() -> None:
    test = "import random\ndef check(c):\n    c(random.random())\n"
    first, _ = started("check", json.dumps({**CHECK, "test": test}), "V " + encode(None))
    assert decode(first.removeprefix("C "))[0] == (random.Random(0).random(),)


def test_an_end_that_is_left_alone_goes() -> None:
    read, write = os.pipe()
    os.close(write)
    command = "from penjing.tasks import code_ends; code_ends.serve()"
    done = subprocess.run([sys.executable, "-c", command], stdin=read, timeout=60, check=False)
    os.close(read)
    assert done.returncode == 0
