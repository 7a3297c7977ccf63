"""How programs end, by their own doing and by ours."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penjing.tasks.sandbox import tree
from penjing.tasks.sandbox.limits import Limits
from penjing.tasks.sandbox.protections import SandboxRefused
from penjing.tasks.sandbox.sandbox import End, Outcome, Sandbox
from penjing.tasks.sandbox.supervisor import Streams

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
LIMITS = Limits(wall_s=20, cpu_s=20, memory_bytes=128 * MIB, file_bytes=4 * MIB, output_bytes=10000)
GROW = "kept = bytearray({size} << 20)\nfor at in range(0, len(kept), 4096): kept[at] = 1\n"


def run(code: str, limits: Limits = LIMITS) -> Outcome:
    try:
        sandbox = Sandbox(limits)
    except SandboxRefused as refused:
        pytest.skip(str(refused))
    return sandbox.run(["python", "-I", "-S", "-c", code])


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_exit_codes(code: int) -> None:
    outcome = run(f"raise SystemExit({code})")
    assert (outcome.end, outcome.exit_code, outcome.detail) == (End.EXITED, code, "")


@pytest.mark.parametrize("number", [6, 9, 11, 15])
def test_deaths_by_signal(number: int) -> None:
    outcome = run(f"import os; os.kill(os.getpid(), {number})")
    assert (outcome.end, outcome.exit_code) == (End.KILLED_SIGNAL, None)
    assert outcome.detail == f"died of signal {number}"


def test_wall_time() -> None:
    outcome = run("import time; time.sleep(100)", Limits(wall_s=0.3))
    assert outcome.end is End.KILLED_TIME
    assert outcome.detail == "ran longer than 0.3 s"
    assert 0.3 <= outcome.wall_s < 10


@pytest.mark.parametrize("fork", ["", "import os; os.fork(); os.fork()\n"])
def test_cpu_time_of_all_together(fork: str) -> None:
    outcome = run(f"{fork}while True: pass", Limits(wall_s=60, cpu_s=0.5))
    assert outcome.end is End.KILLED_CPU
    assert outcome.detail == "computed longer than 0.5 s"
    assert 0.4 < outcome.cpu_s < 3


def test_memory_of_one_is_refused_to_it() -> None:
    outcome = run("try: bytearray(200 << 20)\nexcept MemoryError: print('none left')")
    assert (outcome.exit_code, outcome.stdout) == (0, b"none left\n")


def test_memory_of_all_together_is_the_end() -> None:
    outcome = run(f"import os, time; os.fork(); os.fork()\n{GROW.format(size=60)}time.sleep(60)")
    assert outcome.end is End.KILLED_MEMORY
    assert outcome.detail == f"held more than {128 * MIB} bytes"


def test_memory_that_is_shared_counts_once() -> None:
    wait = "import os, time; os.fork(); os.fork(); time.sleep(0.5); print(1)"
    outcome = run(GROW.format(size=80) + wait)
    assert outcome.end is End.EXITED
    assert set(outcome.stdout.splitlines()) == {b"1"}


@pytest.mark.parametrize("fd", [1, 2])
def test_output(fd: int) -> None:
    outcome = run(f"import os\nwhile True: os.write({fd}, b'x' * 999)")
    assert outcome.end is End.KILLED_OUTPUT
    assert outcome.detail == "wrote more than 10000 bytes"
    assert (outcome.stdout, outcome.stderr)[fd - 1] == b"x" * 10000


def test_output_counts_together_and_the_last_bytes_too() -> None:
    code = "import os; os.write(1, b'x' * {0}); os.write(2, b'y' * {1})"
    within, beyond = run(code.format(6000, 4000)), run(code.format(6000, 4001))
    assert (within.end, len(within.stdout), len(within.stderr)) == (End.EXITED, 6000, 4000)
    assert (beyond.end, len(beyond.stdout), len(beyond.stderr)) == (End.KILLED_OUTPUT, 6000, 4000)


def test_time_and_output_are_told() -> None:
    code = "import time\nwhile time.process_time() < 0.2: pass\nprint('done')\ntime.sleep(0.1)"
    outcome = run(code)
    assert outcome.stdout == b"done\n"
    assert 0.19 < outcome.cpu_s < 3
    assert outcome.wall_s > 0.29


def test_a_child_that_holds_the_pipe_holds_nothing_up() -> None:
    begun = time.monotonic()
    outcome = run("import os, time\nif os.fork() == 0: time.sleep(100)\nprint('bye')")
    assert (outcome.end, outcome.exit_code) == (End.EXITED, 0)
    assert outcome.stdout == b"bye\n"
    assert time.monotonic() - begun < 15


def test_what_is_left_in_a_pipe_is_taken_without_waiting() -> None:
    streams = Streams(-1, -1)
    os.write(streams.programs[1], b"left")
    streams.drain(100)  # nobody has closed the other end
    assert streams.read[streams.stdout] == b"left"
    streams.close_programs()
    streams.drain(100)
    assert not streams.open
    for fd in streams.read:
        os.close(fd)


CALLER = """
import os, time
from penjing.tasks.sandbox.sandbox import Sandbox
running = Sandbox().start(["python", "-c", "import os, time; os.fork(); time.sleep(1000)"])
fork = os.fork()  # holds open what the caller holds
if fork == 0:
    time.sleep(1000)
print(running._process._popen.pid, fork, flush=True)
running.finish()
"""


@pytest.mark.parametrize("victim", ["caller", "supervisor"])
def test_nothing_outlives_the_caller_or_the_supervisor(victim: str) -> None:
    run("")  # or it is skipped
    with subprocess.Popen(
        [sys.executable, "-c", CALLER],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as caller:
        assert caller.stdout is not None
        supervisor, fork = map(int, caller.stdout.readline().split())
        family = wait_for(supervisor, 4)
        os.kill(caller.pid if victim == "caller" else supervisor, 9)
        deadline = time.monotonic() + 5
        while (alive := any(map(is_alive, family))) and time.monotonic() < deadline:
            time.sleep(0.01)
        for pid in (fork, caller.pid, *family):
            if is_alive(pid):
                os.kill(pid, 9)
    assert not alive


def wait_for(root: int, number: int) -> list[int]:
    """The supervisor, the first process inside, and the two of the program."""
    deadline = time.monotonic() + 30
    while len(found := tree.descendants(root)) < number:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def is_alive(pid: int) -> bool:
    state = tree._stat(pid)
    return bool(state) and state[0] not in ("Z", "X")
