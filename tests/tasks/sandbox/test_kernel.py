"""System calls, made in a child process, where they can do no harm to the tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from penjing.tasks.sandbox import kernel

ROOT = Path(__file__).parents[3]


def run(code: str) -> str:
    start = "import os; from penjing.tasks.sandbox import kernel\n"
    command = [sys.executable, "-c", start + code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def status(text: str, name: str) -> str:
    return next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name}:"))


def test_a_denial_names_the_step_and_the_reason() -> None:
    with pytest.raises(kernel.Denied, match=r"^mount bind on /nowhere: ") as caught:
        kernel.mount("/nowhere", "/nowhere", None, kernel.MS_BIND)
    assert caught.value.errno in (1, 2)
    assert caught.value.step == "mount bind on /nowhere"


def test_clone_without_flags_is_a_fork() -> None:
    code = """
parent = os.getpid()
pid = kernel.clone(0)
if pid == 0:
    os._exit(7 if os.getppid() == parent else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert run(code) == "7\n"


def test_capabilities_go_and_stay_away() -> None:
    text = run("kernel.drop_capabilities(); print(open('/proc/self/status').read())")
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status(text, name), 16) == 0
    if os.geteuid() == 0:
        assert int(status(text, "CapBnd"), 16) == 0


def test_a_filter_of_one_instruction_holds() -> None:
    code = """
import struct
kernel.prctl("no new privileges", kernel.PR_SET_NO_NEW_PRIVS, 1)
load, is_getppid = struct.pack("=HBBI", 0x20, 0, 0, 0), struct.pack("=HBBI", 0x15, 0, 1, {number})
deny, allow = (struct.pack("=HBBI", 0x06, 0, 0, value) for value in (0x50001, 0x7FFF0000))
try:
    kernel.filter_system_calls(load + is_getppid + deny + allow)
except kernel.Denied as denied:
    print(f"denied {denied}")
else:
    print(os.getppid())
"""
    number = {"x86_64": 110, "aarch64": 173}.get(os.uname().machine)
    if number is None:
        pytest.skip(f"no number of getppid is known for {os.uname().machine}")
    said = run(code.replace("{number}", str(number)))
    if said.startswith("denied"):
        pytest.skip(said)
    assert said == "-1\n"


def test_signals_are_as_at_the_beginning() -> None:
    code = """
import signal
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
kernel.set_default_signal(signal.SIGUSR1)
kernel.unblock_signals()
print(open("/proc/self/status").read())
"""
    text = run(code)
    assert int(status(text, "SigBlk"), 16) == 0
    assert int(status(text, "SigIgn"), 16) >> 9 & 1 == 0
