"""Runs a program that nobody has read, and says how it ended."""

import fcntl
import io
import marshal
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import PurePosixPath
from types import MappingProxyType, TracebackType
from typing import Self

from penjing.errors import BadFile, BadQuantity
from penjing.tasks.sandbox.limits import Limits
from penjing.tasks.sandbox.machine import Machine, interpreter, machine, supervisor_command
from penjing.tasks.sandbox.plan import Plan, Told
from penjing.tasks.sandbox.protections import (
    ALL,
    Protection,
    ProtectionReport,
    SandboxRefused,
)

_NO_FILES: Mapping[str, str | bytes] = MappingProxyType({})
_USUAL = Limits()
_GRACE_S = 60.0  # beyond the wall time, for a supervisor on a busy machine to set up and report
_FAREWELL_S = 5.0  # for a supervisor that was interrupted to clean up
_READ_BYTES = 1 << 16
_ADD_SEALS, _ALL_SEALS = 1033, 0b1111  # of linux/fcntl.h


class End(StrEnum):
    """``KILLED_SIGNAL`` too where it killed itself, crashed, or was stopped by the caller."""

    EXITED = "exited"
    KILLED_TIME = "killed_time"
    KILLED_CPU = "killed_cpu"
    KILLED_MEMORY = "killed_memory"
    KILLED_OUTPUT = "killed_output"
    KILLED_SIGNAL = "killed_signal"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``exit_code`` is None unless it exited; 127 is also what a program that is not there gives.

    ``stdout`` and ``stderr`` are cut at the limit. ``detail`` says why it was stopped.
    """

    end: End
    exit_code: int | None
    stdout: bytes
    stderr: bytes
    cpu_s: float
    wall_s: float
    detail: str


class Sandbox:
    """Runs programs one after another or side by side, from any thread; holds nothing between."""

    def __init__(self, limits: Limits = _USUAL, *, needs: frozenset[Protection] = ALL) -> None:
        """Raises ``SandboxRefused`` where the machine denies one of ``needs``.

        What is not needed is still put in place where it can be; what then lacks is said on stderr,
        once a process.
        """
        self.limits = limits
        refusal = machine().report.refusal(needs)
        if refusal:
            raise SandboxRefused(refusal)
        self._machine = _tried_machine()
        warning = self._machine.report.warning()
        if warning:
            _say_once(warning)

    def report(self) -> ProtectionReport:
        return self._machine.report

    def run(
        self,
        argv: Sequence[str],
        *,
        files: Mapping[str, str | bytes] = _NO_FILES,
        stdin: bytes = b"",
    ) -> Outcome:
        """``files`` lie in the working folder; ``python`` as the first word is our interpreter.

        The program sees neither packages nor environment. Raises ``BadFile`` for a name that leaves
        the folder, ``BadQuantity`` for files beyond its size, and ``SandboxRefused``.
        """
        plan = _plan(self._machine, self.limits, argv, files)
        source = _in_memory(stdin) if stdin else -1
        try:
            process = _Process(plan, stdin=source)
        finally:
            if source >= 0:
                os.close(source)
        return process.outcome()

    def start(
        self, argv: Sequence[str], *, files: Mapping[str, str | bytes] = _NO_FILES
    ) -> "Running":
        """Like ``run``, to talk with the program while it runs."""
        return Running(_plan(self._machine, self.limits, argv, files))


class Running:
    """A program with its stdin and stdout; stderr is kept for the outcome.

    Reads end early and writes raise ``BrokenPipeError`` when the program is stopped, which happens
    at its wall time at the latest. Leaving the context kills it.
    """

    def __init__(self, plan: Plan) -> None:
        stdin, stdin_end = os.pipe()
        stdout_end, stdout = os.pipe()
        try:
            self._process = _Process(plan, stdin=stdin, stdout=stdout)
        except BaseException:
            os.close(stdin_end)
            os.close(stdout_end)
            raise
        finally:
            os.close(stdin)
            os.close(stdout)
        self.stdin = io.BufferedWriter(io.FileIO(stdin_end, "w"))
        counted = _Counted(stdout_end, plan["output_bytes"], self._process)
        self.stdout = io.BufferedReader(counted)
        self._outcome: Outcome | None = None

    def finish(self) -> Outcome:
        """Closes stdin and waits; ``stdout`` of the outcome is what had not been read."""
        if self._outcome is None:
            self._close_stdin()
            rest = self.stdout.read()
            told = self._process.outcome()
            self.stdout.close()
            self._outcome = Outcome(**{**vars(told), "stdout": rest})
        return self._outcome

    def kill(self) -> None:
        """Ends it with all it started; ``finish`` still says what it had used."""
        self._process.tell(b"K")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._outcome is None:
            self.kill()
            self.finish()

    def _close_stdin(self) -> None:
        try:
            self.stdin.close()
        except BrokenPipeError:  # what was not flushed has nobody to read it
            return


class _Process:
    """The supervisor of one program."""

    def __init__(self, plan: Plan, *, stdin: int = -1, stdout: int = -1) -> None:
        self._patience_s = plan["wall_s"] + _GRACE_S
        self._started = time.monotonic()
        plan_fd = _in_memory(marshal.dumps({**plan}))
        told, told_end = os.pipe()
        line_end, line = os.pipe()
        self._told, self._line = io.FileIO(told), io.FileIO(line, "w")  # lost, they close
        passed = (plan_fd, told_end, line_end, stdin, stdout)
        try:
            self._popen = subprocess.Popen(
                [*supervisor_command("supervisor"), str(os.getpid()), *map(str, passed)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[fd for fd in passed if fd >= 0],
                env={},
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            self._told.close()
            self._line.close()
            raise
        finally:
            for fd in (plan_fd, told_end, line_end):
                os.close(fd)

    def tell(self, word: bytes) -> None:
        if self._line.closed:
            return
        try:
            self._line.write(word)
        except BrokenPipeError:  # it has ended already
            return

    def outcome(self) -> Outcome:
        return _outcome(self.told())

    def told(self) -> Told:
        """Waits for it; whatever happens here, it does not outlive the call."""
        try:
            data = self._read()
        except BaseException:
            self.tell(b"K")
            self._end(_FAREWELL_S)
            raise
        self._end(0.0)  # it has told all, or never will
        if not data:
            raise SandboxRefused(
                "the sandbox's supervisor died or did not answer; the machine may be out of memory "
                "or processes: run fewer programs at a time"
            )
        told: Told = marshal.loads(data)
        return told

    def _end(self, patience_s: float) -> None:
        """The jail dies with the supervisor, if it has not died before."""
        self._told.close()
        try:
            self._popen.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._line.close()

    def _read(self) -> bytes:
        data = bytearray()
        poll = select.poll()
        poll.register(self._told, select.POLLIN)
        while (left_s := self._started + self._patience_s - time.monotonic()) > 0:
            if poll.poll(left_s * 1000):
                block = self._told.read(_READ_BYTES)
                if not block:
                    return bytes(data)
                data += block
        return b""


class _Counted(io.RawIOBase):
    """The read end of a pipe that ends, with the program, once too much has come out of it."""

    def __init__(self, fd: int, most: int, process: _Process) -> None:
        self._fd, self._left, self._process = fd, most, process

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what we get
        if self._left < 0:
            return 0
        data = os.read(self._fd, min(len(buffer), self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            self._process.tell(b"O")
            data = data[:-1]
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()


def _outcome(told: Told) -> Outcome:
    if not told["end"]:
        raise SandboxRefused(
            f"the sandbox could not be set up: {told['detail']}; see what the machine allows with "
            "Sandbox(...).report()"
        )
    return Outcome(
        end=End(told["end"]),
        exit_code=told["exit_code"],
        stdout=told["stdout"],
        stderr=told["stderr"],
        cpu_s=told["cpu_s"],
        wall_s=told["wall_s"],
        detail=told["detail"],
    )


def _plan(
    machine: Machine, limits: Limits, argv: Sequence[str], files: Mapping[str, str | bytes]
) -> Plan:
    assert argv, "a program has a name"
    first = interpreter() if argv[0] == "python" else argv[0]
    contents = [(_inside(n), c.encode() if isinstance(c, str) else c) for n, c in files.items()]
    size = sum(len(content) for _, content in contents)
    if size > limits.file_bytes:
        raise BadQuantity(
            f"the files for the sandbox have {size} bytes, its folder {limits.file_bytes}; raise "
            "file_bytes"
        )
    return {
        **machine.plan,
        "argv": [first, *argv[1:]],
        "files": contents,
        "rlimits": limits.rlimits(),
        "wall_s": limits.wall_s,
        "cpu_s": limits.cpu_s,
        "memory_bytes": limits.memory_bytes,
        "folder_bytes": limits.file_bytes,
        "output_bytes": limits.output_bytes,
    }


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise BadFile(f"the sandbox's file {name!r} lies outside its folder; give a relative name")
    return str(path)


def _in_memory(content: bytes) -> int:
    """A file without a name, at its beginning, that nobody can change."""
    fd = os.memfd_create("penjing", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    fcntl.fcntl(fd, _ADD_SEALS, _ALL_SEALS)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


@cache
def _tried_machine() -> Machine:
    """The machine, once a program that does nothing has run on it with all that it offers."""
    found = machine()
    plan = _plan(found, Limits(), ["python", "-I", "-S", "-c", "print(1)"], {})
    told = _Process(plan).told()
    outcome = _outcome(told)
    if outcome.stdout != b"1\n":
        said = " ".join(outcome.stderr.decode("utf-8", "replace").split())[-200:]
        raise SandboxRefused(
            f"{interpreter()} does not run in the sandbox: {outcome.detail or said}; it must be "
            "readable for every user"
        )
    report = found.report.with_detail(Protection.FILES, told["how"])
    return Machine(plan=found.plan, report=report)


@cache
def _say_once(text: str) -> None:
    print(text, file=sys.stderr)
