"""A tree of real processes, seen from outside."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from penjing.tasks.sandbox import tree

GROW = """
import os, sys, threading, time
def work():
    if os.fork() == 0:
        kept = bytearray(30 << 20)
        for at in range(0, len(kept), 4096):
            kept[at] = 1
        time.sleep(100)
thread = threading.Thread(target=work)
thread.start()
if os.fork() == 0:
    while time.process_time() < 0.3:
        pass
    os._exit(0)
os.waitpid(-1, 0)
print("ready", flush=True)
time.sleep(100)
"""


@pytest.fixture
def family() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-W", "ignore", "-c", GROW], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
        tree.kill(process.pid)


def settled(pid: int) -> tuple[int, float]:
    """The child in the thread takes a moment to fill its memory."""
    for _ in range(200):
        if tree.usage(pid)[0] > 30 << 20:
            break
        time.sleep(0.01)
    return tree.usage(pid)


def test_a_child_made_by_a_thread_is_found_either_way(family: int) -> None:
    settled(family)
    found = tree.descendants(family)
    assert found[0] == family
    assert len(found) == 2
    assert sorted(tree._by_parents(family)) == sorted(found)


def test_memory_is_that_of_descendants_and_time_that_of_all(family: int) -> None:
    resident, cpu_s = settled(family)
    assert 30 << 20 < resident < 70 << 20
    assert cpu_s >= 0.29  # of a child that has ended
    exact = tree.proportional_bytes(family)
    assert 29 << 20 < exact <= resident


def test_all_are_killed(family: int) -> None:
    settled(family)
    child = tree.descendants(family)[1]
    tree.kill(family, keep=True)
    assert not os.path.exists(f"/proc/{child}/exe") or tree._stat(child)[0] == "Z"
    assert tree._stat(family)[0] != "Z"


def test_what_is_not_there_uses_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert tree.usage(process.pid) == (0, 0.0)
    assert tree.proportional_bytes(process.pid) == 0
    tree.kill(process.pid)


def test_names_of_processes_may_hold_anything() -> None:
    code = "import ctypes, os; ctypes.CDLL(None).prctl(15, b'a) R (b'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert int(tree._stat(process.pid)[1]) == os.getpid()
        process.communicate("\n")
