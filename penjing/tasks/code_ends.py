"""The two ends of a call: the model's code in one sandbox, the tests of it in another.

Both talk with the judge only, in lines; ``code_judge`` carries them from one to the other. This
file is copied into the sandbox, so it imports the standard library and ``code_values`` only.

The judge sends each end one line of JSON, and then:

- to the solution ``TOKEN CALL``, back ``TOKEN V VALUE``, ``TOKEN E EXCEPTION`` or ``TOKEN U WHAT``
  for a value that is not plain; first of all comes ``ready`` or ``E EXCEPTION``;
- from the tests ``C CALL``, back ``V VALUE`` or ``E EXCEPTION``; in the end they say ``P NONCE``
  (passed), ``F EXCEPTION`` (failed), ``S EXCEPTION`` (the tests do not load), ``U WHAT`` (the tests
  pass an argument that is not plain) or ``G`` (what came back was never written by ``encode``).
"""

import builtins
import json
import os
import random
import sys
import types
from typing import Any, NoReturn

from penjing.tasks.code_values import Garbled, NotPlain, decode, encode

# These end loops and generators in silence where they pass through: all(map(...)) of a candidate
# that raises StopIteration is true.
_SILENT = (StopIteration, StopAsyncIteration)


class Lines:
    """Stdin and stdout moved to other descriptors, with nothing left in their places.

    Whatever the code prints is lost, whatever it reads is empty. It may find the descriptors: all
    it can send is a wrong value.
    """

    def __init__(self) -> None:
        self._from = os.fdopen(os.dup(0), "rb")
        self._to = os.dup(1)
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)

    def read(self) -> str:
        line = self._from.readline()
        if not line.endswith(b"\n"):
            os._exit(0)  # the judge has gone
        return line[:-1].decode("ascii")

    def write(self, line: str) -> None:
        left = line.encode("ascii") + b"\n"
        while left:
            left = left[os.write(self._to, left) :]


def serve() -> NoReturn:
    """The end of the model's code: ``sources`` are run in order, then ``entry_point`` is called."""
    lines = Lines()
    given = json.loads(lines.read())
    try:
        candidate = _run_module("solution", given["sources"])[given["entry_point"]]
    except BaseException as error:
        lines.write(f"E {_builtin_name(error)}")
        os._exit(0)
    lines.write("ready")
    while True:
        token, _, call = lines.read().partition(" ")
        lines.write(f"{token} {_answer(candidate, call)}")


def _answer(candidate: Any, call: str) -> str:
    args, named = decode(call)
    try:
        return f"V {encode(candidate(*args, **named))}"
    except NotPlain as what:
        return f"U {ascii(str(what))[1:-1]}"
    except BaseException as error:
        return f"E {_builtin_name(error)}"


def check() -> NoReturn:
    """The end of the tests. ``sources`` are run first: the problem with its own solution.

    Tests call functions that the problem defines, and some the solution by its name.
    """
    lines = Lines()
    given = json.loads(lines.read())
    try:
        module = _run_module("tests", [*given["sources"], given["test"]])
        run = module["check"]
        random.seed(0)  # the same tests each time
    except BaseException as error:
        _end(lines, f"S {_builtin_name(error)}")
    try:
        run(Candidate(lines))
    except BaseException as error:
        _end(lines, f"F {_builtin_name(error)}")
    _end(lines, f"P {given['nonce']}")


class Candidate:
    """Stands for the model's function among the tests."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __call__(self, *args: object, **named: object) -> Any:
        try:
            self._lines.write(f"C {encode((args, named))}")
        except NotPlain as what:
            _end(self._lines, f"U {ascii(str(what))[1:-1]}")
        kind, _, text = self._lines.read().partition(" ")
        if kind == "E":
            raise _exception(text)
        try:
            return decode(text)
        except Garbled:
            _end(self._lines, "G")  # not to be caught by the tests


def _end(lines: Lines, line: str) -> NoReturn:
    lines.write(line)
    os._exit(0)


def _run_module(name: str, sources: list[str]) -> dict[str, Any]:
    """Its names. It is imported under ``name``, so that dataclasses and type hints find it."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    for source in sources:
        code = compile(source, f"{name}.py", "exec", dont_inherit=True)
        exec(code, module.__dict__)
    return module.__dict__


def _builtin_name(error: BaseException) -> str:
    """Of the nearest builtin class: an own subclass of ValueError is a ValueError."""
    kinds: list[type] = type.mro(type(error))
    names = [str(k.__name__) for k in kinds if vars(builtins).get(k.__name__) is k]
    return names[0]


def _exception(name: str) -> Exception:
    """What the tests see; a RuntimeError for what would end more than a call."""
    kind = vars(builtins).get(name)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, _SILENT):
        try:
            return kind()
        except TypeError:  # some cannot be made without details
            return RuntimeError()
    return RuntimeError()
