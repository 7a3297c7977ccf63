"""What a program finds itself in."""

import json
import os
import signal
from typing import Any

import pytest

from penjing.tasks.sandbox import jail
from penjing.tasks.sandbox.protections import SandboxRefused
from penjing.tasks.sandbox.sandbox import Sandbox

LOOK = """
import json, os, resource, signal, socket, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "ids": (*os.getresuid(), *os.getresgid()), "groups": os.getgroups(), "pid": os.getpid(),
    "parent": os.getppid(), "environment": dict(os.environ), "folder": os.getcwd(),
    "umask": os.umask(0), "host": socket.gethostname(), "root": sorted(os.listdir("/")),
    "fds": os.listdir("/proc/self/fd"), "session": os.getsid(0), "mine": sorted(os.listdir(".")),
    "seccomp": status["Seccomp"].strip(), "new": status["NoNewPrivs"].strip(),
    "bounding": status["CapBnd"].strip(), "blocked": status["SigBlk"].strip(),
    "ignored": status["SigIgn"].strip(), "read-only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
    "usr": os.statvfs("/usr").f_flag & (os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV),
    "processes": [n for n in os.listdir("/proc") if n.isdigit()], "nofile": resource.getrlimit(7),
    "mounts": [line.split()[4] for line in open("/proc/self/mountinfo")],
}))
"""


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return Sandbox()
    except SandboxRefused as refused:
        pytest.skip(str(refused))


@pytest.fixture(scope="module")
def seen(sandbox: Sandbox) -> dict[str, Any]:
    """Started by one who blocks and ignores signals and hides its files, which must not matter."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    ignored = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    umask = os.umask(0o077)
    try:
        command = ["python", "-S", "-c", LOOK]
        outcome = sandbox.run(command, files={"a/b": "x", "c": b"y"}, stdin=b"given")
    finally:
        os.umask(umask)
        signal.signal(signal.SIGUSR2, ignored)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if b"/proc" in outcome.stderr:
        pytest.skip("this machine denies a /proc inside")
    assert outcome.exit_code == 0, outcome.stderr
    found: dict[str, Any] = json.loads(outcome.stdout)
    return found


def test_it_is_nobody(seen: dict[str, Any]) -> None:
    assert seen["ids"] == [jail.INSIDE_ID] * 6
    assert set(seen["groups"]) <= {65534}
    assert int(seen["bounding"], 16) == 0
    assert seen["new"] == "1"
    assert seen["seccomp"] == "2"


def test_it_is_alone(seen: dict[str, Any]) -> None:
    assert seen["parent"] == 1
    assert seen["pid"] == seen["session"] == 2
    assert seen["processes"] == ["2"]
    assert seen["host"] == "sandbox"


def test_it_gets_streams_and_files_and_nothing_else(seen: dict[str, Any]) -> None:
    assert set(seen["fds"]) == {"0", "1", "2", "3"}  # the last is that of the look itself
    assert set(seen["environment"]) <= {"LC_CTYPE"}  # which Python sets
    assert seen["folder"] == jail.FOLDER
    assert seen["mine"] == ["a", "c"]
    assert seen["umask"] == 0o022


def test_signals_are_as_python_alone_has_them(seen: dict[str, Any]) -> None:
    assert int(seen["blocked"], 16) == 0
    standard = (1 << 31) - 1  # signals 32 and 33 are the C library's own, and inherited
    assert int(seen["ignored"], 16) & standard == 1 << 12 | 1 << 24  # SIGPIPE and SIGXFSZ


def test_the_root_holds_python_read_only(seen: dict[str, Any]) -> None:
    assert seen["read-only"]
    flags = os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV
    assert seen["usr"] == flags
    assert not {"home", "sys", "var", "run", "mnt", "opt", "boot", ".host"} & set(seen["root"])
    assert "/tmp" in seen["mounts"]
    assert not [m for m in seen["mounts"] if m.startswith("/.host")]


def test_a_program_that_is_not_there_says_so(sandbox: Sandbox) -> None:
    outcome = sandbox.run(["/no/such/program"])
    assert outcome.exit_code == 127
    assert b"cannot start '/no/such/program'" in outcome.stderr


def test_devices_work(sandbox: Sandbox) -> None:
    code = """
open("/dev/null", "w").write("x")
print(len(open("/dev/urandom", "rb").read(8)), open("/dev/zero", "rb").read(2))
print(open("/dev/stdin").read())
"""
    outcome = sandbox.run(["python", "-c", code], stdin=b"given")
    assert outcome.stdout == b"8 b'\\x00\\x00'\ngiven\n", outcome.stderr


def test_what_is_not_kept_is_closed() -> None:
    keep, gone = os.pipe()
    child = os.fork()
    if child == 0:
        jail._close_all_but(keep)
        is_open = [fd for fd in range(256) if _is_open(fd)]
        os._exit(0 if is_open == [keep] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(keep)
    os.close(gone)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
