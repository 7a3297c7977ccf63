"""The front door: programs with files and input, side by side, and nothing left of them."""

import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.errors import BadFile, BadQuantity
from penjing.tasks.sandbox import tree
from penjing.tasks.sandbox.limits import Limits
from penjing.tasks.sandbox.protections import ALL, Protection, SandboxRefused
from penjing.tasks.sandbox.sandbox import End, Running, Sandbox, _inside

PATIENT = Limits(wall_s=60)
ECHO = "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)"


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return Sandbox(PATIENT)
    except SandboxRefused as refused:
        pytest.skip(str(refused))


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    before = state()
    yield
    deadline = time.monotonic() + 10
    while state() != before:  # a thread of a pool may take a moment to go
        assert time.monotonic() < deadline, (before, state())
        time.sleep(0.05)


def state() -> tuple[int, int, list[str], str]:
    """Open files, processes, temporary folders, mounts."""
    folders = [name for name in os.listdir("/tmp") if name.startswith("penjing-")]
    mounts = Path("/proc/self/mountinfo").read_text("utf-8")
    return len(os.listdir("/proc/self/fd")), len(tree.descendants(os.getpid())), folders, mounts


def test_all_protections_are_in_place_or_named(sandbox: Sandbox) -> None:
    report = sandbox.report()
    assert report.refusal(ALL) is None
    assert {s.protection for s in report.states} == set(Protection)
    print(report)


def test_files_input_and_arguments_arrive(sandbox: Sandbox) -> None:
    code = "import sys; print(open('a/b').read(), open('c', 'rb').read(), input(), sys.argv[1:])"
    outcome = sandbox.run(
        ["python", "main.py", "x y", "ü"],
        files={"main.py": code, "a/b": "grüße", "c": b"\0\xff"},
        stdin=b"given\nand more",
    )
    assert outcome.stdout.decode() == "grüße b'\\x00\\xff' given ['x y', 'ü']\n"
    assert (outcome.end, outcome.exit_code, outcome.stderr) == (End.EXITED, 0, b"")


@settings(max_examples=5, deadline=None)
@given(content=st.binary(max_size=200_000))
def test_any_input_comes_out_as_it_went_in(content: bytes) -> None:
    try:
        sandbox = Sandbox(PATIENT)
    except SandboxRefused as refused:
        pytest.skip(str(refused))
    outcome = sandbox.run(["/bin/cat", "f", "-"], files={"f": content}, stdin=content)
    assert outcome.stdout == content * 2


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", ".", "a\0b"])
def test_a_file_outside_the_folder_is_refused(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(BadFile, match="lies outside its folder"):
        sandbox.run(["python", "-c", ""], files={name: "x"})


@given(st.text())
def test_no_name_leads_out(name: str) -> None:
    try:
        inside = _inside(name)
    except BadFile:
        return
    path = os.path.normpath(os.path.join("/folder", inside))
    assert path.startswith("/folder/")


def test_files_beyond_the_folder_are_refused() -> None:
    try:
        small = Sandbox(Limits(file_bytes=100))
    except SandboxRefused as refused:
        pytest.skip(str(refused))
    with pytest.raises(BadQuantity, match="101 bytes, its folder 100"):
        small.run(["python", "-c", ""], files={"a": b"x" * 101})


def test_one_talks_with_a_program(sandbox: Sandbox, nothing_is_left: None) -> None:
    with sandbox.start(["python", "echo.py"], files={"echo.py": ECHO}) as running:
        for word in (b"abc", b"de"):
            running.stdin.write(word + b"\n")
            running.stdin.flush()
            assert running.stdout.readline() == word[::-1] + b"\n"
        running.stdin.write(b"rest\n")
        outcome = running.finish()
        assert running.finish() is outcome
    assert (outcome.end, outcome.exit_code, outcome.stdout) == (End.EXITED, 0, b"tser\n")


def test_a_program_is_killed_when_nobody_talks_any_more(
    sandbox: Sandbox, nothing_is_left: None
) -> None:
    with sandbox.start(["python", "-c", "import time; time.sleep(100)"]) as running:
        running.kill()
        outcome = running.finish()
    assert (outcome.end, outcome.detail) == (End.KILLED_SIGNAL, "stopped by the caller")

    def talk() -> NoReturn:
        with sandbox.start(["python", "-c", "import time; time.sleep(100)"]):
            raise LookupError

    with pytest.raises(LookupError):
        talk()


def flood(running: Running) -> int:
    return sum(len(block) for block in iter(lambda: running.stdout.read(5000), b""))


def test_a_flood_ends_for_one_who_reads_it(nothing_is_left: None) -> None:
    try:
        sandbox = Sandbox(Limits(wall_s=60, output_bytes=100_000))
    except SandboxRefused as refused:
        pytest.skip(str(refused))
    with sandbox.start(["python", "-c", "while True: print('x' * 99)"]) as running:
        assert flood(running) == 100_000
        assert running.finish().end is End.KILLED_OUTPUT


def write_twice(running: Running) -> None:
    """Streams close one by one: of the first write a part may still be taken."""
    for _ in range(2):
        running.stdin.raw.write(b"x" * 100_000)


def test_writing_to_one_that_has_ended(sandbox: Sandbox, nothing_is_left: None) -> None:
    with sandbox.start(["python", "-c", ""]) as running:
        assert running.stdout.read() == b""
        with pytest.raises(BrokenPipeError):
            write_twice(running)
        assert running.finish().exit_code == 0


def test_an_interrupted_run_leaves_nothing(sandbox: Sandbox, nothing_is_left: None) -> None:
    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            sandbox.run(["python", "-c", "import time; time.sleep(100)"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def square(sandbox: Sandbox, number: int) -> bytes:
    code = "print(int(input()) ** 2)"
    return sandbox.run(["python", "-I", "-S", "-c", code], stdin=b"%d" % number).stdout


def test_a_hundred_at_a_time_leave_nothing(sandbox: Sandbox, nothing_is_left: None) -> None:
    with ThreadPoolExecutor(100) as pool:
        found = list(pool.map(lambda n: square(sandbox, n), range(100)))
    assert found == [b"%d\n" % n**2 for n in range(100)]


def test_the_thread_that_starts_may_end_before_the_program(sandbox: Sandbox) -> None:
    made: list[Running] = []
    starter = threading.Thread(
        target=lambda: made.append(sandbox.start(["python", "-u", "-c", ECHO]))
    )
    starter.start()
    starter.join()
    with made[0] as running:
        time.sleep(0.3)
        running.stdin.write(b"ab\n")
        running.stdin.flush()
        assert running.stdout.readline() == b"ba\n"
        assert running.finish().exit_code == 0


def square_elsewhere(number: int) -> bytes:
    return square(Sandbox(PATIENT), number)


def test_spawned_processes_have_sandboxes_too(sandbox: Sandbox) -> None:
    context = multiprocessing.get_context("spawn")
    paths = [str(Path(__file__).parents[3]), str(Path(__file__).parent), *sys.path]
    with ProcessPoolExecutor(
        1, mp_context=context, initializer=sys.path.extend, initargs=(paths,)
    ) as pool:
        assert pool.submit(run_by_name, 7).result(60) == b"49\n"


def run_by_name(number: int) -> bytes:
    return square_elsewhere(number)


def test_a_start_is_cheap(sandbox: Sandbox) -> None:
    def spent_s() -> float:
        both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(used.ru_utime + used.ru_stime for used in both)

    costs = []
    for number in range(5):
        before = spent_s()
        square(sandbox, number)
        costs.append(spent_s() - before)
    assert min(costs) < 0.1  # the program's own Python included; 0.03 when nothing else runs
