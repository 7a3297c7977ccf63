"""Attempts in child processes: what is denied is named, what works leaves nothing behind.

The attempts are made in a process of their own, which has one thread: they clone.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
START = """
import os, socket
from penjing.tasks.sandbox import kernel, probe
from penjing.tasks.sandbox.machine import _bare_plan
plan = {**_bare_plan(os.getuid(), 1), "group": os.getgid()}
"""


def said(code: str) -> str:
    command = [sys.executable, "-c", START + code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_to_stay_who_one_is_always_works() -> None:
    assert said("print([probe._attempt(plan, 0)])") == "['']\n"


def test_nobody_becomes_a_user_that_cannot_be() -> None:
    code = """
other = {**plan, "user": 2**32 - 1, "group": 2**32 - 1}
print(probe._attempt(other, kernel.CLONE_NEWUSER))
"""
    assert len(said(code)) > 1


def test_what_is_tried_does_not_touch_the_host() -> None:
    code = """
def state():
    return socket.gethostname(), os.getresuid(), open("/proc/self/mountinfo").read()
before = state()
for flag in probe.NAMESPACES:
    probe._attempt(plan, flag)
    probe._attempt(plan, flag | kernel.CLONE_NEWUSER)
print(state() == before, len(os.listdir("/proc/self/fd")))
"""
    assert said(code) == "True 4\n"


def test_a_filter_that_is_none_is_denied() -> None:
    code = """
print(probe._attempt_filter({**plan, "filter": b""}))
print(probe._attempt_filter({**plan, "filter": bytes(8)}))
"""
    one, two = said(code).splitlines()
    assert one == "no filter is written for this architecture"
    assert two.startswith("seccomp filter: ")


def test_a_program_that_may_not_be_started_is_named() -> None:
    code = """
print(probe._attempt_start(plan))
print(probe._attempt_start({**plan, "argv": ["/etc/passwd"]}))
"""
    one, two = said(code).splitlines()
    assert one == ""
    assert two.endswith("may not start /etc/passwd")


def test_a_child_that_dies_is_a_denial() -> None:
    assert said("print(probe._in_child(0, lambda: os._exit(0), plan))") == "died\n"


def test_memory_of_children_can_be_watched_here() -> None:
    assert said("print([probe._attempt_watch()])") == "['']\n"
